"""Malformed scenarios: every problem at once, each with its place; never a traceback; exit code 2; nothing written."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tiergarten.scenario import load_scenario
from tiergarten.sim.errors import ScenarioError, TiergartenError

GOOD = """schema_version: 1
name: pipe
tiers:
  hbm: {kind: hbm, capacity: "80 GB", bandwidth: "3 TB/s", latency: "500 ns"}
  ddr: {kind: ddr, capacity: "512 GiB", bandwidth: "300 GB/s"}
links:
  pcie: {between: [hbm, ddr], bandwidth: "50 GB/s", latency: "1 us"}
workload:
  kind: copies
  copies: [{source: ddr, destination: hbm, bytes: "64 MiB", count: 10}]
"""


def problems_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(file)
    return [str(problem).replace(str(tmp_path) + "/", "") for problem in caught.value.problems]


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    assert load_scenario(tmp_path / "s.yaml").name == "pipe"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'bandwidth: "3 TB/s"',
            'bandwith: "3 TB/s"',
            "s.yaml:4: tiers.hbm.bandwith: unknown key. Did you mean 'bandwidth'",
        ),
        ('"80 GB"', "80", "s.yaml:4: tiers.hbm.capacity: a size needs a unit, as in '80 GiB'; got 80"),
        ('"80 GB"', '"-80 GB"', "tiers.hbm.capacity: a size must not be negative"),
        ('"80 GB"', '"0 GB"', "tiers.hbm.capacity: must be greater than zero"),
        ('"80 GB"', ".nan", "tiers.hbm.capacity: must be a finite number"),
        ('"80 GB"', "[1, 2]", "tiers.hbm.capacity: a size needs a unit"),
        ("kind: hbm", "kind: hbn", "'hbn' is not one of"),
        ("[hbm, ddr]", "[hbm, drr]", "s.yaml:7: links.pcie.between.1: unknown tier 'drr'. Did you mean 'ddr'"),
        ("[hbm, ddr]", "[hbm, hbm]", "links.pcie: joins a tier with itself"),
        ("[hbm, ddr]", "[hbm]", "links.pcie.between.1: is missing"),
        ("kind: copies", "kind: copis", "workload.kind: unknown workload 'copis'. Did you mean 'copies'?"),
        ("source: ddr", "source: drr", "workload.copies.0.source: unknown tier 'drr'. Did you mean 'ddr'?"),
        ("count: 10", "count: 1.5", "workload.copies.0.count: must be a whole number, got 1.5"),
        ("count: 10", "count: 0", "workload.copies.0.count"),
        ("  ddr: {kind", "  hbm: {kind", "s.yaml:5: tiers.hbm: is given twice (first in line 4)"),
        ("name: pipe", "name: ../pipe", "s.yaml:2: name: must be letters, digits"),
        (
            "schema_version: 1",
            "schema_version: 7",
            "schema_version: is 7; this version of Tiergarten reads schema_version: 1",
        ),
        (
            "schema_version: 1",
            "schema_version: 1\ninclude: [devices/h1000]",
            "s.yaml:2: include.0: no bundled device is called 'h1000'",
        ),
        (
            "schema_version: 1",
            "schema_version: 1\ninclude: s.yaml",
            "files include each other in a circle: s.yaml -> s.yaml",
        ),
        (
            "schema_version: 1",
            "schema_version: 1\ninclude: [nowhere.yaml]",
            "s.yaml:2: include.0: file not found: nowhere.yaml",
        ),
        ("name: pipe", "name: !!python/object/apply:os.system [id]", "name"),
        ("name: pipe", "name: [a", "s.yaml:3: is not valid YAML"),
        ('latency: "500 ns"', "model: {name: curve, table: no.csv}", "tiers.hbm.model.table: file not found: no.csv"),
        (
            'latency: "500 ns"',
            "model: analitic",
            "tiers.hbm.model: unknown memory model 'analitic'. Did you mean 'analytic'",
        ),
    ],
)
def test_each_problem_is_named_with_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = problems_of(tmp_path, GOOD.replace(old, new, 1))
    assert any(expected in problem for problem in found), found


def test_all_problems_come_at_once_in_order_of_lines(tmp_path: Path) -> None:
    text = (
        GOOD.replace('"80 GB"', "80")
        .replace('"50 GB/s"', '"0 GB/s"')
        .replace("kind: copies", "kind: copis")
        .replace("kind: ddr", "kind: dd")
    )
    found = problems_of(tmp_path, text)
    assert [problem.split(": ")[0] for problem in found] == ["s.yaml:4", "s.yaml:5", "s.yaml:7", "s.yaml:9"]


def test_billions_of_laughs_are_not_waited_for(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)
    ]
    assert "aliases are expanded" in problems_of(tmp_path, "\n".join(levels))[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01\x02", b"\xff\xfe", b"- a\n- b\n", b"42", b"%YAML 9.9\n---\n{", b"a: *nothing", b"? [a]\n: b"],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    with pytest.raises(ScenarioError):
        load_scenario(file)


def test_a_missing_file_or_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(ScenarioError, match="no bundled scenario"):
        load_scenario("kv-teers")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["80 GB", "1 s", "hbm", "ddr"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["kind", "value", "name", "hbm", "bandwidth", "set", "x"]) | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
keys = st.sampled_from(
    ["schema_version", "name", "title", "tiers", "links", "workload", "policies", "run", "outputs", "sweep", "devices", "include",
     "tiers.hbm", "tiers.hbm.capacity", "tiers.hbm.model", "links.pcie.between", "workload.copies", "workload.copies.0", "run.seed", "policies.eviction"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(keys, values, min_size=1, max_size=3))
@example({"tiers": None})
@example({"workload": []})
@example({"tiers.hbm": 3})
def test_garbage_values_never_give_a_traceback(tmp_path: Path, changes: dict) -> None:

    (tmp_path / "s.yaml").write_text(GOOD)
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    with suppress(TiergartenError):  # anything else is a traceback for the user
        assert load_scenario(tmp_path / "s.yaml", overrides).hash


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")), st.integers(0, len(GOOD)))
def test_garbage_text_never_gives_a_traceback(tmp_path: Path, text: str, at: int) -> None:
    (tmp_path / "s.yaml").write_text(GOOD[:at] + text + GOOD[at:], encoding="utf-8", errors="replace")
    with suppress(TiergartenError):
        load_scenario(tmp_path / "s.yaml")


def run_cli(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from tiergarten.cli import main; main()"
    return subprocess.run([sys.executable, "-P", "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)


def test_the_command_line_exits_with_2_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD.replace('"80 GB"', "80").replace("kind: ddr", "kind: dd"))
    done = run_cli(tmp_path, "run", "s.yaml")
    assert done.returncode == 2
    assert "s.yaml:4" in done.stderr
    assert "s.yaml:5" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_json_errors_are_machine_readable(tmp_path: Path) -> None:

    (tmp_path / "s.yaml").write_text(GOOD.replace('"80 GB"', "80"))
    done = run_cli(tmp_path, "validate", "s.yaml", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["errors"][0]
    assert (error["line"], error["path"]) == (4, "tiers.hbm.capacity")
