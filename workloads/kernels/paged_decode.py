"""Decode attention over a paged KV cache (PagedAttention: Kwon et al., arXiv 2309.06180)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import OnlineSoftmax, dense_attention, normal, scores_f32
from tiergarten.workloads.block_table import BlockPool, num_blocks, table_of
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("paged_decode")
@dataclass(frozen=True)
class PagedDecode:
    """One decode step of a batch over a paged KV cache with block tables; grouped, multi-query or full heads.

    The paper's: block tables and fixed-size blocks. Derived: a step reads 2·T·G·D·P of each sequence, writes 2·G·D·P.
    Ours: a cache block is [G, block, D], the query heads of a group share each block, and of the last block only the
    tokens that exist are read.
    """

    lengths: tuple[int, ...] = (100, 513, 256)
    """Tokens of each sequence, the new one included."""
    num_heads: int = 8
    num_kv_heads: int = 2
    head_dim: int = 64
    block_tokens: int = 16
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(len(self.lengths))

    @classmethod
    def examples(cls) -> list["PagedDecode"]:
        """Grouped, multi-query (one key-value head) and full heads; several page sizes."""
        return [
            cls(lengths=(40, 1, 33)),
            cls(lengths=(128,), num_kv_heads=1, block_tokens=64),
            cls(lengths=(17, 300), num_heads=4, num_kv_heads=4, head_dim=32, block_tokens=256, dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Append one token to every sequence and attend, against dense attention on contiguous copies."""
        rng = stream(seed, "paged_decode")
        blocks_needed = [num_blocks(length, self.block_tokens) for length in self.lengths]
        pool = BlockPool(sum(blocks_needed), rng)
        blocks = [pool.take(count) for count in blocks_needed]
        cache_shape = (sum(blocks_needed), self.num_kv_heads, self.block_tokens, self.head_dim)
        k_cache, v_cache = (
            recorder.array(name, np.zeros(cache_shape, self.dtype), Role.KV) for name in ("k_cache", "v_cache")
        )
        batch = len(self.lengths)
        table = recorder.array("block_table", table_of(blocks))
        q = recorder.array("q", normal(rng, (batch, self.num_heads, self.head_dim), self.dtype), Role.ACTIVATION)
        out = recorder.array("out", np.zeros(q.shape, np.float32), Role.ACTIVATION)
        reference = np.zeros(q.shape)
        for sequence, length in enumerate(self.lengths):
            keys, values = (normal(rng, (self.num_kv_heads, length, self.head_dim), self.dtype) for _ in range(2))
            for cache, rows in ((k_cache, keys), (v_cache, values)):
                _fill(plain(cache), blocks[sequence], rows[:, :-1], self.block_tokens)
            self._append(recorder, (k_cache, v_cache, table), sequence, (keys[:, -1], values[:, -1]))
            self._attend(recorder, (q, k_cache, v_cache, table, out), sequence)
            reference[sequence] = dense_attention(plain(q)[sequence][:, None], keys, values)[:, 0]
        return Outcome(plain(out), reference)

    def _append(self, recorder: AnyRecorder, arrays: tuple, sequence: int, new: tuple) -> None:
        k_cache, v_cache, table = arrays
        position = self.lengths[sequence] - 1
        with recorder.op(f"append to sequence {sequence}"):
            block = int(table[sequence, position // self.block_tokens])
            k_cache[block, :, position % self.block_tokens] = new[0]
            v_cache[block, :, position % self.block_tokens] = new[1]

    def _attend(self, recorder: AnyRecorder, arrays: tuple, sequence: int) -> None:
        q, k_cache, v_cache, table, out = arrays
        length, group = self.lengths[sequence], self.num_heads // self.num_kv_heads
        with recorder.op(f"attend sequence {sequence}", 4.0 * self.num_heads * length * self.head_dim):
            queries = q[sequence].reshape(self.num_kv_heads, group, self.head_dim)
            softmax = OnlineSoftmax((self.num_kv_heads, group), self.head_dim)
            for page in range(num_blocks(length, self.block_tokens)):
                block = int(table[sequence, page])
                here = slice(0, min(self.block_tokens, length - page * self.block_tokens))
                scores = scores_f32(queries, k_cache[block, :, here])
                softmax.add(scores, v_cache[block, :, here].astype(np.float32))
            out[sequence] = softmax.result().reshape(self.num_heads, self.head_dim)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """k, v: G·D·P per token read, per new token written; a table entry of 4 bytes per block, and one to append."""
        size = np.dtype(self.dtype).itemsize
        token, batch = self.num_kv_heads * self.head_dim * size, len(self.lengths)
        cache = Traffic(sum(self.lengths) * token, batch * token)
        entries = sum(num_blocks(length, self.block_tokens) + 1 for length in self.lengths)
        row = batch * self.num_heads * self.head_dim
        return {
            "k_cache": cache,
            "v_cache": cache,
            "block_table": Traffic(4 * entries),
            "q": Traffic(row * size),
            "out": Traffic(0, row * 4),
        }


def _fill(cache: np.ndarray, blocks: list[int], rows: np.ndarray, block_tokens: int) -> None:
    """Put rows [G, T, D] that were cached before the step into their blocks."""
    for page, start in enumerate(range(0, rows.shape[1], block_tokens)):
        part = rows[:, start : start + block_tokens]
        cache[blocks[page], :, : part.shape[1]] = part
