"""The synthetic needle task: does a sparse attention still find the one key that matters?

Keys and queries are random; each needle query has one key that points its way, strong enough that dense attention puts
over 90 % of its weight there. Recall is the share of needles whose value comes out. The task is ours: it bounds what
sparsity costs in the clearest case, and says nothing of a trained model's accuracy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRENGTH = 1.5
"""Needle key = STRENGTH times its query. At D = 64 the score is about 12, against 7.4 for 1024 random keys together."""
FOUND_COSINE = 0.9


@dataclass(frozen=True, eq=False)
class NeedleTask:
    """Operands with planted needles."""

    q: NDArray[np.float32]
    """[H, Tq, D]."""
    k: NDArray[np.float32]
    """[G, Tk, D]."""
    v: NDArray[np.float32]
    """[G, Tk, D]."""
    heads: NDArray[np.int64]
    """int64[N], query head of each needle."""
    queries: NDArray[np.int64]
    """int64[N], query position of each needle."""
    positions: NDArray[np.int64]
    """int64[N], key position of each needle."""

    def recall(self, out: NDArray[np.floating]) -> float:
        """Share of needles that `out` [H, Tq, D] brings back: its direction is the needle's value."""
        group = self.q.shape[0] // self.k.shape[0]
        got = out[self.heads, self.queries].astype(np.float64)
        wanted = self.v[self.heads // group, self.positions].astype(np.float64)
        lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
        cosine = (got * wanted).sum(axis=1) / np.where(lengths == 0, 1, lengths)
        return float((cosine > FOUND_COSINE).mean())


def decode_needles(
    rng: np.random.Generator, num_heads: int, num_kv_heads: int, tokens: int, size: int, width: int = 1
) -> NeedleTask:
    """One query per head at the end of the text; every head has its own needle somewhere before.

    With a `width` above 1 the keys and values next to the needle are the needle's too: text whose neighbours resemble
    each other, on which tree searches rely.
    """
    q = _queries(rng, (num_heads, 1, size))
    k, v = (rng.standard_normal((num_kv_heads, tokens, size)).astype(np.float32) for _ in range(2))
    group = num_heads // num_kv_heads
    positions = np.concatenate([rng.choice(tokens, group, replace=False) for _ in range(num_kv_heads)])
    heads = np.arange(num_heads)
    for head, position in zip(heads, positions, strict=True):
        near = slice(max(0, position - width // 2), position + (width + 1) // 2)
        k[head // group, near] = STRENGTH * q[head, 0]
        v[head // group, near] = v[head // group, position]
    return NeedleTask(q, k, v, heads, np.zeros(num_heads, np.int64), positions)


def prefill_needles(rng: np.random.Generator, num_heads: int, tokens: int, size: int, num_needles: int) -> NeedleTask:
    """Self-attention over the whole text; in every head the last `num_needles` tokens look for an earlier one each."""
    q = _queries(rng, (num_heads, tokens, size))
    k, v = (rng.standard_normal((num_heads, tokens, size)).astype(np.float32) for _ in range(2))
    positions = np.stack([rng.choice(tokens - num_needles, num_needles, replace=False) for _ in range(num_heads)])
    queries = np.arange(tokens - num_needles, tokens)
    for head in range(num_heads):
        k[head, positions[head]] = STRENGTH * q[head, queries]
    return NeedleTask(
        q, k, v, np.repeat(np.arange(num_heads), num_needles), np.tile(queries, num_heads), positions.ravel()
    )


def _queries(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Random directions of length sqrt(D), so that every needle is equally strong."""
    q = rng.standard_normal(shape)
    return (q / np.linalg.norm(q, axis=-1, keepdims=True) * np.sqrt(shape[-1])).astype(np.float32)
