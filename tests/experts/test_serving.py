"""Serving in closed form on the small machine, and laws on random ones."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import ScenarioError, TiergartenError

RUN_S = 2 * 0.25
"""Reading 1 GB at 4 GB/s twice: the prefill gives the first of two tokens, one step the other; a context of 4 bytes a token is
nothing."""
COPY_S = 1.0
"""1 GB at 1 GB/s."""


def measured(result, name):
    return result.metrics[name]


def test_experts_that_fit_are_never_copied_again(run_small):
    result = run_small(workload__experts=2)
    assert measured(result, "expert_copies") == 0
    assert measured(result, "expert_hit_rate") == 1
    assert measured(result, "batch_latency_mean_ms") == pytest.approx(2 * RUN_S * 1000, rel=1e-6)  # router and expert


def test_one_expert_too_many_makes_round_robin_miss_every_time(run_small):
    """LRU drops what a cyclic sequence needs next."""
    result = run_small(workload__experts=3)
    assert measured(result, "expert_hit_rate") == 0
    assert measured(result, "switch_mean_ms") == pytest.approx(COPY_S * 1000, rel=1e-6)
    assert measured(result, "batch_latency_mean_ms") == pytest.approx((2 * RUN_S + COPY_S) * 1000, rel=1e-6)


def test_copies_come_first_then_the_prompts_one_after_another(run_small):
    """Router once, two copies, two runs."""
    result = run_small(workload__experts=4, workload__batch_size=2)
    assert measured(result, "batch_latency_mean_ms") == pytest.approx((RUN_S + 2 * COPY_S + 2 * RUN_S) * 1000, rel=1e-6)
    assert measured(result, "stall_mean_ms") == pytest.approx(2 * COPY_S * 1000, rel=1e-6)


def test_same_expert_twice_in_a_batch_is_copied_once(run_small):
    result = run_small(workload__experts=1, workload__batch_size=3, workload__warm_up=0, workload__batches=1)
    assert measured(result, "expert_copies") == 1
    expected_s = RUN_S + COPY_S + 3 * RUN_S
    assert measured(result, "batch_latency_mean_ms") == pytest.approx(expected_s * 1000, rel=1e-6)


def test_overlapped_copies_hide_behind_runs(run_small):
    """Copies take 1 s, runs 0.5 s: after the router four copies back to back, then only the last run is left.

    There is room for two experts, and the first has run before the third copy has to make room.
    """
    result = run_small(workload__experts=8, workload__batch_size=4, policies__order="overlapped")
    assert measured(result, "batch_latency_mean_ms") == pytest.approx((RUN_S + 4 * COPY_S + RUN_S) * 1000, rel=1e-6)


def test_overlapped_runs_are_the_bound_when_copies_are_quick(run_small):
    """At 1000 GB/s a copy is written at 4 GB/s, 0.25 s; it shares the memory with runs of 0.5 s that need it all.

    So the memory is never idle: two reads of a run and one write of a copy for each prompt.
    """
    result = run_small(
        workload__experts=8, workload__batch_size=4, policies__order="overlapped", links__copy__bandwidth="1000 GB/s"
    )
    moved_s = (2 + 4 * 2 + 4) * 0.25
    assert measured(result, "batch_latency_mean_ms") == pytest.approx(moved_s * 1000, rel=1e-6)


def test_a_batch_that_needs_more_experts_than_fit_is_served_in_parts(run_small):
    """Two fit, four are needed: copy two, run two, twice."""
    result = run_small(workload__experts=8, workload__batch_size=4)
    assert measured(result, "batch_latency_mean_ms") == pytest.approx((RUN_S + 4 * COPY_S + 4 * RUN_S) * 1000, rel=1e-6)
    assert measured(result, "expert_copies") == 4 * measured(result, "batches")


def test_keeping_what_the_batch_needs_saves_copies(run_small):
    """Five of six fit. In the order of prompts LRU misses all; kept, only the one absent expert of a batch is copied."""
    keys = {
        "workload__experts": 6,
        "workload__batch_size": 3,
        "tiers__hbm__capacity": "6.5 GB",
        "workload__batches": 40,
    }
    plain, kept = run_small(**keys), run_small(**keys, policies__keep_batch=True)
    assert measured(plain, "expert_hit_rate") == 0
    assert measured(kept, "expert_hit_rate") > 0.6
    assert measured(kept, "batch_latency_mean_ms") < measured(plain, "batch_latency_mean_ms")


def test_experts_are_never_copied_back(run_small):
    result = run_small(workload__experts=7, workload__batch_size=3)
    assert measured(result, "tier_ddr_written_bytes") == 0
    assert measured(result, "link_copy_hbm>ddr_bytes") == 0
    assert measured(result, "link_copy_ddr>hbm_bytes") == 10**9 * len(
        result.transfers.filter(_copies(result.transfers))
    )


def _copies(transfers):
    import pyarrow.compute as pc

    return pc.equal(transfers["source"], "ddr")


@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu", "s3fifo", "arc", "random"])
def test_no_policy_beats_belady(run_small, policy):
    keys = {
        "workload__experts": 12,
        "tiers__hbm__capacity": "6.5 GB",
        "workload__choice": {"name": "zipf"},
        "workload__batches": 150,
    }
    best = run_small(**keys, policies__eviction="opt")
    assert (
        0
        < measured(run_small(**keys, policies__eviction=policy), "expert_hit_rate")
        <= measured(best, "expert_hit_rate")
    )


def test_uniform_choice_hits_in_proportion_to_what_is_cached(run_small):
    """Independent even choice: any policy without foresight hits with probability cached / experts.

    1500 prompts: the standard error is below 0.013, the band three of them.
    """
    result = run_small(
        workload__experts=10, tiers__hbm__capacity="6.5 GB", workload__choice="uniform", workload__batches=1500
    )
    assert measured(result, "experts_cached_max") == 5
    assert measured(result, "expert_hit_rate") == pytest.approx(0.5, abs=0.04)


def test_zipf_choice_hits_as_the_characteristic_time_says(run_small):
    """Che, Tung and Wang's approximation of LRU under independent choice, solved here; good to about a percent.

    1500 prompts give a standard error of 0.013; the band is three of them.
    """
    experts, cached, exponent = 20, 5, 0.8
    p = np.arange(1, experts + 1) ** -exponent
    p /= p.sum()
    low, high = 0.0, 1e4
    for _ in range(200):  # the time in which `cached` distinct experts are asked for
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - np.exp(-p * middle)).sum() < cached else (low, middle)
    expected = float((p * (1 - np.exp(-p * low))).sum())
    result = run_small(
        workload__experts=experts, tiers__hbm__capacity="6.5 GB", workload__batches=1500,
        workload__choice={"name": "zipf", "exponent": exponent},
    )  # fmt: skip
    assert measured(result, "experts_cached_max") == cached
    assert measured(result, "expert_hit_rate") == pytest.approx(expected, abs=0.04)


def test_same_seed_same_result_other_seed_other_prompts(run_small):
    keys = {"workload__experts": 9, "workload__choice": "uniform", "workload__batches": 40}
    first, again, other = run_small(**keys), run_small(**keys), run_small(**keys, run__seed=1)
    assert first.metrics == again.metrics
    assert first.requests.equals(again.requests)
    assert not first.requests["expert"].equals(other.requests["expert"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.booleans(),
    st.sampled_from(["lru", "fifo", "lfu", "arc", "s3fifo", "random", "opt"]),
    st.sampled_from(["copies-first", "overlapped"]), st.sampled_from(["round-robin", "uniform", "zipf"]),
)  # fmt: skip
def test_laws_hold_on_any_small_machine(run_small, experts, batch, cached, keep, policy, order, choice):
    """`simulate` checks conservation of bytes, time and capacity; here: every prompt is served, none before its time."""
    result = run_small(
        workload__experts=experts, workload__batch_size=batch, tiers__hbm__capacity=f"{cached}.5 GB"
        if cached > 1 else "2.5 GB", policies__eviction=policy, policies__order=order, policies__keep_batch=keep,
        workload__choice=choice, workload__batches=6,
    )  # fmt: skip
    requests = result.requests.to_pandas()
    assert (requests["finished_ps"] > 0).all()
    copies = int((~requests["hit"]).sum())
    assert copies * 10**9 == result.metrics["tier_ddr_read_bytes"]
    assert copies >= requests["expert"].nunique()  # each has to come once
    lower_s = (RUN_S + batch * RUN_S) * len(requests) / batch
    upper_s = lower_s + copies * (COPY_S + RUN_S)
    assert lower_s * 0.999 <= result.metrics["elapsed_s"] <= upper_s * 1.001


def test_too_many_experts_for_the_home_is_out_of_memory(run_small):
    with pytest.raises(
        ScenarioError, match=r"workload\.experts: out of memory: 100 experts of 1 GB .* at most 99 experts"
    ):
        run_small(workload__experts=100)
    assert measured(run_small(workload__experts=99, workload__batches=1), "experts_homed_max") == 99


def test_cache_that_cannot_hold_router_and_one_expert_is_out_of_memory(run_small):
    with pytest.raises(
        ScenarioError, match=r"tiers\.hbm\.capacity: out of memory: router, context and one expert need"
    ):
        run_small(tiers__hbm__capacity="2 GB")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workload__home": "dddr"}, r"workload\.home: unknown tier 'dddr'\. Did you mean 'ddr'\?"),
        ({"workload__cache": "ddr"}, r"workload\.cache: must be another tier than `home`"),
        ({"policies__eviction": "lrru"}, r"policies\.eviction: unknown eviction policy 'lrru'\. Did you mean 'lru'"),
        ({"workload__device": "unti"}, r"workload\.device: unknown device 'unti'\. Did you mean 'unit'"),
        ({"workload__number_format": "fp4"}, r"no peak_flops for 'fp4'"),
        ({"workload__choice": "zpf"}, r"workload\.choice"),
        ({"workload__choice": {"name": "zipf", "exponent": -1}}, r"workload\.choice.*exponent"),
        ({"workload__batches": 100_000, "workload__batch_size": 4096}, r"workload\.batches: .* at most 2000000"),
        ({"workload__experts": 0}, r"workload\.experts"),
        ({"workload__model": "llama-7"}, r"workload\.model: unknown model 'llama-7'\. Did you mean 'llama-2-7b'"),
        ({"workload__model__parameters": "seven"}, r"workload\.model\.parameters"),
        ({"workload__output_tokens": 2.5}, r"workload\.output_tokens"),
        ({"workload__batch_sise": 2}, r"workload\.batch_sise: unknown key\. Did you mean 'batch_size'"),
    ],
)
def test_bad_scenarios_say_where_and_what(run_small, values, message):
    with pytest.raises(ScenarioError, match=message):
        run_small(**values)


def test_bundled_model_by_name_has_its_true_number_of_weights(run_small):
    """6,738,415,616 weights (Touvron et al., Llama 2, 2023, and the published checkpoint), two bytes each."""
    capacities = {"tiers__hbm__capacity": "60 GB", "workload__experts": 3}
    result = run_small(**capacities, workload__model="llama-2-7b", workload__batches=1)
    assert measured(result, "expert_bytes") == 2 * 6_738_415_616


def test_a_run_longer_than_the_clock_says_so(run_small):
    with pytest.raises(TiergartenError, match="simulated days; times are kept for 53 days"):
        run_small(tiers__hbm__bandwidth="10 B/s")


def test_a_run_cut_short_reports_what_was_finished(run_small):
    result = run_small(workload__experts=3, workload__warm_up=0, run__until="5 s")
    requests = result.requests.to_pandas()
    assert measured(result, "batches") == 2  # of two seconds each
    assert (requests["finished_ps"] >= 0).sum() == 2
    assert requests["finished_ps"].iloc[-1] == -1
