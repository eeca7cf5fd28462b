"""Training step with token-wise activation swap and recomputation (MEMO, arXiv 2407.12117)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.transformer_layer import (
    ALWAYS,
    KEPT,
    RECOMPUTED,
    WEIGHTS,
    backward,
    forward,
    layer_flops,
    random_weights,
    token_wise,
)
from tiergarten.workloads.work import Work

COMPUTE, TO_HOST, TO_DEVICE = range(3)
"""Streams."""


@KERNELS.register("memo_swap")
@dataclass(frozen=True)
class MemoSwap:
    """Forward and backward over layers whose activations pass through two rounding buffers to the host and back.

    The paper's (Sec. 4): three streams, two buffers for even and odd layers, layer i+2 waits for that of layer i;
    input and attention output always leave, α of the tokens' other activations too, the rest is recomputed token by
    token; the last two layers never leave. Derived: per layer 16·s·h kept, (2 + 14·α)·s·h each way over the link. Ours:
    float32, one head, RMSNorm and SiLU; α is given here (`activation_swap.swap_fraction` is the published rule).
    """

    layers: int = 4
    tokens: int = 32
    hidden: int = 16
    alpha: float = 0.5

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["MemoSwap"]:
        """Part, all and none of the tokens swapped."""
        return [cls(), cls(alpha=1.0, layers=3), cls(alpha=0.0, layers=5, tokens=20), cls(layers=2)]

    @property
    def swapped_tokens(self) -> int:
        """Leading tokens whose other activations go to the host."""
        return int(self.alpha * self.tokens)

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """All gradients, against the same step in float64 with everything kept."""
        rng = stream(seed, "memo_swap")
        weights = [random_weights(rng, self.hidden) for _ in range(self.layers)]
        x, dy = (rng.standard_normal((self.tokens, self.hidden)).astype(np.float32) for _ in range(2))
        step = _Step(self, recorder, weights)
        hidden = x
        for layer in range(self.layers):
            hidden = step.forward(layer, hidden)
        gradient, found = dy, list[dict[str, Array]]()
        for layer in reversed(range(self.layers)):
            gradient, of_weights = step.backward(layer, gradient)
            found = [of_weights, *found]
        return Outcome(_flat(gradient, found), self._reference(x, dy, weights))

    def _reference(self, x: Array, dy: Array, weights: list[dict[str, Array]]) -> Array:
        wide = [{name: part.astype(np.float64) for name, part in layer.items()} for layer in weights]
        x, gradient, kept = x.astype(np.float64), dy.astype(np.float64), []
        for layer in wide:
            x, held = forward(x, layer)
            kept.append(held)
        found: list[dict[str, Array]] = []
        for layer, held in zip(reversed(wide), reversed(kept), strict=True):
            gradient, of_weights = backward(gradient, held, layer)
            found = [of_weights, *found]
        return _flat(gradient, found)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Buffers: 16·s·h written and read per layer; of the n-2 that leave, (2 + 14·α)·s·h out and back."""
        row, leaving = self.hidden * 4, max(self.layers - 2, 0)
        swapped, redone = self.swapped_tokens, self.tokens - self.swapped_tokens
        moved = leaving * (2 * self.tokens + 14 * swapped) * row
        kept = self.layers * 16 * self.tokens * row
        again = leaving * 14 * redone * row
        weights = {name: a * b * self.hidden**2 * 4 * self.layers for name, (a, b) in WEIGHTS.items()}
        recomputed = (
            sum(size for name, size in weights.items() if name != "w2") * leaving // self.layers if redone else 0
        )
        found = {
            "weights": Traffic(2 * sum(weights.values()) + recomputed),
            "gradients": Traffic(0, sum(weights.values())),
            "buffer": Traffic(kept + moved + leaving * 2 * redone * row, kept + moved + again),
        }
        return found | ({"host": Traffic(moved, moved)} if moved else {})


