"""Recorded programs replayed on tiers: closed forms, laws, and what a scenario may get wrong."""

import json

import numpy as np
import pytest

from tiergarten.scenario.load import load_scenario
from tiergarten.scenario.merge import bundled
from tiergarten.sim.errors import ScenarioError, TiergartenError, TraceError
from tiergarten.sim.trace import Role
from tiergarten.sim.trace_io import save_trace
from tiergarten.simulate import simulate
from tiergarten.workloads.kernel import KERNELS, record
from tiergarten.workloads.recorders.kernel import Recorder
from tiergarten.workloads.traffic import traffic

SCENARIO = """
schema_version: 1
name: replay
devices:
  gpu: {kind: gpu, peak_flops: {bf16: 1 GFLOP/s}}
tiers:
  hbm: {kind: hbm, device: gpu, capacity: 1 MB, bandwidth: 1 GB/s}
  host: {kind: ddr, capacity: 1 GB, bandwidth: 10 GB/s}
links:
  pcie: {between: [hbm, host], bandwidth: 100 MB/s}
workload: {kind: trace, file: x.trace, near: hbm, device: gpu}
policies:
  placement:
    - {objects: "far*", tiers: [host]}
    - {objects: "either*", tiers: [hbm, host]}
"""
US = 1e-6


@pytest.fixture
def replay(tmp_path):
    """Replay a recorder's trace, or a kernel, with overrides; gives the result, its laws checked."""
    (tmp_path / "s.yaml").write_text(SCENARIO)

    def run(program, *overrides):
        if isinstance(program, Recorder):
            save_trace(program.trace(), tmp_path / "x.trace")
        else:
            save_trace(record(program)[1], tmp_path / "x.trace")
        result = simulate(load_scenario(str(tmp_path / "s.yaml"), list(overrides)))
        result.check()
        return result

    return run


def array(recorder: Recorder, name: str, num_bytes: int):
    return recorder.array(name, np.zeros(num_bytes, np.uint8), Role.ACTIVATION)


def test_read_takes_bytes_over_bandwidth(replay):
    recorder = Recorder()
    a = array(recorder, "a", 1000)
    with recorder.op("read"):
        a[:]
    assert replay(recorder).metrics["elapsed_s"] == pytest.approx(1 * US)


@pytest.mark.parametrize(("flops", "us"), [(0, 1.0), (500, 1.0), (3000, 3.0)])
def test_compute_and_memory_run_side_by_side(replay, flops, us):
    recorder = Recorder()
    a = array(recorder, "a", 1000)
    with recorder.op("work", flops):
        a[:]
    result = replay(recorder)
    assert result.metrics["elapsed_s"] == pytest.approx(us * US)
    assert result.metrics["stall_share"] == pytest.approx(1 - flops / 1000 / us)


def test_far_object_crosses_the_link_and_does_not_land(replay):
    recorder = Recorder()
    far, near = array(recorder, "far", 1000), array(recorder, "near", 1000)
    with recorder.op("load"):
        near[:] = far[:]
    with recorder.op("store"):
        far[:] = near[:]
    metrics = replay(recorder).metrics
    assert metrics["elapsed_s"] == pytest.approx(2 * 10 * US)  # 1000 B over 100 MB/s, twice
    assert (metrics["tier_hbm_read_bytes"], metrics["tier_hbm_written_bytes"]) == (1000, 1000)
    assert (metrics["tier_host_read_bytes"], metrics["tier_host_written_bytes"]) == (1000, 1000)
    assert metrics["link_pcie_host>hbm_bytes"] == metrics["link_pcie_hbm>host_bytes"] == 1000


def test_operations_of_a_class_stand_under_the_roof_of_their_slowest_tier(replay):
    recorder = Recorder()
    near, far = array(recorder, "near", 5000), array(recorder, "far", 1000)
    for number in range(2):
        with recorder.op(f"dense {number}", 4000):
            near[:]
    with recorder.op("gather", 3000):
        near[:1000], far[:]
    tables = replay(recorder).tables
    roofs = tables["series/roofline_roofs"].to_pandas().set_index("tier")
    assert roofs["bytes_per_s"].to_dict() == pytest.approx(
        {"hbm": 1e9, "host": 1e8}
    )  # the link is slower than the host
    assert set(roofs["flops_per_s"]) == {1e9}
    ops = tables["series/roofline_ops"].to_pandas().set_index("name")
    assert ops.loc["dense N"].to_dict() == {
        "tier": "hbm", "flops_per_byte": 0.8, "flops_per_s": pytest.approx(8e8), "time_ps": 10_000_000,
    }  # fmt: skip
    assert ops.loc["gather"].to_dict() == {
        "tier": "host", "flops_per_byte": 3.0, "flops_per_s": pytest.approx(3e8), "time_ps": 10_000_000,
    }  # fmt: skip
    assert "series/roofline_ops" not in replay(recorder, "workload.device=null").tables


