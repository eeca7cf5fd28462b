"""Capacities in closed form: experts of 10 bytes, a router of 7, a context of 2."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.accelerators.experts.choice import RoundRobin, Uniform, Zipf
from tiergarten.accelerators.experts.footprint import Footprint

SMALL = Footprint(expert_bytes=10, router_bytes=7, context_bytes=2)


def test_cache_holds_router_and_context_and_whole_experts():
    assert SMALL.cached_experts(39) == 3
    assert SMALL.cached_experts(38) == 2
    assert SMALL.cached_experts(8) == -1


def test_home_holds_the_router_and_whole_experts():
    assert SMALL.homed_experts(37) == 3
    assert SMALL.homed_experts(36) == 2


def test_nodes_pool_their_memory():
    """An expert is split over devices, so two nodes of 20 hold three experts, router and context: 39 bytes."""
    assert SMALL.nodes_to_cache(3, 20) == 2
    assert SMALL.nodes_to_cache(3, 19) == 3
    assert SMALL.nodes_to_home(3, 37) == 1
    assert SMALL.nodes_to_home(3, 36) == 2


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**9), st.integers(1, 1000))
def test_one_node_suffices_exactly_for_what_fits(expert, router, context, memory, experts):
    footprint = Footprint(expert, router, context)
    assert (footprint.nodes_to_cache(experts, memory) == 1) == (footprint.cached_experts(memory) >= experts)
    assert (footprint.nodes_to_home(experts, memory) == 1) == (footprint.homed_experts(memory) >= experts)


def test_round_robin_asks_for_each_in_turn():
    assert RoundRobin().draw(7, 3, np.random.default_rng(0)).tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("choice", "shares"), [(Uniform(), [1 / 3] * 3), (Zipf(exponent=1.0), [6 / 11, 3 / 11, 2 / 11])]
)
def test_drawn_shares(choice, shares):
    """20,000 draws: three standard errors are below 0.011."""
    drawn = choice.draw(20_000, 3, np.random.default_rng(1))
    assert np.bincount(drawn, minlength=3) / 20_000 == pytest.approx(shares, abs=0.011)


def test_zipf_of_exponent_zero_is_even():
    assert Zipf(exponent=0.0).probabilities(4).tolist() == [0.25] * 4
