"""`tiergarten dram verify` on manifests of every quality: what is wrong is named, all at once, with exit code 2."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tiergarten.cli.dram import app
from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.manifest import read_manifest
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, simulate
from tiergarten.dram.traces import read_address_trace
from tiergarten.dram.verify import command_table, verify_manifest
from tiergarten.sim.errors import InputError, TiergartenError, TraceError

Manifest = dict[str, Any]
DRAM = {"standard": "DDR4", "org_preset": "DDR4_8Gb_x8", "timing_preset": "DDR4_2400R", "overrides": {"rank": 2}}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A manifest of one small case recorded by ourselves, with its files in `tmp_path`."""
    (tmp_path / "traces").mkdir()
    (tmp_path / "expected").mkdir()
    rows = [f"{n // 2 * 18},{'RW'[n % 3 == 2]},{n * 7 % 50 * 4096},0" for n in range(120)]
    (tmp_path / "traces" / "t.csv").write_text("\n".join(["t_min,op,addr,dep", *rows]) + "\n")
    device = resolve(DRAM["standard"], DRAM["org_preset"], DRAM["timing_preset"], DRAM["overrides"])
    settings = {"controller": "GenericDDR", "row_policy": "ClosedCAP", "cap": 2}
    config = DramConfig(device, ControllerConfig.from_mapping(settings, compat="ramulator-2.1"))
    result = simulate(config, trace := read_address_trace(tmp_path / "traces" / "t.csv"), record="commands")
    table = command_table(result)
    ids = [COMMANDS[name].kernel_id for name in device.standard.commands]
    requests = result.commands.requests
    columns = {f"lv_{level}": table[:, n] for n, level in enumerate(device.standard.levels[1:], start=2)}
    columns |= {"dclk": np.diff(table[:, 0], prepend=0), "cmd": np.array([ids.index(n) for n in table[:, 1]])}
    columns |= {"type": np.where(requests < 0, -1, trace.is_write[requests])}
    columns |= {"darrive": np.diff(result.arrive, prepend=0), "latency": result.depart - result.arrive}
    np.savez(tmp_path / "expected" / "c.npz", **columns, extra=result.done - result.depart)
    case = {
        "id": "c",
        "dram": "d",
        "config": settings,
        "trace": "t.csv",
        "expected": {"file": "expected/c.npz"},
        "total_cycles": result.total_ticks,
        "stats": {"row_hits": result.counters["read_row_hits"] + result.counters["write_row_hits"]},
    }
    return {"drams": {"d": dict(DRAM)}, "cases": [case]}


def outcome(manifest: Manifest, folder: Path):
    (folder / "manifest.yaml").write_text(json.dumps(manifest))
    (found,) = verify_manifest(folder / "manifest.yaml")
    return found


def problems(manifest: Manifest, folder: Path) -> str:
    (folder / "manifest.yaml").write_text(json.dumps(manifest))
    with pytest.raises(InputError) as error:
        list(verify_manifest(folder / "manifest.yaml"))
    return str(error.value)


def test_a_recording_of_our_own_is_exact(manifest: Manifest, tmp_path: Path) -> None:
    found = outcome(manifest, tmp_path)
    assert found.is_exact
    assert found.matched_commands == found.total_commands > 200
    assert (found.matched_requests, found.total_requests) == (120, 120)
    assert (found.matched_counters, found.total_counters) == (1, 1)


def test_order_of_keys_further_keys_and_other_places_do_not_matter(manifest: Manifest, tmp_path: Path) -> None:
    case = manifest["cases"][0]
    (tmp_path / "traces" / "t.csv").rename(tmp_path / "t.csv")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "expected" / "c.npz").rename(tmp_path / "elsewhere" / "c.npz")
    case["expected"] = {"sha256": "?", "file": str(tmp_path / "elsewhere" / "c.npz")}
    turned = {"note": 1, "cases": [dict(reversed(case.items())) | {"comment": "?"}], "drams": manifest["drams"]}
    assert outcome(turned, tmp_path).is_exact


def test_earliest_ticks_may_go_back_in_a_recording(manifest: Manifest, tmp_path: Path) -> None:
    """A row's tick is the earliest at which it may be offered, in order: one before the row above's changes nothing."""
    path = tmp_path / "traces" / "t.csv"
    header, *rows = path.read_text().splitlines()
    for row in range(1, len(rows), 2):  # every second row has the tick of the one above
        rows[row] = "0," + rows[row].partition(",")[2]
    path.write_text("\n".join([header, *rows]) + "\n")
    assert outcome(manifest, tmp_path).is_exact


