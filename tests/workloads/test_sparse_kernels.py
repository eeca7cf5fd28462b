"""What sparse and constant-state kernels buy and lose, beyond the contract that every kernel meets."""

from dataclasses import replace

import numpy as np
import pytest

from tiergarten.workloads.attention import OnlineSoftmax, causal, dense_attention, softmax
from tiergarten.workloads.block_diffusion import DELIMITER, MASK, predictions
from tiergarten.workloads.kernel import KERNELS, record
from tiergarten.workloads.kernels.adaptive_block import AdaptiveBlock
from tiergarten.workloads.kernels.block_diffusion import BlockDiffusion
from tiergarten.workloads.kernels.dynamic_mask import DynamicMask
from tiergarten.workloads.kernels.flash_moba import FlashMoba
from tiergarten.workloads.kernels.hip import Hip
from tiergarten.workloads.kernels.linear_attention import LinearAttention
from tiergarten.workloads.kernels.mamba_scan import scan
from tiergarten.workloads.kernels.mla_decode import MlaDecode
from tiergarten.workloads.kernels.moba import Moba
from tiergarten.workloads.kernels.moba_reordered import MobaReordered
from tiergarten.workloads.kernels.pyramid_sparse import PyramidSparse
from tiergarten.workloads.kernels.quest import Quest
from tiergarten.workloads.kernels.titans_memory import memory_gradient
from tiergarten.workloads.kernels.vattention_decode import VattentionDecode
from tiergarten.workloads.needle import decode_needles, prefill_needles
from tiergarten.workloads.recorders.kernel import NullRecorder
from tiergarten.workloads.selection import levels_by_importance, pool_blocks, top_k
from tiergarten.workloads.traffic import traffic


def read_bytes(kernel, *names: str) -> int:
    moved = traffic(record(kernel)[1])
    return sum(moved[name].read_bytes for name in names)


# --- shared arithmetic ------------------------------------------------------------------------------------------------


def test_online_softmax_is_softmax_in_any_tiling():
    rng = np.random.default_rng(0)
    scores, values = (
        rng.standard_normal((3, 10)).astype(np.float32) * 20,
        rng.standard_normal((10, 4)).astype(np.float32),
    )
    state = OnlineSoftmax((3,), 4)
    for start, stop in ((0, 1), (1, 4), (4, 10)):
        state.add(scores[:, start:stop], values[start:stop])
    assert state.result() == pytest.approx(softmax(scores.astype(np.float64)) @ values, rel=1e-5)


def test_query_that_sees_nothing_gives_zero():
    one = np.ones((1, 2, 3))
    assert (dense_attention(one, one, one, np.zeros((1, 2, 2), bool)) == 0).all()
    state = OnlineSoftmax((2,), 3)
    state.add(np.full((2, 2), -np.inf, np.float32), np.ones((2, 3), np.float32))
    assert (state.result() == 0).all()


