"""Every item walks through a dry run, compiled programs notice wrong data, CUDA sources compile for Hopper."""

import csv
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiergarten.calibration.measure.build import HERE, build, build_command, find_compilers
from tiergarten.calibration.measure.item import Item, Program, Request
from tiergarten.calibration.measure.items import all_items
from tiergarten.calibration.measure.runner import Suite, run_limited, run_suite

COMPILED = tuple(item for item in all_items() if isinstance(item.how, Program))
HOST = tuple(item for item in all_items() if item.name == "host_file_reads")
TORCH = tuple(item for item in all_items() if "torch" in item.needs)
CUDA_SOURCES = sorted((HERE / "cuda").glob("*.cu"))
needs_compilers = pytest.mark.skipif(
    not (shutil.which("g++") and shutil.which("gcc")), reason="no C and C++ compiler (gcc, g++)"
)


def test_the_three_kinds_are_all_items() -> None:
    assert {*COMPILED, *HOST, *TORCH} == set(all_items())
    assert {HERE / item.how.source for item in COMPILED if item.how.is_cuda} == set(CUDA_SOURCES)  # type: ignore[union-attr]


def sane(rows: list[dict[str, str]], item: Item) -> None:
    assert rows
    for row in rows:
        for name, value in row.items():
            assert value not in ("", None), f"{item.name}: empty {name}"
            if name.startswith(("time_", "latency_", "bandwidth_")) or name in ("repeats", item.figure):
                number = float(value)
                assert math.isfinite(number), f"{item.name}: {name} {value}"
                assert number >= 0
        if "time_us" in row:
            assert float(row["time_low_us"]) <= float(row["time_us"]) <= float(row["time_high_us"])
        if "relative_error" in row:
            assert 0 <= float(row["relative_error"]) < 0.05


FAST = (
    "host_latency",
    "host_loaded_latency",
    "host_bandwidth",
    "host_file_reads",
    "device_loaded_latency",
    "device_virtual_memory",
)
"""Host items, and the programs with the most machinery: threads that wait for each other, calls of the driver."""


