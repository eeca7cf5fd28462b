"""The bundled paging scenarios and their drivers: results, closed forms, refusals; the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiergarten.scenario import load_scenario
from tiergarten.sim.errors import ScenarioError
from tiergarten.simulate import simulate

SMALL = [
    "workload.working_set=48 MiB",
    "tiers.gddr.capacity=40 MiB",
    "workload.reserved=8 MiB",
    "workload.threads=256",
]


def test_uvm_scenario_moves_what_does_not_fit_and_logs_it():
    result = simulate(load_scenario("paging/oversubscription", SMALL))
    metrics = result.metrics
    assert metrics["moved_to_gpu_bytes"] > 0
    passes = result.tables["series/passes"].to_pandas()
    assert len(passes) == 2
    assert metrics["tier_gddr_written_bytes"] == 4096 * passes["h2d_pages"].sum()
    assert metrics["elapsed_s"] * 1e3 == pytest.approx(passes["ms"].sum())
    on_gpu = 4096 * (passes["h2d_pages"].sum() - passes["d2h_pages"].sum())
    assert 0 < on_gpu <= 32 << 20
    result.check()


def test_uvm_scenario_accounts_for_its_link_and_tiers():
    """Busy time of a direction is bytes over the link's rate; at every moment device and host pages are the working set."""
    result = simulate(load_scenario("paging/oversubscription", [*SMALL, "links.pcie.per_copy=0 us"]))
    metrics, transfers = result.metrics, result.tables["transfers"].to_pandas()
    for way, source in (("ddr>gddr", "ddr"), ("gddr>ddr", "gddr")):
        moved = transfers[transfers["source"] == source]
        busy_s = metrics[f"link_pcie_{way}_busy_share"] * metrics["elapsed_s"]
        assert busy_s == pytest.approx(moved["bytes"].sum() / 46.8e9, rel=1e-3)
        assert busy_s * 1e12 == pytest.approx((moved["finished_ps"] - moved["started_ps"]).sum(), rel=1e-3)
        ordered = moved.sort_values("started_ps")
        assert (ordered["started_ps"].to_numpy()[1:] >= ordered["finished_ps"].to_numpy()[:-1]).all()
    occupancy = result.tables["occupancy"].to_pandas().pivot(index="time_ps", columns="tier", values="bytes")
    assert (occupancy.sum(axis=1) == 48 << 20).all()
    assert occupancy["gddr"].max() == metrics["tier_gddr_peak_occupancy_bytes"] == 32 << 20
    assert set(transfers["cause"]) == {"demand", "prefetch", "eviction"}


def test_pages_that_the_host_has_no_room_for_begin_on_the_gpu():
    """48 MiB of pages, 24 MiB of host memory and 32 MiB on the GPU: at most 24 MiB wait on the host at any time."""
    result = simulate(load_scenario("paging/oversubscription", [*SMALL, "tiers.ddr.capacity=24 MiB"]))
    occupancy = result.tables["occupancy"].to_pandas().pivot(index="time_ps", columns="tier", values="bytes")
    assert (occupancy.sum(axis=1) == 48 << 20).all()
    assert occupancy["ddr"].max() <= 24 << 20
    with pytest.raises(ScenarioError, match=r"workload\.working_set"):
        load_scenario("paging/oversubscription", [*SMALL, "tiers.ddr.capacity=8 MiB"])


@pytest.mark.parametrize("scenario", ["oversubscription", "vattention-growth", "weights-from-flash"])
def test_a_run_that_is_stopped_early_obeys_the_laws(scenario):
    small = SMALL if scenario == "oversubscription" else []
    simulate(load_scenario(f"paging/{scenario}", [*small, "run.until=4 ms"])).check()


def test_uvm_scenario_is_idle_for_the_driver_once_all_fits():
    result = simulate(load_scenario("paging/oversubscription", [*SMALL, "tiers.gddr.capacity=64 MiB"]))
    assert result.metrics["faults"] == 0


def test_uvm_scenario_uses_the_scenarios_link():
    slow, fast = (
        simulate(load_scenario("paging/oversubscription", [*SMALL, f"links.pcie.bandwidth={rate}"])).metrics["pass_ms"]
        for rate in ("1 GB/s", "40 GB/s")
    )
    assert slow > 2 * fast


def test_vattention_scenario_shows_spikes_only_without_overlap():
    shown = {}
    for overlap in ("true", "false"):
        metrics = simulate(load_scenario("paging/vattention-growth", [f"policies.overlap={overlap}"])).metrics
        shown[overlap] = metrics["longest_decode_iteration_ms"]
        assert metrics["tokens_per_group"] == 2048
        assert metrics["tier_hbm_peak_occupancy_bytes"] == metrics["mapped_bytes"]
    assert shown["true"] == 25
    assert shown["false"] == pytest.approx(25 + 2 * 64 * 0.040)  # two requests cross a group in one iteration


