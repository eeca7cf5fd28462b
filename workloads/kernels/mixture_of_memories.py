"""Mixture-of-Memories (MoM, arXiv 2502.13685): a router picks which matrix memories a token updates."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import normal, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("mixture_of_memories")
@dataclass(frozen=True)
class MixtureOfMemories:
    """Token by token, k of K matrix memories and a shared one are read, updated with kᵀv and queried together.

    The paper's: K memories, top-k router, a shared memory, weighted mixing of the memories' answers. Derived: per token
    and head (k + 1)·D² values read and written, (K + 1)·D² resident. Ours: plain additive updates without decay, one
    set of k and v for all memories (the paper projects them per memory), router weights read for every token.
    """

    num_heads: int = 2
    tokens: int = 64
    head_dim: int = 32
    memories: int = 4
    top_k: int = 2
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["MixtureOfMemories"]:
        """Some, one and all memories chosen."""
        return [cls(), cls(top_k=1, memories=8, num_heads=1), cls(tokens=20, memories=3, top_k=3, dtype="float32")]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against the closed form: each token's answer is a gated sum over the earlier tokens that share a memory."""
        rng = stream(seed, "mixture_of_memories")
        shape = (self.tokens, self.num_heads, self.head_dim)
        q, k, v = (recorder.array(name, normal(rng, shape, self.dtype), Role.ACTIVATION) for name in ("q", "k", "v"))
        x = recorder.array("x", normal(rng, (self.tokens, self.head_dim), self.dtype), Role.ACTIVATION)
        router = recorder.array("router", normal(rng, (self.head_dim, self.memories), "float32"), Role.WEIGHT)
        memory_shape = (self.memories + 1, self.num_heads, self.head_dim, self.head_dim)
        memory = recorder.array("memory", np.zeros(memory_shape, np.float32), Role.KV)
        out = recorder.array("out", np.zeros(shape, np.float32), Role.ACTIVATION)
        for token in range(self.tokens):
            with recorder.op(f"token {token}", 4.0 * (self.top_k + 1) * self.num_heads * self.head_dim**2):
                logits = x[token].astype(np.float32) @ router[:]
                chosen = top_k(logits, self.top_k)
                ids = np.append(chosen, self.memories)
                gates = np.append(softmax(logits[chosen]), np.float32(1))
                key, value, query = (rows[token].astype(np.float32) for rows in (k, v, q))
                updated = memory[ids] + key[:, :, None] * value[:, None, :]
                memory[ids] = updated
                out[token] = np.einsum("m,hd,mhde->he", gates, query, updated)
        return Outcome(plain(out), self._reference(*(plain(part) for part in (q, k, v, x, router))))

    def _reference(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, x: np.ndarray, router: np.ndarray) -> np.ndarray:
        q, k, v = (rows.astype(np.float64).swapaxes(0, 1) for rows in (q, k, v))
        logits = x.astype(np.float64) @ router.astype(np.float64)
        member = np.zeros((self.tokens, self.memories + 1))
        member[:, -1] = 1
        gates = member.copy()
        for token in range(self.tokens):
            chosen = np.argsort(-logits[token], kind="stable")[: self.top_k]
            member[token, chosen] = 1
            gates[token, chosen] = softmax(logits[token, chosen])
        weight = np.tril(gates @ member.T)
        return ((q @ k.swapaxes(1, 2)) * weight @ v).swapaxes(0, 1)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """(k + 1)·H·D² of memory in and out per token."""
        row = self.tokens * self.num_heads * self.head_dim
        size = np.dtype(self.dtype).itemsize
        memory = row * (self.top_k + 1) * self.head_dim * 4
        return {
            "q": Traffic(row * size),
            "k": Traffic(row * size),
            "v": Traffic(row * size),
            "x": Traffic(self.tokens * self.head_dim * size),
            "router": Traffic(self.tokens * self.head_dim * self.memories * 4),
            "memory": Traffic(memory, memory),
            "out": Traffic(0, row * 4),
        }
