"""Dense tiled prefill attention in the order of FlashAttention (Dao et al., arXiv 2205.14135)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import causal, dense_attention, normal
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.tiled_attention import span_attention, span_keys
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("flash_prefill")
@dataclass(frozen=True)
class FlashPrefill:
    """Dense causal prefill attention, tiled; the score matrix never reaches memory.

    The paper's: tiles, online softmax, no score matrix. Ours: the loop is over query tiles outside and key tiles inside
    (as in FlashAttention-2), the query heads of a group share each key tile, and no key right of a query tile is read.
    """

    num_heads: int = 8
    num_kv_heads: int = 2
    tokens: int = 512
    head_dim: int = 64
    tile_q: int = 64
    tile_k: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.tokens)

    @classmethod
    def examples(cls) -> list["FlashPrefill"]:
        """Grouped, single and many heads; lengths that no tile divides."""
        return [
            cls(tokens=128),
            cls(num_heads=4, num_kv_heads=1, tokens=100, tile_q=32, tile_k=48),
            cls(num_heads=2, num_kv_heads=2, tokens=37, head_dim=16, tile_q=16, tile_k=8, dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Attention over random q, k, v, against dense attention in float64."""
        rng = stream(seed, "flash_prefill")
        q = recorder.array("q", normal(rng, (self.num_heads, self.tokens, self.head_dim), self.dtype), Role.ACTIVATION)
        k, v = (
            recorder.array(name, normal(rng, (self.num_kv_heads, self.tokens, self.head_dim), self.dtype), Role.KV)
            for name in ("k", "v")
        )
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        span_attention(recorder, (q, k, v, out), (self.tile_q, self.tile_k), lambda t: 0)
        reference = dense_attention(plain(q), plain(k), plain(v), causal(self.tokens, self.tokens))
        return Outcome(plain(out), reference)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """q and out once; k and v once per query tile, as far as that tile sees."""
        row = self.head_dim * np.dtype(self.dtype).itemsize
        keys = self.num_kv_heads * span_keys(self.tokens, self.tile_q, lambda t: 0) * row
        return {
            "q": Traffic(self.num_heads * self.tokens * row),
            "k": Traffic(keys),
            "v": Traffic(keys),
            "out": Traffic(0, self.num_heads * self.tokens * self.head_dim * 4),
        }