def test_streaming_scenario_reaches_the_slower_of_drive_and_compute():
    small = ["workload.layers=4", "workload.layer=64 MiB", "workload.chunk=8 MiB"]
    bound_by_drive = simulate(load_scenario("paging/weights-from-flash", small)).metrics
    load_ms = (64 << 20) / 7450e6 * 1e3
    assert bound_by_drive["pass_ms"] == pytest.approx(4 * load_ms + 0.7, rel=0.02)
    assert bound_by_drive["tier_nvme_peak_occupancy_bytes"] == 4 * (64 << 20)
    assert bound_by_drive["tier_hbm_peak_occupancy_bytes"] == 2 * (64 << 20)
    bound_by_compute = simulate(load_scenario("paging/weights-from-flash", [*small, "workload.compute=20 ms"])).metrics
    assert bound_by_compute["pass_ms"] == pytest.approx(load_ms + 4 * 20, rel=0.02)


def test_one_read_at_a_time_pays_the_drives_latency_for_each():
    small = ["workload.layers=2", "workload.layer=16 MiB", "workload.chunk=128 KiB"]
    alone = simulate(load_scenario("paging/weights-from-flash", [*small, "workload.in_flight=1"])).metrics
    many = simulate(load_scenario("paging/weights-from-flash", [*small, "workload.in_flight=16"])).metrics
    assert alone["pass_ms"] > 2 * many["pass_ms"]


@pytest.mark.parametrize(
    ("scenario", "override", "path"),
    [
        ("oversubscription", "workload.memory=hmb", "workload.memory"),
        ("oversubscription", "workload.driver=rtx-5099", "workload.driver"),
        ("oversubscription", "workload.pattern=zigzag", "workload.pattern"),
        ("oversubscription", "policies.eviction=lur", "policies.eviction"),
        ("oversubscription", "policies.prefetch=tre", "policies.prefetch"),
        ("oversubscription", "policies.replay=never", "policies.replay"),
        ("oversubscription", "workload.reserved=64 GiB", "workload.reserved"),
        ("oversubscription", "workload.working_set=1 TiB", "workload.working_set"),
        ("oversubscription", "workload.working_set=0 B", "workload.working_set"),
        ("oversubscription", "links.pcie.bandwidth=0 GB/s", "links.pcie.bandwidth"),
        ("vattention-growth", "workload.group=100 KiB", "workload.group"),
        ("vattention-growth", "workload.workers=3", "workload.workers"),
        ("vattention-growth", "workload.model=llama-9", "workload.model"),
        ("weights-from-flash", "workload.source=tape", "workload.source"),
        ("weights-from-flash", "workload.chunk=1 B", "workload.chunk"),
        ("weights-from-flash", "workload.buffers=60", "workload.buffers"),
    ],
)
def test_impossible_scenarios_are_refused_with_the_key(scenario, override, path):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(f"paging/{scenario}", [override])
    assert path in str(caught.value)


def run_cli(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", "import sys; from tiergarten.cli import main; sys.exit(main())", "paging"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


def test_replay_command_prints_counts_and_refuses_a_bad_row(tmp_path):
    good = tmp_path / "good.csv"
    good.write_text("page,lane\n0,0\n16,0\n700,1\n")
    answer = run_cli("replay", str(good), "--json", "--memory", "4 MiB", folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["touches"] == 3
    for text, place in (
        ("page,is_write\n1,0\n2,5\n", "bad.csv:3"),
        ("pgae\n1\n", "pgae"),
        ("page\n", "no rows"),
        ("", "bad.csv"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        answer = run_cli("replay", "bad.csv", folder=tmp_path)
        assert answer.returncode == 2
        assert place in answer.stderr
        assert "Traceback" not in answer.stderr


def test_verify_command_fails_on_a_figure_outside_its_band(tmp_path):
    reference = tmp_path / "reference.yaml"
    for value, code in ((5295, 0), (9999, 1)):
        reference.write_text(f"cuda_vmm:\n- {{id: n_handles_128M, value: {value}}}\n")
        answer = run_cli("verify", str(reference), "--json", folder=tmp_path)
        assert answer.returncode == code, answer.stderr
        assert json.loads(answer.stdout)["total"] == 1
    for text in (
        "cuda_vmm: 3\n",
        "[1, 2",
        "other: [{id: a, value: 1}]\n",
        "gtx1080ti_oversub_real: [{id: a, value: [1]}]\n",
    ):
        reference.write_text(text)
        answer = run_cli("verify", str(reference), folder=tmp_path)
        assert answer.returncode == 2, (text, answer.stdout)
        assert "Traceback" not in answer.stderr
