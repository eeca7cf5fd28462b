"""Decode over contiguous virtual KV tensors backed by page groups on demand (vAttention, arXiv 2405.04437)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import OnlineSoftmax, dense_attention, normal, scores_f32
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("vattention_decode")
@dataclass(frozen=True)
class VattentionDecode:
    """Decode steps of one request over 2·L contiguous virtual tensors; page groups are mapped when tokens need them.

    The paper's (Sec. 5): 2·L virtual tensors per worker; a request of s tokens has ceil(s/t) groups mapped in each,
    t = group bytes/(G·D·P) tokens; a decode step maps at most one group per tensor. Ours: each mapped group is an
    object born with the operation that maps it, so the trace's footprint is the physical memory, not the reservation;
    nothing is reclaimed inside the run. Attention reads whole groups as one run, without any block table.
    """

    num_layers: int = 2
    num_heads: int = 8
    num_kv_heads: int = 4
    head_dim: int = 64
    prompt_tokens: int = 120
    steps: int = 20
    group_bytes: int = 65536
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.steps)

    @classmethod
    def examples(cls) -> list["VattentionDecode"]:
        """No growth, growth by one group, growth by many (groups far below the paper's 64 KB, to see them)."""
        return [
            cls(steps=3),
            cls(prompt_tokens=126, steps=5),
            cls(num_layers=3, num_heads=2, num_kv_heads=1, head_dim=32, prompt_tokens=7, steps=12, group_bytes=256),
        ]

    @property
    def group_tokens(self) -> int:
        """Tokens of one layer's keys (or values) in a page group."""
        return self.group_bytes // (self.num_kv_heads * self.head_dim * np.dtype(self.dtype).itemsize)

    def groups_per_tensor(self, tokens: int) -> int:
        """Page groups that must be mapped for `tokens` tokens."""
        return -(-tokens // self.group_tokens)

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Map, append and attend for every step and layer, against dense attention on plain arrays."""
        rng = stream(seed, "vattention_decode")
        total = self.prompt_tokens + self.steps
        shape = (2, self.num_layers, total, self.num_kv_heads, self.head_dim)
        content = normal(rng, shape, self.dtype)
        queries = normal(rng, (self.steps, self.num_layers, self.num_heads, self.head_dim), self.dtype)
        tensors: list[list[list]] = [[[] for _ in range(self.num_layers)] for _ in range(2)]
        self._map(recorder, tensors, self.prompt_tokens)
        for kind in range(2):
            for layer in range(self.num_layers):
                for number, group in enumerate(tensors[kind][layer]):
                    start = number * self.group_tokens
                    rows = content[kind, layer, start : min(start + self.group_tokens, self.prompt_tokens)]
                    plain(group)[: len(rows)] = rows
        out = recorder.array("out", np.zeros(queries.shape, np.float32), Role.ACTIVATION)
        reference = np.zeros(queries.shape)
        for step in range(self.steps):
            tokens = self.prompt_tokens + step + 1
            self._map(recorder, tensors, tokens)
            for layer in range(self.num_layers):
                self._decode(recorder, tensors, (queries[step, layer], content[:, layer]), (step, layer), out)
                k, v = content[:, layer, :tokens].swapaxes(1, 2)
                reference[step, layer] = dense_attention(queries[step, layer][:, None], k, v)[:, 0]
        mapped = sum(len(layer) for kind in tensors for layer in kind)
        return Outcome(plain(out), reference, {"mapped_groups": mapped})

    def _map(self, recorder: AnyRecorder, tensors: list, tokens: int) -> None:
        """The paper's `step`: ensure ceil(s/t) groups in each of the 2·L tensors."""
        wanted = self.groups_per_tensor(tokens)
        if wanted == len(tensors[0][0]):
            return
        shape = (self.group_tokens, self.num_kv_heads, self.head_dim)
        with recorder.op(f"map groups for {tokens} tokens"):
            for kind, name in enumerate(("k", "v")):
                for layer, groups in enumerate(tensors[kind]):
                    for number in range(len(groups), wanted):
                        label = f"{name}[layer {layer} group {number}]"
                        groups.append(recorder.array(label, np.zeros(shape, self.dtype), Role.KV))

    def _decode(self, recorder: AnyRecorder, tensors: list, data: tuple, where: tuple[int, int], out: object) -> None:
        (queries, content), (step, layer) = data, where
        tokens, t = self.prompt_tokens + step + 1, self.group_tokens
        keys, values = tensors[0][layer], tensors[1][layer]
        flops = 4.0 * self.num_heads * tokens * self.head_dim
        with recorder.op(f"step {step} layer {layer}", flops):
            keys[(tokens - 1) // t][(tokens - 1) % t] = content[0, tokens - 1]
            values[(tokens - 1) // t][(tokens - 1) % t] = content[1, tokens - 1]
            grouped = queries.reshape(self.num_kv_heads, -1, self.head_dim)
            softmax = OnlineSoftmax(grouped.shape[:2], self.head_dim)
            for number in range(self.groups_per_tensor(tokens)):
                here = slice(0, min(t, tokens - number * t))
                scores = scores_f32(grouped, keys[number][here].swapaxes(0, 1))
                softmax.add(scores, values[number][here].swapaxes(0, 1).astype(np.float32))
            out[step, layer] = softmax.result().reshape(self.num_heads, self.head_dim)  # type: ignore[index]

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Every step reads all tokens so far and writes one, G·D·P each per tensor; there is no table."""
        token = self.num_layers * self.num_kv_heads * self.head_dim * np.dtype(self.dtype).itemsize
        read = sum(self.prompt_tokens + step + 1 for step in range(self.steps)) * token
        out = self.steps * self.num_layers * self.num_heads * self.head_dim * 4
        return {
            "k": Traffic(read, self.steps * token),
            "v": Traffic(read, self.steps * token),
            "out": Traffic(0, out),
        }
