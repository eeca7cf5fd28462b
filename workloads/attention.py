"""Attention arithmetic that the kernels share: the dense float64 reference, the online softmax, and random operands.

Letters: H query heads, G key-value heads (H a multiple of G), T tokens, D head size, P bytes per stored value.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]


def dense_attention(q: Float, k: Float, v: Float, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """softmax(q kᵀ / sqrt(D)) v in float64: the reference of every attention kernel.

    Args:
        q: [H, Tq, D].
        k: [G, Tk, D]; query heads h*H/G ... share key-value head h.
        v: [G, Tk, Dv].
        allowed: bool, broadcast to [H, Tq, Tk]; False hides a key from a query. A query that sees nothing gives 0.
    """
    heads, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    seen = None if allowed is None else np.broadcast_to(allowed, (heads, queries, keys))
    out = np.zeros((heads, queries, v.shape[-1]))
    rows = max(1, _MOST_SCORES // max(keys, 1))
    for head in range(heads):
        own = head * k.shape[0] // heads
        head_keys, head_values = k[own].astype(np.float64), v[own].astype(np.float64)
        for first in range(0, queries, rows):
            part = slice(first, first + rows)
            scores = q[head, part].astype(np.float64) @ head_keys.T / np.sqrt(q.shape[-1])
            if seen is not None:
                scores = np.where(seen[head, part], scores, -np.inf)
            out[head, part] = softmax(scores) @ head_values
    return out


_MOST_SCORES = 1 << 22
"""Scores that are held at once: 32 MiB in float64."""


def softmax(scores: Float) -> Float:
    """Softmax over the last axis; a row of -inf gives zeros."""
    top = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def causal(num_queries: int, num_keys: int) -> NDArray[np.bool_]:
    """bool[Tq, Tk]: the queries are the last tokens of the keys, and see themselves and what lies before."""
    return np.arange(num_keys)[None, :] <= np.arange(num_keys - num_queries, num_keys)[:, None]


class OnlineSoftmax:
    """Attention output of a tile of queries, built key tile by key tile in float32 (Milakov and Gimelshein 2018).

    Invariant: `total` and `weighted` are sums over the keys seen so far of exp(score - top) and of that times value.
    """

    def __init__(self, rows: tuple[int, ...], value_size: int):
        self.top: NDArray[Any] = np.full((*rows, 1), -np.inf, np.float32)
        self.total: NDArray[Any] = np.zeros((*rows, 1), np.float32)
        self.weighted: NDArray[Any] = np.zeros((*rows, value_size), np.float32)

    def add(self, scores: Float, values: Float) -> None:
        """Take in a tile: scores [..., R, C] (already scaled, -inf where hidden), values [..., C, Dv]."""
        top = np.maximum(self.top, scores.max(axis=-1, keepdims=True))
        base = np.where(np.isfinite(top), top, np.float32(0))
        keep = np.exp(self.top - base)
        weights = np.exp(scores - base)
        self.total = self.total * keep + weights.sum(axis=-1, keepdims=True)
        self.weighted = self.weighted * keep + weights @ values
        self.top = top

    def result(self) -> NDArray[Any]:
        """[..., R, Dv]; zeros for rows that saw no key."""
        return self.weighted / np.where(self.total == 0, np.float32(1), self.total)


def scores_f32(q: Float, k: Float) -> NDArray[np.float32]:
    """q kᵀ / sqrt(D) in float32 for q [..., R, D], k [..., C, D]."""
    return (q.astype(np.float32) @ k.astype(np.float32).swapaxes(-1, -2)) / np.float32(np.sqrt(q.shape[-1]))


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float16") -> NDArray:
    """Standard normal values, rounded once to the stored type."""
    return rng.standard_normal(shape).astype(dtype)
