"""Adam with 8-bit block-wise states (Dettmers et al., arXiv 2110.02861)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

BETA1, BETA2, RATE, EPSILON = 0.9, 0.999, 1e-3, 1e-8
SMALL_TENSOR = 4096
"""Tensors with fewer values keep 32-bit states (the authors' repository)."""


def dynamic_map(signed: bool) -> Array:
    """float32[256], rising: dynamic tree quantisation, fine near zero.

    A code has an exponent told by leading zeros and as many fraction bits as are left; fractions lie between 0.1 and 1.
    Zero and one are exact. The unsigned map spends the sign's bit on one more fraction bit.
    """
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = np.linspace(0.1, 1, 2 ** (exponent + (not signed)) + 1)
        means = (edges[1:] + edges[:-1]) / 2 * 10.0 ** (exponent - 6)
        values += [*means, *(-means if signed else [])]
    return np.sort(np.array(values, np.float32))


def quantise(values: Array, table: Array, block: int) -> tuple[Array, Array]:
    """(uint8 code of the nearest table entry, float32 largest magnitude of each block) for values in blocks."""
    padded = np.pad(values, (0, -len(values) % block)).reshape(-1, block)
    scales = np.abs(padded).max(axis=1).astype(np.float32)
    normed = padded / np.where(scales == 0, np.float32(1), scales)[:, None]
    codes = np.searchsorted((table[1:] + table[:-1]) / 2, normed).astype(np.uint8)
    return codes.ravel()[: len(values)], scales


def dequantise(codes: Array, scales: Array, table: Array, block: int) -> Array:
    """float32 values of codes in blocks."""
    return table[codes] * np.repeat(scales, block)[: len(codes)]


@KERNELS.register("adam_8bit")
@dataclass(frozen=True)
class Adam8bit:
    """Optimizer steps that read codes and scales, update in registers, and write codes and scales back.

    The paper's: block-wise dynamic quantisation of both states, the update done in registers, small tensors left in 32
    bits. Derived: state traffic per parameter and step falls from 8 B each way to 2 + 2·4/block. Ours: float32
    parameters and gradients, blocks of 256 (the repository's present size), one pass per tensor in tiles of 16 blocks.
    The reference checks every step from the states that the kernel held before it: rounding to codes is the method, not
    an error.
    """

    tensors: tuple[int, ...] = (8192, 5000, 300)
    steps: int = 3
    block: int = 256

    @property
    def work(self) -> Work:
        return Work(self.steps, "step")

    @classmethod
    def examples(cls) -> list["Adam8bit"]:
        """Large, odd and small tensors; another block size."""
        return [cls(), cls(tensors=(4096,), block=2048, steps=1), cls(tensors=(100, 4095), steps=2)]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Parameters after every step, against the update in float64."""
        rng = stream(seed, "adam_8bit")
        results, references = [], []
        for number, size in enumerate(self.tensors):
            states = self._declare(recorder, number, size, rng)
            for step in range(self.steps):
                gradient = (rng.standard_normal(size) * rng.choice([1e-3, 1.0], size)).astype(np.float32)
                plain(states[1])[:] = gradient
                references.append(self._reference(states, step + 1))
                self._update(recorder, states, (number, step + 1))
                results.append(plain(states[0]).copy())
        return Outcome(np.concatenate(results), np.concatenate(references))

    def _declare(self, recorder: AnyRecorder, number: int, size: int, rng: np.random.Generator) -> tuple:
        values = rng.standard_normal(size).astype(np.float32)
        parameters = recorder.array(f"parameters[{number}]", values, Role.WEIGHT)
        gradients = recorder.array(f"gradients[{number}]", np.zeros(size, np.float32), Role.GRADIENT)
        if size < SMALL_TENSOR:
            full = [
                recorder.array(f"state_32bit[{number} {s}]", np.zeros(size, np.float32), Role.OPTIMIZER) for s in "mv"
            ]
            return parameters, gradients, *full
        blocks = -(-size // self.block)
        states = []
        for name, signed in (("m", True), ("v", False)):
            zero = int(np.flatnonzero(dynamic_map(signed) == 0)[0])
            label = f"[{number} {name}]"
            states.append(recorder.array(f"state_codes{label}", np.full(size, zero, np.uint8), Role.OPTIMIZER))
            states.append(recorder.array(f"state_scales{label}", np.zeros(blocks, np.float32), Role.OPTIMIZER))
        return parameters, gradients, *states

    def _update(self, recorder: AnyRecorder, states: tuple, where: tuple[int, int]) -> None:
        (number, step), size = where, len(states[0])
        tile = 16 * self.block
        for start in range(0, size, tile):
            here = slice(start, min(start + tile, size))
            scale = slice(start // self.block, -(-here.stop // self.block))
            with recorder.op(f"tensor {number} step {step} at {start}", 12.0 * (here.stop - start)):
                parameters, gradients, *held = states
                m, v = self._load(held, here, scale)
                new, m, v = _adam(parameters[here], gradients[here], (m, v), step)
                parameters[here] = new
                self._store(held, here, scale, (m, v))

    def _load(self, held: list, here: slice, scale: slice) -> list[Array]:
        if len(held) == 2:
            return [state[here] for state in held]
        tables = dynamic_map(True), dynamic_map(False)
        pairs = zip(held[::2], held[1::2], tables, strict=True)
        return [dequantise(codes[here], scales[scale], table, self.block) for codes, scales, table in pairs]

    def _store(self, held: list, here: slice, scale: slice, values: tuple[Array, Array]) -> None:
        if len(held) == 2:
            for state, value in zip(held, values, strict=True):
                state[here] = value
            return
        tables = dynamic_map(True), dynamic_map(False)
        for codes, scales, table, value in zip(held[::2], held[1::2], tables, values, strict=True):
            codes[here], scales[scale] = quantise(value, table, self.block)

    def _reference(self, states: tuple, step: int) -> Array:
        parameters, gradients, *held = (plain(state) for state in states)
        size = len(parameters)
        m, v = self._load(held, slice(0, size), slice(0, -(-size // self.block)))
        wide = [part.astype(np.float64) for part in (parameters, gradients, m, v)]
        return _adam(wide[0], wide[1], (wide[2], wide[3]), step)[0]

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Per step: 1 B per value and state each way, 4 B per block; or 4 B per value and state in small tensors."""
        large = [size for size in self.tensors if size >= SMALL_TENSOR]
        small = [size for size in self.tensors if size < SMALL_TENSOR]
        everything = sum(self.tensors) * 4 * self.steps
        codes = 2 * sum(large) * self.steps
        scales = 2 * 4 * sum(-(-size // self.block) for size in large) * self.steps
        full = 2 * 4 * sum(small) * self.steps
        found = {
            "parameters": Traffic(everything, everything),
            "gradients": Traffic(everything),
            "state_codes": Traffic(codes, codes),
            "state_scales": Traffic(scales, scales),
            "state_32bit": Traffic(full, full),
        }
        return {name: part for name, part in found.items() if part != Traffic(0, 0)}


def _adam(parameters: Array, gradients: Array, states: tuple[Array, Array], step: int) -> tuple[Array, Array, Array]:
    """Adam (Kingma and Ba, arXiv 1412.6980) with bias correction."""
    m = BETA1 * states[0] + (1 - BETA1) * gradients
    v = BETA2 * states[1] + (1 - BETA2) * gradients**2
    push = (m / (1 - BETA1**step)) / (np.sqrt(v / (1 - BETA2**step)) + EPSILON)
    return parameters - RATE * push, m, v
