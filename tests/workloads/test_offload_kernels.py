"""Offload kernels against the papers' arithmetic, brute force and hand-made schedules."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiergarten.workloads.activation_swap import (
    ByteScaleProblem,
    SwapProblem,
    overlap_threshold_tokens,
    selective_offload,
    swap_fraction,
)
from tiergarten.workloads.block_table import BlockPool, num_blocks, table_of
from tiergarten.workloads.entropy_code import canonical, code_lengths, count_codes, decode_block, encode
from tiergarten.workloads.kernel import record
from tiergarten.workloads.kernels.adam_8bit import Adam8bit, dequantise, dynamic_map, quantise
from tiergarten.workloads.kernels.agent_session import AgentSession
from tiergarten.workloads.kernels.bitstack import Bitstack
from tiergarten.workloads.kernels.byte_scale import ByteScale
from tiergarten.workloads.kernels.concurrent_loading import ConcurrentLoading
from tiergarten.workloads.kernels.dfloat11 import Dfloat11, _bf16
from tiergarten.workloads.kernels.expert_cache import ExpertCache
from tiergarten.workloads.kernels.flexgen import Flexgen
from tiergarten.workloads.kernels.kv_injection import KvInjection
from tiergarten.workloads.kernels.llm_in_a_flash import LlmInAFlash
from tiergarten.workloads.kernels.lq_lora import LqLora, allocate_bits, normal_levels, pack_codes, unpack_codes
from tiergarten.workloads.kernels.memo_swap import MemoSwap
from tiergarten.workloads.kernels.paged_swap import PagedSwap
from tiergarten.workloads.timeline import finish_times
from tiergarten.workloads.traffic import Traffic, traffic
from tiergarten.workloads.transformer_layer import KEPT, backward, forward, random_weights, token_wise

# --- LLM in a flash ----------------------------------------------------------------------------------------------------


def test_flash_reads_exactly_what_enters_the_window():
    kernel = LlmInAFlash(window=3)
    wanted: list[list[int]] = []
    original = LlmInAFlash._predict
    spy = type("Spy", (LlmInAFlash,), {"_predict": lambda *a: wanted.append(original(*a)) or wanted[-1]})
    outcome, trace = record(spy(window=3))
    held: set[int] = set()
    loaded = 0
    for token in range(kernel.tokens):
        window = set().union(*map(set, wanted[max(0, token - 2) : token + 1]))
        loaded += len(window - held)
        held = window
    assert outcome.counts["loaded"] == loaded
    assert traffic(trace)["flash_bundles"] == Traffic(loaded * 2 * kernel.width * 2)


def test_longer_window_reads_less_flash():
    loads = [record(LlmInAFlash(window=w, tokens=30))[0].counts["loaded"] for w in (1, 4, 30)]
    assert loads[0] > loads[1] > loads[2]


def test_flash_reads_are_bundles():
    """Each run of the flash object is a whole number of bundles of 2·d·P bytes (up row and down column together)."""
    _, trace = record(LlmInAFlash())
    flash = trace.accesses.objects == trace.objects.names.index("flash_bundles")
    assert (trace.accesses.num_bytes[flash] % (2 * 64 * 2) == 0).all()
    assert (trace.accesses.offsets[flash] % (2 * 64 * 2) == 0).all()


# --- DFloat11 ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(hnp.arrays(np.uint16, st.integers(1, 200)), st.integers(1, 5))
def test_any_bits_survive_the_code(values, threads):
    coded = encode(values, threads)
    tables = (coded.book.symbols, coded.book.first_codes, coded.book.first_symbols)
    parts = []
    for block in range(len(coded.starts) - 1):
        pieces = slice(block * threads, (block + 1) * threads)
        stream = coded.stream[block * threads * 8 : (block + 1) * threads * 8 + 4]
        first, last = coded.starts[block : block + 2]
        arguments = (stream, coded.gaps[pieces], tables, coded.sign_mantissas[first:last])
        parts.append(decode_block(*arguments))
        assert np.array_equal(parts[-1], decode_block.py_func(*arguments))
    assert np.array_equal(np.concatenate(parts), values)


def test_count_phase_finds_every_code_once():
    values = _bf16(0.02 * np.random.default_rng(0).standard_normal(1000))
    coded = encode(values, 10_000)
    counts = count_codes(coded.stream, coded.gaps, coded.book.first_codes, coded.book.first_symbols)
    plain = count_codes.py_func(coded.stream, coded.gaps, coded.book.first_codes, coded.book.first_symbols)
    assert np.array_equal(counts, plain)
    assert counts[:-1].sum() < 1000 <= counts.sum()  # the padding of the last piece may look like codes


def test_code_is_canonical_prefix_free_and_within_a_bit_of_entropy():
    counts = np.zeros(256, np.int64)
    counts[[3, 50, 120, 121, 122]] = [1, 5, 100, 300, 700]
    book = canonical(code_lengths(counts))
    words = [format(book.codes[s], f"0{book.lengths[s]}b") for s in np.flatnonzero(counts)]
    assert not any(a != b and b.startswith(a) for a in words for b in words)
    share = counts[counts > 0] / counts.sum()
    mean_bits = (share * book.lengths[counts > 0]).sum()
    entropy = -(share * np.log2(share)).sum()
    assert entropy <= mean_bits < entropy + 1
    assert (0.5 ** book.lengths[counts > 0].astype(float)).sum() == 1  # Kraft, with equality


def test_weights_code_to_about_eleven_bits():
    """The paper's models take 10.8 to 11.1 bits a weight; normal weights of deviation 0.02 fall in or just below that."""
    kernel = Dfloat11(layers=1, rows=256, columns=256, threads=256)
    _, trace = record(kernel)
    weights = kernel.rows * kernel.columns
    moved = traffic(trace)
    bits = 8 * sum(moved[name].read_bytes for name in ("stream", "sign_mantissas", "gaps", "starts", "book")) / weights
    assert 10.4 < bits < 11.2
    total = sum(m.read_bytes + m.written_bytes for name, m in moved.items() if name not in ("x", "y"))
    assert total / (2 * weights) == pytest.approx(2.68, abs=0.04)  # derived: 0.68·W + W + W


