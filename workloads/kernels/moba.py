"""Mixture of Block Attention (MoBA, arXiv 2502.13189), one query after another: what routing alone needs to read."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.workloads.attention import OnlineSoftmax, scores_f32
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.moba import MobaShape
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic


@KERNELS.register("moba")
@dataclass(frozen=True)
class Moba(MobaShape):
    """Block-sparse attention by routing each query to the k blocks with the best mean keys, query by query.

    The paper's: mean-pooled routing, own block always chosen, causality by block. Derived: per query and head T/B
    centroids of D·P, then 2·k·B·D·P. Ours: the own block counts as one of the k, only blocks that exist are scored, and
    the own block is read up to the query.
    """

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against dense attention masked by a float64 routing."""
        return self.outcome(self._attend, recorder, stream(seed, "moba"))

    def _attend(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> Array:
        arrays = self.declare(recorder, q, k, v)
        q, k, v, centroids, out = arrays
        for head in range(self.num_heads):
            self.pool(recorder, k, centroids, head)
            for token in range(self.tokens):
                self._query(recorder, arrays, head, token)
        return plain(out)

    def _query(self, recorder: AnyRecorder, arrays: tuple, head: int, token: int) -> None:
        q, k, v, centroids, out = arrays
        own, seen = token // self.block, self.routed(token) * self.block + token % self.block + 1
        with recorder.op(f"head {head} query {token}", 2.0 * self.head_dim * (own + 2 * seen)):
            query = q[head, token].astype(np.float32)
            chosen = self.routes(query, centroids[head, :own].astype(np.float32), token)
            state = OnlineSoftmax((1,), self.head_dim)
            for block in [*chosen, own]:
                here = slice(block * self.block, min((block + 1) * self.block, token + 1))
                state.add(scores_f32(query[None], k[head, here]), v[head, here].astype(np.float32))
            out[head, token] = state.result()[0]

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Per query: the earlier blocks' centroids, the chosen blocks, the own block up to the query."""
        own = [token // self.block for token in range(self.tokens)]
        seen = sum(self.routed(token) * self.block + token % self.block + 1 for token in range(self.tokens))
        row, heads = self.row_bytes, self.num_heads
        return {
            "q": Traffic(heads * self.tokens * row),
            "k": Traffic(heads * (self.tokens + seen) * row),
            "v": Traffic(heads * seen * row),
            "centroids": Traffic(heads * sum(own) * row, heads * self.num_blocks * row),
            "out": Traffic(0, heads * self.tokens * self.head_dim * 4),
        }
