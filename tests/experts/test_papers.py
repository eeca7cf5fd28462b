"""The bundled compositions of experts against the SN40L paper (MICRO 2024, arXiv 2405.07518).

Switching times, capacity steps and footprint follow from tiers and links alone. Latency levels also need the time of one run,
which comes from NVIDIA's published latencies (DGX) and a bandwidth model (SN40L). docs/experts.md says how independent each is.
"""

import pytest

from tiergarten.drivers.experts import nodes_needed
from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.sim.errors import ScenarioError
from tiergarten.simulate import simulate

A100, H100, RDU = "dgx-a100-coe", "dgx-h100-coe", "sn40l-coe"


def metrics(name: str, **values):
    keys = {"workload.batches": 3, "outputs.transfers": False} | {f"workload.{key}": v for key, v in values.items()}
    return simulate(with_values(load_scenario(name), keys, "test")).metrics


@pytest.mark.parametrize(
    ("name", "eight_copies_ms", "one_copy_ms"), [(A100, 3490, 437), (H100, 1750, 218), (RDU, 112, 14)]
)
def test_switching_times(name, eight_copies_ms, one_copy_ms):
    """Fig. 1, digitised to two per cent."""
    assert metrics(name, batch_size=8)["switch_mean_ms"] == pytest.approx(eight_copies_ms, rel=0.02)
    assert metrics(name, batch_size=1)["switch_mean_ms"] == pytest.approx(one_copy_ms, rel=0.02)


def test_switching_ratios():
    """Table V prints 31x and 15x (its text 16x): 14 GB over 32 and 64 GB/s against 1 TB/s, latencies in."""
    rdu, a100, h100 = (metrics(name)["switch_mean_ms"] for name in (RDU, A100, H100))
    assert a100 / rdu == pytest.approx(31.25, rel=1e-3)
    assert h100 / rdu == pytest.approx(15.625, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "experts", "latency_ms"),
    [(A100, 40, 1230), (A100, 45, 4733), (A100, 150, 4733), (H100, 40, 880), (H100, 45, 2631.5), (H100, 150, 2631.5)],
)
def test_dgx_latency_against_experts(name, experts, latency_ms):
    """Fig. 12a, digitised; batch 8, 20 tokens. Two per cent: that of the digitisation."""
    assert metrics(name, experts=experts)["batch_latency_mean_ms"] == pytest.approx(latency_ms, rel=0.02)


@pytest.mark.parametrize("experts", [40, 150, 850])
def test_sn40l_latency_against_experts(experts):
    """Fig. 12a: 713.6 ms, measured. Four per cent: the request overhead of the RDU is an assumption."""
    assert metrics(RDU, experts=experts)["batch_latency_mean_ms"] == pytest.approx(713.6, rel=0.04)


@pytest.mark.parametrize("name", [A100, H100])
def test_dgx_step_lies_where_the_memory_is_full(name):
    """640 GB of 14 GB each: 45, one of them the router."""
    full, over = metrics(name, experts=44), metrics(name, experts=45)
    assert full["expert_copies"] == 0
    assert full["experts_cached_max"] == 44
    assert over["expert_hit_rate"] == 0


def test_sn40l_step_is_small():
    full, over = metrics(RDU, experts=35), metrics(RDU, experts=36)
    assert full["expert_copies"] == 0
    assert over["batch_latency_mean_ms"] - full["batch_latency_mean_ms"] == pytest.approx(8 * 14, rel=1e-3)


@pytest.mark.parametrize("name", [A100, H100])
def test_dgx_is_out_of_memory_beyond_150_experts(name):
    """Table V. 2 TiB of host memory hold 156 experts and the router, so the next ten are too many."""
    assert metrics(name, experts=150)["experts_homed_max"] == 156
    with pytest.raises(ScenarioError, match="out of memory: 160 experts"):
        metrics(name, experts=160)


@pytest.mark.parametrize(
    ("name", "batch_size", "published"), [(A100, 8, 6.6), (H100, 8, 3.7), (A100, 1, 4.8), (H100, 1, 2.8)]
)
def test_overall_speedups(name, batch_size, published):
    """Table V, 150 experts, 20 tokens; two digits printed, and the RDU's overhead assumed."""
    theirs, ours = (metrics(system, batch_size=batch_size)["batch_latency_mean_ms"] for system in (name, RDU))
    assert theirs / ours == pytest.approx(published, rel=0.05)


def first_experts(rows, role):
    """Fewest experts, in tens, at which each number of nodes is needed."""
    firsts: dict[int, int] = {}
    for row in rows:
        if row["tier_role"] == role:
            firsts.setdefault(row["nodes"], row["experts"])
    return firsts


@pytest.mark.parametrize("name", [A100, H100])
def test_dgx_footprint(name):
    """Fig. 13, on its grid of ten: where 2, 3, 4, 5 and 19 nodes begin; Sec. VI: 19 nodes for 850 experts."""
    rows = nodes_needed(load_scenario(name), range(10, 860, 10))
    firsts = first_experts(rows, "beside the device")
    assert [firsts[nodes] for nodes in (2, 3, 4, 5, 19)] == [50, 100, 140, 190, 830]
    assert max(firsts) == 19


def test_one_sn40l_node_is_home_to_850_experts():
    """Sec. VI."""
    assert first_experts(nodes_needed(load_scenario(RDU), range(10, 860, 10)), "home") == {1: 10}
    assert metrics(RDU, batch_size=1, experts=850, batches=1, warm_up=3)["experts_homed_max"] >= 850
    with pytest.raises(ScenarioError, match="out of memory: 860 experts"):
        metrics(RDU, experts=860)


def test_longer_answers_cost_what_their_tokens_cost():
    """From 20 to 200 tokens only decode steps are added: HBM-bound on the RDU, launch-bound on the DGX."""
    for name, step_ms in ((RDU, 14e9 / (8 * 1.8e12 * 0.85) * 1e3), (A100, 3.96), (H100, 2.81)):
        short, long = (metrics(name, output_tokens=tokens, experts=20)["expert_run_ms"] for tokens in (20, 200))
        assert (long - short) / 180 == pytest.approx(step_ms, rel=0.02)


def test_bigger_hbm_moves_the_step():
    """Not an input: twice the memory holds twice the experts (and the router only once)."""
    values = {"tiers.hbm.capacity": "160 GB", "workload.experts": 90, "workload.batches": 3}
    scenario = load_scenario(A100)
    assert simulate(with_values(scenario, values, "test")).metrics["expert_copies"] == 0
    values["workload.experts"] = 91
    assert simulate(with_values(scenario, values, "test")).metrics["expert_hit_rate"] == 0


def test_eight_host_links_close_most_of_the_gap():
    """What the paper's comparison leaves open: with one link per GPU the A100's copies take 54.7 ms, not 437.5."""
    values = {"links.pcie.count": 8, "workload.batches": 3, "workload.batch_size": 1}
    result = simulate(with_values(load_scenario(A100), values, "test"))
    assert result.metrics["switch_mean_ms"] == pytest.approx(14e9 / (8 * 32e9) * 1e3, rel=1e-3)
