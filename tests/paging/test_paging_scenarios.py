"""The bundled paging scenarios and their drivers: results, closed forms, refusals; the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiergarten.scenario import load_scenario
from tiergarten.sim.errors import ScenarioError, TiergartenError
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
    assert len(passes) == 4
    assert metrics["tier_gddr_written_bytes"] == 4096 * passes["h2d_pages"].sum()
    assert metrics["elapsed_s"] * 1e3 == pytest.approx(passes["pass_ms"].sum())
    on_gpu = 4096 * (passes["h2d_pages"].sum() - passes["d2h_pages"].sum())
    assert 0 < on_gpu <= 32 << 20
    result.check()


def test_uvm_scenario_accounts_for_its_link_and_tiers():
    """Busy time of a direction is bytes over the link's rate; no page that was touched once is lost."""
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
    populated = occupancy.sum(axis=1)
    assert populated.is_monotonic_increasing
    assert (
        24 << 20 <= populated.iloc[0] <= populated.iloc[-1] == 48 << 20
    )  # the output begins where it is first written
    assert occupancy["gddr"].max() == metrics["tier_gddr_peak_occupancy_bytes"] == 32 << 20
    assert set(transfers["cause"]) == {"demand", "prefetch", "eviction"}


def test_pages_that_the_host_has_no_room_for_begin_on_the_gpu():
    """24 MiB of input, 22 MiB of host memory and 32 MiB on the GPU: at most 22 MiB wait on the host at any time."""
    result = simulate(load_scenario("paging/oversubscription", [*SMALL, "tiers.ddr.capacity=22 MiB"]))
    occupancy = result.tables["occupancy"].to_pandas().pivot(index="time_ps", columns="tier", values="bytes")
    assert occupancy["gddr"].iloc[0] >= 2 << 20
    assert occupancy["ddr"].max() <= 22 << 20
    assert occupancy.sum(axis=1).iloc[-1] == 48 << 20
    with pytest.raises(TiergartenError, match="give 'ddr' room"):
        simulate(load_scenario("paging/oversubscription", [*SMALL, "tiers.ddr.capacity=16 MiB"]))
    with pytest.raises(ScenarioError, match=r"workload\.working_set"):
        load_scenario("paging/oversubscription", [*SMALL, "tiers.ddr.capacity=8 MiB"])


def test_a_link_fault_holds_up_the_pass_that_it_meets():
    """Down from 2 to 12 ms: all that waits for the link comes up to ten milliseconds later, the driver's own work goes on."""
    elapsed = {}
    for name, fault in (
        ("none", None),
        ("down", "{link: pcie, at: 2 ms, until: 12 ms}"),
        ("half", "{link: pcie, at: 0 s, share: 0.5}"),
        ("for good", "{link: pcie, at: 2 ms}"),
    ):
        faults = [f"faults=[{fault}]"] if fault else []
        result = simulate(load_scenario("paging/oversubscription", [*SMALL, *faults]))
        result.check()
        elapsed[name] = result.metrics["elapsed_s"] * 1e3
        passes = len(result.tables["series/passes"])
        assert (passes == 4) == (name != "for good"), name
        if name == "for good":
            assert result.tables["transfers"].to_pandas()["finished_ps"].max() <= 2_000_000_000
            assert elapsed[name] < elapsed["none"]
    assert elapsed["none"] + 5 < elapsed["down"] <= elapsed["none"] + 10
    assert elapsed["half"] > elapsed["none"]


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
        ("oversubscription", "policies.hint=read_mosly", "policies.hint"),
        ("oversubscription", "policies.prefetch_when_full=tre", "policies.prefetch_when_full"),
        ("oversubscription", "policies.chunk=3 MiB", "policies.chunk"),
        ("oversubscription", "policies.chunk=96 KiB", "policies.chunk"),
        ("oversubscription", "policies.chunk=1 KiB", "policies.chunk"),
        ("oversubscription", "policies={eviction: tree, chunk: 2 MiB}", "policies.chunk"),
        (
            "oversubscription",
            "workload={kind: uvm, working_set: 1 GiB, memory: gddr, access: ats, line: 100 B}",
            "workload.line",
        ),
        ("oversubscription", "workload.access=magic", "workload.access"),
        ("oversubscription", "workload.utlbs=0", "workload.utlbs"),
        ("oversubscription", "workload.batch=0", "workload.batch"),
        ("oversubscription", "workload.fault_buffer=-1", "workload.fault_buffer"),
        ("oversubscription", "tiers.gddr.capacity=0 B", "tiers.gddr.capacity"),
        ("oversubscription", "tiers.gddr.capacity=513 MiB", "workload.reserved"),
        ("oversubscription", "tiers.ddr.bandwidth=0 GB/s", "tiers.ddr.bandwidth"),
        ("vattention-growth", "workload.kv_share=0.001", "workload.prompts"),
        ("paged-attention", "workload.host=tape", "workload.host"),
        ("paged-attention", "workload.model=llama-9", "workload.model"),
        ("paged-attention", "workload.prompts=[0]", "workload.prompts"),
        ("paged-attention", "workload.block_tokens=0", "workload.block_tokens"),
        ("paged-attention", "workload.kv_share=0.001", "workload.kv_share"),
        ("paged-attention", "workload.host_share=0.0001", "workload.host_share"),
        ("uvmsmart-hotspot", "policies.eviction=lru", "policies.eviction"),
        ("uvmsmart-hotspot", "policies.prefetch=tree", "policies.prefetch"),
        ("uvmsmart-hotspot", "tiers.gddr.capacity=1 MiB", "workload.memory"),
        ("weights-from-flash", "workload.source=tape", "workload.source"),
        ("weights-from-flash", "workload.chunk=1 B", "workload.chunk"),
        ("weights-from-flash", "workload.buffers=60", "workload.buffers"),
    ],
)
def test_impossible_scenarios_are_refused_with_the_key(scenario, override, path):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(f"paging/{scenario}", [override])
    assert path in str(caught.value)