# --- BitStack ----------------------------------------------------------------------------------------------------------


def test_block_of_a_4096_matrix_takes_1_13_bits_per_parameter():
    block = Bitstack(rows=4096, columns=4096, rank=16).block_bytes
    assert block == 4096 * 4096 // 8 + 2 * 16 * 8192
    assert 8 * block / 4096**2 == pytest.approx(1.13, abs=0.006)


def test_every_block_lowers_the_error_and_enough_of_them_restore_the_matrix():
    kernel = Bitstack(rows=24, columns=32, rank=16, steps=12)
    matrix = np.random.default_rng(1).standard_normal((24, 32))
    blocks = kernel.decompose(matrix)
    gains = [gain for _, gain in blocks]
    assert all(gain > 0 for gain in gains[:8])
    left = (matrix**2).sum() - sum(gains)
    assert left / (matrix**2).sum() < 1e-3
    restored = sum(kernel._restore(packed, np.float64) for packed, _ in blocks)
    assert ((matrix - restored) ** 2).sum() == pytest.approx(left, rel=1e-6, abs=1e-9)


def test_budget_takes_the_most_important_blocks_of_each_stack_in_order():
    kernel = Bitstack()
    stacks = [
        [(None, gain) for gain in gains] for gains in ([9, 5, 1, 1, 1, 1], [8, 7, 2, 1, 1, 1], [3, 10, 1, 1, 1, 1])
    ]
    assert kernel._by_importance(stacks)[:5] == [(0, 0), (1, 0), (1, 1), (0, 1), (2, 0)]


# --- 8-bit optimizer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_dynamic_map_has_256_different_values_with_zero_and_one(signed):
    table = dynamic_map(signed)
    assert len(np.unique(table)) == 256
    assert {0.0, 1.0} <= set(table.tolist())
    assert (table.min() < 0) == signed


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 600), elements=st.floats(-100, 100, width=32)))
def test_quantised_values_are_the_nearest_in_the_map(values):
    table = dynamic_map(True)
    codes, scales = quantise(values, table, 256)
    found = dequantise(codes, scales, table, 256)
    for start in range(0, len(values), 256):
        part = values[start : start + 256].astype(np.float64)
        scale = np.abs(part).max()
        best = np.abs(part[:, None] - scale * table[None, :].astype(np.float64)).min(axis=1)
        assert np.abs(found[start : start + 256] - part) == pytest.approx(best, abs=1e-5 * max(scale, 1e-30))


def test_state_bytes_per_parameter_are_the_derived_ones():
    """8 B per parameter and direction in 32 bits; 2 + 2·4/256 = 2.03 B in 8 bits."""
    size = 65536
    moved = traffic(record(Adam8bit(tensors=(size,), steps=1))[1])
    state = moved["state_codes"].read_bytes + moved["state_scales"].read_bytes
    assert state / size == pytest.approx(2 + 8 / 256) == pytest.approx(2.03, abs=0.002)
    small = traffic(record(Adam8bit(tensors=(4000,), steps=1))[1])
    assert small["state_32bit"] == Traffic(8 * 4000, 8 * 4000)


