"""The command group `tiergarten controller`."""

import json
import subprocess
import sys
from pathlib import Path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tiergarten.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, "controller", *arguments], capture_output=True, text=True, timeout=120
    )


def test_evaluate_prints_json(tmp_path: Path) -> None:
    trace = tmp_path / "t.stl"
    trace.write_text("0: read 0x0\n1: write 0x40\n2: read 0x80\n")
    done = run("evaluate", str(trace), "--set", "PagePolicy=Closed", "--set", "RequestBufferSize=3", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["design"]["RequestBufferSize"] == 3
    assert result["commands"]["ACT"] == 3
    assert result["num_requests"] == 3


def test_bad_input_is_named_and_exits_with_2(tmp_path: Path) -> None:
    trace = tmp_path / "t.stl"
    trace.write_text("0: read 0x0\n1: rite 0x40\n")
    done = run("evaluate", str(trace))
    assert done.returncode == 2
    assert "t.stl:2" in done.stderr
    assert "Traceback" not in done.stderr
    for arguments in (
        ["--set", "PagePolcy=Open"],
        ["--set", "PagePolicy"],
        ["--part", "DDR9"],
        ["--semantics", "dramsim"],
        ["--tick", "3 parsec"],
    ):
        trace.write_text("0: read 0x0\n")
        done = run("evaluate", str(trace), *arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
    table = tmp_path / "table.csv"
    table.write_text("workload,mapping\nrandom,rbc\n")
    done = run("verify", str(table), "--traces", str(tmp_path))
    assert done.returncode == 2
    assert "column 'clk_mhz' is missing" in done.stderr


def test_verify_counts_matches_and_exits_with_1_on_a_miss(shared: Path, tmp_path: Path) -> None:
    reference = shared / "reference" / "dramgym"
    lines = (reference / "dramsys_points.csv").read_text().splitlines()
    table = tmp_path / "points.csv"
    table.write_text("\n".join(lines[:5]) + "\n")
    done = run("verify", str(table), "--traces", str(reference / "traces"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time     4/4" in done.stdout
    done = run("verify", str(table), "--traces", str(reference / "traces"), "--semantics", "ours", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["total"] == 4
    assert result["matched"]["time"] < 4
    assert "points.csv:" in result["first_miss"]