def test_every_policy_and_mode_is_reachable_from_a_scenario():
    """Each setting changes what it is about and obeys the laws."""
    plain = simulate(load_scenario("paging/oversubscription", SMALL)).tables["series/passes"].to_pandas().sum()

    def totals(*overrides):
        result = simulate(load_scenario("paging/oversubscription", [*SMALL, *overrides]))
        result.check()
        return result.tables["series/passes"].to_pandas().sum()

    by_age = totals("workload.pattern=random", "workload.threads=64")
    for eviction in ("lru", "lfu", "random", "tree"):
        other = totals("workload.pattern=random", "workload.threads=64", f"policies.eviction={eviction}")
        assert other["pass_ms"] != by_age["pass_ms"], eviction
    assert totals("policies.chunk=64 KiB")["evictions"] > plain["evictions"]
    small_batches = totals("workload.batch=32")
    for replay in ("batch", "block", "once"):
        what = ["replays", "flushed", "duplicates", "batches"]
        assert totals("workload.batch=32", f"policies.replay={replay}")[what].tolist() != small_batches[what].tolist()
    assert totals("policies.prefetch=region")["prefetched_pages"] < plain["prefetched_pages"]
    assert totals("policies.prefetch_when_full=none")["faulted_pages"] > plain["faulted_pages"]
    assert totals("policies.hint=read_mostly")["d2h_pages"] < plain["d2h_pages"]
    far = totals("policies.hint=prefer_host")
    assert far["h2d_pages"] == 0
    assert far["remote_touches"] == far["touches"] > 0
    assert totals("policies.hint=accessed_by", "policies.access_counter=64")["counter_migrations"] > 0
    assert totals("policies.hint=prefetch", "tiers.gddr.capacity=64 MiB")["faulted_pages"] == 0
    assert totals("policies.hint=prefer_device")["faulted_pages"] < plain["faulted_pages"]
    over_the_link = totals("workload.access=ats")
    assert over_the_link["remote_ps"] > 0
    assert totals("workload.access=hmm")["prefetched_pages"] < plain["prefetched_pages"]
    thrashing = ["workload.pattern=random", "workload.threads=64", "tiers.gddr.capacity=12 MiB"]
    assert totals(*thrashing)["throttled"] == 0
    assert totals(*thrashing, "policies.thrash_detection=true")["throttled"] > 0