# --- LQ-LoRA -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from([2, 3, 4, 8]), st.lists(st.integers(0, 255), min_size=8, max_size=64))
def test_packed_codes_come_back(bits, values):
    codes = np.array(values[: len(values) // 8 * 8]) % 2**bits
    assert len(pack_codes(codes, bits)) == len(codes) * bits // 8
    assert unpack_codes(pack_codes(codes, bits), bits).tolist() == codes.tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 100)] * 3), min_size=1, max_size=4), st.integers(2, 40))
def test_bits_are_allocated_as_by_exhaustive_search(errors, budget):
    errors, choices = np.array(errors), (2, 3, 8)
    sizes = np.arange(1, len(errors) + 1)
    plans = [p for p in product(choices, repeat=len(errors)) if np.dot(p, sizes) <= budget]
    if not plans:
        with pytest.raises(ValueError, match="too few"):
            allocate_bits(errors, sizes, choices, budget)
        return

    def cost(plan) -> float:
        return sum(errors[row, choices.index(bits)] for row, bits in enumerate(plan))

    found = allocate_bits(errors, sizes, choices, budget)
    assert np.dot(found, sizes) <= budget
    assert cost(found) == pytest.approx(min(map(cost, plans)))


def test_factors_lower_the_error_of_quantisation():
    rng = np.random.default_rng(2)
    kernel = LqLora(rows=32, columns=64, rank=8)
    matrix = rng.standard_normal((32, 8)) @ rng.standard_normal((8, 64)) + 0.1 * rng.standard_normal((32, 64))
    errors = [replace(kernel, rank=rank)._decompose(matrix, 2)[-1] for rank in (0, 1, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-2] < 0.6 * errors[0]
    assert normal_levels(4).tolist() == pytest.approx((-normal_levels(4)[::-1]).tolist())


def test_budget_of_bits_is_kept_and_used():
    for budget in (2.0, 2.75, 4.0, 8.0):
        kernel = LqLora(matrices=3, rows=16, columns=64, rank=2, budget_bits=budget)
        bits = record(kernel)[0].counts["code_bits"] / (3 * 16 * 64)
        assert budget - 1 < bits <= budget


# --- training with swapped activations ---------------------------------------------------------------------------------


def test_backward_by_finite_differences():
    rng = np.random.default_rng(3)
    weights = {name: part.astype(np.float64) for name, part in random_weights(rng, 4).items()}
    x, dy = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    dx, gradients = backward(dy, forward(x, weights)[1], weights)

    def loss() -> float:
        return float((forward(x, weights)[0] * dy).sum())

    for array, gradient in [(x, dx), *((weights[name], gradients[name]) for name in weights)]:
        for index in [(0, 0), (2, 3), (3, 1)]:
            array[index] += 1e-6
            up = loss()
            array[index] -= 2e-6
            down = loss()
            array[index] += 1e-6
            assert gradient[index] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-7)


def test_rest_is_recomputed_from_input_and_attention_output():
    rng = np.random.default_rng(4)
    weights = random_weights(rng, 8)
    _, kept = forward(rng.standard_normal((6, 8)).astype(np.float32), weights)
    again = token_wise(kept["x"][2:], kept["attention"][2:], weights)
    for name, part in again.items():
        assert part == pytest.approx(kept[name][2:], rel=1e-4, abs=1e-5)
    assert sum(KEPT.values()) == 16


def test_7b_at_a_million_tokens_keeps_4096_gib():
    """MEMO, Sec. 2: 16·s·h values per layer, 32 layers, fp16; the attention output is 6.25 % of it."""
    assert 16 * 2**20 * 4096 * 2 * 32 == 4096 * 2**30
    assert KEPT["attention"] / sum(KEPT.values()) == 0.0625


def problem(**changes) -> SwapProblem:
    """1000 tokens of 1000 values of 2 B: 2 MB per unit; a layer takes 1 s."""
    values = {
        "tokens": 1000,
        "hidden": 1000,
        "layers": 12,
        "layer_s": 1.0,
        "link_bytes_per_s": 18e6,
        "host_bytes": 10**12,
    }
    return SwapProblem(**(values | changes))


