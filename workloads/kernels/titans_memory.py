"""Titans' long-term memory (arXiv 2501.00663): the weights of a small MLP, changed by gradient while reading."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import normal
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

RATE, MOMENTUM, FORGET = 0.02, 0.9, 0.01
"""Step size, momentum and decay; constants here, data-dependent in the paper."""


def memory_gradient(w1: Array, w2: Array, keys: Array, values: Array) -> tuple[Array, Array]:
    """Gradient of mean ½·|W2·silu(W1·k) - v|² over a chunk, with respect to W1 [F, D] and W2 [D, F]."""
    hidden = keys @ w1.T
    gate = 1 / (1 + np.exp(-hidden))
    active = hidden * gate
    error = (active @ w2.T - values) / len(keys)
    back = (error @ w2) * (gate * (1 + hidden * (1 - gate)))
    return back.T @ keys, error.T @ active


@KERNELS.register("titans_memory")
@dataclass(frozen=True)
class TitansMemory:
    """Chunk by chunk, an MLP memory is queried, then learns the chunk's keys and values by gradient with momentum.

    The paper's: the memory is an MLP's weights, the loss |M(k) - v|², momentum ("surprise") and forgetting. Derived:
    the whole MLP is read and written per chunk, and its momentum too; size constant in length. Ours: one gradient per
    chunk, constant rates, queries are answered before the chunk is learned, no attention window beside it.
    """

    head_dim: int = 32
    hidden: int = 128
    chunk: int = 16
    chunks: int = 6
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.chunk * self.chunks)

    @classmethod
    def examples(cls) -> list["TitansMemory"]:
        """Several chunks; single chunk; chunks of one token."""
        return [cls(), cls(chunks=1, head_dim=16, hidden=32), cls(chunk=1, chunks=9, dtype="float32")]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Answers and final weights, against the same recurrence in float64."""
        rng = stream(seed, "titans_memory")
        tokens = self.chunk * self.chunks
        shape = (tokens, self.head_dim)
        q, k, v = (recorder.array(name, normal(rng, shape, self.dtype), Role.ACTIVATION) for name in ("q", "k", "v"))
        start = (rng.standard_normal((2, self.hidden, self.head_dim)) / np.sqrt(self.hidden)).astype(np.float32)
        w1 = recorder.array("w1", start[0].copy(), Role.KV)
        w2 = recorder.array("w2", start[1].T.copy(), Role.KV)
        s1, s2 = (
            recorder.array(f"momentum[{i}]", np.zeros(w.shape, np.float32), Role.KV) for i, w in ((1, w1), (2, w2))
        )
        out = recorder.array("out", np.zeros(shape, np.float32), Role.ACTIVATION)
        for number in range(self.chunks):
            self._chunk(recorder, (q, k, v, out), ((w1, s1), (w2, s2)), number)
        result = np.concatenate([plain(out).ravel(), plain(w1).ravel(), plain(w2).ravel()])
        return Outcome(result, self._reference(plain(q), plain(k), plain(v), start))

    def _chunk(self, recorder: AnyRecorder, tokens: tuple, memory: tuple, number: int) -> None:
        (q, k, v, out), ((w1, s1), (w2, s2)) = tokens, memory
        here = slice(number * self.chunk, (number + 1) * self.chunk)
        size = float(self.chunk * self.hidden * self.head_dim)
        with recorder.op(f"chunk {number} recall", 4 * size):
            hidden = q[here].astype(np.float32) @ w1[:].T
            out[here] = hidden / (1 + np.exp(-hidden)) @ w2[:].T
        with recorder.op(f"chunk {number} learn", 12 * size):
            old = w1[:], w2[:]
            gradients = memory_gradient(*old, k[here].astype(np.float32), v[here].astype(np.float32))
            for weights, momentum, before, gradient in zip((w1, w2), (s1, s2), old, gradients, strict=True):
                push = MOMENTUM * momentum[:] - RATE * gradient
                momentum[:] = push
                weights[:] = (1 - FORGET) * before + push

    def _reference(self, q: Array, k: Array, v: Array, start: Array) -> Array:
        q, k, v, start = (part.astype(np.float64) for part in (q, k, v, start))
        weights, pushes, out = [start[0], start[1].T], [np.zeros(()), np.zeros(())], []
        for number in range(self.chunks):
            here = slice(number * self.chunk, (number + 1) * self.chunk)
            hidden = q[here] @ weights[0].T
            out.append((hidden / (1 + np.exp(-hidden)) @ weights[1].T).ravel())
            gradients = memory_gradient(weights[0], weights[1], k[here], v[here])
            pushes = [MOMENTUM * push - RATE * gradient for push, gradient in zip(pushes, gradients, strict=True)]
            weights = [(1 - FORGET) * w + push for w, push in zip(weights, pushes, strict=True)]
        return np.concatenate([*out, weights[0].ravel(), weights[1].ravel()])

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Per chunk: weights read to answer and to learn, written once; momentum read and written."""
        matrix = self.chunks * self.head_dim * self.hidden * 4
        row = self.chunk * self.chunks * self.head_dim
        tokens = Traffic(row * np.dtype(self.dtype).itemsize)
        return {
            "q": tokens,
            "k": tokens,
            "v": tokens,
            "w1": Traffic(2 * matrix, matrix),
            "w2": Traffic(2 * matrix, matrix),
            "momentum": Traffic(2 * matrix, 2 * matrix),
            "out": Traffic(0, row * 4),
        }
