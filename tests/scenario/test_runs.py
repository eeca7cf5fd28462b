"""Runs repeat to the byte, laws hold on random machines, kills leave all or nothing, sweeps resume."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiergarten as tg
from tiergarten.collect import merged, spread
from tiergarten.laws import check_laws
from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.sim.errors import ConservationError, ScenarioError
from tiergarten.simulate import simulate
from tiergarten.sweep import points, run_sweep

SMALL = """schema_version: 1
name: small
tiers:
  hbm: {kind: hbm, capacity: "80 GB", bandwidth: "3 TB/s", latency: "500 ns"}
  ddr: {kind: ddr, capacity: "512 GiB", bandwidth: "300 GB/s"}
links:
  pcie: {between: [hbm, ddr], bandwidth: "50 GB/s", latency: "1 us"}
workload:
  kind: copies
  copies: [{source: ddr, destination: hbm, bytes: "64 MiB", count: 20, every: "1 ms"}]
sweep:
  set:
    links.pcie.bandwidth: ["25 GB/s", "50 GB/s"]
    links.pcie.sharing: [fifo, fair]
"""
CLI = "from tiergarten.cli import main; main()"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def digests(folder: Path) -> dict[str, str]:
    """Hashes of all files of a result but the one that says where and how fast it ran."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "host.json"
    }