class _Step:
    """The objects of one training step and the operations on them."""

    def __init__(self, shape: MemoSwap, recorder: AnyRecorder, weights: list[dict[str, Array]]):
        self.shape, self.recorder = shape, recorder
        self.weights = [
            {name: recorder.array(f"weights[{layer} {name}]", part, Role.WEIGHT) for name, part in parts.items()}
            for layer, parts in enumerate(weights)
        ]
        self.gradients = [
            {name: recorder.array(f"gradients[{layer} {name}]", np.zeros_like(part), Role.GRADIENT)
             for name, part in parts.items()}
            for layer, parts in enumerate(weights)
        ]  # fmt: skip
        self.buffers = [
            {name: recorder.array(f"buffer[{turn} {name}]", self._zeros(units), Role.ACTIVATION)
             for name, units in KEPT.items()}
            for turn in range(2)
        ]  # fmt: skip
        self.host: dict[int, dict[str, Array]] = {}
        self.offloads: dict[int, int] = {}
        self.backwards: dict[int, int] = {}

    def _zeros(self, units: int) -> Array:
        return np.zeros((self.shape.tokens, units * self.shape.hidden), np.float32)

    def _leaves(self, layer: int) -> bool:
        return layer < self.shape.layers - 2

    def _load_weights(self, layer: int, names: tuple[str, ...] = tuple(WEIGHTS)) -> dict[str, Array]:
        return {name: self.weights[layer][name][:] for name in names}

    def _moving(self) -> dict[str, slice]:
        """Rows of each kept tensor that travel."""
        some = {name: slice(0, self.shape.swapped_tokens) for name in RECOMPUTED if self.shape.swapped_tokens}
        return {name: slice(None) for name in ALWAYS} | some

    def forward(self, layer: int, x: Array) -> Array:
        """Compute a layer into its buffer; send it off unless it is one of the last two."""
        buffer = self.buffers[layer % 2]
        waits = [self.offloads[layer - 2]] if layer - 2 in self.offloads else []
        flops = layer_flops(self.shape.tokens, self.shape.hidden)
        with self.recorder.op(f"forward {layer}", flops, COMPUTE, waits):
            y, kept = forward(x, self._load_weights(layer))
            for name, part in kept.items():
                buffer[name][:] = part
        if self._leaves(layer):
            with self.recorder.op(f"offload {layer}", stream=TO_HOST) as number:
                moving = self._moving()
                zeros = {name: self._zeros(KEPT[name])[rows] for name, rows in moving.items()}
                host = {name: self.recorder.array(f"host[{layer} {name}]", part, Role.ACTIVATION)
                        for name, part in zeros.items()}  # fmt: skip
                for name, rows in moving.items():
                    host[name][:] = buffer[name][rows]
            self.host[layer] = host
            if number >= 0:
                self.offloads[layer] = number
        return y

    def backward(self, layer: int, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Fetch and complete a layer's activations, then its gradients."""
        buffer, shape = self.buffers[layer % 2], self.shape
        if self._leaves(layer):
            waits = [self.backwards[layer + 2]] if layer + 2 in self.backwards else []
            with self.recorder.op(f"prefetch {layer}", stream=TO_DEVICE, after=waits):
                for name, rows in self._moving().items():
                    buffer[name][rows] = self.host[layer][name][:]
            if shape.swapped_tokens < shape.tokens:
                self._recompute(layer, buffer)
        with self.recorder.op(f"backward {layer}", 2 * layer_flops(shape.tokens, shape.hidden), COMPUTE) as number:
            kept = {name: part[:] for name, part in buffer.items()}
            dx, gradients = backward(dy, kept, self._load_weights(layer))
            for name, part in gradients.items():
                self.gradients[layer][name][:] = part
        if number >= 0:
            self.backwards[layer] = number
        return dx, gradients

    def _recompute(self, layer: int, buffer: dict[str, Array]) -> None:
        rows = slice(self.shape.swapped_tokens, None)
        redone = self.shape.tokens - self.shape.swapped_tokens
        with self.recorder.op(f"recompute {layer}", 16.0 * redone * self.shape.hidden**2, COMPUTE):
            weights = self._load_weights(layer, ("wq", "wk", "wv", "wo", "w1"))
            for name, part in token_wise(buffer["x"][rows], buffer["attention"][rows], weights).items():
                buffer[name][rows] = part


def _flat(gradient: Array, layers: list[dict[str, Array]]) -> Array:
    return np.concatenate([gradient.ravel(), *(layer[name].ravel() for layer in layers for name in WEIGHTS)])
