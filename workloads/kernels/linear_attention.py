"""Block linear attention with a constant-size state, as in SANA-Video (arXiv 2509.24695)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import normal
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

EPSILON = 1.0
"""Added to the normaliser, so that a query that likes no key gives zero (our choice)."""


@KERNELS.register("linear_attention")
@dataclass(frozen=True)
class LinearAttention:
    """Video blocks in sequence over a running sum of KᵀV, its normaliser and one remembered token.

    The paper's: relu features, a D×D running sum and a normaliser per head, updated once per block, and the last token
    kept for the temporal convolution. Derived: state H·(D² + D)·P, constant in length, read and written once per block.
    Ours: the state is float32; the convolution is v_t + c·v_{t-1} with one c per channel; a block sees itself whole.
    """

    num_heads: int = 4
    head_dim: int = 32
    block: int = 64
    num_blocks: int = 4
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.block * self.num_blocks)

    @classmethod
    def examples(cls) -> list["LinearAttention"]:
        """Several blocks, one block, blocks of one token."""
        return [cls(), cls(num_heads=1, head_dim=64, num_blocks=1), cls(block=1, num_blocks=5, dtype="float32")]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against block-causal attention with an explicit T×T matrix of feature products in float64."""
        rng = stream(seed, "linear_attention")
        tokens = self.block * self.num_blocks
        shape = (self.num_heads, tokens, self.head_dim)
        q, k, v = (recorder.array(name, normal(rng, shape, self.dtype), Role.ACTIVATION) for name in ("q", "k", "v"))
        conv = recorder.array("conv", rng.standard_normal(self.head_dim).astype(np.float32), Role.WEIGHT)
        # rows 0 to D-1: KᵀV, row D: the normaliser
        state_shape = (self.num_heads, self.head_dim + 1, self.head_dim)
        state = recorder.array("state", np.zeros(state_shape, np.float32), Role.KV)
        last = recorder.array("last_token", np.zeros((self.num_heads, self.head_dim), np.float32), Role.KV)
        out = recorder.array("out", np.zeros(shape, np.float32), Role.ACTIVATION)
        for block in range(self.num_blocks):
            self._block(recorder, (q, k, v, conv, state, last, out), block)
        return Outcome(plain(out), self._reference(plain(q), plain(k), plain(v), plain(conv)))

    def _block(self, recorder: AnyRecorder, arrays: tuple, block: int) -> None:
        q, k, v, conv, state, last, out = arrays
        here = slice(block * self.block, (block + 1) * self.block)
        with recorder.op(f"block {block}", 4.0 * self.num_heads * self.block * self.head_dim**2):
            features_q, features_k = (np.maximum(rows[:, here].astype(np.float32), 0) for rows in (q, k))
            values = v[:, here].astype(np.float32)
            before = np.concatenate([last[:][:, None], values[:, :-1]], axis=1)
            mixed = values + conv[:] * before
            last[:] = values[:, -1]
            sums = state[:]
            sums[:, :-1] += features_k.swapaxes(1, 2) @ mixed
            sums[:, -1] += features_k.sum(axis=1)
            state[:] = sums
            weight = (features_q * sums[:, None, -1]).sum(axis=-1, keepdims=True)
            out[:, here] = features_q @ sums[:, :-1] / (weight + np.float32(EPSILON))

    def _reference(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, conv: np.ndarray) -> np.ndarray:
        number = np.arange(q.shape[1]) // self.block
        seen = number[:, None] >= number[None, :]
        q, k, v = (rows.astype(np.float64) for rows in (q, k, v))
        return np.stack([_dense(q[head], k[head], v[head], conv, seen) for head in range(self.num_heads)])

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """State once in and once out per block, whatever came before; tokens once."""
        values = self.num_heads * self.block * self.num_blocks * self.head_dim
        tokens = Traffic(values * np.dtype(self.dtype).itemsize)
        state = self.num_blocks * self.num_heads * (self.head_dim**2 + self.head_dim) * 4
        last = self.num_blocks * self.num_heads * self.head_dim * 4
        return {
            "q": tokens,
            "k": tokens,
            "v": tokens,
            "conv": Traffic(self.num_blocks * self.head_dim * 4),
            "state": Traffic(state, state),
            "last_token": Traffic(last, last),
            "out": Traffic(0, values * 4),
        }


def _dense(q: np.ndarray, k: np.ndarray, v: np.ndarray, conv: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """One head: [T, D] from all products of features, a T×T matrix."""
    products = np.maximum(q, 0) @ np.maximum(k, 0).T * seen
    mixed = v.copy()
    mixed[1:] += conv * v[:-1]
    return products @ mixed / (products.sum(axis=-1, keepdims=True) + EPSILON)