def test_causal_queries_are_the_last_tokens():
    assert causal(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


def test_top_k_takes_the_lower_index_of_a_tie():
    assert top_k(np.array([1.0, 3.0, 3.0, 2.0, 3.0]), 2).tolist() == [1, 2]
    assert top_k(np.array([1.0]), 5).tolist() == [0]


def test_pooling_leaves_out_the_last_part_block():
    assert pool_blocks(np.arange(10.0)[:, None], 4).ravel().tolist() == [1.5, 5.5]


def test_levels_follow_cumulative_importance():
    # weights 0.5, 0.3, 0.15, 0.05: before each lie 0, 0.5, 0.8, 0.95 of the total
    weights = np.array([[0.05, 0.5, 0.15, 0.3]])
    assert levels_by_importance(weights, (0.3, 0.6, 0.9)).tolist() == [[0, 1, 3, 2]]


# --- the needle task --------------------------------------------------------------------------------------------------


def test_dense_attention_finds_every_needle_and_window_of_noise_none():
    rng = np.random.default_rng(1)
    decode = decode_needles(rng, 16, 4, 1024, 64)
    assert decode.recall(dense_attention(decode.q, decode.k, decode.v)) == 1.0
    prefill = prefill_needles(rng, 2, 256, 64, 16)
    assert prefill.recall(dense_attention(prefill.q, prefill.k, prefill.v, causal(256, 256))) == 1.0
    assert prefill.recall(rng.standard_normal(prefill.q.shape)) < 0.1
    assert prefill.recall(np.zeros(prefill.q.shape)) == 0.0


@pytest.mark.parametrize(
    "kernel",
    [
        Moba(tokens=96, block=8, top_k=12),
        FlashMoba(tokens=96, block=8, top_k=12),
        MobaReordered(tokens=96, block=8, top_k=12),
        Quest(tokens=64, page=8, top_pages=8),
        DynamicMask(tokens=64, keep=64),
        PyramidSparse(thresholds=(2.0, 2.0, 2.0, 2.0)),
        Hip(tokens=64, keep=64, steps=1),
    ],
)
def test_kernel_that_keeps_everything_finds_everything(kernel):
    assert record(kernel)[0].recall == 1.0


def test_recall_is_bought_with_bytes():
    """More blocks, more found: the honest price of sparsity on the needle task."""
    few, more = (Moba(tokens=256, block=16, top_k=k, head_dim=32) for k in (2, 8))
    assert record(few)[0].recall < record(more)[0].recall
    assert read_bytes(few, "k", "v") < read_bytes(more, "k", "v")


def test_mask_that_ignores_the_query_finds_needles_by_chance():
    found = [record(replace(DynamicMask(), keep=64), seed)[0].recall for seed in range(6)]
    assert np.mean(found) == pytest.approx(64 / 512, abs=0.12)


def test_hip_finds_what_its_neighbours_announce():
    """A needle as wide as the coarsest chunk is found; one that stands alone mostly is not."""
    kernel = Hip()
    rng = np.random.default_rng(2)
    chunk = kernel.tokens * kernel.block_k // kernel.keep
    recalls = []
    for width in (1, chunk):
        task = decode_needles(rng, 24, 1, kernel.tokens, kernel.head_dim, width)
        found = [kernel._decode(NullRecorder(), query, task.k[0], task.v[0])[0] for query in task.q]
        recalls.append(task.recall(np.array(found)))
    assert recalls[0] < 0.6
    assert recalls[1] > 0.9


# --- bytes that the papers state ---------------------------------------------------------------------------------------


def test_vattention_maps_what_its_formula_says():
    """Tokens per group for 4 heads of 128 in 16 bits: 64 at 64 KB, 2048 at 2 MB (Sec. 5 of the paper)."""
    yi = VattentionDecode(num_kv_heads=4, head_dim=128)
    assert replace(yi, group_bytes=64 * 1024).group_tokens == 64
    assert replace(yi, group_bytes=2 * 1024 * 1024).group_tokens == 2048
    for kernel in VattentionDecode.examples():
        outcome, trace = record(kernel)
        tokens = kernel.prompt_tokens + kernel.steps
        groups = 2 * kernel.num_layers * -(-tokens // kernel.group_tokens)
        assert outcome.counts["mapped_groups"] == groups
        physical = [
            size for name, size in zip(trace.objects.names, trace.objects.num_bytes, strict=True) if name != "out"
        ]
        assert sum(physical) == groups * kernel.group_tokens * kernel.num_kv_heads * kernel.head_dim * 2


def test_vattention_decode_maps_at_most_one_group_per_tensor_and_step():
    _, trace = record(VattentionDecode.examples()[1])
    per_op = np.bincount(trace.birth_ops[trace.birth_ops > 0])
    assert per_op.max() == 2 * VattentionDecode.examples()[1].num_layers


def test_latent_cache_is_read_once_for_all_heads():
    small, large = (MlaDecode(num_heads=heads) for heads in (2, 16))
    assert read_bytes(small, "latent_cache") == read_bytes(large, "latent_cache") == 300 * (128 + 32) * 2


def test_moba_sparsity_is_one_minus_kb_over_t():
    """MoBA at 1M tokens, block 4096, k = 12: 95.31 % (paper); the last query reads k blocks less its own unread part."""
    assert 1 - 12 * 4096 / 2**20 == pytest.approx(0.9531, abs=5e-5)
    kernel = Moba(num_heads=1, tokens=512, block=32, top_k=3)
    _, trace = record(kernel)
    last = trace.accesses.ops == len(trace.ops) - 1
    k = trace.accesses.objects == trace.objects.names.index("k")
    assert trace.accesses.num_bytes[last & k].sum() == 3 * 32 * kernel.row_bytes


def test_flash_moba_has_no_reordered_copies():
    """The first implementation's extra buffers grow with k; FlashMoBA reads keys once and keeps one state per query."""
    shape = {"num_heads": 1, "tokens": 256, "block": 16, "top_k": 8}
    first, flash = record(MobaReordered(**shape))[1], record(FlashMoba(**shape))[1]

    def intermediates(trace) -> int:
        known = {"q", "k", "v", "centroids", "out"}
        return sum(
            int(n) for name, n in zip(trace.objects.names, trace.objects.num_bytes, strict=True) if name not in known
        )

    assert intermediates(first) > 5 * intermediates(flash)
    assert traffic(flash)["v"].read_bytes == 256 * 64 * 2


def test_pyramid_stores_1_875_times_the_keys():
    _, trace = record(PyramidSparse())
    sizes = dict(zip(trace.objects.names, trace.objects.num_bytes.tolist(), strict=True))
    keys = sum(size for name, size in sizes.items() if name.startswith("k"))
    assert keys / sizes["k"] == 1.875


def test_linear_attention_state_does_not_grow():
    short, long = (record(LinearAttention(num_blocks=n))[1] for n in (2, 9))
    sizes = [dict(zip(t.objects.names, t.objects.num_bytes.tolist(), strict=True))["state"] for t in (short, long)]
    assert sizes[0] == sizes[1] == 4 * (32**2 + 32) * 4
    assert traffic(long)["state"].read_bytes * 2 == traffic(short)["state"].read_bytes * 9


# --- constant state ----------------------------------------------------------------------------------------------------


def test_scan_equals_its_python_function():
    rng = np.random.default_rng(3)
    shapes = ((5, 3), (5, 3), (7, 5), (7, 5), (7, 3), (7, 3))
    state, decay, x, step, b, c = (rng.random(shape) for shape in shapes)
    compiled, plain = state.copy(), state.copy()
    assert scan(compiled, -decay, x, step, b, c) == pytest.approx(scan.py_func(plain, -decay, x, step, b, c))
    assert compiled == pytest.approx(plain)


def test_titans_gradient_by_finite_differences():
    rng = np.random.default_rng(4)
    w1, w2, k, v = (rng.standard_normal(shape) for shape in ((6, 3), (3, 6), (5, 3), (5, 3)))

    def loss() -> float:
        hidden = k @ w1.T
        return 0.5 * (((hidden / (1 + np.exp(-hidden))) @ w2.T - v) ** 2).sum() / len(k)

    for weights, gradient in zip((w1, w2), memory_gradient(w1, w2, k, v), strict=True):
        for index in np.ndindex(weights.shape):
            weights[index] += 1e-6
            up = loss()
            weights[index] -= 2e-6
            down = loss()
            weights[index] += 1e-6
            assert gradient[index] == pytest.approx((up - down) / 2e-6, abs=1e-7)


# --- block diffusion ---------------------------------------------------------------------------------------------------


def test_one_token_a_step_takes_as_many_steps_as_tokens():
    outcome, _ = record(BlockDiffusion(threshold=2.0, new_tokens=24, block=16))
    assert outcome.counts["steps"] == 24
    # the first step of each sub-block of 8 recomputes its block (16, 16, 8), the other seven 8 tokens
    assert outcome.counts["computed"] == 16 + 16 + 8 + 3 * 7 * 8
    # two blocks: prefix 48 for 16 steps, 64 for 8
    assert outcome.counts["prefix_rows"] == 48 * 16 + 64 * 8


def test_low_threshold_keeps_a_sub_block_a_step():
    outcome, _ = record(BlockDiffusion(threshold=0.0, new_tokens=32, block=16))
    assert outcome.counts["steps"] == 32 / 8


def test_kv_of_a_block_is_written_once():
    moved = traffic(record(BlockDiffusion())[1])
    assert moved["prefix_k"].written_bytes == (48 + 64) * 32 * 4


def test_mask_is_never_predicted():
    assert predictions(np.zeros((2, 5), np.float32))[:, MASK].tolist() == [0, 0]


def test_adaptive_blocks_end_at_confident_delimiters():
    never = record(AdaptiveBlock(new_tokens=64, delimiter_confidence=2.0))[0].counts["commits"]
    assert never == 1 + 2  # the prompt and two blocks of 32
    often = AdaptiveBlock(new_tokens=64, vocabulary=4, delimiter_confidence=0.0)
    lengths = [record(often, seed)[0].counts["commits"] - 1 for seed in range(5)]
    assert max(lengths) > 2
    assert DELIMITER != MASK


def test_all_kernels_for_sparse_attention_state_their_recall():
    sparse = {"moba", "moba_reordered", "flash_moba", "hip", "quest", "dynamic_mask", "pyramid_sparse", "native_sparse",
              "sparse_indexer", "routing_transformer", "sliding_window"}  # fmt: skip
    for name in sparse:
        recall = record(KERNELS.get(name).examples()[0])[0].recall
        assert recall is not None
        assert 0 <= recall <= 1