def test_touches_over_the_link_are_in_the_log():
    """All pages stay on the host: reads go one way, writes the other, 32 bytes each."""
    result = simulate(load_scenario("paging/oversubscription", [*SMALL, "policies.hint=prefer_host"]))
    touches = result.tables["series/passes"].to_pandas()["remote_touches"].sum()
    metrics = result.metrics
    assert metrics["link_pcie_ddr>gddr_bytes"] == metrics["link_pcie_gddr>ddr_bytes"] == touches // 2 * 32
    assert metrics["tier_gddr_peak_occupancy_bytes"] == 0


def test_uvmsmart_scenario_counts_what_the_log_of_hotspot_counts():
    """LPEviction/TBN_110/hotspot: 72 faults, 3584 pages evicted, 6144 moved; SL_SL at 110 %: 170, 2160, 4944."""
    exact = simulate(load_scenario("paging/uvmsmart-hotspot")).metrics
    assert (exact["faults"], exact["pages_evicted"], exact["pages_in"]) == (72, 3584, 6144)
    assert exact["reported_ms"] == pytest.approx(exact["kernel_ms"] + 72 * 0.045)
    local = ["policies.eviction=sl", "policies.prefetch_when_full=sl"]
    close = simulate(load_scenario("paging/uvmsmart-hotspot", local)).metrics
    assert (close["faults"], close["pages_evicted"], close["pages_in"]) == pytest.approx((170, 2160, 4944), rel=0.10)


def test_paged_attention_scenario_swaps_what_does_not_fit():
    roomy = simulate(load_scenario("paging/paged-attention", ["workload.kv_share=0.5"])).metrics
    assert roomy["iterations"] == 400
    assert roomy["link_pcie_hbm>ddr_bytes"] == 0
    result = simulate(load_scenario("paging/paged-attention"))
    tight = result.metrics
    assert tight["answers"] == 36
    moved = tight["swapped_out_blocks"] * tight["block_bytes"]
    assert tight["link_pcie_hbm>ddr_bytes"] == tight["link_pcie_ddr>hbm_bytes"] == moved > 0
    rows = result.tables["series/iterations"].to_pandas()
    assert (rows["device_blocks"] * tight["block_bytes"]).max() <= 0.05 * 80 * 2**30
    assert rows["running"].sum() == 36 * 400
    assert rows["swapped"].max() > 0
    piecewise = simulate(load_scenario("paging/paged-attention", ["policies.gather_copies=false"])).metrics
    assert piecewise["swap_visible_ms"] > tight["swap_visible_ms"]


def test_paged_attention_scenario_copies_a_shared_block_on_write():
    """Three answers share a prompt of 24 tokens: its second block of 16 is half full and is copied for two of them."""
    tiny = ["workload.prompts=[24]", "workload.output_tokens=4", "workload.kv_share=0.5"]
    assert simulate(load_scenario("paging/paged-attention", tiny)).metrics["copied_on_write_blocks"] == 2
    full = [*tiny, "workload.prompts=[32]"]
    assert simulate(load_scenario("paging/paged-attention", full)).metrics["copied_on_write_blocks"] == 0


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


def test_figure_command_draws_each_kind_of_sweep(tmp_path):
    from tiergarten.api import run_sweep

    reference = tmp_path / "reference.yaml"
    reference.write_text("rtx5090_oversub:\n- {id: seq_1.25, value: 1931.4}\n- {id: device_0_5, value: 0.57}\n")
    for name, overrides, options in (
        ("oversubscription", [*SMALL, "sweep={set: {workload.working_set: [20 MiB, 48 MiB]}}"], []),
        ("vattention-growth", ["sweep={set: {policies.overlap: [true, false]}}"], []),
        (
            "weights-from-flash",
            ["workload.layers=2", "workload.layer=8 MiB", "sweep={set: {workload.chunk: [1 MiB, 2 MiB]}}"],
            [],
        ),
    ):
        folder, _ = run_sweep(load_scenario(f"paging/{name}", overrides), tmp_path / "runs", 1, lambda share: None)
        answer = run_cli("figure", str(folder), "--json", *options, folder=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert Path(tmp_path, json.loads(answer.stdout)["figure"]).stat().st_size > 5000
        refused = run_cli("figure", str(folder), "--measured", str(reference), folder=tmp_path)
        assert refused.returncode == (0 if name == "oversubscription" else 2), refused.stderr
    nothing = run_cli("figure", str(tmp_path), folder=tmp_path)
    assert nothing.returncode == 2
    assert "Traceback" not in nothing.stderr


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
