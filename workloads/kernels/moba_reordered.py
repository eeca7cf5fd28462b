"""MoBA as first published (arXiv 2502.13189), with the intermediates that FlashMoBA (arXiv 2511.11571) removes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import scores_f32
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.moba import MobaShape
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.traffic import Traffic


@KERNELS.register("moba_reordered")
@dataclass(frozen=True)
class MobaReordered(MobaShape):
    """MoBA with its gate matrix, reordered queries and per-block outputs all materialised in memory.

    The papers': routing, and that the first implementation materialises reordered queries and per-block outputs, which
    run it out of memory at 128K tokens. Ours: the exact set of buffers (gate matrix, routes, sorted queries, partial
    outputs in float32 with their log-sum-exp) and their sizes.
    """

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against dense attention masked by a float64 routing."""
        return self.outcome(self._attend, recorder, stream(seed, "moba_reordered"))

    def _attend(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> Array:
        q, k, v, centroids, out = self.declare(recorder, q, k, v)
        for head in range(self.num_heads):
            self.pool(recorder, k, centroids, head)
            pairs = self._route(recorder, (q, centroids), head)
            buffers = self._sorted_queries(recorder, q, pairs, head)
            self._blocks(recorder, (k, v), buffers, pairs, head)
            self._combine(recorder, buffers, pairs, out, head)
        return plain(out)

    def _route(self, recorder: AnyRecorder, operands: tuple, head: int) -> np.ndarray:
        """int64[pairs, 2]: (block, token), sorted by block, then token."""
        q, centroids = operands
        gate = recorder.array(f"gate[{head}]", np.zeros((self.tokens, self.num_blocks), np.float32), Role.ACTIVATION)
        with recorder.op(f"head {head} gate", 2.0 * self.tokens * self.num_blocks * self.head_dim):
            gate[:] = q[head].astype(np.float32) @ centroids[head].astype(np.float32).T
        with recorder.op(f"head {head} choose"):
            scores = gate[:]
        recorder.free(gate)
        pairs = []
        for token in range(self.tokens):
            own = token // self.block
            pairs += [(block, token) for block in [*top_k(scores[token, :own], self.top_k - 1), own]]
        return np.array(sorted(pairs), np.int64)

    def _sorted_queries(self, recorder: AnyRecorder, q: Array, pairs: np.ndarray, head: int) -> tuple:
        shape = (len(pairs), self.head_dim)
        with recorder.op(f"head {head} reorder queries"):
            q_sorted = recorder.array(f"q_sorted[{head}]", np.zeros(shape, q.dtype), Role.ACTIVATION)
            q_sorted[:] = q[head, pairs[:, 1]]
        partial_out = recorder.array(f"partial_out[{head}]", np.zeros(shape, np.float32), Role.ACTIVATION)
        partial_lse = recorder.array(f"partial_lse[{head}]", np.zeros(len(pairs), np.float32), Role.ACTIVATION)
        return q_sorted, partial_out, partial_lse

    def _blocks(self, recorder: AnyRecorder, operands: tuple, buffers: tuple, pairs: np.ndarray, head: int) -> None:
        (k, v), (q_sorted, partial_out, partial_lse) = operands, buffers
        for block in range(self.num_blocks):
            mine = slice(*np.searchsorted(pairs[:, 0], [block, block + 1]))
            here = slice(block * self.block, (block + 1) * self.block)
            keys = np.arange(here.start, here.stop)
            flops = 4.0 * (mine.stop - mine.start) * self.block * self.head_dim
            with recorder.op(f"head {head} block {block}", flops):
                scores = scores_f32(q_sorted[mine], k[head, here])
                scores = np.where(keys[None, :] <= pairs[mine, 1][:, None], scores, np.float32(-np.inf))
                top = scores.max(axis=1)
                weights = np.exp(scores - top[:, None])
                total = weights.sum(axis=1)
                partial_out[mine] = weights @ v[head, here].astype(np.float32) / total[:, None]
                partial_lse[mine] = top + np.log(total)
        recorder.free(q_sorted)

    def _combine(self, recorder: AnyRecorder, buffers: tuple, pairs: np.ndarray, out: Array, head: int) -> None:
        _, partial_out, partial_lse = buffers
        with recorder.op(f"head {head} combine", 2.0 * len(pairs) * self.head_dim):
            lse, part = partial_lse[:], partial_out[:]
            top = np.full(self.tokens, -np.inf, np.float32)
            np.maximum.at(top, pairs[:, 1], lse)
            weights = np.exp(lse - top[pairs[:, 1]])
            total = np.zeros(self.tokens, np.float32)
            np.add.at(total, pairs[:, 1], weights)
            whole = np.zeros((self.tokens, self.head_dim), np.float32)
            np.add.at(whole, pairs[:, 1], weights[:, None] * part)
            out[head] = whole / total[:, None]
        recorder.free(partial_out)
        recorder.free(partial_lse)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Each intermediate is written once and read once; k and v are read once by their blocks."""
        row, heads, pairs = self.row_bytes, self.num_heads, self.num_pairs
        gate = heads * self.tokens * self.num_blocks * 4
        return {
            "q": Traffic(heads * (self.tokens + pairs) * row),
            "k": Traffic(heads * 2 * self.tokens * row),
            "v": Traffic(heads * self.tokens * row),
            "centroids": Traffic(heads * self.num_blocks * row, heads * self.num_blocks * row),
            "gate": Traffic(gate, gate),
            "q_sorted": Traffic(heads * pairs * row, heads * pairs * row),
            "partial_out": Traffic(heads * pairs * self.head_dim * 4, heads * pairs * self.head_dim * 4),
            "partial_lse": Traffic(heads * pairs * 4, heads * pairs * 4),
            "out": Traffic(0, heads * self.tokens * self.head_dim * 4),
        }
