"""Decode with multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), in its absorbed form."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import OnlineSoftmax, normal, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("mla_decode")
@dataclass(frozen=True)
class MlaDecode:
    """One decode step over a latent KV cache: all heads read the same r + d_rope values of each token.

    The paper's: the cache holds a latent of r values and a shared rotary key of d_rope values per token, and the
    up-projections can be absorbed into the query and output. Derived: T·(r + d_rope)·P read. Ours: the cache is read in
    tiles; the check expands keys and values head by head, as if nothing were absorbed.
    """

    num_heads: int = 8
    tokens: int = 300
    latent: int = 128
    rope: int = 32
    head_dim: int = 64
    tile: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(1)

    @classmethod
    def examples(cls) -> list["MlaDecode"]:
        """Lengths that the tile does and does not divide; a single token."""
        return [cls(), cls(num_heads=2, tokens=128, latent=64, rope=16, head_dim=16), cls(tokens=1, dtype="float32")]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Absorbed decode, against expanded keys and values in float64."""
        rng = stream(seed, "mla_decode")
        cache = recorder.array("latent_cache", normal(rng, (self.tokens, self.latent + self.rope), self.dtype), Role.KV)
        shape = (self.num_heads, self.head_dim, self.latent)
        up_k, up_v = (
            recorder.array(name, (rng.standard_normal(shape) / np.sqrt(self.latent)).astype(self.dtype), Role.WEIGHT)
            for name in ("up_k", "up_v")
        )
        q = recorder.array("q", normal(rng, (self.num_heads, self.head_dim + self.rope), self.dtype), Role.ACTIVATION)
        out = recorder.array("out", np.zeros((self.num_heads, self.head_dim), np.float32), Role.ACTIVATION)
        self._decode(recorder, (q, cache, up_k, up_v, out))
        return Outcome(plain(out), self._expanded(plain(q), plain(cache), plain(up_k), plain(up_v)))

    def _decode(self, recorder: AnyRecorder, arrays: tuple) -> None:
        q, cache, up_k, up_v, out = arrays
        with recorder.op("absorb the key projection", 2.0 * self.num_heads * self.head_dim * self.latent):
            query = q[:].astype(np.float32)
            absorbed = np.einsum("hd,hdr->hr", query[:, : self.head_dim], up_k[:].astype(np.float32))
            latent_query = np.concatenate([absorbed, query[:, self.head_dim :]], axis=1)
        scale = np.float32(1 / np.sqrt(self.head_dim + self.rope))
        state = OnlineSoftmax((self.num_heads,), self.latent)
        with recorder.op("attend", 2.0 * self.num_heads * self.tokens * (2 * self.latent + self.rope)):
            for start in range(0, self.tokens, self.tile):
                rows = cache[start : start + self.tile].astype(np.float32)
                state.add(latent_query @ rows.T * scale, rows[:, : self.latent])
        with recorder.op("apply the value projection", 2.0 * self.num_heads * self.head_dim * self.latent):
            out[:] = np.einsum("hr,hdr->hd", state.result(), up_v[:].astype(np.float32))

    def _expanded(self, q: Array, cache: Array, up_k: Array, up_v: Array) -> Array:
        q, cache, up_k, up_v = (part.astype(np.float64) for part in (q, cache, up_k, up_v))
        latent, rotary = cache[:, : self.latent], cache[:, self.latent :]
        out = []
        for head in range(self.num_heads):
            keys = np.concatenate([latent @ up_k[head].T, rotary], axis=1)
            weights = softmax(keys @ q[head] / np.sqrt(self.head_dim + self.rope))
            out.append(weights @ (latent @ up_v[head].T))
        return np.array(out)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """The latent cache once for all heads, each projection once."""
        size = np.dtype(self.dtype).itemsize
        projection = Traffic(self.num_heads * self.head_dim * self.latent * size)
        return {
            "latent_cache": Traffic(self.tokens * (self.latent + self.rope) * size),
            "up_k": projection,
            "up_v": projection,
            "q": Traffic(self.num_heads * (self.head_dim + self.rope) * size),
            "out": Traffic(0, self.num_heads * self.head_dim * 4),
        }