def test_the_run_says_what_it_got_done(replay):
    kernel = KERNELS.get("paged_decode")(lengths=(40, 1, 33))
    result = replay(kernel, "workload.tokens=3", "tiers.hbm.capacity=1 GB")
    assert (result.metrics["work_done"], result.metrics["work_unit"]) == (3, "token")
    assert replay(kernel, "tiers.hbm.capacity=1 GB").metrics["work_unit"] == "run"


def two_streams(wait: bool) -> Recorder:
    recorder = Recorder()
    far, b = array(recorder, "far", 1000), array(recorder, "b", 5000)
    with recorder.op("load", stream=1) as load:
        far[:]
    with recorder.op("work", after=[load] if wait else []):
        b[:]
    return recorder


def test_streams_overlap_unless_one_waits(replay):
    assert replay(two_streams(False)).metrics["elapsed_s"] == pytest.approx(10 * US)
    waited = replay(two_streams(True))
    assert waited.metrics["elapsed_s"] == pytest.approx(15 * US)
    breakdown = waited.tables["breakdown"].to_pandas().set_index(["resource", "state"])["ps"]
    assert breakdown["stream 0", "stall:other streams"] == 10_000_000
    assert breakdown["stream 1", "stall:host"] == 10_000_000


def test_objects_occupy_their_tier_while_they_live(replay):
    recorder = Recorder()
    a = array(recorder, "a", 1000)
    with recorder.op("make"):
        b = array(recorder, "b", 600)
        b[:] = 1
    with recorder.op("use"):
        b[:], a[:]
    recorder.free(b)
    with recorder.op("again"):
        c = array(recorder, "c", 500)
        c[:] = 1
    assert replay(recorder).metrics["tier_hbm_peak_occupancy_bytes"] == 1600


def test_second_choice_takes_what_the_first_cannot_hold(replay):
    recorder = Recorder()
    big, small = array(recorder, "either big", 900_000), array(recorder, "either small", 200_000)
    with recorder.op("read"):
        big[0], small[0]
    metrics = replay(recorder).metrics
    assert metrics["tier_hbm_peak_occupancy_bytes"] == 900_000
    assert metrics["tier_host_peak_occupancy_bytes"] == 200_000
    with pytest.raises(TiergartenError, match=r"object 'either small' of 200000 bytes has no room in hbm or host"):
        replay(recorder, "tiers.host.capacity=1 kB")


@pytest.mark.parametrize("name", ["flash_prefill", "paged_decode", "moba", "adam_8bit", "mamba_scan"])
@pytest.mark.parametrize("transfers", ["operation", "object", "access"])
def test_one_stream_on_one_tier_takes_its_bytes(replay, name, transfers):
    """Without FLOPs, latency or overlap the elapsed time is bytes over bandwidth, whatever a transfer is."""
    kernel = KERNELS.get(name).examples()[2]
    result = replay(kernel, "tiers.hbm.capacity=1 GB", "workload.device=null", f"workload.transfers={transfers}")
    moved = sum(part.read_bytes + part.written_bytes for part in traffic(record(kernel)[1]).values())
    assert result.metrics["tier_hbm_read_bytes"] + result.metrics["tier_hbm_written_bytes"] == moved
    assert result.metrics["elapsed_s"] == pytest.approx(moved / 1e9, rel=1e-3)


def kernel_scenario(*overrides):
    small = ("workload.kernel.tokens=64", "workload.kernel.hidden=16")
    return simulate(load_scenario("workloads/memo-swap", [*small, *overrides]))


def test_memo_hides_its_offload_on_a_fast_link_only():
    fast = kernel_scenario("links.pcie.bandwidth=10 TB/s")
    slow = kernel_scenario("links.pcie.bandwidth=1 GB/s")
    keep = kernel_scenario("links.pcie.bandwidth=1 GB/s", "workload.kernel.alpha=0.0")
    assert fast.metrics["elapsed_s"] < slow.metrics["elapsed_s"]
    assert keep.metrics["elapsed_s"] < slow.metrics["elapsed_s"]
    assert keep.metrics["flops"] > slow.metrics["flops"]


