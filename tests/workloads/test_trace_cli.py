"""`tiergarten trace`: each command does its work, and bad input ends in a sentence."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tiergarten.cli.trace import app
from tiergarten.sim.errors import TiergartenError, TraceError
from tiergarten.sim.trace_io import load_trace


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_generated_trace_has_its_statistics(tmp_path):
    run("generate", "stream", "-s", "accesses=2048", "-s", "footprint_bytes=65536", "--out", tmp_path / "s.trace")
    found = json.loads(run("stats", tmp_path / "s.trace", "--json"))
    assert (found["accesses"], found["footprint_bytes"], found["first_touches"]) == (2048, 65536, 1024)
    assert "Reuse distance" in run("stats", tmp_path / "s.trace")


def test_convert_keeps_addresses(tmp_path):
    run("generate", "random", "-s", "accesses=50", "--out", tmp_path / "a.stl", "--format", "stl")
    run("convert", tmp_path / "a.stl", "--format", "dramsim3", "--out", tmp_path / "b.gz")
    one, two = (json.loads(run("stats", tmp_path / name, "--json")) for name in ("a.stl", "b.gz"))
    assert one == two


def test_kernel_is_recorded_and_drawn(tmp_path):
    found = json.loads(run("kernel", "quest", "-s", "tokens=64", "--out", tmp_path / "q.trace", "--json"))
    assert found["relative_error"] < 1e-5
    assert len(load_trace(tmp_path / "q.trace").accesses) == found["accesses"]
    run("stats", tmp_path / "q.trace", "--plot", tmp_path / "figures")
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".pdf", ".csv"}
    assert "quest" in run("kernels")


def test_program_goes_to_chakra_and_back(tmp_path):
    run("kernel", "quest", "-s", "tokens=64", "--out", tmp_path / "q.trace")
    run("export", tmp_path / "q.trace", "--out", tmp_path / "q.et.gz")
    run("import", tmp_path / "q.et.gz", "--out", tmp_path / "back.trace")
    assert (tmp_path / "back.trace").read_bytes() == (tmp_path / "q.trace").read_bytes()


def test_profile_of_torch_becomes_a_trace_and_has_statistics(tmp_path):
    profiles = Path(__file__).parent / "profiles"
    out = tmp_path / "step.trace"
    run("import", profiles / "kineto.json.gz", "--observer", profiles / "observer.json.gz", "--out", out)
    assert len(load_trace(out).ops) == 19
    assert json.loads(run("stats", out, "--json"))["read_share"] > 0.5
    with pytest.raises(TraceError, match="not the same run|neither traceEvents|no traceEvents"):
        run("import", profiles / "observer.json.gz", "--observer", profiles / "observer.json.gz", "--out", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kernel", "qest", "--out", "x"], "Did you mean 'quest'"),
        (["kernel", "quest", "-s", "token=4", "--out", "x"], "Did you mean 'tokens'"),
        (["kernel", "quest", "-s", "tokens=many", "--out", "x"], "tokens: Input should be a valid integer.*got 'many'"),
        (["kernel", "quest", "-s", "tokens=33", "--out", "x"], "cannot be run"),
        (["generate", "stream", "-s", "read_share=7", "--out", "x"], "read share"),
        (["stats", "/nowhere/x.trace"], "cannot be read"),
        (["stats", "/nowhere/x.trace", "--block", "64"], "needs a unit|cannot be read"),
    ],
)
def test_bad_input_is_a_sentence(arguments, said):
    with pytest.raises(TiergartenError, match=said):
        run(*arguments)
