"""What the three executions of Mixture of Block Attention (MoBA, arXiv 2502.13189) share: shape, routing, reference.

A query goes to its own block (causally) and to the k - 1 earlier blocks whose mean key it likes best.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import causal, dense_attention, normal
from tiergarten.workloads.kernel import Outcome
from tiergarten.workloads.needle import prefill_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import pool_blocks, top_k
from tiergarten.workloads.tiled_attention import Operand
from tiergarten.workloads.work import Work


@dataclass(frozen=True)
class MobaShape:
    """Self-attention of a text whose keys are cut into blocks. The text is whole blocks."""

    num_heads: int = 2
    tokens: int = 256
    head_dim: int = 64
    block: int = 32
    top_k: int = 3
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        """Tokens read."""
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list[Self]:
        """Fewer and more blocks than k; k = 1 (own block only)."""
        return [
            cls(),
            cls(num_heads=1, tokens=128, head_dim=32, block=16, top_k=1),
            cls(num_heads=3, tokens=96, head_dim=16, block=8, top_k=20, dtype="float32"),
        ]

    @property
    def num_blocks(self) -> int:
        """Blocks of the text."""
        return self.tokens // self.block

    @property
    def row_bytes(self) -> int:
        """Bytes of one token's key, value or query in one head."""
        return self.head_dim * np.dtype(self.dtype).itemsize

    def routed(self, token: int) -> int:
        """Earlier blocks that a token is sent to."""
        return min(self.top_k - 1, token // self.block)

    @property
    def num_pairs(self) -> int:
        """(query, block) pairs per head, own blocks included."""
        return sum(self.routed(token) + 1 for token in range(self.tokens))

    def routes(self, q: Array, centroids: Array, token: int) -> NDArray[np.int64]:
        """Blocks that query vectors q [..., D] of `token`'s block choose among the earlier centroids."""
        past = centroids[: token // self.block]
        return top_k(q @ past.T, self.top_k - 1)

    def visible(self, q: Array, k: Array) -> NDArray[np.bool_]:
        """bool[H, T, T], routing done plainly in float64: which key each query may see."""
        centroids = pool_blocks(k, self.block).astype(np.float64)
        seen = np.zeros((len(q), self.tokens, self.tokens), bool)
        for head in range(len(q)):
            for token in range(self.tokens):
                own = token // self.block
                chosen = self.routes(q[head, token].astype(np.float64), centroids[head], token)
                for block in [*chosen, own]:
                    seen[head, token, block * self.block : (block + 1) * self.block] = True
        return seen & causal(self.tokens, self.tokens)

    def declare(self, recorder: AnyRecorder, q: Array, k: Array, v: Array) -> tuple[Any, ...]:
        """q, k, v, centroids, out as recorded arrays."""
        centroids = np.zeros((len(q), self.num_blocks, self.head_dim), k.dtype)
        return (
            recorder.array("q", q, Role.ACTIVATION),
            recorder.array("k", k, Role.KV),
            recorder.array("v", v, Role.KV),
            recorder.array("centroids", centroids, Role.KV),
            recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION),
        )

    def pool(self, recorder: AnyRecorder, k: Operand, centroids: Operand, head: int) -> None:
        """First step of every execution: mean key of each block."""
        with recorder.op(f"head {head} pool keys", float(self.tokens * self.head_dim)):
            centroids[head] = pool_blocks(k[head], self.block)

    def outcome(self, attend: object, recorder: AnyRecorder, rng: np.random.Generator) -> Outcome:
        """Run `attend(recorder, q, k, v)` on random data against routed dense attention, and on the needle task."""
        shape = (self.num_heads, self.tokens, self.head_dim)
        q, k, v = (normal(rng, shape, self.dtype) for _ in range(3))
        reference = dense_attention(q, k, v, self.visible(q, k))
        task = prefill_needles(rng, self.num_heads, self.tokens, self.head_dim, 16)
        found = task.recall(attend(NullRecorder(), task.q, task.k, task.v))  # type: ignore[operator]
        return Outcome(plain(attend(recorder, q, k, v)), reference, recall=found)  # type: ignore[operator]
