"""Iteration costs follow the roofline, and runs of decode steps are the sum of their steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.accelerators.model_shapes import model_shape
from tiergarten.accelerators.serving.costs import Chunk, StepCosts

PS = 10**12
LLAMA = StepCosts(model_shape("llama-3-8b"), flops_per_s=500e12, bytes_per_s=2.5e12)


def test_single_decode_step_is_bound_by_the_weights():
    shape = LLAMA.shape
    expected = (shape.step_weight_bytes(1) + 1001 * shape.kv_bytes_per_token) / 2.5e12
    assert LLAMA.mixed_ps([], 0, 1, 1000) == pytest.approx(expected * PS, abs=2)


def test_long_prefill_is_bound_by_flops():
    shape = LLAMA.shape
    flops = 8192 * shape.token_flops + shape.head_flops
    causal = 8192 * 8193 / 2 * shape.pair_flops
    assert LLAMA.mixed_ps([Chunk(8192, 0)], 1, 0, 0) == pytest.approx((flops + causal) / 500e12 * PS, rel=1e-9)


def test_chunks_of_a_prompt_add_up_to_its_attention():
    whole = LLAMA.chunk_attention_ps(Chunk(8192, 0))
    parts = sum(LLAMA.chunk_attention_ps(Chunk(1024, before)) for before in range(0, 8192, 1024))
    assert parts == pytest.approx(whole, rel=1e-9)  # each chunk is compute bound, so nothing is lost


def test_products_meet_at_the_ridge():
    shape = LLAMA.shape
    ridge_tokens = int(shape.step_weight_bytes(1) / 2.5e12 * 500e12 / shape.token_flops)
    assert LLAMA.products_ps(ridge_tokens // 2, 0) == LLAMA.products_ps(1, 0)
    assert LLAMA.products_ps(2 * ridge_tokens, 0) > 1.9 * LLAMA.products_ps(ridge_tokens, 0)


def test_overheads_are_paid_once_per_iteration():
    slow = StepCosts(LLAMA.shape, LLAMA.flops_per_s, LLAMA.bytes_per_s, layer_overhead_ps=100, step_overhead_ps=7)
    assert slow.mixed_ps([], 0, 3, 300) - LLAMA.mixed_ps([], 0, 3, 300) == pytest.approx(32 * 100 + 7, abs=1)


@given(st.integers(1, 200), st.integers(1, 10**6), st.integers(1, 50))
def test_run_is_the_sum_of_its_steps(batch, context, steps):
    run = LLAMA.decode_run(batch, context)
    one_by_one = sum(LLAMA.mixed_ps([], 0, batch, context + i * batch) for i in range(steps))
    assert run.time_ps(steps) == pytest.approx(one_by_one, abs=steps + 1)


@given(st.integers(1, 200), st.integers(1, 10**6), st.integers(0, 10**13))
def test_steps_until_is_the_fewest_that_reach_the_time(batch, context, elapsed):
    run = LLAMA.decode_run(batch, context)
    steps = run.steps_until(elapsed)
    assert run.time_ps(steps) >= elapsed
    assert steps == 1 or run.time_ps(steps - 1) < elapsed
