"""MEMO's and FlexGen's programs against exhaustive search, lower bounds and cases solved by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import TiergartenError

pytest.importorskip("scipy", reason="the planners need scipy")

from tiergarten.workloads.planners.flexgen import LayerLoad, Machine, best_shares, layer_seconds
from tiergarten.workloads.planners.memo import (
    Lifetime,
    lifetimes,
    max_load,
    plan_addresses,
    plan_step,
)

# MEMO, Fig. 3b: the request stream of one layer in MB
FORWARD = [("13", 128), ("14", 128), ("14", 0), ("15", 256), ("13", 0), ("16", 512), ("17", 128),
           ("18", 128), ("19", 256), ("17", 0), ("19", 0), ("18", 0)]  # fmt: skip
BACKWARD = [("20", 512), ("20", 0), ("21", 1024), ("22", 256), ("15", 0), ("23", 128), ("24", 512), ("21", 0),
            ("22", 0), ("23", 0), ("24", 0), ("16", 0)]  # fmt: skip


def assert_valid(tensors: list[Lifetime], offsets) -> None:
    for i, a in enumerate(tensors):
        for b in tensors[i + 1 :]:
            if a.meets(b):
                below = offsets[a.name] + a.num_bytes <= offsets[b.name]
                above = offsets[b.name] + b.num_bytes <= offsets[a.name]
                assert below or above, (a, b)


def best_by_search(tensors: list[Lifetime]) -> int:
    """Smallest peak over all orders of lowest-fit placement: optimal, since some order of offsets is the optimum's."""
    best = None
    for order in permutations(tensors):
        placed: list[tuple[Lifetime, int]] = []
        for tensor in order:
            spans = sorted((at, at + t.num_bytes) for t, at in placed if t.meets(tensor))
            at = 0
            for begin, end in spans:
                if at + tensor.num_bytes <= begin:
                    break
                at = max(at, end)
            placed.append((tensor, at))
        peak = max(at + t.num_bytes for t, at in placed)
        best = peak if best is None else min(best, peak)
    return best


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=5))
def test_plan_is_valid_and_as_small_as_exhaustive_search(items):
    tensors = [Lifetime(str(i), size, first, first + length) for i, (size, first, length) in enumerate(items)]
    plan = plan_addresses(tensors)
    assert_valid(tensors, plan.offsets)
    assert plan.is_optimal
    assert plan.peak_bytes == best_by_search(tensors)


def test_memo_example_needs_no_more_than_what_is_alive():
    tensors = lifetimes(FORWARD + BACKWARD)
    plan = plan_addresses(tensors)
    assert_valid(tensors, plan.offsets)
    assert plan.peak_bytes == max_load(tensors) == 512 + 1024 + 256 + 128 + 512  # 16 and 21 to 24 at once


def test_bilevel_plan_of_layers_reaches_the_load_of_its_blocks():
    plan = plan_step(FORWARD, BACKWARD, layers=4)
    # two tensors per layer persist; the busiest moment is the last layer's backward with all layers' tensors alive
    inner = plan_addresses(lifetimes([event for event in BACKWARD if event[0] not in ("15", "16")])).peak_bytes
    assert plan.peak_bytes == 4 * (256 + 512) + inner
    assert plan.is_optimal


def test_streams_with_errors_are_refused():
    with pytest.raises(ValueError, match="event 1: 'a' is already there"):
        lifetimes([("a", 1), ("a", 2)])
    with pytest.raises(ValueError, match="event 0: 'b' is not there"):
        lifetimes([("b", 0)])
    with pytest.raises(ValueError, match="a outlive the backward"):
        plan_step([("a", 1)], [("b", 1), ("b", 0)], 2)


MACHINE = Machine(16 * 10**9, 200 * 10**9, 10**12, 12e9, 2e9, 1e9)


def load(**changes) -> LayerLoad:
    values = {
        "weights_bytes": 10**9,
        "kv_bytes": 10**9,
        "activations_bytes": 10**7,
        "new_kv_bytes": 10**7,
        "compute_s": 0.01,
        "layers": 48,
    }
    return LayerLoad(**(values | changes))


def test_what_fits_the_device_is_computed_at_full_speed():
    shares = best_shares(MACHINE, load(weights_bytes=10**8, kv_bytes=10**8))
    assert shares.layer_s == pytest.approx(0.01)


def test_host_bound_load_keeps_as_much_as_fits_on_the_device():
    # 96 GB of weights and KV, 16 GB of device: at least 80/96 of 2 GB a layer cross the 12 GB/s link
    shares = best_shares(MACHINE, load())
    assert shares.layer_s == pytest.approx(2e9 * (96 - 16) / 96 / 12e9, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_no_random_feasible_shares_beat_the_program(weights, kv, seed):
    """Sizes in 10 MB per layer; random shares that fit are never faster."""
    problem = load(weights_bytes=weights * 10**7, kv_bytes=kv * 10**7)
    best = best_shares(MACHINE, problem)
    held = np.array([problem.weights_bytes, problem.kv_bytes, problem.activations_bytes / 48]) * 48
    capacities = np.array([MACHINE.device_bytes, MACHINE.host_bytes, MACHINE.disk_bytes])
    assert (held @ np.array(best.fractions) <= capacities * (1 + 1e-6)).all()
    rng = np.random.default_rng(seed)
    for _ in range(50):
        guess = rng.dirichlet(np.ones(3) * 0.5, size=3)
        if (held @ guess <= capacities).all():
            assert layer_seconds(MACHINE, problem, guess) >= best.layer_s * (1 - 1e-6)


def test_load_that_fits_nowhere_is_refused():
    with pytest.raises(TiergartenError, match="do not fit"):
        best_shares(MACHINE, load(weights_bytes=10**11))
