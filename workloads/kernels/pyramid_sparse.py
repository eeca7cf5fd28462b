"""Pyramid Sparse Attention (PSA): key blocks are read at a resolution that fits their importance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import OnlineSoftmax, normal, scores_f32, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import prefill_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import levels_by_importance, pool_blocks
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

NUM_LEVELS = 4


@KERNELS.register("pyramid_sparse")
@dataclass(frozen=True)
class PyramidSparse:
    """Bidirectional attention over a key-value pyramid of four mean-pooled levels, one level per pair of blocks.

    The paper's: four levels by pooling pairs, levels from cumulative importance thresholds, (h-1)·ln 2 added to pooled
    logits. Derived: Σ over pairs of 2·b_k·D·P/2^(h-1); storage 1.875 times the KV. Ours: importance is the softmax over
    key blocks of mean query times mean key; levels are float64 means rounded to the cache's type; tokens stay in order.
    """

    num_heads: int = 2
    tokens: int = 256
    head_dim: int = 64
    block_q: int = 64
    block_k: int = 32
    thresholds: tuple[float, float, float, float] = (0.3, 0.5, 0.7, 0.9)
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["PyramidSparse"]:
        """Several block shapes; one with everything at full resolution, which is dense attention."""
        return [
            cls(),
            cls(num_heads=1, tokens=128, head_dim=32, block_q=16, block_k=8),
            cls(tokens=64, thresholds=(2.0, 2.0, 2.0, 2.0), dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against float64 attention over the keys repeated as often as their level pools them."""
        rng = stream(seed, "pyramid_sparse")
        q, k, v = (normal(rng, (self.num_heads, self.tokens, self.head_dim), self.dtype) for _ in range(3))
        task = prefill_needles(rng, self.num_heads, self.tokens, self.head_dim, 16)
        found = task.recall(self._attend(NullRecorder(), task.q, task.k, task.v)[0])
        result, levels = self._attend(recorder, q, k, v)
        rows = {f"level_{h}_blocks": int((levels == h).sum()) for h in range(1, NUM_LEVELS + 1)}
        return Outcome(result, self._reference(q, k, v), rows, recall=found)

    def _attend(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
        q = recorder.array("q", q, Role.ACTIVATION)
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        keys, values = [recorder.array("k", k, Role.KV)], [recorder.array("v", v, Role.KV)]
        for h in range(1, NUM_LEVELS):
            shape = (self.num_heads, self.tokens >> h, self.head_dim)
            keys.append(recorder.array(f"k_pooled[{h + 1}]", np.zeros(shape, self.dtype), Role.KV))
            values.append(recorder.array(f"v_pooled[{h + 1}]", np.zeros(shape, self.dtype), Role.KV))
        all_levels = []
        for head in range(self.num_heads):
            for h in range(1, NUM_LEVELS):
                with recorder.op(f"head {head} pool level {h + 1}", 2.0 * (self.tokens >> h) * self.head_dim):
                    keys[h][head] = pool_blocks(keys[h - 1][head], 2)
                    values[h][head] = pool_blocks(values[h - 1][head], 2)
            with recorder.op(f"head {head} importance", 1.0 * self.tokens * self.head_dim):
                levels = self._levels(q[head], keys[-1][head], np.float32)
            all_levels.append(levels)
            for row in range(self.tokens // self.block_q):
                self._row(recorder, (q, keys, values, out), (head, row), levels[row])
        return plain(out), np.array(all_levels)

    def _levels(self, q: Array, coarsest: Array, kind: type) -> Array:
        """int64[query blocks, key blocks], from mean query and mean (coarsest) key of each block."""
        pooled_q = q.astype(kind).reshape(-1, self.block_q, self.head_dim).mean(axis=1)
        per_block = self.block_k >> (NUM_LEVELS - 1)
        pooled_k = coarsest.astype(kind).reshape(-1, per_block, self.head_dim).mean(axis=1)
        return levels_by_importance(softmax(pooled_q @ pooled_k.T / np.sqrt(self.head_dim)), self.thresholds)

    def _row(self, recorder: AnyRecorder, arrays: tuple, where: tuple[int, int], levels: Array) -> None:
        (q, keys, values, out), (head, row) = arrays, where
        here = slice(row * self.block_q, (row + 1) * self.block_q)
        seen = sum(self.block_k >> (int(h) - 1) for h in levels if h)
        with recorder.op(f"head {head} queries {here.start}", 4.0 * self.block_q * seen * self.head_dim):
            queries = q[head, here]
            state = OnlineSoftmax((self.block_q,), self.head_dim)
            for block, h in enumerate(levels.tolist()):
                if h == 0:
                    continue
                size = self.block_k >> (h - 1)
                part = slice(block * size, (block + 1) * size)
                scores = scores_f32(queries, keys[h - 1][head, part]) + np.float32((h - 1) * np.log(2))
                state.add(scores, values[h - 1][head, part].astype(np.float32))
            out[head, here] = state.result()

    def _reference(self, q: Array, k: Array, v: Array) -> Array:
        out = np.zeros(q.shape)
        for head in range(self.num_heads):
            pyramid = [(k[head], v[head])]
            for _ in range(1, NUM_LEVELS):
                pyramid.append(tuple(pool_blocks(part, 2) for part in pyramid[-1]))  # type: ignore[arg-type]
            levels = self._levels(q[head], pyramid[-1][0], np.float64)
            for row in range(self.tokens // self.block_q):
                here = slice(row * self.block_q, (row + 1) * self.block_q)
                blocks = [(block, h) for block, h in enumerate(levels[row]) if h]
                rows = [
                    [np.repeat(part[block * self.block_k >> (h - 1) : (block + 1) * self.block_k >> (h - 1)],
                               1 << (h - 1), axis=0) for part in pyramid[h - 1]]
                    for block, h in blocks
                ]  # fmt: skip
                keys, values = (np.concatenate(part).astype(np.float64) for part in zip(*rows, strict=True))
                scores = q[head, here].astype(np.float64) @ keys.T / np.sqrt(self.head_dim)
                out[head, here] = softmax(scores) @ values
        return out

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Pooling reads each level and writes the next; a pair at level h reads b_k/2^(h-1) rows of each of k and v."""
        row = self.head_dim * np.dtype(self.dtype).itemsize
        level_rows = [self.num_heads * (self.tokens >> h) for h in range(NUM_LEVELS)]
        pairs = [counts[f"level_{h}_blocks"] * (self.block_k >> (h - 1)) for h in range(1, NUM_LEVELS + 1)]
        pooled = sum(level_rows[1:-1]) + sum(pairs[1:])
        written = sum(level_rows[1:])
        return {
            "q": Traffic(2 * self.num_heads * self.tokens * row),
            "k": Traffic((level_rows[0] + pairs[0]) * row),
            "v": Traffic((level_rows[0] + pairs[0]) * row),
            "k_pooled": Traffic((pooled + level_rows[-1]) * row, written * row),
            "v_pooled": Traffic(pooled * row, written * row),
            "out": Traffic(0, self.num_heads * self.tokens * self.head_dim * 4),
        }
