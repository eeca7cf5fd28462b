"""Offloaded generation with shares of weights and KV on device, host and disk (FlexGen, arXiv 2303.06865)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import dense_attention, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.toy_decoder import PROJECTIONS
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

TIERS = ("device", "host", "disk")


@KERNELS.register("flexgen")
@dataclass(frozen=True)
class Flexgen:
    """One generated token for a block of batches, layer by layer: a layer's weights are fetched once for all batches.

    The paper's: the zig-zag block schedule, shares of weights and KV per tier, attention over fetched KV. Derived: per
    layer the weight bytes off the device cross once per block of batches, the KV bytes off the device once per batch.
    Ours: shares are of rows (weights) and of tokens (KV), the newest token's KV stays on the device, attention runs on
    the device, one head, two weight buffers and one KV buffer; `planners.flexgen` finds the shares by the paper's
    program.
    """

    layers: int = 3
    width: int = 32
    batches: int = 3
    tokens: int = 40
    weight_shares: tuple[float, float] = (0.25, 0.5)
    """Device and host; the rest is on disk."""
    kv_shares: tuple[float, float] = (0.5, 0.25)

    @property
    def work(self) -> Work:
        return Work(self.batches)

    @classmethod
    def examples(cls) -> list["Flexgen"]:
        """Mixed, all on the device, all on disk."""
        return [
            cls(),
            cls(weight_shares=(1.0, 0.0), kv_shares=(1.0, 0.0), layers=2),
            cls(weight_shares=(0.0, 0.0), kv_shares=(0.0, 1.0), batches=2, tokens=11),
        ]

    def _cuts(self, total: int, shares: tuple[float, float]) -> list[int]:
        """Where rows 0 ... total are cut into device, host and disk parts."""
        first = round(shares[0] * total)
        return [0, first, min(total, first + round(shares[1] * total)), total]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Hidden states of the new token of every batch, against plain layers in float64."""
        rng = stream(seed, "flexgen")
        shape = (self.layers, len(PROJECTIONS), self.width, self.width)
        weights = (rng.standard_normal(shape) / np.sqrt(self.width)).astype(np.float32)
        kv = rng.standard_normal((self.layers, self.batches, self.tokens, 2, self.width)).astype(np.float32)
        x = rng.standard_normal((self.batches, self.width)).astype(np.float32)
        homes = [self._place(recorder, f"{layer}", (weights[layer], kv[layer])) for layer in range(self.layers)]
        fetched = np.zeros((len(PROJECTIONS), self.width, self.width), np.float32)
        buffers = [recorder.array(f"weight_buffer[{turn}]", fetched.copy(), Role.WEIGHT) for turn in range(2)]
        staging = recorder.array("kv_buffer", np.zeros((self.tokens, 2, self.width), np.float32), Role.KV)
        new = recorder.array("new_kv", np.zeros((self.layers, self.batches, 2, self.width), np.float32), Role.KV)
        hidden = recorder.array("hidden", x.copy(), Role.ACTIVATION)
        done: list[int] = []
        for layer, (weight_home, kv_home) in enumerate(homes):
            buffer = buffers[layer % 2]
            # a buffer is free again when the last batch that used it is done
            with recorder.op(f"layer {layer} fetch weights", stream=1, after=done[-1 - self.batches : -self.batches]):
                cuts = self._cuts(self.width, self.weight_shares)
                self._fetch(weight_home, cuts, lambda rows: (slice(None), rows), buffer)
            for batch in range(self.batches):
                with recorder.op(f"layer {layer} fetch KV {batch}", stream=1, after=done[-1:]):
                    self._fetch(kv_home[batch], self._cuts(self.tokens, self.kv_shares), lambda rows: rows, staging)
                flops = 8.0 * self.width**2 + 4.0 * (self.tokens + 1) * self.width
                with recorder.op(f"layer {layer} batch {batch}", flops) as number:
                    self._layer(buffer, staging, (hidden, new), (layer, batch))
                done.append(number)
        return Outcome(plain(hidden), self._reference(x, weights, kv))

    def _place(self, recorder: AnyRecorder, layer: str, data: tuple[Array, Array]) -> tuple[dict, list[dict]]:
        """Objects of a layer's weights, and of each batch's KV, by tier."""
        weights, kv = data
        cuts = self._cuts(self.width, self.weight_shares)
        weight_home = {
            tier: recorder.array(f"{tier}_weights[{layer}]", weights[:, start:stop], Role.WEIGHT)
            for tier, start, stop in zip(TIERS, cuts, cuts[1:], strict=False)
            if stop > start
        }
        cuts = self._cuts(self.tokens, self.kv_shares)
        kv_home = [
            {
                tier: recorder.array(f"{tier}_kv[{layer} {batch}]", part[start:stop], Role.KV)
                for tier, start, stop in zip(TIERS, cuts, cuts[1:], strict=False)
                if stop > start
            }
            for batch, part in enumerate(kv)
        ]
        return weight_home, kv_home

    def _fetch(self, home: dict, cuts: list[int], index: object, buffer: Array) -> None:
        """Bring the parts of all tiers together in a device buffer."""
        for tier, start, stop in zip(TIERS, cuts, cuts[1:], strict=False):
            if stop > start:
                buffer[index(slice(start, stop))] = home[tier][:]  # type: ignore[operator]

    def _layer(self, buffer: Array, staging: Array, state: tuple, where: tuple[int, int]) -> None:
        (hidden, new), (layer, batch) = state, where
        x = hidden[batch]
        wq, wk, wv, wo = buffer[:]
        new[layer, batch] = np.stack([x @ wk, x @ wv])
        keys, values = np.concatenate([staging[:], np.stack([x @ wk, x @ wv])[None]]).swapaxes(0, 1)
        weights = softmax(keys @ (x @ wq) / np.float32(np.sqrt(self.width)))
        hidden[batch] = x + weights @ values @ wo

    def _reference(self, x: Array, weights: Array, kv: Array) -> Array:
        x, weights, kv = (part.astype(np.float64) for part in (x, weights, kv))
        for layer in range(self.layers):
            wq, wk, wv, wo = weights[layer]
            for batch in range(self.batches):
                row = x[batch]
                keys = np.concatenate([kv[layer, batch, :, 0], (row @ wk)[None]])
                values = np.concatenate([kv[layer, batch, :, 1], (row @ wv)[None]])
                x[batch] = row + dense_attention((row @ wq)[None, None], keys[None], values[None])[0, 0] @ wo
        return x

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Weights cross once per layer and block of batches, KV once per layer and batch; compute reads the buffers."""
        row = self.width * 4
        matrices = len(PROJECTIONS) * row
        passes = self.layers * self.batches
        found = {}
        for name, total, size, times in (
            ("weights", self.width, matrices, self.layers),
            ("kv", self.tokens, 2 * row, passes),
        ):
            cuts = self._cuts(total, self.weight_shares if name == "weights" else self.kv_shares)
            for tier, start, stop in zip(TIERS, cuts, cuts[1:], strict=False):
                if stop > start:
                    found[f"{tier}_{name}"] = Traffic(times * (stop - start) * size)
        return found | {
            "weight_buffer": Traffic(passes * self.width * matrices, self.layers * self.width * matrices),
            "kv_buffer": Traffic(passes * self.tokens * 2 * row, passes * self.tokens * 2 * row),
            "new_kv": Traffic(0, passes * 2 * row),
            "hidden": Traffic(passes * row, passes * row),
        }