def cli(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-P", "-c", CLI, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_same_scenario_gives_the_same_bytes(tmp_path: Path) -> None:
    """Twice in one process, and in a fresh process; figures and report included."""
    first = tg.run("kv-agent", out=tmp_path / "a")
    second = tg.run("kv-agent", out=tmp_path / "b")
    assert first.folder is not None
    assert second.folder is not None
    assert digests(first.folder) == digests(second.folder)
    cli(tmp_path, "run", "kv-agent", "--out", "c", "--quiet")
    cli(tmp_path, "run", "kv-agent", "--out", "d", "--quiet")
    fresh, again = (next((tmp_path / name).iterdir()) for name in "cd")
    assert digests(fresh) == digests(again)
    assert {name: digest for name, digest in digests(fresh).items() if name in digests(first.folder)} == digests(
        first.folder
    )


def test_the_seed_changes_the_requests_and_nothing_else_is_random() -> None:
    one, two = (tg.run("kv-agent", set={"run.seed": seed}) for seed in (1, 2))
    assert one.manifest["trace_hash"] != two.manifest["trace_hash"]
    assert one.metrics != two.metrics


def test_a_resolved_scenario_gives_the_run_again(small: Path, tmp_path: Path) -> None:
    first = tg.run("sn40l-coe", set={"workload.batches": 3}, out=tmp_path)
    assert first.folder is not None
    again = tg.run(first.folder / "scenario.resolved.yaml")
    assert again.metrics == first.metrics
    assert again.manifest["scenario_hash"] == first.manifest["scenario_hash"]


def test_hashes_see_values_and_files_but_not_titles(small: Path, tmp_path: Path) -> None:
    base = load_scenario(small).hash
    assert load_scenario(small, ["title=Something else", "outputs.bins=50"]).hash == base
    assert load_scenario(small, ["run.seed=1"]).hash != base
    table = tmp_path / "curve.csv"
    table.write_text("read_percent,bandwidth_GBps,latency_ns\n100,1,100\n100,10,200\n")
    curve = "tiers.ddr.model={name: curve, table: curve.csv}"
    one = load_scenario(small, [curve]).hash
    table.write_text("read_percent,bandwidth_GBps,latency_ns\n100,1,100\n100,10,300\n")
    assert load_scenario(small, [curve]).hash != one


def test_includes_merge_key_by_key_and_null_removes(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(SMALL)
    (tmp_path / "top.yaml").write_text(
        "include: [base.yaml]\nname: top\ntiers: {ddr: {capacity: 1 GiB}}\nsweep: null\n"
    )
    scenario = load_scenario(tmp_path / "top.yaml")
    assert scenario.name == "top"
    assert scenario.schema.tiers["ddr"].capacity == 2**30
    assert scenario.schema.tiers["ddr"].bandwidth == 300e9
    assert scenario.schema.sweep is None


def test_overrides_reach_lists_and_new_keys(small: Path) -> None:
    scenario = load_scenario(
        small, ["workload.copies.0.count=3", "tiers.ddr.latency='90 ns'", "links.pcie.duplex=half"]
    )
    assert scenario.driver.params.copies[0].count == 3
    assert scenario.schema.tiers["ddr"].latency == 90_000
    assert scenario.schema.links["pcie"].duplex == "half"
    for bad in ("nonsense", "=3", "workload.copies.7.count=1", "name.x=1", "tiers.ddr.capacity=[1"):
        with pytest.raises(ScenarioError):
            load_scenario(small, [bad])


tier_values = st.fixed_dictionaries(
    {
        "bandwidth": st.sampled_from(["1 GB/s", "7 GB/s", "1 TB/s"]),
        "latency": st.sampled_from(["0 ns", "3 ns", "2 us"]),
        "duplex": st.sampled_from(["half", "full"]),
        "model": st.sampled_from(["analytic", {"name": "sram", "banks": 4}]),
    }
)
link_values = st.fixed_dictionaries(
    {
        "bandwidth": st.sampled_from(["1 GB/s", "3 GB/s"]),
        "latency": st.sampled_from(["0 ns", "1 us"]),
        "sharing": st.sampled_from(["fifo", "fair", "priority"]),
        "duplex": st.sampled_from(["half", "full"]),
        "chunk": st.sampled_from(["0 B", "100 B"]),
        "per_copy": st.sampled_from(["0 ns", "500 ns"]),
    }
)
copy_values = st.fixed_dictionaries(
    {
        "ends": st.permutations(["a", "b", "c"]),
        "bytes": st.integers(1, 5000),
        "count": st.integers(1, 6),
        "every": st.sampled_from(["0 ns", "700 ns"]),
        "cause": st.sampled_from(["demand", "prefetch", "eviction", "writeback"]),
    }
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(tier_values, min_size=3, max_size=3),
    st.lists(link_values, min_size=2, max_size=2),
    st.lists(copy_values, min_size=1, max_size=5),
)
def test_laws_hold_on_random_machines(tiers, links, copies) -> None:
    base = load_scenario("sn40l-coe").base
    tree = {
        "schema_version": 1,
        "name": "random",
        "tiers": {
            name: {"kind": "ddr", "capacity": "1 MB", **values} for name, values in zip("abc", tiers, strict=True)
        },
        "links": {f"l{i}": {"between": ["ab"[i], "bc"[i]], **values} for i, values in enumerate(links)},
        "workload": {
            "kind": "copies",
            "copies": [
                {
                    **{k: v for k, v in copy.items() if k != "ends"},
                    "bytes": f"{copy['bytes']} B",
                    "source": copy["ends"][0],
                    "destination": copy["ends"][1],
                }
                for copy in copies
            ],
        },
    }
    from tiergarten.scenario.load import validate
    from tiergarten.scenario.yaml_tree import Tree

    result = simulate(validate(Tree(tree), base))
    assert len(result.laws) >= 4
    assert result.metrics["transfers"] == sum(copy["count"] for copy in copies)
    moved = sum(copy["bytes"] * copy["count"] for copy in copies)
    assert sum(result.metrics[f"tier_{name}_read_bytes"] for name in "abc") == moved


def test_a_broken_law_is_noticed(small: Path) -> None:
    result = simulate(load_scenario(small))
    tables = dict(result.tables)
    tables["breakdown"] = tables["breakdown"].slice(1)
    with pytest.raises(ConservationError, match="busy \\+ stall \\+ idle"):
        check_laws(tables, result.metrics)
    tables = dict(result.tables)
    tables["tiers"] = tables["tiers"].slice(200)
    with pytest.raises(ConservationError, match="bytes that leave"):
        check_laws(tables, result.metrics)


def test_a_run_can_be_stopped_early(small: Path) -> None:
    result = simulate(load_scenario(small, ["run.until='10 ms'"]))
    assert result.metrics["elapsed_s"] == 0.01
    assert 0 < result.metrics["transfers"] < 20
    assert result.metrics["transfers_in_flight_at_end"] >= 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 10**9)), max_size=20),
    st.integers(1, 50),
)
def test_bins_hold_every_byte(intervals, bins) -> None:
    import numpy as np

    table = np.array(intervals, np.int64).reshape(-1, 3)
    starts, ends, amounts = table[:, 0], table[:, 0] + table[:, 1], table[:, 2]
    edges = np.linspace(0, 1_100_001, bins + 1).astype(np.int64)
    binned = spread(starts, ends, amounts, edges)
    assert binned.sum() == amounts.sum()
    assert (binned >= 0).all()
    first, last = merged(starts, ends)
    assert (first[1:] > last[:-1]).all()
    covered = np.zeros(1_200_000, bool)
    for start, end in zip(starts, ends, strict=True):
        covered[start:end] = True
    assert (last - first).sum() == covered.sum()


