"""Content-based sparse attention by k-means clusters (Routing Transformer, arXiv 2003.05997)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import dense_attention, normal, scores_f32, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import prefill_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

DECAY = 0.999
"""Moving average of the centroids; our value, the paper's code has it as a setting."""


@KERNELS.register("routing_transformer")
@dataclass(frozen=True)
class RoutingTransformer:
    """Attention inside about sqrt(n) clusters of sqrt(n) tokens each, found with k-means on shared queries and keys.

    The paper's: shared queries and keys of unit length, about sqrt(n) clusters, each takes its nearest sqrt(n) tokens,
    centroids follow by moving average. Derived: 2·sqrt(n)·D·P gathered per query, centroids sqrt(n)·D resident. Ours: a
    token in several clusters gets the mean of their outputs, a token in none gets zero; not causal; one pass.
    """

    tokens: int = 256
    head_dim: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["RoutingTransformer"]:
        """Square lengths, since a cluster holds sqrt(n) tokens."""
        return [cls(), cls(tokens=64, head_dim=16), cls(tokens=400, head_dim=32, dtype="float32")]

    @property
    def clusters(self) -> int:
        """Clusters, and tokens in each."""
        return isqrt(self.tokens)

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Clustered attention and the moved centroids, against the same in float64."""
        rng = stream(seed, "routing_transformer")
        qk = _unit(rng.standard_normal((self.tokens, self.head_dim)))
        centroids = _unit(rng.standard_normal((self.clusters, self.head_dim))).astype(np.float32)
        qk, v = qk.astype(self.dtype), normal(rng, (self.tokens, self.head_dim), self.dtype)
        out, moved = self._attend(recorder, qk, v, centroids)
        task = prefill_needles(rng, 1, self.tokens, self.head_dim, 16)
        shared = task.k[0]
        shared[task.queries] = task.q[0][task.queries]
        needles, _ = self._attend(NullRecorder(), shared, task.v[0], centroids)
        result = np.concatenate([out, moved])
        return Outcome(result, self._reference(qk, v, centroids), recall=task.recall(needles[None]))

    def _attend(self, recorder: AnyRecorder, qk: Array, v: Array, centroids: Array) -> tuple[Array, Array]:
        shape = qk.shape
        qk, v = recorder.array("qk", qk, Role.ACTIVATION), recorder.array("v", v, Role.ACTIVATION)
        centroids = recorder.array("centroids", centroids.copy(), Role.WEIGHT)
        sums = recorder.array("sums", np.zeros((shape[0], shape[1] + 1), np.float32), Role.ACTIVATION)
        out = recorder.array("out", np.zeros(shape, np.float32), Role.ACTIVATION)
        n = self.clusters
        with recorder.op("assign", 2.0 * self.tokens * n * self.head_dim):
            middle = centroids[:]
            members = top_k(middle @ qk[:].astype(np.float32).T, n)
        for cluster in range(n):
            with recorder.op(f"cluster {cluster}", 4.0 * n * n * self.head_dim):
                rows = qk[members[cluster]].astype(np.float32)
                part = softmax(scores_f32(rows, rows)) @ v[members[cluster]].astype(np.float32)
                sums[members[cluster]] += np.pad(part, [(0, 0), (0, 1)], constant_values=1)
                centroids[cluster] = DECAY * middle[cluster] + (1 - DECAY) * rows.mean(axis=0)
        with recorder.op("average", float(self.tokens * self.head_dim)):
            total = sums[:]
            out[:] = total[:, :-1] / np.maximum(total[:, -1:], 1)
        return plain(out), plain(centroids)

    def _reference(self, qk: Array, v: Array, centroids: Array) -> Array:
        qk, v, middle = qk.astype(np.float64), v.astype(np.float64), centroids.astype(np.float64)
        total, times = np.zeros(qk.shape), np.zeros((self.tokens, 1))
        for cluster in range(self.clusters):
            nearest = np.argsort(-(qk @ middle[cluster]), kind="stable")[: self.clusters]
            total[nearest] += dense_attention(qk[None, nearest], qk[None, nearest], v[None, nearest])[0]
            times[nearest] += 1
            middle[cluster] += (1 - DECAY) * (qk[nearest].mean(axis=0) - middle[cluster])
        return np.concatenate([total / np.maximum(times, 1), middle])

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """qk once to assign; per cluster sqrt(n) rows of qk and v, and as many sums read and written."""
        size, n, d = np.dtype(self.dtype).itemsize, self.clusters, self.head_dim
        gathered = n * n
        return {
            "qk": Traffic((self.tokens + gathered) * d * size),
            "v": Traffic(gathered * d * size),
            "centroids": Traffic(n * d * 4, n * d * 4),
            "sums": Traffic((gathered + self.tokens) * (d + 1) * 4, gathered * (d + 1) * 4),
            "out": Traffic(0, self.tokens * d * 4),
        }


def _unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