def test_swap_fraction_by_hand():
    assert swap_fraction(problem()) == pytest.approx(0.5)  # 18 MB hide, 4 always go, 14 of the other 28
    assert swap_fraction(problem(link_bytes_per_s=1e9)) == 1.0
    assert swap_fraction(problem(link_bytes_per_s=4e6)) == pytest.approx(0.0)
    assert swap_fraction(problem(link_bytes_per_s=3.9e6)) is None
    assert swap_fraction(problem(host_bytes=110 * 10**6)) == pytest.approx(7 / 28)  # 10 layers leave, 11 MB each
    assert swap_fraction(problem(host_bytes=0, layers=2)) == pytest.approx(0.5)  # nobody leaves, the host is not asked


@settings(deadline=None)
@given(st.integers(256, 16384), st.floats(1e9, 1e12), st.floats(1e12, 1e15))
def test_threshold_is_where_a_whole_layer_just_hides(hidden, link, rate):
    tokens = overlap_threshold_tokens(hidden, 2, link, rate)
    layer_s = (24 * tokens * hidden**2 + 4 * tokens**2 * hidden) / rate
    if tokens > 0:
        assert 16 * tokens * hidden * 2 / link == pytest.approx(layer_s)
    else:
        assert 16 * hidden * 2 / link <= 24 * hidden**2 / rate * (1 + 1e-9)


def timeline(kernel, seconds_of) -> float:
    _, trace = record(kernel)
    return float(finish_times(trace, [seconds_of(name) for name in trace.ops.names])[-1])


def test_offload_that_fits_a_layer_is_free_and_more_is_not():
    """Forward 1 s, backward 2 s a layer; transfers of t seconds cost nothing up to t = 1."""
    kernel = MemoSwap(layers=6, alpha=1.0, tokens=8)

    def seconds(transfer: float):
        kinds = {"forward": 1.0, "offload": transfer, "prefetch": transfer, "backward": 2.0}
        return lambda name: kinds[name.split()[0]]

    assert timeline(kernel, seconds(0.0)) == timeline(kernel, seconds(1.0)) == 6 * (1 + 2)
    assert timeline(kernel, seconds(1.5)) > 18


def test_memo_moves_less_and_computes_more_with_a_smaller_fraction():
    high, low = (record(MemoSwap(alpha=a))[1] for a in (1.0, 0.25))
    assert traffic(high)["host"].read_bytes > traffic(low)["host"].read_bytes
    assert high.ops.flops.sum() < low.ops.flops.sum()


def byte_scale(**changes) -> ByteScaleProblem:
    values = {
        "tokens": 312 * 1024, "layers": 32, "act_bytes_per_token": 1e5, "act_bytes_fixed": 0.0, "time_quadratic": 1e-11,
        "time_linear": 2e-7, "time_fixed": 0.0, "link_bytes_per_s": 0.0, "rank_tokens": 8 * 1024,
    }  # fmt: skip
    return ByteScaleProblem(**(values | changes))


def test_without_offload_312k_tokens_take_39_ranks_of_8k():
    assert selective_offload(byte_scale()) == (0.0, 39)


def test_full_offload_leaves_first_and_last_layer():
    ratio, ranks = selective_offload(byte_scale(link_bytes_per_s=1e15))
    assert ranks == int(np.ceil(39 * 2 / 32))
    assert 0.9 < ratio <= 1.0
    assert byte_scale().ranks(ratio) == ranks
    assert byte_scale().ranks(ratio - 0.05) > ranks


@settings(deadline=None)
@given(st.integers(8192, 10**6), st.floats(1e8, 1e12))
def test_chosen_ratio_hides_and_no_smaller_one_saves_as_many_ranks(tokens, link):
    chosen = byte_scale(tokens=tokens, link_bytes_per_s=link)
    ratio, ranks = selective_offload(chosen)
    act = chosen.activation_bytes(tokens)
    assert ratio * act / link <= chosen.layer_s() * (1 + 1e-9)
    assert chosen.ranks(ratio) == ranks
    most = min(1.0, chosen.layer_s() * link / act)
    assert ranks == min(chosen.ranks(r) for r in np.linspace(0, most, 50))


def test_memory_falls_linearly_with_the_ratio():
    """ByteScale: device holds 2·Act + (1 - r)·(l - 2)·Act when all middle layers are offloaded."""
    peaks = []
    for ratio in (0.0, 0.5, 1.0):
        _, trace = record(ByteScale(layers=6, tokens=32, ratio=ratio))
        op = trace.ops.names.index("backward 5")
        alive = (trace.birth_ops <= op) & (trace.death_ops >= op)
        held = [alive[i] and name.startswith(("staying", "moving")) for i, name in enumerate(trace.objects.names)]
        peaks.append(int(trace.objects.num_bytes[held].sum()))
    act = 16 * 32 * 16 * 4
    assert peaks == [6 * act, 4 * act, 2 * act]


