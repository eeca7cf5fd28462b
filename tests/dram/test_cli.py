"""`tiergarten dram`: what a user types and what comes back."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tiergarten.cli.dram import app
from tiergarten.sim.errors import InputError, TraceError, UnknownNameError

run = CliRunner().invoke


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("t_min,op,addr,dep\n" + "".join(f"0,{'RW'[n % 3 == 2]},{n * 64},0\n" for n in range(500)))
    return path


def test_replay_prints_figures_and_writes_commands(trace: Path, tmp_path: Path) -> None:
    commands = tmp_path / "commands.csv"
    result = run(app, ["replay", str(trace), "--standard", "HBM3", "--commands", str(commands), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["reads"] + summary["writes"] == 500
    assert 0 < summary["bandwidth_bytes_per_s"] < summary["peak_bytes_per_s"]
    lines = commands.read_text().splitlines()
    assert lines[0] == "tick,command,pseudochannel,sid,bankgroup,bank,row,column,request"
    assert sum(line.split(",")[1] in ("RD", "WR") for line in lines) == 500
    assert not list(tmp_path.glob("*.part"))


def test_settings_reach_the_controller(trace: Path) -> None:
    closed = ["--set", "controller.row_policy=ClosedCAP", "--set", "controller.cap=1", "--set", "nRCD=30"]
    plain, changed = (json.loads(run(app, ["replay", str(trace), "--json", *more]).stdout) for more in ([], closed))
    assert changed["row_hit_rate"] < plain["row_hit_rate"]
    assert changed["ticks"] > plain["ticks"]


def test_faults_are_our_own_errors(trace: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("t_min,op,addr,dep\n0,R,-64,0\n")
    for arguments, error in (
        (["replay", str(bad)], TraceError),
        (["replay", str(trace), "--standard", "DDR9"], UnknownNameError),
        (["replay", str(trace), "--timing", "DDR4_9999"], UnknownNameError),
        (["replay", str(trace), "--set", "controller.scheduler=FIFO"], InputError),
        (["replay", str(trace), "--set", "rank"], InputError),
        (["verify", str(tmp_path / "absent.yaml")], InputError),
        (["verify", str(trace)], InputError),
    ):
        assert isinstance(run(app, arguments).exception, error), arguments


def test_files_that_cannot_be_written_are_refused_before_the_work(trace: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (["replay", str(trace), "--commands", str(tmp_path)], "is a folder"),
        (["replay", str(trace), "--commands", str(tmp_path / "absent" / "c.csv")], "there is no folder"),
        (["curve", "--out", str(tmp_path / "absent" / "c.csv")], "there is no folder"),
        (["curve", "--figure", str(tmp_path / "c.xyz")], "must end in .png"),
    ):
        error = run(app, arguments).exception
        assert isinstance(error, InputError), arguments
        assert said in str(error)


def test_verify_replays_the_chosen_cases(shared: Path) -> None:
    manifest = shared / "golden/ramulator2/manifest.yaml"
    assert isinstance(run(app, ["verify", str(manifest), "--only", "no such case"]).exception, InputError)
    result = run(app, ["verify", str(manifest), "--only", "hbm2_hotset", "--json"])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["cases_exact"] == summary["cases"] == 1
    assert summary["commands_matched"] == summary["commands"]


def test_list_names_every_standard() -> None:
    assert set(json.loads(run(app, ["list", "--json"]).stdout)) >= {"DDR4", "HBM3", "LPDDR6"}


def test_curve_writes_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiergarten.dram import mess

    monkeypatch.setattr(mess, "PAUSES", (1, 100))
    monkeypatch.setattr(mess, "READ_PERCENTS", (100, 50))
    monkeypatch.setattr(mess.measure_curves, "__defaults__", ((100, 50), (1, 100), 4000, 1))
    table, figure = tmp_path / "c.csv", tmp_path / "c.png"
    arguments = [
        "curve",
        "--standard",
        "DDR4",
        "--probes",
        "100",
        "--out",
        str(table),
        "--figure",
        str(figure),
        "--json",
    ]
    result = run(app, arguments)
    assert result.exit_code == 0, result.output
    assert table.read_text().splitlines()[0] == (
        "read_percent,point,bandwidth_bytes_per_s,latency_ps,bandwidth_GBps,latency_ns"
    )
    assert figure.stat().st_size > 5000
    assert len(json.loads(result.stdout)["points"]) == 4


def test_bench_prints_rates() -> None:
    rows = json.loads(run(app, ["bench", "DDR4", "--requests", "1000", "--json"]).stdout)
    assert [row["pattern"] for row in rows] == ["stream", "mix", "random", "low"]
    assert all(row["requests_per_s"] > 0 for row in rows)