@needs_compilers
@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(tuple(item for item in (*COMPILED, *HOST) if item.name in FAST), id="some"),
        pytest.param(tuple(item for item in COMPILED if item.name not in FAST), id="rest", marks=pytest.mark.slow),
    ],
)
def test_dry_run_of_compiled_and_file_items(tmp_path: Path, chosen: tuple[Item, ...]) -> None:
    """The CUDA programs run on the stand-in device: they compile, verify their data and print whole tables."""
    suite = Suite(chosen, tmp_path, False, True, 0.0, "tiergarten measure --dry-run")
    shares: list[float] = []
    manifest = run_suite(suite, lambda name, share: shares.append(share))
    for item in suite.items:
        entry = manifest["items"][item.name]
        assert entry["status"] == "done", f"{item.name}: {entry.get('reason')}"
        with (tmp_path / entry["file"]).open(newline="") as file:
            sane(list(csv.DictReader(file)), item)
    assert manifest["kind"] == "dry run"
    assert shares == sorted(shares)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "item",
    [pytest.param(i, marks=[pytest.mark.slow] * (i.name == "attention_block_sparse"), id=i.name) for i in TORCH],
)
def test_dry_run_of_torch_items(item: Item, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs PyTorch")
    request = Request(False, True, 11, 0.0, tmp_path)
    rows = [{key: str(value) for key, value in row.items()} for row in item.how(request)]  # type: ignore[operator]
    sane(rows, item)
    assert len({tuple(row) for row in rows}) == 1, "rows differ in their columns"


def sabotaged(tmp_path: Path, source: str, old: str, new: str) -> tuple[str, str]:
    """(status, reason) of a dry run with one line of the sources changed."""
    shutil.copytree(HERE / "cuda", tmp_path / "cuda")
    for path in (tmp_path / "cuda").iterdir():
        text = path.read_text()
        if path.name == source or path.suffix == ".cuh":
            path.write_text(text.replace(old, new))
    assert any(new in path.read_text() for path in (tmp_path / "cuda").iterdir())
    program = build(Program(str(tmp_path / "cuda" / source)), find_compilers(), tmp_path, True)
    outcome = run_limited([str(program), "--stand-in"], 60)
    return outcome.status, outcome.reason


@needs_compilers
@pytest.mark.parametrize(
    ("source", "old", "new", "complaint"),
    [
        ("device_bandwidth.cu", "for (; i < count; i += stride) to[i] = from[i];", "for (; i + 1 < count; i += stride) to[i] = from[i];", "copy kernel gave wrong data"),
        ("pointer_chase.cu", "targets[k] = places[(k + 1) % count]", "targets[k] = places[(k + 2) % count]", "ended at the wrong line"),
    ],
    ids=["copy", "chase"],
)  # fmt: skip
def test_wrong_data_is_noticed_before_timing(tmp_path: Path, source: str, old: str, new: str, complaint: str) -> None:
    status, reason = sabotaged(tmp_path, source, old, new)
    assert status == "failed"
    assert complaint in reason


@pytest.mark.skipif(find_compilers().nvcc is None, reason="no CUDA compiler (nvcc)")
@pytest.mark.parametrize("source", CUDA_SOURCES, ids=lambda path: path.stem)
def test_kernels_compile_for_hopper(source: Path, tmp_path: Path) -> None:
    compiler = build_command(Program(str(source)), find_compilers(), False, "sm_90")[0]
    command = [compiler, "-std=c++17", "-O1", "-arch=sm_90", "-cubin", "-Werror", "all-warnings"]
    done = subprocess.run([*command, str(source), "-o", str(tmp_path / "x")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.skipif(find_compilers().nvcc is None, reason="no CUDA compiler (nvcc)")
@pytest.mark.parametrize("source", CUDA_SOURCES, ids=lambda path: path.stem)
def test_programs_link_for_hopper_and_leave_out_without_a_gpu(source: Path, tmp_path: Path) -> None:
    """Whole programs, host code included. On a machine without a GPU they say so with the agreed exit code."""
    compiler = build_command(Program(str(source)), find_compilers(), False, "sm_90")[0]
    program = tmp_path / "program"
    subprocess.run([compiler, "-std=c++17", "-O3", "-arch=sm_90", str(source), "-o", str(program)], check=True)
    if shutil.which("nvidia-smi") is None:
        outcome = run_limited([str(program)], 60)
        assert outcome.status == "left out"
        assert "no usable GPU" in outcome.reason


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_paged_kernel_in_the_interpreter() -> None:
    """Against the float64 reference, in float16: Triton's interpreter has no bfloat16 products."""
    pytest.importorskip("torch", reason="needs PyTorch")
    code = """
import torch
from tiergarten.calibration.measure.items.sparse_attention import gathered_exact
from tiergarten.calibration.measure.paged_kernel import PagedDecode
from tiergarten.calibration.measure.torch_timing import relative_error
q = torch.randn(2, 32, 128, dtype=torch.float16)
keys = torch.randn(12, 16, 8, 128, dtype=torch.float16)
values = torch.randn_like(keys)
table = torch.randperm(12).reshape(2, 6)[:, :5].to(torch.int32)
exact = torch.cat([gathered_exact(q[i : i + 1], keys, values, table[i : i + 1]) for i in range(2)])
assert relative_error(PagedDecode(q, keys, values, table)(), exact) < 2e-3
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=True)


def test_suite_needs_no_more_than_it_says(tmp_path: Path) -> None:
    """The suite runs where nothing of ours but numpy is installed: GPU machines are often bare."""
    blocked = ("typer", "rich", "simpy", "pydantic", "ruamel.yaml", "pandas", "pyarrow", "numba", "matplotlib")
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({blocked!r}))
import tiergarten.calibration.measure.piece
sys.argv = ["measure", "--dry-run", "--items", "host_file_reads", "--out", "found"]
runpy.run_module("tiergarten.calibration.measure", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "host_file_reads" in done.stdout
    manifest = json.loads((tmp_path / "found" / "manifest.json").read_text())
    assert manifest["items"]["host_file_reads"]["status"] == "done"
    assert manifest["commands"] == ["python -m tiergarten.calibration.measure --dry-run --items host_file_reads"]


def test_suite_runs_from_a_checkout_that_is_not_installed(tmp_path: Path) -> None:
    """`typings` maps the folders to `tiergarten.<folder>`, so PYTHONPATH=typings is enough."""
    typings = Path(__file__).resolve().parents[2] / "typings"
    if not (typings / "tiergarten").is_dir():
        pytest.skip("the tests run apart from the checkout")
    code = "import tiergarten.calibration.measure as m; print(m.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(typings)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(typings) in done.stdout