def test_same_scenario_same_result():
    one, two = kernel_scenario(), kernel_scenario()
    assert one.metrics == two.metrics
    assert one.manifest["trace_hash"] == two.manifest["trace_hash"]
    assert one.tables["transfers"].equals(two.tables["transfers"])


def test_repeat_makes_a_deeper_program(replay):
    recorder = Recorder()
    x, y, w = (array(recorder, name, 100) for name in "xyw")
    with recorder.op("layer"):
        x[:], w[:]
        y[:] = 1
    result = replay(recorder, 'workload.repeat={"times": 5, "carry": {"y": "x"}}')
    assert result.metrics["operations"] == 5
    assert result.metrics["elapsed_s"] == pytest.approx(5 * 0.3 * US)
    with pytest.raises(TiergartenError, match="no object 'z'"):
        replay(recorder, 'workload.repeat={"times": 5, "shared": ["z"]}')


@pytest.mark.parametrize(
    ("overrides", "path", "said"),
    [
        (["workload.near=hbn"], "workload.near", "Did you mean 'hbm'"),
        (["workload.device=gpus"], "workload.device", "Did you mean 'gpu'"),
        (["workload.number_format=bf17"], "workload.number_format", "Did you mean 'bf16'"),
        (["policies.placement.0.tiers.0=hots"], "policies.placement.0.tiers.0", "Did you mean 'host'"),
        (["workload.file=null", 'workload.kernel={"name": "qest"}'], "workload.kernel", "Did you mean 'quest'"),
        (["workload.file=null", 'workload.kernel={"name": "quest", "tokns": 3}'], "workload.kernel", "tokns"),
        (["workload.file=null"], "workload", "needs `file` or `kernel`"),
    ],
)
def test_mistakes_are_named_with_their_place(replay, overrides, path, said):
    recorder = Recorder()
    a = array(recorder, "a", 10)
    with recorder.op("read"):
        a[:]
    with pytest.raises(ScenarioError) as error:
        replay(recorder, *overrides)
    assert any(problem.path.startswith(path) and said in problem.message for problem in error.value.problems), (
        error.value
    )


def test_damaged_trace_file_is_refused(tmp_path):
    (tmp_path / "s.yaml").write_text(SCENARIO)
    (tmp_path / "x.trace").write_bytes(b"nonsense")
    with pytest.raises(TraceError, match="is not a Tiergarten trace"):
        simulate(load_scenario(str(tmp_path / "s.yaml"), []))


# --- the bundled scenarios ---------------------------------------------------------------------------------------------

BUNDLED = [name for name in bundled("scenarios") if name.startswith("workloads/")]


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_workload_replays_and_obeys_the_laws(name):
    result = simulate(load_scenario(name, []))
    result.check()
    assert result.metrics["operations"] > 0
    assert result.metrics["elapsed_s"] > 0


def test_every_kernel_has_a_scenario_on_two_tier_systems():
    covered = set()
    for name in BUNDLED:
        schema = load_scenario(name, []).schema
        swept = schema.sweep.set
        covered |= {schema.workload.params["kernel"]["name"], *swept.get("workload.kernel.name", [])}
        systems = [key for key in swept if key.startswith(("links.", "policies.placement", "tiers."))]
        assert systems, f"{name} sweeps no tier or link"
    assert covered == set(KERNELS.names())


@pytest.mark.parametrize("name", [name for name in BUNDLED if name != "workloads/hip-caches"])
def test_points_of_the_sweeps_can_be_run(name):
    """The last point of every sweep: the one farthest from the file's own values."""
    scenario = load_scenario(name, [])
    overrides = [f"{key}={json.dumps(values[-1])}" for key, values in scenario.schema.sweep.set.items()]
    simulate(load_scenario(name, overrides)).check()


def test_longer_window_and_nearer_tier_are_faster():
    def elapsed(*overrides):
        small = ("workload.kernel.neurons=1024", "workload.kernel.tokens=16")
        return simulate(load_scenario("workloads/llm-in-a-flash", [*small, *overrides])).metrics["elapsed_s"]

    assert elapsed("workload.kernel.window=16") < elapsed("workload.kernel.window=1")
    assert elapsed('policies.placement.0.tiers=["lpddr"]') < elapsed()
