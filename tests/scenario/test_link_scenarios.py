"""Links as a scenario gives them: problems with their place, measured copies through a run, faults, peer-to-peer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import Scenario
from tiergarten.scenario.show import tier_graph
from tiergarten.sim.errors import ScenarioError, UnreachableError
from tiergarten.simulate import simulate

GOOD = """schema_version: 1
name: pipe
tiers:
  hbm: {kind: hbm, capacity: "80 GB", bandwidth: "1000 TB/s"}
  ddr: {kind: ddr, capacity: "512 GiB", bandwidth: "1000 TB/s"}
links:
  pcie: {between: [hbm, ddr], model: {name: pcie, generation: 3}}
workload:
  kind: copies
  copies: [{source: ddr, destination: hbm, bytes: "1 MiB", count: 10}]
"""


def scenario(tmp_path: Path, text: str = GOOD, *overrides: str) -> Scenario:
    (tmp_path / "s.yaml").write_text(text)
    return load_scenario(tmp_path / "s.yaml", overrides)


def metrics(tmp_path: Path, text: str, *overrides: str) -> dict:
    return simulate(scenario(tmp_path, text, *overrides)).metrics


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


MODEL = "model: {name: pcie, generation: 3}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (MODEL, "model: pci", "s.yaml:7: links.pcie.model: unknown link model 'pci'. Did you mean 'pcie'"),
        (MODEL, "model: pcie", "links.pcie.model.generation: is missing"),
        (MODEL, "model: {name: pcie, generation: 9}", "s.yaml:7: links.pcie.model.generation: PCIe 9 is not known"),
        (MODEL, "model: {name: pcie, generation: 3, lanes: 7}", "links.pcie.model.lanes: PCIe has no x7"),
        (MODEL, "model: {name: pcie, generation: 3, lane: 8}", "links.pcie.model.lane: unknown key. Did you mean 'lanes'"),
        (MODEL, "model: {name: pcie, generation: 3, share: 1.5}", "links.pcie.model.share"),
        (MODEL, "model: {name: nvlink, generation: 3, links: 0}", "links.pcie.model.links: NVLink 3 has 1 to 12"),
        (MODEL, "model: cxl", "links.pcie.model.memory: say which end's memory answers (hbm or ddr)"),
        (MODEL, "model: {name: cxl, memory: ddr}, sharing: fair", "links.pcie.model.name: model cxl sends in order"),
        (MODEL, "model: {name: cxl, memory: ddr, credits: 0}", "links.pcie.model.credits"),
        (MODEL, "model: measured", "links.pcie.model: needs `curve` or `table`"),
        (MODEL, "model: {name: measured, curve: gtx}", "links.pcie.model.curve: unknown curve 'gtx'"),
        (MODEL, "model: {name: measured, table: none.csv}", "links.pcie.model.table: file not found: none.csv"),
        (MODEL, "model: {name: measured, table: bad.csv}", "bad.csv:2: is not a size and a number"),
        (MODEL, MODEL + ", bandwidth: 1 GB/s", "links.pcie: `bandwidth` means nothing to model pcie"),
        (MODEL, MODEL + ", dma: {engines: 0, granularity: 2 MiB}", "links.pcie.dma.engines"),
        (MODEL, MODEL + ", dma: {engines: 1, granularity: 64 B}", "links.pcie.dma: granularity must be at least 4096"),
        (MODEL, MODEL + ", dma: {engines: 1, granularity: 1 MiB}, sharing: fair", "copy engines take turns by themselves"),
        (MODEL, "latency: 1 us", "links.pcie: needs `bandwidth`, `calibration` or another `model`"),
        ("[hbm, ddr]", "[hbm, sw]", "links.pcie.between.1: unknown tier 'sw'"),
        ("workload:", "faults: [{link: pci, at: 1 s}]\nworkload:", "s.yaml:8: faults.0.link: unknown link 'pci'. Did you mean 'pcie'"),
        ("workload:", "faults: [{link: pcie, at: 1 s, until: 1 s}]\nworkload:", "faults.0: `until` must come after `at`"),
        ("workload:", "faults: [{tier: ddrr, at: 1 s}]\nworkload:", "faults.0.tier: unknown tier 'ddrr'. Did you mean 'ddr'"),
        ("workload:", "faults: [{at: 1 s}]\nworkload:", "faults.0: needs `link` or `tier`"),
        ("workload:", "faults: [{tier: ddr, at: 1 s, share: 0.5}]\nworkload:", "faults.0: `share` means nothing to a tier"),
        ("workload:", "faults: [{link: pcie, at: 1 s, share: 1}]\nworkload:", "faults.0.share"),
        ("workload:", "faults: [{link: pcie, at: -1 s}]\nworkload:", "faults.0.at: a time must not be negative"),
        ("workload:", "switches: {ddr: {}}\nworkload:", "switches.ddr: is the name of a tier too"),
        ("source: ddr", "source: ddr, via: hbm", "workload.copies.0.via: is an end of the copy"),
        ("source: ddr", "source: ddr, stage: 1 MiB", "workload.copies.0.stage: needs `via`"),
    ],
)  # fmt: skip
def test_problems_have_their_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (tmp_path / "bad.csv").write_text("bytes,time_us\n1,x\n")
    with pytest.raises(ScenarioError) as caught:
        scenario(tmp_path, replaced(old, new))
    found = [str(problem) for problem in caught.value.problems]
    assert any(expected in problem for problem in found), found


def test_validate_notices_a_missing_link_between_cache_tiers() -> None:
    with pytest.raises(ScenarioError, match=r"workload\.cache\.2: no chain of links joins 'ddr' and 'nvme'"):
        load_scenario("kv-tiers", ["links.nvme-pcie=null"])


@pytest.mark.parametrize(
    ("name", "links", "place"),
    [
        ("paging/oversubscription", ["pcie"], "workload.host"),
        ("paging/weights-from-flash", ["nvme-pcie"], "workload.source"),
        ("sn40l-coe", ["ddr-hbm"], "workload.cache"),
        ("workloads/memo-swap", ["pcie"], "policies.placement"),
    ],
)
def test_validate_notices_a_missing_link_of_every_kind_of_workload(name: str, links: list[str], place: str) -> None:
    with pytest.raises(ScenarioError, match=rf"{place}.*: no chain of links joins"):
        load_scenario(name, [f"links.{link}=null" for link in links])


def test_validate_notices_a_missing_link_of_a_copy(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"workload\.copies\.0: no chain of links joins 'ddr' and 'hbm'"):
        scenario(tmp_path, GOOD, "links.pcie=null")


def test_faults_that_could_not_be_felt_are_refused() -> None:
    host = "tiers.ddr={kind: ddr, capacity: 1 GiB, bandwidth: 10 GB/s}"
    link = "links={pcie: {between: [ddr, gddr], bandwidth: 10 GB/s}}"
    with pytest.raises(ScenarioError, match="faults: a workload of kind uvmsmart keeps its own time"):
        load_scenario("paging/uvmsmart-hotspot", [host, link, "faults=[{link: pcie, at: 1 s}]"])


def test_show_says_what_the_links_are(tmp_path: Path) -> None:
    text = tier_graph(scenario(tmp_path, GOOD, "faults=[{link: pcie, at: 1 ms}]").schema)
    assert "pcie: pcie generation=3, full duplex, fifo to ddr" in text
    assert "fault: pcie is down from 1 ms for good" in text


# ---------------------------------------------------------------- measured copies through a run


@pytest.fixture
def reference(shared: Path) -> dict:
    return YAML(typ="safe").load(shared / "reference" / "paging.yaml")


def copies(tmp_path: Path, model: str, way: tuple[str, str], num_bytes: int, count: int = 1) -> float:
    """Seconds of copies that follow each other, from the run's own clock."""
    text = replaced(MODEL, f"model: {model}")
    found = metrics(
        tmp_path, text, f'workload.copies=[{{source: {way[0]}, destination: {way[1]}, bytes: "{num_bytes} B", count: {count}}}]',
        "outputs.bins=10",
    )  # fmt: skip
    return found["elapsed_s"]


