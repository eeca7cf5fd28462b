"""Training step with selective activation offload, last in first out (ByteScale, arXiv 2502.21231)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.transformer_layer import KEPT, WEIGHTS, backward, forward, layer_flops, random_weights
from tiergarten.workloads.work import Work

COMPUTE, TO_HOST, TO_DEVICE = range(3)
"""Streams."""


@KERNELS.register("byte_scale")
@dataclass(frozen=True)
class ByteScale:
    """Forward and backward in which a ratio r of every middle layer's activations waits on the host, none is redone.

    The paper's (Sec. 5): first and last layers stay, r of each other layer is offloaded to pinned host memory layer by
    layer and fetched last in, first out. Derived: device holds 2·Act + (1 - r)·(l - 2)·Act. Ours: r is a share of the
    tokens of every kept tensor, a layer's device copy of what left is freed after the offload and born again at the
    fetch; `activation_swap.selective_offload` chooses r by the paper's rule.
    """

    layers: int = 4
    tokens: int = 32
    hidden: int = 16
    ratio: float = 0.5

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["ByteScale"]:
        """Half, all, none; and no middle layers."""
        return [cls(), cls(ratio=1.0, layers=3, tokens=20), cls(ratio=0.0), cls(layers=2, hidden=8)]

    @property
    def moved_tokens(self) -> int:
        """Leading tokens that leave the device."""
        return int(self.ratio * self.tokens)

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """All gradients, against the same step in float64 with everything kept."""
        rng = stream(seed, "byte_scale")
        weights = [random_weights(rng, self.hidden) for _ in range(self.layers)]
        arrays = [
            {name: recorder.array(f"weights[{layer} {name}]", part, Role.WEIGHT) for name, part in parts.items()}
            for layer, parts in enumerate(weights)
        ]
        x, dy = (rng.standard_normal((self.tokens, self.hidden)).astype(np.float32) for _ in range(2))
        y, kept = x, []
        for layer in range(self.layers):
            y, held = self._forward(recorder, layer, y, arrays[layer])
            kept.append(held)
        gradient, found = dy, list[dict[str, Array]]()
        for layer in reversed(range(self.layers)):
            gradient, of_weights = self._backward(recorder, layer, gradient, (kept[layer], arrays[layer]))
            found = [of_weights, *found]
        return Outcome(_flat(gradient, found), self._reference(x, dy, weights))

    def _leaves(self, layer: int) -> bool:
        return 0 < layer < self.layers - 1 and self.moved_tokens > 0

    def _forward(self, recorder: AnyRecorder, layer: int, x: Array, weights: dict) -> tuple[Array, dict]:
        """(output, where the layer's activations are: name -> moving and staying rows)."""
        cut = self.moved_tokens if self._leaves(layer) else 0
        with recorder.op(f"forward {layer}", layer_flops(self.tokens, self.hidden), COMPUTE):
            y, tensors = forward(x, {name: part[:] for name, part in weights.items()})
            held: dict[str, dict[str, Any]] = {}
            for name, part in tensors.items():
                pieces = {"moving": part[:cut], "staying": part[cut:]}
                held[name] = {label: self._keep(recorder, f"{label}[{layer} {name}]", rows)
                              for label, rows in pieces.items() if len(rows)}  # fmt: skip
        if cut:
            with recorder.op(f"offload {layer}", stream=TO_HOST):
                for name, pieces in held.items():
                    self._move(recorder, pieces, f"host[{layer} {name}]")
        return y, held

    def _keep(self, recorder: AnyRecorder, name: str, rows: Array) -> Any:
        """A new object that holds `rows`; call inside an operation."""
        array = recorder.array(name, np.zeros(rows.shape, np.float32), Role.ACTIVATION)
        array[:] = rows
        return array

    def _move(self, recorder: AnyRecorder, pieces: dict[str, Any], name: str) -> None:
        """Copy the moving piece to a new object and free the old one; call inside an operation."""
        old = pieces["moving"]
        pieces["moving"] = self._keep(recorder, name, old[:])
        recorder.free(old)

    def _backward(self, recorder: AnyRecorder, layer: int, dy: Array, state: tuple) -> tuple[Array, dict]:
        held, weights = state
        if self._leaves(layer):
            with recorder.op(f"fetch {layer}", stream=TO_DEVICE):
                for name, pieces in held.items():
                    self._move(recorder, pieces, f"fetched[{layer} {name}]")
        with recorder.op(f"backward {layer}", 2 * layer_flops(self.tokens, self.hidden), COMPUTE):
            tensors = {name: np.concatenate([part[:] for part in pieces.values()]) for name, pieces in held.items()}
            dx, gradients = backward(dy, tensors, {name: part[:] for name, part in weights.items()})
            outputs = []
            for name, part in gradients.items():
                outputs.append(recorder.array(f"gradients[{layer} {name}]", np.zeros_like(part), Role.GRADIENT))
                outputs[-1][:] = part
        for pieces in held.values():
            for part in pieces.values():
                recorder.free(part)
        return dx, dict(zip(gradients, map(plain, outputs), strict=True))

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
        """16·s·h kept per layer; r of that in each middle layer out and back."""
        row = sum(KEPT.values()) * self.hidden * 4
        middle = max(self.layers - 2, 0)
        moved = middle * self.moved_tokens * row
        staying = self.layers * self.tokens * row - moved
        weights = self.layers * sum(a * b for a, b in WEIGHTS.values()) * self.hidden**2 * 4
        found = {
            "weights": Traffic(2 * weights),
            "gradients": Traffic(0, weights),
            "staying": Traffic(staying, staying),
            "moving": Traffic(moved, moved),
            "host": Traffic(moved, moved),
            "fetched": Traffic(moved, moved),
        }
        return {name: part for name, part in found.items() if part != Traffic(0, 0)}


def _flat(gradient: Array, layers: list[dict[str, Array]]) -> Array:
    return np.concatenate([gradient.ravel(), *(layer[name].ravel() for layer in layers for name in WEIGHTS)])
