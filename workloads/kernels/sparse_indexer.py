"""Decode with a lightning indexer over a latent cache: DeepSeek Sparse Attention (DeepSeek-V3.2-Exp report, 2025)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import normal, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import decode_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("sparse_indexer")
@dataclass(frozen=True)
class SparseIndexer:
    """One decode step in which a small indexer scores every token and attention reads the k best of a latent cache.

    The report's (our paper here): index score = Σ over index heads of w·relu(q_I·k_I), one small key per token, top-k
    tokens shared by all heads, attention over their latents. Derived by us: T·D_I·P_I of index keys, then k·r·P of
    latents. Ours: index keys are the first D_I latent channels in the cache's type (the report trains them, in FP8),
    no rotary part.
    """

    num_heads: int = 8
    index_heads: int = 4
    tokens: int = 512
    latent: int = 64
    index_dim: int = 32
    keep: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(1)

    @classmethod
    def examples(cls) -> list["SparseIndexer"]:
        """Keeping few, keeping all (dense attention), and a full-width index."""
        return [
            cls(),
            cls(tokens=100, keep=100, dtype="float32"),
            cls(num_heads=2, index_heads=1, latent=32, keep=5, tokens=77),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against float64 attention over tokens ranked in float64."""
        rng = stream(seed, "sparse_indexer")
        q = normal(rng, (self.num_heads, self.latent), self.dtype)
        cache = normal(rng, (self.tokens, self.latent), self.dtype)
        index_q = normal(rng, (self.index_heads, self.index_dim), self.dtype)
        weights = rng.random(self.index_heads).astype(np.float32)
        result = self._attend(recorder, q, cache, (index_q, weights))
        return Outcome(result, self._reference(q, cache, index_q, weights), recall=self._needle_recall(rng, weights))

    def _attend(self, recorder: AnyRecorder, q: Array, cache: Array, index: tuple[Array, Array]) -> Array:
        index_keys = recorder.array("index_keys", cache[:, : self.index_dim], Role.KV)
        cache = recorder.array("latent_cache", cache, Role.KV)
        q = recorder.array("q", q, Role.ACTIVATION)
        index_q = recorder.array("index_q", index[0], Role.ACTIVATION)
        index_weights = recorder.array("index_weights", index[1], Role.ACTIVATION)
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        with recorder.op("index", 2.0 * self.index_heads * self.tokens * self.index_dim):
            each = index_q[:].astype(np.float32) @ index_keys[:].astype(np.float32).T
            chosen = top_k(index_weights[:] @ np.maximum(each, 0), self.keep)
        with recorder.op("attend", 4.0 * self.num_heads * len(chosen) * self.latent):
            rows = cache[chosen].astype(np.float32)
            scores = q[:].astype(np.float32) @ rows.T / np.float32(np.sqrt(self.latent))
            out[:] = softmax(scores) @ rows
        return plain(out)

    def _reference(self, q: Array, cache: Array, index_q: Array, weights: Array) -> Array:
        rows = cache.astype(np.float64)
        index = np.zeros(self.tokens)
        for head in range(self.index_heads):
            index += weights[head] * np.maximum(rows[:, : self.index_dim] @ index_q[head].astype(np.float64), 0)
        rows = rows[np.argsort(-index, kind="stable")[: self.keep]]
        return softmax(q.astype(np.float64) @ rows.T / np.sqrt(self.latent)) @ rows

    def _needle_recall(self, rng: np.random.Generator, weights: Array) -> float:
        """All heads look for one needle; the index query is the attention query's first channels, as if trained."""
        found = []
        for _ in range(16):
            task = decode_needles(rng, 1, 1, self.tokens, self.latent)
            q = np.repeat(task.q[0], self.num_heads, axis=0)
            index_q = np.repeat(task.q[0, :, : self.index_dim], self.index_heads, axis=0)
            out = self._attend(NullRecorder(), q, task.k[0], (index_q, weights))
            needle = task.k[0, task.positions[0]]
            cosine = out[0] @ needle / np.linalg.norm(out[0]) / np.linalg.norm(needle)
            found.append(cosine > 0.9)
        return float(np.mean(found))

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Every index key, then the latents of the k best tokens."""
        size = np.dtype(self.dtype).itemsize
        return {
            "index_keys": Traffic(self.tokens * self.index_dim * size),
            "index_q": Traffic(self.index_heads * self.index_dim * size),
            "index_weights": Traffic(self.index_heads * 4),
            "latent_cache": Traffic(min(self.keep, self.tokens) * self.latent * size),
            "q": Traffic(self.num_heads * self.latent * size),
            "out": Traffic(0, self.num_heads * self.latent * 4),
        }