H2D, D2H = ("ddr", "hbm"), ("hbm", "ddr")
MIGRATION = "{name: measured, curve: gtx1080ti-migration}"
COPIES = "{name: measured, curve: gtx1080ti-copies}"


def test_migrations_by_size_are_those_measured(tmp_path: Path, reference: dict) -> None:
    """Nine sizes to the device as rates, two from it as times."""
    for row in reference["gtx1080ti_h2d_bandwidth"]:
        size = int(row["id"].removesuffix("KB")) * 1024
        assert size / copies(tmp_path, MIGRATION, H2D, size) == pytest.approx(row["value"] * 1e9, rel=0.03)
    for row in reference["gtx1080ti_d2h"]:
        size = int(row["id"].removesuffix("KB")) * 1024
        assert copies(tmp_path, MIGRATION, D2H, size) == pytest.approx(row["value"] * 1e-6, rel=0.03)


def test_a_size_that_was_left_out_of_the_curve_is_within_5_percent(tmp_path: Path, reference: dict) -> None:
    """Interpolation between sizes a factor of four apart: the worst of seven (64 KiB) is 4.8 % off, the mean is 1.0 %."""
    rates = {int(row["id"].removesuffix("KB")) * 1024: row["value"] for row in reference["gtx1080ti_h2d_bandwidth"]}
    errors = []
    for size in sorted(rates)[1:-1]:
        rows = [f"{other},{rate}" for other, rate in rates.items() if other != size]
        (tmp_path / "curve.csv").write_text("\n".join(["bytes,bandwidth_GBps", *rows]))
        rate = size / copies(tmp_path, "{name: measured, table: curve.csv}", H2D, size)
        errors.append(abs(rate / (rates[size] * 1e9) - 1))
    assert max(errors) < 0.05
    assert sum(errors) / len(errors) < 0.015


