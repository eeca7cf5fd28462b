"""MoBA in FlashMoBA's order of execution (arXiv 2511.11571): queries come to the key blocks."""

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

TILE_QUERIES = 32
"""Query rows per tile of the routing pass (ours; on-chip capacity decides)."""


@KERNELS.register("flash_moba")
@dataclass(frozen=True)
class FlashMoba(MobaShape):
    """MoBA by key block: centroids, tiled top-k, then each block gathers its queries and runs one dense tile.

    The paper's: the three steps; keys and values are read once, queries k times; no score matrix, no reordered copies.
    Ours: routes are int32 lists per key block; the running output, maximum and sum of every query are float32 in memory
    and updated once per (query, block) pair; the routing pass takes 32 queries at a time.
    """

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against dense attention masked by a float64 routing."""
        return self.outcome(self._attend, recorder, stream(seed, "flash_moba"))

    def _attend(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> Array:
        q, k, v, centroids, out = self.declare(recorder, q, k, v)
        lists = recorder.array("routes", np.zeros((self.num_heads, self.num_pairs), np.int32))
        state = np.zeros((self.num_heads, self.tokens, self.head_dim + 2), np.float32)
        state[:, :, -2] = -np.inf
        state = recorder.array("state", state, Role.ACTIVATION)
        for head in range(self.num_heads):
            self.pool(recorder, k, centroids, head)
            bounds = self._route(recorder, (q, centroids, lists), head)
            for block in range(self.num_blocks):
                self._block(recorder, (q, k, v, lists, state), (head, block), bounds)
            with recorder.op(f"head {head} normalise", float(self.tokens * self.head_dim)):
                final = state[head]
                out[head] = final[:, : self.head_dim] / final[:, -1:]
        return plain(out)

    def _route(self, recorder: AnyRecorder, arrays: tuple, head: int) -> np.ndarray:
        """Write the queries of each block, one list after another; gives where each list begins."""
        q, centroids, lists = arrays
        chosen: list[list[int]] = [[] for _ in range(self.num_blocks)]
        for start in range(0, self.tokens, TILE_QUERIES):
            stop = min(start + TILE_QUERIES, self.tokens)
            past = (stop - 1) // self.block
            with recorder.op(f"head {head} route {start}", 2.0 * (stop - start) * past * self.head_dim):
                queries = q[head, start:stop].astype(np.float32)
                scores = queries @ centroids[head, :past].astype(np.float32).T
            for token in range(start, stop):
                own = token // self.block
                for block in [*top_k(scores[token - start, :own], self.top_k - 1), own]:
                    chosen[block].append(token)
        with recorder.op(f"head {head} lists"):
            lists[head] = np.concatenate([np.array(tokens, np.int32) for tokens in chosen])
        return np.concatenate([[0], np.cumsum([len(tokens) for tokens in chosen])])

    def _block(self, recorder: AnyRecorder, arrays: tuple, where: tuple[int, int], bounds: np.ndarray) -> None:
        (q, k, v, lists, state), (head, block) = arrays, where
        here = slice(block * self.block, (block + 1) * self.block)
        num_queries = int(bounds[block + 1] - bounds[block])
        with recorder.op(f"head {head} block {block}", 4.0 * num_queries * self.block * self.head_dim):
            tokens = lists[head, bounds[block] : bounds[block + 1]].astype(np.int64)
            heads = np.full(len(tokens), head)
            scores = scores_f32(q[heads, tokens], k[head, here])
            keys = np.arange(here.start, here.stop)
            scores = np.where(keys[None, :] <= tokens[:, None], scores, np.float32(-np.inf))
            old = state[heads, tokens]
            top = np.maximum(old[:, -2], scores.max(axis=1))
            keep, weights = np.exp(old[:, -2] - top), np.exp(scores - top[:, None])
            weighted = old[:, : self.head_dim] * keep[:, None] + weights @ v[head, here].astype(np.float32)
            total = old[:, -1] * keep + weights.sum(axis=1)
            state[heads, tokens] = np.concatenate([weighted, top[:, None], total[:, None]], axis=1)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """k and v once (k again for pooling), q once to route and once per pair, the state twice per pair."""
        row, heads, pairs = self.row_bytes, self.num_heads, self.num_pairs
        past = sum((min(s + TILE_QUERIES, self.tokens) - 1) // self.block for s in range(0, self.tokens, TILE_QUERIES))
        state = (self.head_dim + 2) * 4
        return {
            "q": Traffic(heads * (self.tokens + pairs) * row),
            "k": Traffic(heads * 2 * self.tokens * row),
            "v": Traffic(heads * self.tokens * row),
            "centroids": Traffic(heads * past * row, heads * self.num_blocks * row),
            "routes": Traffic(heads * pairs * 4, heads * pairs * 4),
            "state": Traffic(heads * (pairs + self.tokens) * state, heads * pairs * state),
            "out": Traffic(0, heads * self.tokens * self.head_dim * 4),
        }
