"""A small random transformer decoder that kernels about KV caches share: L layers of one-head causal attention.

x ← x + softmax(x Wq (x Wk)ᵀ / sqrt(D)) x Wv Wo, with token and position embeddings. It is ours and untrained: it gives
caches a content that can be checked, nothing more.
"""

from dataclasses import dataclass

import numpy as np

from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import causal, dense_attention, softmax
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array
from tiergarten.workloads.tiled_attention import Operand

PROJECTIONS = ("wq", "wk", "wv", "wo")


@dataclass(frozen=True, eq=False)
class ToyDecoder:
    """Weights [L, D, D] as recorded arrays, and the same in float64."""

    weights: dict[str, Operand]
    plain_weights: dict[str, Array]
    layers: int
    width: int

    @classmethod
    def random(cls, recorder: AnyRecorder, rng: np.random.Generator, layers: int, width: int) -> "ToyDecoder":
        """Random weights of a size that keeps activations near 1."""
        shape = (layers, width, width)
        data = {name: (rng.standard_normal(shape) / np.sqrt(width)).astype(np.float32) for name in PROJECTIONS}
        weights = {name: recorder.array(name, part, Role.WEIGHT) for name, part in data.items()}
        return cls(weights, {name: part.astype(np.float64) for name, part in data.items()}, layers, width)

    def flops(self, new: int, total: int) -> float:
        """FLOPs of one layer over `new` tokens that see `total`."""
        return 8.0 * new * self.width**2 + 4.0 * new * total * self.width

    def layer(self, number: int, x: Array, cache: tuple[Operand, Operand], start: int) -> Array:
        """Run layer `number` over new tokens x [n, D] at positions start ...; append their keys and values.

        `cache` holds keys and values [L, T, D]. Call inside an operation. Weights are read once, older keys once.
        """
        stop = start + len(x)
        new = [x @ self.weights[name][number] for name in ("wk", "wv")]
        for store, rows in zip(cache, new, strict=True):
            store[number, start:stop] = rows
        keys, values = (np.concatenate([store[number, :start], rows]) for store, rows in zip(cache, new, strict=True))
        scores = x @ self.weights["wq"][number] @ keys.T / np.float32(np.sqrt(self.width))
        mixed = softmax(np.where(causal(len(x), stop), scores, np.float32(-np.inf))) @ values
        return x + mixed @ self.weights["wo"][number]

    def dense(self, x: Array) -> Array:
        """All layers over a whole text x [T, D] in float64, without any cache."""
        x = x.astype(np.float64)
        for number in range(self.layers):
            q, k, v, o = (self.plain_weights[name][number] for name in PROJECTIONS)
            mask = causal(len(x), len(x))
            x = x + dense_attention((x @ q)[None], (x @ k)[None], (x @ v)[None], mask)[0] @ o
        return x