def test_copy_times_of_whole_programs_within_3_percent(tmp_path: Path, reference: dict) -> None:
    """nvprof totals of 17 programs, each direction: number, MiB and us of copies."""
    errors = []
    for row in reference["gtx1080ti_oversub_real"]:
        values = row["value"][2:8]
        for way, (count, mib, us) in ((H2D, values[:3]), (D2H, values[3:])):
            mean_bytes, sample = round(mib * 2**20 / count), min(int(count), 50)
            ours_us = copies(tmp_path, COPIES, way, mean_bytes, sample) * 1e6 * count / sample
            errors.append(abs(ours_us / us - 1))
    assert len(errors) >= 34
    assert max(errors) < 0.03


def test_pcie_3_x16_by_parameters_is_within_3_percent_of_the_fitted_copies(tmp_path: Path) -> None:
    """Generation and lanes against the fit to the device: the share of the packets' rate is taken from it, the packets are not."""
    for size in (4096, 65536, 1 << 20, 1 << 26):
        by_parameters, by_fit = (copies(tmp_path, m, H2D, size) for m in ("{name: pcie, generation: 3}", COPIES))
        assert by_parameters == pytest.approx(by_fit, rel=0.03)


def test_pcie_4_x16_reaches_the_measured_rate(tmp_path: Path, reference: dict) -> None:
    """24 to 26 GB/s measured; the share of the link that was measured on generation 3 gives 23.4."""
    low, high = next(row["value"] for row in reference["cuda_vmm"] if row["id"] == "host_pcie")
    rate = 2**30 / copies(tmp_path, "{name: pcie, generation: 4}", H2D, 2**30) / 1e9
    assert 0.95 * low < rate < high


def test_c2c_has_the_measured_rates_in_their_directions(tmp_path: Path, reference: dict) -> None:
    """The rates are the model's data; what is tested is which way each of them goes."""
    measured = {row["id"]: row["value"] for row in reference["gh200"]}
    for way, name in ((H2D, "c2c_h2d"), (D2H, "c2c_d2h")):
        rate = 2**30 / copies(tmp_path, "nvlink-c2c", way, 2**30) / 1e9
        assert rate == pytest.approx(measured[name], rel=0.03)


# ---------------------------------------------------------------- credits through a run

CXL = """schema_version: 1
name: cxl
tiers:
  ddr: {kind: ddr, capacity: "64 GiB", bandwidth: "1000 TB/s"}
  cxl: {kind: cxl, capacity: "64 GiB", bandwidth: "1000 TB/s", latency: "100 ns"}
links:
  port: {between: [ddr, cxl], model: {name: cxl, added_latency: "100 ns", credits: 50}}
workload:
  kind: copies
  copies: [{source: cxl, destination: ddr, bytes: "1 MiB", count: 20}]
"""


