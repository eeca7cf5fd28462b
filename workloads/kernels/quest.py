"""Decode that reads only the pages with the highest possible score (Quest, arXiv 2406.10774)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import OnlineSoftmax, dense_attention, normal, scores_f32
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import decode_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("quest")
@dataclass(frozen=True)
class Quest:
    """One decode step that scores pages by their smallest and largest key channels and reads the top-k pages.

    The paper's: per page the channel-wise minimum and maximum key; a page's score is the largest dot product that any
    key inside those bounds could have. Derived: per head 2·(T/page)·D·P of bounds and 2·k·page·D·P of keys and values.
    Ours: bounds are stored as [page, 2, D] in the cache's type, the text is whole pages, and heads choose one by one.
    """

    num_heads: int = 4
    tokens: int = 512
    head_dim: int = 64
    page: int = 16
    top_pages: int = 8
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(1)

    @classmethod
    def examples(cls) -> list["Quest"]:
        """Few and many pages; more wanted than there are."""
        return [
            cls(),
            cls(num_heads=2, tokens=256, head_dim=32, page=32, top_pages=3),
            cls(num_heads=1, tokens=48, head_dim=16, page=8, top_pages=9, dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against dense attention over pages chosen plainly in float64."""
        rng = stream(seed, "quest")
        q = normal(rng, (self.num_heads, self.head_dim), self.dtype)
        k, v = (normal(rng, (self.num_heads, self.tokens, self.head_dim), self.dtype) for _ in range(2))
        task = decode_needles(rng, self.num_heads, self.num_heads, self.tokens, self.head_dim)
        found = task.recall(self._attend(NullRecorder(), task.q[:, 0], task.k, task.v)[:, None])
        return Outcome(self._attend(recorder, q, k, v), self._reference(q, k, v), recall=found)

    def _attend(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> Array:
        paged = k.reshape(self.num_heads, -1, self.page, self.head_dim)
        bounds = recorder.array("bounds", np.stack([paged.min(axis=2), paged.max(axis=2)], axis=2), Role.KV)
        q, k, v = (
            recorder.array("q", q, Role.ACTIVATION),
            recorder.array("k", k, Role.KV),
            recorder.array("v", v, Role.KV),
        )
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        for head in range(self.num_heads):
            with recorder.op(f"head {head} choose", 4.0 * self.tokens // self.page * self.head_dim):
                query = q[head].astype(np.float32)
                pages = top_k(_possible(query, bounds[head].astype(np.float32)), self.top_pages)
            with recorder.op(f"head {head} attend", 4.0 * len(pages) * self.page * self.head_dim):
                state = OnlineSoftmax((1,), self.head_dim)
                for page in pages:
                    here = slice(page * self.page, (page + 1) * self.page)
                    state.add(scores_f32(query[None], k[head, here]), v[head, here].astype(np.float32))
                out[head] = state.result()[0]
        return plain(out)

    def _reference(self, q: Array, k: Array, v: Array) -> Array:
        allowed = np.zeros((self.num_heads, 1, self.tokens), bool)
        for head in range(self.num_heads):
            keys, query = k[head].astype(np.float64), q[head].astype(np.float64)
            pages = [keys[start : start + self.page] for start in range(0, self.tokens, self.page)]
            best = [np.maximum(query * part.min(axis=0), query * part.max(axis=0)).sum() for part in pages]
            for page in np.argsort(best)[-self.top_pages :]:
                allowed[head, 0, page * self.page : (page + 1) * self.page] = True
        return dense_attention(q[:, None], k, v, allowed)[:, 0]

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """All bounds, then the chosen pages."""
        row, pages = self.num_heads * self.head_dim * np.dtype(self.dtype).itemsize, self.tokens // self.page
        chosen = min(self.top_pages, pages) * self.page * row
        return {
            "q": Traffic(row),
            "bounds": Traffic(2 * pages * row),
            "k": Traffic(chosen),
            "v": Traffic(chosen),
            "out": Traffic(0, self.num_heads * self.head_dim * 4),
        }


def _possible(query: Array, bounds: Array) -> Array:
    """[pages]: largest score of any key within bounds [pages, 2, D]."""
    return np.maximum(query * bounds[:, 0], query * bounds[:, 1]).sum(axis=1)
