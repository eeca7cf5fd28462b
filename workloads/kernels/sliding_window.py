"""Sliding-window prefill attention (Longformer, arXiv 2004.05150; Mistral 7B, arXiv 2310.06825)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import causal, dense_attention, normal
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import prefill_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.tiled_attention import span_attention, span_keys
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("sliding_window")
@dataclass(frozen=True)
class SlidingWindow:
    """Prefill attention in which each token sees itself and the window - 1 tokens before it.

    The papers': the window. Ours: tiles as in `flash_prefill`, so a tile of queries reads window + tile keys. Needles
    farther back than the window are lost by construction; the recall says how many those are.
    """

    num_heads: int = 8
    num_kv_heads: int = 2
    tokens: int = 512
    head_dim: int = 64
    window: int = 128
    tile: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["SlidingWindow"]:
        """Windows shorter than, longer than and unrelated to the tile; one longer than the text."""
        return [
            cls(tokens=192, window=32, tile=64),
            cls(num_heads=4, num_kv_heads=4, tokens=150, window=50, tile=16, head_dim=32),
            cls(num_heads=2, num_kv_heads=1, tokens=60, window=100, tile=32, dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Windowed attention over random q, k, v, against masked dense attention in float64."""
        rng = stream(seed, "sliding_window")
        q = normal(rng, (self.num_heads, self.tokens, self.head_dim), self.dtype)
        k, v = (normal(rng, (self.num_kv_heads, self.tokens, self.head_dim), self.dtype) for _ in range(2))
        age = np.arange(self.tokens)[:, None] - np.arange(self.tokens)[None, :]
        reference = dense_attention(q, k, v, causal(self.tokens, self.tokens) & (age < self.window))
        task = prefill_needles(rng, 2, self.tokens, self.head_dim, min(16, self.tokens // 4))
        found = task.recall(self._attend(NullRecorder(), task.q, task.k, task.v))
        return Outcome(self._attend(recorder, q, k, v), reference, recall=found)

    def _attend(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> Array:
        operands = (
            recorder.array("q", q, Role.ACTIVATION),
            recorder.array("k", k, Role.KV),
            recorder.array("v", v, Role.KV),
            recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION),
        )
        span_attention(recorder, operands, (self.tile, self.tile), self._first_key)
        return plain(operands[3])

    def _first_key(self, query: int) -> int:
        return max(0, query - self.window + 1)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """q and out once; k and v per query tile, from the first query's window to the last query."""
        row = self.head_dim * np.dtype(self.dtype).itemsize
        keys = self.num_kv_heads * span_keys(self.tokens, self.tile, self._first_key) * row
        return {
            "q": Traffic(self.num_heads * self.tokens * row),
            "k": Traffic(keys),
            "v": Traffic(keys),
            "out": Traffic(0, self.num_heads * self.tokens * self.head_dim * 4),
        }