@pytest.mark.parametrize("column", ["dclk", "cmd", "type", "lv_Row", "lv_Column", "latency", "extra"])
def test_any_changed_number_is_a_difference(column: str, manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "expected" / "c.npz"
    with np.load(path) as data:
        columns = {key: data[key].copy() for key in data.files}
    columns[column][50] += -1 if columns[column][50] > 0 else 1
    np.savez(path, **columns)
    found = outcome(manifest, tmp_path)
    assert not found.is_exact
    assert "> " in found.difference
    assert "expected" in found.difference


@pytest.mark.parametrize("change", [{"total_cycles": 5}, {"stats": {"row_hits": -1}}])
def test_a_changed_total_or_counter_is_a_difference(change: Manifest, manifest: Manifest, tmp_path: Path) -> None:
    manifest["cases"][0] |= change
    assert "-1" in outcome(manifest, tmp_path).difference or "expected 5" in outcome(manifest, tmp_path).difference


def test_all_faults_of_a_manifest_are_named_at_once(manifest: Manifest, tmp_path: Path) -> None:
    case = manifest["cases"][0]
    manifest["common"] = {"channels": 2}
    manifest["drams"]["e"] = {"standard": "DDR4", "org_preset": "DDR4_8Gb_x9", "timing_preset": "DDR4_2400R"}
    manifest["drams"]["f"] = {"standard": "DDR4"}
    manifest["cases"] = [
        case,
        case | {"trace": "absent.csv", "expected": {"file": "absent.npz"}},
        case | {"dram": "e"},
        case | {"dram": "f"},
        case | {"dram": "g"},
        case | {"config": {"scheduler": "FIFO", "addr_mapper": "XOR"}},
        case | {"config": {"no_such_setting": 1}},
        case | {"config": {"refresh": "PerBank"}},
        {"id": "nothing else"},
        7,
    ]
    said = problems(manifest, tmp_path).splitlines()
    assert all(str(tmp_path) in line for line in said)
    for part in (
        "common.channels: only 1 can be replayed",
        "cases.1 (c).trace: no such file",
        "cases.1 (c).expected.file: no such file",
        "cases.2 (c): unknown DDR4 organisation 'DDR4_8Gb_x9'. Did you mean 'DDR4_8Gb_x8'",
        "cases.3 (c).dram.org_preset: missing",
        "cases.4 (c).dram: unknown dram",
        "cases.5 (c).controller.scheduler: unknown value 'FIFO'",
        "cases.5 (c).controller.addr_mapper",
        "cases.6 (c).controller.no_such_setting: unknown setting",
        "cases.7 (c).controller.refresh: DDR4 has no refresh of the kind PerBank",
        "cases.8 (nothing else).config: missing",
        "cases.9: must be a mapping",
    ):
        assert any(part in line for line in said), part
    assert not any("cases.0" in line for line in said)
    assert [found.name for found in read_manifest_of(case, manifest, tmp_path)] == ["c"]


def read_manifest_of(case: Manifest, manifest: Manifest, folder: Path) -> list[Any]:
    (folder / "manifest.yaml").write_text(json.dumps({"drams": manifest["drams"], "cases": [case]}))
    return read_manifest(folder / "manifest.yaml")


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "drams: {}", "drams: 1\ncases: []", "cases: [\n", "\x00", "{cases: 3, drams: {}}"]
)
def test_what_is_no_manifest_is_said_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(InputError, match=r"m\.yaml"):
        list(verify_manifest(tmp_path / "m.yaml"))


GARBAGE = (None, 7, -1, 0.5, "x", "", [], [1], {}, {"a": {}}, True, float("inf"), 10**30)


def places_in(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of nested mappings and lists."""
    items = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else [])
    return [(node, key) for key, _ in items] + [place for _, value in items for place in places_in(value)]


def test_garbage_anywhere_in_a_manifest_is_refused_or_harmless(manifest: Manifest, tmp_path: Path) -> None:
    manifest["defaults"] = {"cap": 4}
    manifest["drams"]["d"] |= {"levels": ["Channel", "Rank", "BankGroup", "Bank", "Row", "Column"]}
    for container, key in places_in(manifest):
        kept = container[key]
        for thing in GARBAGE:
            container[key] = thing
            with (tmp_path / "manifest.yaml").open("w") as file:
                YAML(typ="safe").dump(manifest, file)
            with contextlib.suppress(TiergartenError):
                assert len(list(verify_manifest(tmp_path / "manifest.yaml"))) <= 1
        container[key] = kept


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY", None])
def test_a_damaged_recording_is_named(content: bytes | None, manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "expected" / "c.npz"
    path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    assert "c.npz: cannot be read" in problems(manifest, tmp_path)


def test_a_recording_that_does_not_fit_is_named(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "expected" / "c.npz"
    with np.load(path) as data:
        columns = {key: data[key] for key in data.files}
    np.savez(path, **{key: column for key, column in columns.items() if key not in ("lv_Row", "extra")})
    said = problems(manifest, tmp_path)
    assert "c.npz: lv_Row: missing" in said
    assert "c.npz: extra: missing" in said
    np.savez(path, **(columns | {"cmd": columns["cmd"] + 99, "latency": columns["latency"] / 2}))
    assert "c.npz: latency: must be a row of whole numbers" in problems(manifest, tmp_path)
    np.savez(path, **(columns | {"dclk": columns["dclk"][1:]}))
    assert "differ in length" in problems(manifest, tmp_path)
    np.savez(path, **(columns | {"cmd": columns["cmd"] + 99}))
    assert "c.npz: cmd: numbers must be below 8" in problems(manifest, tmp_path)


def test_a_bad_trace_is_named_by_file_and_row(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "traces" / "t.csv").write_text("t_min,op,addr,dep\n0,R,64,0\n0,R,65,0\n")
    (tmp_path / "manifest.yaml").write_text(json.dumps(manifest))
    with pytest.raises(TraceError, match=r"t\.csv: row 2: address is no multiple"):
        list(verify_manifest(tmp_path / "manifest.yaml"))


def test_exit_codes(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(json.dumps(manifest))
    assert CliRunner().invoke(app, ["verify", str(path)]).exit_code == 0
    manifest["cases"][0]["total_cycles"] += 1
    path.write_text(json.dumps(manifest))
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert result.exit_code == 1
    assert "cases: 0 of 1 equal" in result.output
    assert isinstance(CliRunner().invoke(app, ["verify", str(path), "--only", "zzz"]).exception, InputError)
