"""The command line as a user meets it: output, JSON, exit codes, help."""

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tiergarten.cli as tiergarten_cli
from tiergarten.catalogue import catalogue
from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.sweep import overrides_for_vary, points

CLI = "from tiergarten.cli import main; main()"


def tiergarten(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-P", "-c", CLI, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


def test_run_compare_report_and_json(tmp_path: Path) -> None:
    first = json.loads(tiergarten(tmp_path, "run", "kv-agent", "--json", "--no-figures").stdout)
    second = json.loads(
        tiergarten(tmp_path, "run", "kv-agent", "--json", "--no-figures", "--set", "policies.eviction=opt").stdout
    )
    assert second["metrics"]["hit_rate"] >= first["metrics"]["hit_rate"]
    rows = json.loads(tiergarten(tmp_path, "compare", first["folder"], second["folder"], "--json").stdout)["metrics"]
    row = next(row for row in rows if row["metric"] == "hit_rate")
    assert (row["first"], row["second"]) == (first["metrics"]["hit_rate"], second["metrics"]["hit_rate"])
    shown = tiergarten(tmp_path, "compare", first["folder"], second["folder"]).stdout
    assert "hit_rate" in shown
    for run in (first, second):
        host = json.loads((tmp_path / run["folder"] / "host.json").read_text())
        took, rate = host["simulate_s"], host["simulated_s_per_s"]
        name = Path(run["folder"]).name
        assert f"{name}: simulated in {took:.3g} s, {rate:.3g} simulated seconds per second" in shown.replace("\n", " ")
    page = json.loads(tiergarten(tmp_path, "report", first["folder"], "--json").stdout)["report"]
    assert (tmp_path / page).read_text().startswith("<!doctype html>")
    assert tiergarten(tmp_path, "run", "kv-agent", "--quiet", "--no-figures").stdout == ""


def test_list_show_and_validate(tmp_path: Path) -> None:
    listing = json.loads(tiergarten(tmp_path, "list", "--json").stdout)
    assert set(listing) == {"devices", "tiers", "links", "policies", "workloads", "kernels", "scenarios"}
    assert {"h100-sxm", "sn40l-node", "dgx-a100", "mi300x", "tpuv4i", "m1-max", "cxl-expander"} <= set(
        listing["devices"]
    )
    assert all(text for entries in listing.values() for text in entries.values()), "every name has a line of text"
    assert tiergarten(tmp_path, "list", "policys", code=2).stderr.count("'policies'") == 1
    graph = tiergarten(tmp_path, "show", "kv-tiers").stdout
    assert "hbm" in graph
    assert "pcie" in graph
    text = tiergarten(tmp_path, "show", "kv-tiers", "--yaml").stdout
    (tmp_path / "mine.yaml").write_text(text)
    assert "is valid" in tiergarten(tmp_path, "validate", "mine.yaml").stdout
    resolved = tiergarten(tmp_path, "show", "kv-tiers", "--yaml", "--set", "run.seed=5").stdout
    (tmp_path / "resolved.yaml").write_text(resolved)
    assert json.loads(tiergarten(tmp_path, "show", "resolved.yaml", "--json").stdout)["scenario"]["run"]["seed"] == 5


@pytest.mark.parametrize(
    "arguments",
    [["run", "nothing"], ["run", "nothing.yaml"], ["report", "nowhere"], ["compare", "a", "b"], ["sweep", "kv-agent"], ["calibrate", "fit", "no.csv"], ["search", "no.yaml"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_not_there_is_said_in_one_line_with_code_2(tmp_path: Path, arguments: list[str]) -> None:
    done = tiergarten(tmp_path, *arguments, code=2)
    assert done.stderr.strip()
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    for command in ("run", "validate", "show", "list", "sweep", "compare", "report", "search"):
        assert "Example" in tiergarten(tmp_path, command, "--help").stdout


def test_sweep_from_the_command_line(tmp_path: Path) -> None:
    done = tiergarten(
        tmp_path, "sweep", "kv-agent", "--vary", "policies.eviction=[lru, fifo]", "--workers", "1", "--json"
    )
    rows = json.loads(done.stdout)["points"]
    assert [row["set.policies.eviction"] for row in rows] == ["lru", "fifo"]
    several = ["--vary", "tiers.ddr.capacity=[256 MiB, 512 MiB]", "--vary", "run.seed=[1, 2]"]
    grid = json.loads(tiergarten(tmp_path, "sweep", "kv-agent", *several, "--workers", "1", "--json").stdout)["points"]
    assert [(row["set.tiers.ddr.capacity"], row["set.run.seed"]) for row in grid] == [
        ("256 MiB", 1), ("256 MiB", 2), ("512 MiB", 1), ("512 MiB", 2),
    ]  # fmt: skip
    assert "--vary" in tiergarten(tmp_path, "sweep", "kv-agent", "--vary", "run.seed", code=2).stderr
    assert all(row["error"] == "" and row["hit_rate"] > 0 for row in rows)


def test_examples_in_the_help_name_scenarios_and_keys_that_exist() -> None:
    """Every `run`, `sweep`, `show` or `validate` of a bundled scenario in the sources' help texts loads with its overrides."""
    lines = [
        line.split("Example:")[1]
        for file in sorted(Path(tiergarten_cli.__path__[0]).glob("*.py"))
        for line in file.read_text().splitlines()
        if "Example:" in line
    ]
    bundled = catalogue("scenarios")["scenarios"]
    checked = 0
    for words in (shlex.split(line) for line in lines if line.split()[1] in ("run", "sweep", "show", "validate")):
        if words[2] in bundled:
            pairs = list(itertools.pairwise(words))
            overrides = [value for option, value in pairs if option in ("--set", "-s")]
            vary = [value for option, value in pairs if option == "--vary"]
            loaded = load_scenario(words[2], [*overrides, *overrides_for_vary(vary)])
            if loaded.schema.sweep is not None:
                for point in points(loaded.schema.sweep, {}):
                    with_values(loaded, point, "example")
            checked += 1
    assert checked >= 3


def test_a_sweep_prints_its_points(tmp_path: Path) -> None:
    done = tiergarten(tmp_path, "sweep", "kv-agent", "--vary", "policies.eviction=[fifo, opt]", "--workers", "1")
    header, *rows = done.stdout.splitlines()[1:]
    assert "policies.eviction" in header
    assert "hit_rate" in header
    assert [row.split()[0] for row in rows[:2]] == ["fifo", "opt"]
