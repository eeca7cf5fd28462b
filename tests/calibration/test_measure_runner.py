"""The suite as a runner: whatever an item does, the rest goes on, what was measured is kept, and the manifest says so."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from tiergarten.calibration.measure.build import Compilers, find_compilers
from tiergarten.calibration.measure.item import Item, Program, Request
from tiergarten.calibration.measure.items import all_items, chosen_items
from tiergarten.calibration.measure.machine import Machine
from tiergarten.calibration.measure.manifest import read_manifest
from tiergarten.calibration.measure.piece import decode, encode
from tiergarten.calibration.measure.runner import Suite, run_limited, run_suite
from tiergarten.calibration.measure.summary import summary
from tiergarten.sim.errors import InputError

needs_cc = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")


def python(code: str, limit_s: float = 20) -> tuple:
    outcome = run_limited([sys.executable, "-c", code], limit_s)
    return outcome.status, outcome.reason, outcome.lines


def test_a_table_is_taken_over_row_by_row() -> None:
    assert python("print('a,b\\n1,2\\n3,4')") == ("done", "", ("a,b", "1,2", "3,4"))


def test_a_hang_is_ended_with_its_children_and_keeps_its_rows(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time,pathlib\nwhile True: pathlib.Path({str(alive)!r}).touch(); time.sleep(0.05)"
    code = f"import subprocess,sys,time; print('a,b\\n1,2\\n3', flush=True); subprocess.Popen([sys.executable,'-c',{child!r}]); time.sleep(60)"
    started = time.monotonic()
    status, reason, lines = python(code, 2.0)
    assert time.monotonic() - started < 20
    assert status == "timed out"
    assert "2 s" in reason
    assert lines == ("a,b", "1,2")  # the half row is dropped
    alive.unlink(missing_ok=True)
    time.sleep(0.4)
    assert not alive.exists(), "the child process goes on"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("print('a\\n1'); import sys; sys.exit('it broke')", "failed", "exit code 1: it broke"),
        ("import os; print('a\\n1', flush=True); os.kill(os.getpid(), 11)", "failed", "signal 11"),
        ("import sys; print('warning', file=sys.stderr); print('no such thing', file=sys.stderr); sys.exit(3)", "left out", "no such thing"),
        ("print('a,b')", "failed", "printed no rows"),
        ("pass", "failed", "printed no rows"),
        ("import sys; sys.stderr.write('x' * 3_000_000); print('a\\n1')", "done", ""),
    ],
)  # fmt: skip
def test_every_way_to_end_is_told_apart(code: str, status: str, reason: str) -> None:
    found = python(code)
    assert found[0] == status
    assert reason in found[1]
    assert len(found[1]) < 2000


def items(tmp_path: Path) -> tuple[Item, ...]:
    """Programs that work, hang, crash and do not compile. The one that works counts its runs."""
    sources = {
        "good": '#include <stdio.h>\nint main(void){FILE*f=fopen("%s","a");fputc(120,f);fclose(f);puts("bytes,time_us\\n1,2\\n3,4");return 0;}'
        % (tmp_path / "runs"),
        "hangs": '#include <stdio.h>\nint main(void){puts("bytes,time_us\\n1,2");fflush(stdout);for(;;);}',
        "crashes": '#include <stdio.h>\n#include <stdlib.h>\nint main(void){fputs("bad at /some/where/deep/x.c\\n",stderr);abort();}',
        "broken": "int main(void){return nothing;}",
    }
    made = []
    for name, text in sources.items():
        (tmp_path / f"{name}.c").write_text(text)
        made.append(Item(name, "host", "", ("cc",), Program(str(tmp_path / f"{name}.c")), 2, 2, "time_us"))
    return (*made[1:], made[0])


def suite(chosen: tuple[Item, ...], folder: Path, is_quick: bool = False) -> Suite:
    return Suite(chosen, folder, is_quick, False, 0.0, "tiergarten measure")


@needs_cc
def test_failures_are_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    manifest = run_suite(suite(items(tmp_path), folder), lambda name, share: None)
    found = {name: entry["status"] for name, entry in manifest["items"].items()}
    assert found == {"hangs": "timed out", "crashes": "failed", "broken": "failed", "good": "done"}
    assert manifest == read_manifest(folder)
    assert (folder / "good.csv").read_text() == "bytes,time_us\n1,2\n3,4\n"
    assert (folder / "hangs.csv").read_text() == "bytes,time_us\n1,2\n"  # what was measured is not lost
    assert "signal 6" in manifest["items"]["crashes"]["reason"]
    assert "nothing" in manifest["items"]["broken"]["reason"]  # the compiler's own words
    text = json.dumps(manifest)
    assert str(tmp_path) not in text, "paths of this machine"
    assert "/some/where" not in text
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "good.csv", "hangs.csv"}
    assert all("load_average_before" in entry for entry in manifest["items"].values())


@needs_cc
def test_a_second_sitting_runs_only_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    good = items(tmp_path)[-1:]
    run_suite(suite(good, folder), lambda name, share: None)
    manifest = run_suite(suite(items(tmp_path), folder), lambda name, share: None)
    assert (tmp_path / "runs").read_text() == "x"
    assert len(manifest["commands"]) == 2
    assert len(manifest["items"]) == 4


@needs_cc
def test_a_folder_of_another_kind_is_not_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    good = items(tmp_path)[-1:]
    run_suite(suite(good, folder), lambda name, share: None)
    with pytest.raises(InputError, match="differ in kind"):
        run_suite(suite(good, folder, is_quick=True), lambda name, share: None)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["machine"]["cpu"]["model"] = "another"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="differ in machine"):
        run_suite(suite(good, folder), lambda name, share: None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"items": 3}', "\xff"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest\.json"):
        run_suite(suite((), tmp_path), lambda name, share: None)


def test_what_a_machine_lacks_is_said() -> None:
    bare = Machine(None, "no NVIDIA GPU", Compilers(None, None, None))
    assert bare.lacks(("gpu", "nvcc"), False) == "no NVIDIA GPU"
    assert bare.lacks(("cc",), False) == "no C compiler (cc or gcc)"
    assert bare.lacks((), False) == ""
    card = Machine({"name": "card"}, "", Compilers(None, "g++", None))
    assert card.lacks(("gpu", "nvcc"), False) == "no CUDA compiler (nvcc)"
    assert bare.lacks(("gpu",), True) == ""
    assert Machine(None, "", Compilers(None, "g++", None)).lacks(("gpu", "nvcc"), True) == ""


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_without_a_gpu_its_items_are_left_out_with_a_reason(tmp_path: Path) -> None:
    manifest = run_suite(suite(chosen_items(["copies", "kernels"]), tmp_path), lambda name, share: None)
    assert len(manifest["items"]) == 6
    assert {entry["status"] for entry in manifest["items"].values()} == {"left out"}
    assert all("GPU" in entry["reason"] for entry in manifest["items"].values())
    assert all("GPU" in line.figure for line in summary(tmp_path, manifest))


def test_unknown_items_are_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="device_latency"):
        chosen_items(["device_latancy"])


def test_items_are_well_formed() -> None:
    found = all_items()
    assert len({item.name for item in found}) == len(found)
    assert [item.name for item in found][-2:] == ["decode_loop", "decode_trace"]
    for item in found:
        assert item.quick_limit_s <= item.limit_s
        if isinstance(item.how, Program):
            assert ("nvcc" in item.needs) == item.how.is_cuda


def test_requests_survive_the_command_line(tmp_path: Path) -> None:
    request = Request(True, False, 2**47 + 1, 1.25, tmp_path / "a b")
    assert decode(encode(request)) == request


def test_compilers_are_found_or_none() -> None:
    for path in vars(find_compilers()).values():
        assert path is None or Path(path).exists()