def test_a_sweep_is_the_same_with_one_worker_or_two_and_resumes(small: Path, tmp_path: Path) -> None:
    scenario = load_scenario(small)
    one, first = run_sweep(scenario, tmp_path / "one", 1)
    two, second = run_sweep(scenario, tmp_path / "two", 2)
    assert digests(one) == digests(two)
    assert first.equals(second)
    assert len(first) == 4
    assert first["set.links.pcie.bandwidth"].to_pylist() == ["25 GB/s", "25 GB/s", "50 GB/s", "50 GB/s"]
    assert first["elapsed_s"][0].as_py() > first["elapsed_s"][2].as_py()
    kept = sorted((one / "points").iterdir())[0]
    marks = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    for path in sorted((one / "points").iterdir())[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    (one / "points" / ".small-half-written").mkdir()
    again, third = run_sweep(scenario, tmp_path / "one", 1)
    assert again == one
    assert third.equals(first)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == marks, "a finished point was run again"
    assert not (one / "points" / ".small-half-written").exists()


def test_points_of_grids_zips_and_ranges(small: Path) -> None:
    def of(text: str) -> list:
        return points(load_scenario(small, [f"sweep={text}"]).schema.sweep, {})

    assert of("{set: {run.seed: [1, 2], tiers.ddr.capacity: [1 GB]}}") == [
        {"run.seed": 1, "tiers.ddr.capacity": "1 GB"},
        {"run.seed": 2, "tiers.ddr.capacity": "1 GB"},
    ]
    assert of("{mode: zip, set: {run.seed: [1, 2], name: [a, b]}}") == [
        {"run.seed": 1, "name": "a"},
        {"run.seed": 2, "name": "b"},
    ]
    assert [p["x"] for p in of("{set: {x: {start: 1 GiB, stop: 16 GiB, steps: 5, scale: log}}}")] == [
        "1 GiB",
        "2 GiB",
        "4 GiB",
        "8 GiB",
        "16 GiB",
    ]
    assert [p["x"] for p in of("{set: {x: {start: 0, stop: 1, steps: 5}}}")] == [0, 0.25, 0.5, 0.75, 1]
    for bad in (
        "{mode: zip, set: {run.seed: [1, 2], name: [a]}}",
        "{set: {x: {start: 1 GiB, stop: 16 GB, steps: 5}}}",
        "{set: {x: {start: 0, stop: 16, steps: 5, scale: log}}}",
        "{set: {x: []}}",
    ):
        with pytest.raises(ScenarioError):
            of(bad)


def test_one_at_a_time_turns_each_knob_alone_and_says_what_it_does(tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"
    path.write_text(
        "schema_version: 1\nname: copy\n"
        "tiers: {near: {kind: hbm, capacity: 1 GB, bandwidth: 1 TB/s}, far: {kind: ddr, capacity: 1 GB, bandwidth: 1 TB/s}}\n"
        "links: {wire: {between: [near, far], bandwidth: 1 GB/s, latency: 1 us}}\n"
        "workload: {kind: copies, copies: [{source: far, destination: near, bytes: 4 kB}]}\n"
        "sweep: {mode: one-at-a-time, set: {links.wire.bandwidth: [1 GB/s, 2 GB/s], links.wire.latency: [0.5 us, 2 us],\n"
        "  links.wire.sharing: [fair]}}\n"
    )
    override = ["links.wire.sharing=fifo"]
    folder, table = run_sweep(load_scenario(path, override), tmp_path / "out", 1)
    assert [round(value * 1e9) for value in table["elapsed_s"].to_pylist()] == [5000, 3000, 4500, 6000, 5000]
    changes = pq.read_table(folder / "series" / "sensitivity.parquet").to_pandas()
    changes = changes[changes["metric"] == "elapsed_s"]
    assert list(zip(changes["knob"], changes["change"], changes["value"] / changes["base_value"], strict=True)) == [
        ("links.wire.bandwidth", 1.0, pytest.approx(0.6)),
        ("links.wire.latency", -0.5, pytest.approx(0.9)),
        ("links.wire.latency", 1.0, pytest.approx(1.2)),
    ]  # sharing is no quantity
    with pytest.raises(ScenarioError, match="no value to turn from"):
        run_sweep(load_scenario(path, ["sweep={mode: one-at-a-time, set: {links.wire.chunk: [1 kB]}}"]), tmp_path, 1)


def test_a_sweep_with_a_bad_point_runs_nothing(small: Path, tmp_path: Path) -> None:
    scenario = load_scenario(small, ["sweep={set: {tiers.ddr.capacity: [1 GB, nonsense]}}"])
    with pytest.raises(ScenarioError, match="sweep point 1"):
        run_sweep(scenario, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="kills processes with SIGKILL")
def test_kill_leaves_a_complete_folder_or_none(small: Path, tmp_path: Path) -> None:
    """Killed at times spread over a whole run, start-up and writing included."""
    command = [sys.executable, "-P", "-c", CLI, "run", "small.yaml", "--quiet"]
    started = time.monotonic()
    subprocess.run(command, cwd=tmp_path, check=True)
    whole_s = time.monotonic() - started
    complete = set(digests(next((tmp_path / "runs").glob("small-*"))))
    for share in (0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99):
        for folder in (tmp_path / "runs").glob("*"):
            subprocess.run(["rm", "-r", str(folder)], check=True)
        process = subprocess.Popen(command, cwd=tmp_path)
        time.sleep(share * whole_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for folder in (tmp_path / "runs").glob("small-*"):
            assert set(digests(folder)) == complete, f"killed at {share:.0%}: incomplete"
            json.loads((folder / "metrics.json").read_text())
            pq.read_table(folder / "transfers.parquet")


def test_names_cannot_lead_out_of_the_result_folder(small: Path, tmp_path: Path) -> None:
    for name in ("../evil", "/tmp/evil", "a/b", "..", ".hidden", "a\\b", "", "x" * 65):
        with pytest.raises(ScenarioError):
            with_values(load_scenario(small), {"name": name}, "test")


def test_a_replaced_result_is_the_new_one(small: Path, tmp_path: Path) -> None:
    result = simulate(load_scenario(small))
    folder = result.save(tmp_path / "runs")
    (folder / "note.txt").write_text("mine")
    assert result.save(tmp_path / "runs") == folder
    assert not (folder / "note.txt").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [folder.name]


def test_a_run_that_moves_no_bytes_claims_no_energy() -> None:
    metrics = simulate(load_scenario("paging/vattention-growth")).metrics
    assert metrics["transfers"] == 0
    assert not [name for name in metrics if name.endswith("energy_j")]
