"""Decode with Dynamic Mask Attention (arXiv 2508.02124): a mask made from the values keeps W keys."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import normal, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.needle import decode_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder, plain
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("dynamic_mask")
@dataclass(frozen=True)
class DynamicMask:
    """One decode step that keeps the W keys whose values score highest, and adds that score to the logits.

    The paper's: the mask is made from the value states, keeps W keys for a query and is added to their logits. Derived:
    per layer and key-value head T·P of mask, then 2·W·D·P. Ours: bias = exp(a·softplus(v·w)) with one learned vector w
    and scale a per head (random here), kept beside the cache and extended by one entry per token. Since the mask does
    not look at the query, a needle whose value does not stand out is lost: recall is about W/T, unless training has
    taught the values to stand out.
    """

    num_heads: int = 8
    num_kv_heads: int = 2
    tokens: int = 512
    head_dim: int = 64
    keep: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(1)

    @classmethod
    def examples(cls) -> list["DynamicMask"]:
        """A keep far below, near, and above the text's length."""
        return [cls(), cls(tokens=100, keep=99, head_dim=32), cls(num_heads=2, tokens=20, keep=32, dtype="float32")]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Against dense attention with the same rule in float64."""
        rng = stream(seed, "dynamic_mask")
        q = normal(rng, (self.num_heads, self.head_dim), self.dtype)
        k, v = (normal(rng, (self.num_kv_heads, self.tokens, self.head_dim), self.dtype) for _ in range(2))
        mask_weights = rng.standard_normal((self.num_kv_heads, self.head_dim + 1)).astype(np.float32)
        mask_weights /= np.float32(np.sqrt(self.head_dim))  # so that the mask does not saturate
        mask_weights[:, -1] = -0.5
        task = decode_needles(rng, self.num_heads, self.num_kv_heads, self.tokens, self.head_dim)
        found = task.recall(self._attend(NullRecorder(), (task.q[:, 0], task.k, task.v), mask_weights)[:, None])
        result = self._attend(recorder, (q, k, v), mask_weights)
        return Outcome(result, self._reference(q, k, v, mask_weights), recall=found)

    def _attend(self, recorder: AnyRecorder, operands: tuple[Array, Array, Array], mask_weights: Array) -> Array:
        q, k, v = operands
        old = np.stack([_bias(v[head, :-1], mask_weights[head]) for head in range(self.num_kv_heads)])
        bias = recorder.array("bias", np.pad(old, [(0, 0), (0, 1)]), Role.KV)
        weights = recorder.array("mask_weights", mask_weights, Role.WEIGHT)
        q, k, v = (
            recorder.array("q", q, Role.ACTIVATION),
            recorder.array("k", k, Role.KV),
            recorder.array("v", v, Role.KV),
        )
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        group = self.num_heads // self.num_kv_heads
        for head in range(self.num_kv_heads):
            with recorder.op(f"head {head} extend the mask", 2.0 * self.head_dim):
                bias[head, -1] = _bias(v[head, -1:], weights[head])[0]
            kept = min(self.keep, self.tokens)
            with recorder.op(f"head {head} attend", 4.0 * group * kept * self.head_dim):
                scan = bias[head]
                chosen = top_k(scan, self.keep)
                heads = np.full(len(chosen), head)
                keys, values = (rows[heads, chosen].astype(np.float32) for rows in (k, v))
                queries = q[head * group : (head + 1) * group].astype(np.float32)
                logits = queries @ keys.T / np.float32(np.sqrt(self.head_dim)) + scan[chosen]
                out[head * group : (head + 1) * group] = softmax(logits) @ values
        return plain(out)

    def _reference(self, q: Array, k: Array, v: Array, mask_weights: Array) -> Array:
        out = np.zeros(q.shape)
        group = self.num_heads // self.num_kv_heads
        for head in range(self.num_heads):
            keys, values = (rows[head // group].astype(np.float64) for rows in (k, v))
            w = mask_weights[head // group].astype(np.float64)
            bias = np.exp(w[-1] * np.log1p(np.exp(values @ w[:-1]))).astype(np.float32)  # as the mask is stored
            hidden = np.argsort(-bias, kind="stable")[self.keep :]
            logits = keys @ q[head].astype(np.float64) / np.sqrt(self.head_dim) + bias
            logits[hidden] = -np.inf
            out[head] = softmax(logits) @ values
        return out

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """The whole mask, then W keys and values; one value row and one mask entry to extend it."""
        row, heads = self.head_dim * np.dtype(self.dtype).itemsize, self.num_kv_heads
        kept = heads * min(self.keep, self.tokens) * row
        return {
            "bias": Traffic(heads * self.tokens * 4, heads * 4),
            "mask_weights": Traffic(heads * (self.head_dim + 1) * 4),
            "q": Traffic(self.num_heads * row),
            "k": Traffic(kept),
            "v": Traffic(kept + heads * row),
            "out": Traffic(0, self.num_heads * self.head_dim * 4),
        }


def _bias(values: Array, weights: Array) -> Array:
    """float32[T]: exp(a·softplus(v·w)) of value rows [T, D], rounded once; weights holds w, then a."""
    w = np.asarray(weights).astype(np.float64)
    return np.exp(w[-1] * np.logaddexp(0.0, values.astype(np.float64) @ w[:-1])).astype(np.float32)
