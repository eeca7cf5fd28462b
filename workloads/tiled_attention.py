"""Tiled prefill attention over a span of visible keys: FlashAttention's loop, for the dense and windowed kernels."""

from collections.abc import Callable

import numpy as np

from tiergarten.workloads.attention import OnlineSoftmax, scores_f32
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, RecordedArray

Operand = RecordedArray | Array


def span_attention(
    recorder: AnyRecorder,
    operands: tuple[Operand, Operand, Operand, Operand],
    tiles: tuple[int, int],
    first_key: Callable[[int], int],
) -> None:
    """Causal attention in which query t sees the keys from `first_key(t)` to t, a rising function of t.

    One operation per key-value head and query tile: the query heads of a group share what is read. Keys and values
    come in tiles of `tiles[1]`, from the first key that any query of the tile sees to the last.

    Args:
        recorder: where the operations go.
        operands: q [H, T, D], k and v [G, T, D], out [H, T, D].
        tiles: query tokens and key tokens of a tile.
        first_key: first visible key of a query.
    """
    q, k, v, out = operands
    (num_heads, tokens, size), num_kv_heads = q.shape, k.shape[0]
    group, (tile_q, tile_k) = num_heads // num_kv_heads, tiles
    for kv_head in range(num_kv_heads):
        heads = slice(kv_head * group, (kv_head + 1) * group)
        for start in range(0, tokens, tile_q):
            stop = min(start + tile_q, tokens)
            begin = first_key(start)
            flops = 4.0 * group * (stop - start) * (stop - begin) * size
            with recorder.op(f"attention head {kv_head} queries {start}", flops):
                queries = q[heads, start:stop]
                softmax = OnlineSoftmax((group, stop - start), size)
                row = np.arange(start, stop)[:, None]
                lowest = np.array([first_key(t) for t in range(start, stop)])[:, None]
                for key in range(begin, stop, tile_k):
                    end = min(key + tile_k, stop)
                    column = np.arange(key, end)[None, :]
                    scores = scores_f32(queries, k[kv_head, key:end])
                    seen = (column <= row) & (column >= lowest)
                    softmax.add(np.where(seen, scores, np.float32(-np.inf)), v[kv_head, key:end].astype(np.float32))
                out[heads, start:stop] = softmax.result()


def span_keys(tokens: int, tile_q: int, first_key: Callable[[int], int]) -> int:
    """Keys that `span_attention` reads per key-value head: over all query tiles, first visible to last."""
    return sum(min(start + tile_q, tokens) - first_key(start) for start in range(0, tokens, tile_q))