def test_credits_set_the_rate_up_to_the_knee(tmp_path: Path) -> None:
    """50 lines in 200 ns are 16 GB/s; the knee lies where credits x 64 B / 200 ns meet the wire's 29.65 GB/s: 92.7 credits."""
    for credits, rate in ((25, 8e9), (50, 16e9), (90, 28.8e9), (100, 29.65e9), (400, 29.65e9)):
        found = metrics(tmp_path, CXL, f"links.port.model.credits={credits}")
        assert found["throughput_bytes_per_s"] == pytest.approx(rate, rel=0.005)
        assert found["link_port_cxl>ddr_busy_share"] == pytest.approx(rate / 29.65e9, rel=0.01)


# ---------------------------------------------------------------- peer to peer

PEERS = """schema_version: 1
name: peers
tiers:
  gpu0: {kind: hbm, capacity: "80 GB", bandwidth: "1000 TB/s"}
  gpu1: {kind: hbm, capacity: "80 GB", bandwidth: "1000 TB/s"}
  ddr: {kind: ddr, capacity: "512 GiB", bandwidth: "1000 TB/s"}
switches:
  plx: {latency: "150 ns"}
links:
  port0: {between: [gpu0, plx], bandwidth: "1 GB/s"}
  port1: {between: [gpu1, plx], bandwidth: "1 GB/s"}
  up: {between: [plx, ddr], bandwidth: "1 GB/s"}
workload:
  kind: copies
  copies: [{source: gpu0, destination: gpu1, bytes: "1 MB"}]
"""


def test_peer_to_peer_leaves_the_hosts_memory_alone(tmp_path: Path) -> None:
    found = metrics(tmp_path, PEERS)
    assert found["elapsed_s"] == pytest.approx(1e-3 + 150e-9)
    assert found["link_up_plx>ddr_bytes"] == found["tier_ddr_written_bytes"] == 0


def test_a_bounce_crosses_the_hosts_memory_in_pieces(tmp_path: Path) -> None:
    """Four pieces of 0.25 ms: the last one comes in at 1 ms and is out a piece later; every byte crosses the uplink twice."""
    pieces = "workload.copies=[{source: gpu0, via: ddr, stage: 250 kB, destination: gpu1, bytes: 1 MB}]"
    whole = "workload.copies=[{source: gpu0, via: ddr, destination: gpu1, bytes: 1 MB}]"
    found = metrics(tmp_path, PEERS, pieces)
    assert found["elapsed_s"] == pytest.approx(1.25e-3, rel=0.002)
    assert metrics(tmp_path, PEERS, whole)["elapsed_s"] == pytest.approx(2e-3, rel=0.002)
    assert found["tier_ddr_written_bytes"] == found["tier_ddr_read_bytes"] == 10**6
    assert found["link_up_plx>ddr_bytes"] == found["link_up_ddr>plx_bytes"] == 10**6


# ---------------------------------------------------------------- faults

SLOW = GOOD.replace(MODEL, 'bandwidth: "1 GB/s"').replace('bytes: "1 MiB", count: 10', 'bytes: "1 MB", count: 10')
"""Ten copies of 1 ms."""


def test_an_outage_costs_its_length_and_is_in_the_result(tmp_path: Path) -> None:
    result = simulate(scenario(tmp_path, SLOW, "faults=[{link: pcie, at: 2.5 ms, until: 6 ms}, {link: pcie, at: 8 ms, until: 10 ms, share: 0.5}]"))  # fmt: skip
    found = result.metrics
    assert found["elapsed_s"] == pytest.approx(10e-3 + 3.5e-3 + 1e-3)
    assert (found["link_pcie_down_s"], found["link_pcie_degraded_s"]) == (0.0035, 0.002)
    # all ten copies were asked for at 0; two were through before the link failed
    assert (found["link_pcie_delayed_transfers"], found["link_pcie_delayed_bytes"]) == (8, 8_000_000)
    assert found["link_pcie_ddr>hbm_busy_share"] == pytest.approx(11 / 14.5)
    assert [tuple(event.values()) for event in result.tables["events"].to_pylist()] == [
        ("pcie", "down", 2_500_000_000, 6_000_000_000, 0.0),
        ("pcie", "degraded", 8_000_000_000, 10_000_000_000, 0.5),
    ]
    breakdown = {(row["resource"], row["state"]): row["ps"] for row in result.tables["breakdown"].to_pylist()}
    assert breakdown["pcie ddr>hbm", "down"] == 3_500_000_000


def test_a_fault_after_the_end_changes_nothing(tmp_path: Path) -> None:
    late = metrics(tmp_path, SLOW, "faults=[{link: pcie, at: 1 s, until: 2 s}]")
    assert late == metrics(tmp_path, SLOW)


