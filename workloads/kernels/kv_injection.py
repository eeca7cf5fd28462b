"""A stored memory's keys and values placed in front of the prompt instead of computed (MemOS, arXiv 2505.22101)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.toy_decoder import PROJECTIONS, ToyDecoder
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("kv_injection")
@dataclass(frozen=True)
class KvInjection:
    """Build a memory's KV once, store it, then answer queries by reading it back and computing query tokens only.

    The paper's: a memory item's KV is built once, stored, later placed before the prompt; the answer is that of the
    whole text. Derived: context tokens times KV per token, one contiguous read per layer and query. Ours: the store
    holds keys and values of a layer side by side, so that one layer is one run; a three-layer random decoder.
    """

    layers: int = 3
    width: int = 32
    memory_tokens: int = 64
    query_tokens: int = 10
    queries: int = 2

    @property
    def work(self) -> Work:
        return Work(self.queries * self.query_tokens)

    @classmethod
    def examples(cls) -> list["KvInjection"]:
        """Long memory and short query, the reverse, and a single token."""
        return [
            cls(),
            cls(memory_tokens=5, query_tokens=30, layers=2),
            cls(memory_tokens=16, query_tokens=1, queries=3),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Hidden states of the query tokens, against the whole text computed at once in float64."""
        rng = stream(seed, "kv_injection")
        model = ToyDecoder.random(recorder, rng, self.layers, self.width)
        memory = rng.standard_normal((self.memory_tokens, self.width)).astype(np.float32)
        texts = rng.standard_normal((self.queries, self.query_tokens, self.width)).astype(np.float32)
        store = self._build(recorder, model, memory)
        total = self.memory_tokens + self.query_tokens
        out = recorder.array("out", np.zeros(texts.shape, np.float32), Role.ACTIVATION)
        for query, text in enumerate(texts):
            cache = tuple(
                recorder.array(
                    f"{name}_cache[{query}]", np.zeros((self.layers, total, self.width), np.float32), Role.KV
                )
                for name in "kv"
            )
            x = text
            for layer in range(self.layers):
                with recorder.op(f"query {query} inject layer {layer}", stream=1) as injected:
                    rows = store[layer]
                    for part, kind in zip(cache, range(2), strict=True):
                        part[layer, : self.memory_tokens] = rows[kind]
                flops = model.flops(self.query_tokens, total)
                with recorder.op(f"query {query} layer {layer}", flops, after=[injected] if injected >= 0 else []):
                    x = model.layer(layer, x, cache, self.memory_tokens)
            with recorder.op(f"query {query} answer"):
                out[query] = x
            for part in cache:
                recorder.free(part)
        whole = [model.dense(np.concatenate([memory, text]))[self.memory_tokens :] for text in texts]
        return Outcome(plain(out), np.array(whole))

    def _build(self, recorder: AnyRecorder, model: ToyDecoder, memory: np.ndarray) -> np.ndarray:
        """Prefill the memory and store its KV [L, 2, T, D]."""
        shape = (self.layers, self.memory_tokens, self.width)
        cache = tuple(recorder.array(f"build_{name}", np.zeros(shape, np.float32), Role.KV) for name in "kv")
        store = recorder.array("kv_store", np.zeros((self.layers, 2, *shape[1:]), np.float32), Role.KV)
        x = memory
        for layer in range(self.layers):
            with recorder.op(f"build layer {layer}", model.flops(self.memory_tokens, self.memory_tokens)):
                x = model.layer(layer, x, cache, 0)
            with recorder.op(f"store layer {layer}", stream=1):
                store[layer] = np.stack([part[layer] for part in cache])
        for part in cache:
            recorder.free(part)
        return store

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Store: written once, read once per query; weights once per pass; memory rows copied, then read."""
        memory, query = (self.layers * n * self.width * 4 for n in (self.memory_tokens, self.query_tokens))
        weights = {name: Traffic((1 + self.queries) * self.layers * self.width**2 * 4) for name in PROJECTIONS}
        cache = Traffic(self.queries * memory, self.queries * (memory + query))
        return {
            **weights,
            "build_k": Traffic(memory, memory),
            "build_v": Traffic(memory, memory),
            "kv_store": Traffic(self.queries * 2 * memory, 2 * memory),
            "k_cache": cache,
            "v_cache": cache,
            "out": Traffic(0, self.queries * self.query_tokens * self.width * 4),
        }