# --- loading and caching -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "run"), [(1.0, 3.0), (3.0, 1.0), (2.0, 2.0)])
def test_concurrent_loading_saves_what_the_paper_says(load, run):
    """One step of b blocks: b·(l + e) becomes l + (b - 1)·max(l, e) + e, a saving of b·min(l, e) - α with α = min(l, e)."""
    b = 6
    kernel = ConcurrentLoading(blocks=b, resident=0, steps=1)
    overlapped = timeline(kernel, lambda name: load if "load" in name else run)
    assert overlapped == load + (b - 1) * max(load, run) + run
    assert b * (load + run) - overlapped == pytest.approx((b - 1) * min(load, run))


def test_resident_blocks_save_the_loads_that_compute_cannot_hide():
    times = [
        timeline(ConcurrentLoading(blocks=6, resident=d, steps=5), lambda name: 3.0 if "load" in name else 1.0)
        for d in (0, 2)
    ]
    assert times[0] - times[1] == pytest.approx(4 * 2 * 3.0, rel=0.2)


def test_expert_cache_as_large_as_the_experts_copies_each_once():
    kernel = ExpertCache(slots=12)
    outcome, trace = record(kernel)
    used = {name for name in trace.objects.names if name.startswith("ddr") and name in _touched(trace)}
    assert outcome.counts["misses"] == len(used)
    assert record(replace(kernel, slots=1))[0].counts["misses"] > outcome.counts["misses"]


def _touched(trace) -> set[str]:
    return {trace.objects.names[i] for i in np.unique(trace.accesses.objects)}


def test_swapping_needs_room_for_the_longest_sequence():
    with pytest.raises(ValueError, match="does not fit"):
        record(PagedSwap(prompts=(6, 6), new_tokens=30, device_blocks=5, block_tokens=4))
    assert record(PagedSwap(device_blocks=100))[0].counts["swapped_blocks"] == 0


def test_block_pool_never_gives_a_block_twice():
    pool = BlockPool(5, np.random.default_rng(0))
    first = pool.take(3)
    assert len({*first, *pool.take(2)}) == 5
    with pytest.raises(ValueError, match="1 blocks are wanted, 0 are free"):
        pool.take(1)
    pool.give_back(first)
    assert sorted(pool.take(3)) == sorted(first)
    assert num_blocks(17, 16) == 2
    assert table_of([[4], [1, 2]]).tolist() == [[4, -1], [1, 2]]


def test_injected_memory_skips_its_prefill():
    kernel = KvInjection()
    _, trace = record(kernel)
    layer = [op for op, name in enumerate(trace.ops.names) if name.startswith("query 0 layer")]
    built = [op for op, name in enumerate(trace.ops.names) if name.startswith("build layer")]
    assert trace.ops.flops[layer].sum() < 0.5 * trace.ops.flops[built].sum()
    reads = (trace.accesses.objects == trace.objects.names.index("kv_store")) & ~trace.accesses.is_write
    assert (trace.accesses.num_bytes[reads] == 2 * 64 * 32 * 4).all()  # one run per layer


def test_trimming_pays_with_a_second_prefill():
    long, trimmed = AgentSession(limit=10**6), AgentSession()
    new = [sum(p.new for p in kernel.passes()) for kernel in (long, trimmed)]
    cached = [max(p.cached for p in kernel.passes()) for kernel in (long, trimmed)]
    assert new[1] > new[0]
    assert cached[1] < trimmed.limit < cached[0]


def test_flexgen_weights_cross_once_per_block_of_batches():
    one, many = (traffic(record(Flexgen(batches=n))[1]) for n in (1, 4))
    assert one["host_weights"] == many["host_weights"]
    assert many["host_kv"].read_bytes == 4 * one["host_kv"].read_bytes


def test_memo_buffers_are_handed_over_in_turn():
    """Layer i + 2 is computed after layer i left; layer i is fetched after layer i + 2's backward released the buffer."""
    ops = record(MemoSwap(layers=5))[1].ops
    number = {name: op for op, name in enumerate(ops.names)}
    for layer in range(3):
        assert number[f"offload {layer}"] in ops.waits_for(number[f"forward {layer + 2}"])
        assert number[f"backward {layer + 2}"] in ops.waits_for(number[f"prefetch {layer}"])