def test_a_link_that_stays_down_names_what_can_never_finish(tmp_path: Path) -> None:
    for sharing in ("fifo", "priority"):
        with pytest.raises(UnreachableError, match=r"'pcie' stays down with 8 transfers of 8000000 bytes .* transfer 2 \(1000000 bytes, ddr to hbm, requested at 0 ps\)"):  # fmt: skip
            metrics(tmp_path, SLOW, "faults=[{link: pcie, at: 2.5 ms}]", f"links.pcie.sharing={sharing}")


def test_the_command_line_exits_with_2_when_a_link_stays_down(tmp_path: Path) -> None:
    scenario(tmp_path, SLOW)
    code = "from tiergarten.cli import main; main()"
    arguments = ["run", "s.yaml", "--set", "faults=[{link: pcie, at: 1 ms}]", "--json"]
    done = subprocess.run([sys.executable, "-P", "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "can never finish" in json.loads(done.stdout)["errors"][0]["message"]
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_stopped_clock_counts_what_still_waits(tmp_path: Path) -> None:
    found = metrics(tmp_path, SLOW, "faults=[{link: pcie, at: 2.5 ms}]", "run.until=20 ms")
    assert found["elapsed_s"] == 0.02
    assert (found["transfers"], found["link_pcie_waiting_transfers"], found["link_pcie_waiting_bytes"]) == (
        2,
        8,
        8 * 10**6,
    )


def test_a_service_with_a_dead_link_and_no_way_round_ends_with_names() -> None:
    with pytest.raises(UnreachableError, match="'pcie' stays down with .* hbm to ddr"):
        simulate(load_scenario("kv-tiers", ["workload.requests.duration=20 s", "faults=[{link: pcie, at: 5 s}]"]))


def test_writes_wait_for_a_tier_that_is_read_only_and_reads_do_not(tmp_path: Path) -> None:
    both = '[{source: ddr, destination: hbm, bytes: "1 MB"}, {source: hbm, destination: ddr, bytes: "1 MB"}]'
    result = simulate(
        scenario(tmp_path, SLOW, f"workload.copies={both}", "faults=[{tier: hbm, at: 0 ms, until: 5 ms}]")
    )
    ends = {row["source"]: row["finished_ps"] for row in result.transfers.to_pylist()}
    assert ends["hbm"] == pytest.approx(1e9, abs=2000)
    assert ends["ddr"] == pytest.approx(5e9, abs=2000)
    assert result.metrics["tier_hbm_read_only_s"] == pytest.approx(0.005)
    assert [event["event"] for event in result.tables["events"].to_pylist()] == ["read-only"]


def test_a_tier_that_stays_read_only_names_what_can_never_finish(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="'hbm' stays read-only with 10 transfers"):
        metrics(tmp_path, SLOW, "faults=[{tier: hbm, at: 0 ms}]")


@pytest.mark.parametrize("write", ["through", "on-evict"])
def test_a_service_goes_on_without_the_tier_that_is_read_only(write: str) -> None:
    """Blocks that are on the drive are still read; none is written after 30 s; none is lost that was not given up."""
    overrides = [
        "workload.requests.duration=60 s", "workload.memory_share=0.28", "tiers.ddr.capacity=0.25 GiB", f"policies.write={write}",
        "workload.hit_rate_curve=false",
    ]  # fmt: skip
    whole = simulate(load_scenario("kv-tiers", overrides)).metrics
    result = simulate(load_scenario("kv-tiers", [*overrides, "faults=[{tier: nvme, at: 30 s}]"]))
    found = result.metrics
    assert found["requests_finished"] == whole["requests_finished"]
    assert 0 < found["tier_nvme_written_bytes"] < whole["tier_nvme_written_bytes"]
    assert found["hit_rate"] < whole["hit_rate"]
    written = result.transfers.to_pandas().query("destination == 'nvme'")
    assert written["requested_ps"].max() < 30e12


def test_a_replayed_program_feels_half_a_link_as_a_link_of_half_the_rate() -> None:
    half, degraded = (
        simulate(load_scenario("workloads/memo-swap", [override])).metrics["elapsed_s"]
        for override in ("links.pcie.bandwidth=32 GB/s", "faults=[{link: pcie, at: 0 s, share: 0.5}]")
    )
    assert degraded == half
