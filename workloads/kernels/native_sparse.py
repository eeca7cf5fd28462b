"""Decode with Native Sparse Attention (NSA, arXiv 2502.11089): compressed, selected and sliding keys."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import dense_attention, normal, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import decode_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import pool_blocks, top_k
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("native_sparse")
@dataclass(frozen=True)
class NativeSparse:
    """One decode step of three branches: compressed blocks, the n blocks those like best, and a sliding window.

    The paper's: three branches combined by gates; the compression branch's attention weights choose the blocks, summed
    over the heads of a group so that they share what is read. Derived by us: per key-value head 2·(T/B + n·B + W)·D·P.
    Ours: compression is the mean of a block (the paper trains a small network, with overlapping blocks), selection and
    compression blocks are equal, gates are given, the text is whole blocks.
    """

    num_heads: int = 8
    num_kv_heads: int = 2
    tokens: int = 512
    head_dim: int = 64
    block: int = 32
    top_blocks: int = 4
    window: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(1)

    @classmethod
    def examples(cls) -> list["NativeSparse"]:
        """Few blocks of many, all blocks, and a window longer than the text."""
        return [
            cls(),
            cls(tokens=128, top_blocks=4, window=10, head_dim=32),
            cls(num_heads=2, tokens=64, block=8, top_blocks=2, window=100, dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against the gated sum of three dense attentions in float64."""
        rng = stream(seed, "native_sparse")
        q = normal(rng, (self.num_heads, self.head_dim), self.dtype)
        k, v = (normal(rng, (self.num_kv_heads, self.tokens, self.head_dim), self.dtype) for _ in range(2))
        gates = rng.random((self.num_heads, 3)).astype(np.float32)
        select_only = np.tile(np.array([0, 1, 0], np.float32), (self.num_kv_heads, 1))
        task = decode_needles(rng, self.num_kv_heads, self.num_kv_heads, self.tokens, self.head_dim)
        found = task.recall(self._attend(NullRecorder(), task.q[:, 0], (task.k, task.v), select_only)[:, None])
        return Outcome(self._attend(recorder, q, (k, v), gates), self._reference(q, k, v, gates), recall=found)

    def _attend(self, recorder: AnyRecorder, q: Array, kv: tuple[Array, Array], gates: Array) -> Array:
        names = (("k", kv[0]), ("v", kv[1]))
        k, v = (recorder.array(name, rows, Role.KV) for name, rows in names)
        pooled_k, pooled_v = (
            recorder.array(f"{name}_compressed", pool_blocks(rows, self.block), Role.KV) for name, rows in names
        )
        gates = recorder.array("gates", gates, Role.ACTIVATION)
        q = recorder.array("q", q, Role.ACTIVATION)
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        group = q.shape[0] // self.num_kv_heads
        for head in range(self.num_kv_heads):
            mine = slice(head * group, (head + 1) * group)
            with recorder.op(f"head {head} compress", 4.0 * group * self.tokens // self.block * self.head_dim):
                queries = q[mine].astype(np.float32)
                weights = softmax(self._scores(queries, pooled_k[head]))
                branches = [weights @ pooled_v[head].astype(np.float32)]
                blocks = top_k(weights.sum(axis=0), self.top_blocks)
            chosen = (blocks[:, None] * self.block + np.arange(self.block)).ravel()
            with recorder.op(f"head {head} select", 4.0 * group * len(chosen) * self.head_dim):
                keys, values = (rows[np.full(len(chosen), head), chosen] for rows in (k, v))
                branches.append(softmax(self._scores(queries, keys)) @ values.astype(np.float32))
            start = max(0, self.tokens - self.window)
            with recorder.op(f"head {head} slide", 4.0 * group * (self.tokens - start) * self.head_dim):
                scores = self._scores(queries, k[head, start:])
                branches.append(softmax(scores) @ v[head, start:].astype(np.float32))
                out[mine] = (gates[mine].T[:, :, None] * np.array(branches)).sum(axis=0)
        return plain(out)

    def _scores(self, queries: Array, keys: Array) -> Array:
        return queries @ keys.astype(np.float32).T / np.float32(np.sqrt(self.head_dim))

    def _reference(self, q: Array, k: Array, v: Array, gates: Array) -> Array:
        group = self.num_heads // self.num_kv_heads
        pooled_k, pooled_v = (pool_blocks(rows, self.block).astype(np.float64) for rows in (k, v))
        queries = q[:, None].astype(np.float64)
        weights = softmax(queries[:, 0, None] @ np.repeat(pooled_k, group, 0).swapaxes(1, 2) / np.sqrt(self.head_dim))
        shared = weights[:, 0].reshape(self.num_kv_heads, group, -1).sum(axis=1)
        chosen = np.zeros(shared.shape, bool)
        for head in range(self.num_kv_heads):
            chosen[head, np.argsort(-shared[head], kind="stable")[: self.top_blocks]] = True
        selected = np.repeat(np.repeat(chosen, self.block, axis=1), group, axis=0)[:, None]
        recent = np.arange(self.tokens) >= self.tokens - self.window
        branches = [
            dense_attention(queries, pooled_k, pooled_v),
            dense_attention(queries, k, v, selected),
            dense_attention(queries, k, v, recent[None, None]),
        ]
        return np.sum([gates[:, [i]].astype(np.float64) * branch[:, 0] for i, branch in enumerate(branches)], axis=0)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Per key-value head: T/B compressed rows, n·B selected ones, W recent ones, of keys and values each."""
        row, heads = self.head_dim * np.dtype(self.dtype).itemsize, self.num_kv_heads
        blocks = self.tokens // self.block
        rows = heads * (min(self.top_blocks, blocks) * self.block + min(self.window, self.tokens)) * row
        return {
            "q": Traffic(self.num_heads * row),
            "k_compressed": Traffic(heads * blocks * row),
            "v_compressed": Traffic(heads * blocks * row),
            "k": Traffic(rows),
            "v": Traffic(rows),
            "gates": Traffic(self.num_heads * 12),
            "out": Traffic(0, self.num_heads * self.head_dim * 4),
        }
