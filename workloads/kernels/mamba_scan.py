"""Selective state-space scan (Mamba, arXiv 2312.00752), in one direction or, as in Vim (arXiv 2401.09417), two."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.jit import njit
from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@njit(cache=True)
def scan(state, decay, x, step, b, c):
    """Advance `state` in place over a chunk of tokens and give the outputs.

    h ← exp(step·decay)·h + step·x·b;  y = h·c, for each channel.

    Args:
        state: float[E, N], carried in and out.
        decay: float[E, N], negative.
        x: float[T, E].
        step: float[T, E], positive.
        b: float[T, N].
        c: float[T, N].

    Returns:
        float[T, E].
    """
    tokens, channels = x.shape
    out = np.zeros_like(x)
    for t in range(tokens):
        for e in range(channels):
            total = x[t, e] * 0
            for n in range(state.shape[1]):
                state[e, n] = np.exp(step[t, e] * decay[e, n]) * state[e, n] + step[t, e] * x[t, e] * b[t, n]
                total += state[e, n] * c[t, n]
            out[t, e] = total
    return out


@KERNELS.register("mamba_scan")
@dataclass(frozen=True)
class MambaScan:
    """Scan whose state of E·N values stays on chip for a chunk while activations stream through once per direction.

    The paper's: the recurrence, and that the state is kept on chip while inputs stream. Derived: per direction each of
    x, Δ (E) and B, C (N) is read once, y written once; E·N of state. Ours: the state leaves the chip between chunks;
    a second direction runs on the reversed text and adds to the first one's output.
    """

    tokens: int = 128
    channels: int = 64
    state_size: int = 16
    chunk: int = 32
    directions: int = 1
    dtype: str = "float32"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["MambaScan"]:
        """One direction in chunks, one chunk, two directions with a chunk that does not divide the text."""
        return [cls(), cls(tokens=40, chunk=40, state_size=4), cls(tokens=50, chunk=16, channels=24, directions=2)]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against the recurrence unrolled token by token in float64."""
        rng = stream(seed, "mamba_scan")
        x = rng.standard_normal((self.tokens, self.channels)).astype(self.dtype)
        step = np.log1p(np.exp(rng.standard_normal((self.tokens, self.channels)) - 2)).astype(self.dtype)
        b, c = (rng.standard_normal((self.tokens, self.state_size)).astype(self.dtype) for _ in range(2))
        decay = -(np.arange(1, self.state_size + 1) * np.ones((self.channels, 1))).astype(self.dtype)
        names = {"x": x, "step": step, "b": b, "c": c}
        inputs = [recorder.array(name, data, Role.ACTIVATION) for name, data in names.items()]
        decays = recorder.array("decay", decay, Role.WEIGHT)
        out = recorder.array("out", np.zeros_like(x), Role.ACTIVATION)
        reference = np.zeros(x.shape)
        for direction in range(self.directions):
            turn = slice(None, None, 1 if direction == 0 else -1)
            state = recorder.array(f"state[{direction}]", np.zeros(decay.shape, self.dtype), Role.KV)
            for start in range(0, self.tokens, self.chunk):
                self._chunk(recorder, (inputs, decays, state, out), direction, start)
            reference[turn] += _unrolled(decay, *(data[turn] for data in names.values()))
        return Outcome(plain(out), reference)

    def _chunk(self, recorder: AnyRecorder, arrays: tuple, direction: int, start: int) -> None:
        inputs, decays, state, out = arrays
        stop = min(start + self.chunk, self.tokens)
        here = slice(start, stop) if direction == 0 else slice(self.tokens - stop, self.tokens - start)
        turn = slice(None, None, 1 if direction == 0 else -1)
        flops = 6.0 * (stop - start) * self.channels * self.state_size
        with recorder.op(f"direction {direction} tokens {here.start}", flops):
            carried = state[:].copy()
            streams = [np.ascontiguousarray(data[here][turn]) for data in inputs]
            y = scan(carried, decays[:], *streams)[turn]
            if direction == 0:
                out[here] = y
            else:
                out[here] += y
            state[:] = carried

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Inputs once per direction; state and decay once per chunk; a second direction reads the first's output."""
        size, runs = np.dtype(self.dtype).itemsize, self.directions
        wide, narrow = self.tokens * self.channels * size, self.tokens * self.state_size * size
        chunks = -(-self.tokens // self.chunk)
        state = runs * chunks * self.channels * self.state_size * size
        return {
            "x": Traffic(runs * wide),
            "step": Traffic(runs * wide),
            "b": Traffic(runs * narrow),
            "c": Traffic(runs * narrow),
            "decay": Traffic(state),
            "state": Traffic(state, state),
            "out": Traffic((runs - 1) * wide, runs * wide),
        }


def _unrolled(decay: Array, x: Array, step: Array, b: Array, c: Array) -> Array:
    decay, x, step, b, c = (part.astype(np.float64) for part in (decay, x, step, b, c))
    h, out = np.zeros(decay.shape), np.zeros(x.shape)
    for t in range(len(x)):
        h = np.exp(step[t][:, None] * decay) * h + np.outer(step[t] * x[t], b[t])
        out[t] = h @ c[t]
    return out
