"""Decode with HiP attention (arXiv 2406.09827): tree search over keys, KV in host memory behind two device caches."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import dense_attention, normal, softmax
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.lru_cache import LruSlots, lru_misses
from tiergarten.workloads.needle import decode_needles
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, NullRecorder
from tiergarten.workloads.selection import top_k
from tiergarten.workloads.tiled_attention import Operand
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


class BlockCache:
    """Device copy of the most recently used token blocks of one host array [T, D]; misses fetch a whole block."""

    def __init__(self, recorder: AnyRecorder, name: str, host: Operand, blocks: int, block: int):
        self._host, self._block = host, block
        self._slots = LruSlots(blocks)
        shape = (blocks, block, host.shape[1])
        self._data = recorder.array(name, np.zeros(shape, host.dtype), Role.KV)
        self.used: list[int] = []
        """Blocks asked for, in order."""

    def rows(self, tokens: Array) -> Array:
        """[n, D] rows of the given tokens, in float32; a block is looked up once per run of its tokens."""
        out = np.empty((len(tokens), self._data.shape[2]), np.float32)
        for block in dict.fromkeys((tokens // self._block).tolist()):
            self.used.append(block)
            slot, hit = self._slots.use(block)
            if not hit:
                self._data[slot] = self._host[block * self._block : (block + 1) * self._block]
            mine = np.flatnonzero(tokens // self._block == block)
            out[mine] = self._data[np.full(len(mine), slot), tokens[mine] % self._block].astype(np.float32)
        return out


@KERNELS.register("hip")
@dataclass(frozen=True)
class Hip:
    """Decode over k keys found by hierarchical top-k search; the mask lives for several steps, the KV on the host.

    The paper's: start from coarse chunks, halve each, keep the best k/b_k by a representative key, until chunks have
    b_k tokens; refresh every r steps; two device caches, for the search and for attention, filled by token block.
    Derived: per step 2·k·D·P of attention; per refresh (k/b_k)·2·log2(T/k) representatives of D·P. Ours: the middle key
    represents a chunk, the caches are LRU, the text does not grow (T/k a power of two), one head is shown.
    """

    tokens: int = 1024
    head_dim: int = 64
    keep: int = 128
    block_k: int = 2
    steps: int = 12
    refresh: int = 4
    fetch_block: int = 8
    search_cache_blocks: int = 96
    attention_cache_blocks: int = 64
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(self.steps)

    @classmethod
    def examples(cls) -> list["Hip"]:
        """Caches that miss and that hold everything; refresh at each step; k equal to T (dense attention)."""
        return [
            cls(),
            cls(tokens=256, keep=64, block_k=4, refresh=1, steps=3, head_dim=32),
            cls(tokens=64, keep=64, steps=2, dtype="float32"),
            cls(tokens=512, keep=32, search_cache_blocks=1, attention_cache_blocks=1, steps=2),
        ]

    @property
    def rounds(self) -> int:
        """Halvings from chunks of T·b_k/k tokens to chunks of b_k: log2(T/k)."""
        return (self.tokens // self.keep).bit_length() - 1

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Steps with slowly turning queries, against float64 attention over a plain search."""
        rng = stream(seed, "hip")
        k, v = (normal(rng, (self.tokens, self.head_dim), self.dtype) for _ in range(2))
        drift = rng.standard_normal((self.steps, self.head_dim)).cumsum(axis=0) / np.sqrt(self.steps)
        queries = (rng.standard_normal(self.head_dim) + 0.3 * drift).astype(self.dtype)
        result, caches = self._decode(recorder, queries, k, v)
        counts = {f"{name}_misses": lru_misses(cache.used, blocks) for name, cache, blocks in caches}
        counts |= {"search_rows": self._refreshes * self.rounds * 2 * (self.keep // self.block_k)}
        return Outcome(result, self._reference(queries, k, v), counts, recall=self._needle_recall(rng))

    @property
    def _refreshes(self) -> int:
        return -(-self.steps // self.refresh)

    def _decode(self, recorder: AnyRecorder, queries: Array, k: Array, v: Array) -> tuple[Array, list]:
        host_k, host_v = recorder.array("host_k", k, Role.KV), recorder.array("host_v", v, Role.KV)
        search = BlockCache(recorder, "search_k", host_k, self.search_cache_blocks, self.fetch_block)
        keys = BlockCache(recorder, "attention_k", host_k, self.attention_cache_blocks, self.fetch_block)
        values = BlockCache(recorder, "attention_v", host_v, self.attention_cache_blocks, self.fetch_block)
        out = np.zeros((len(queries), self.head_dim), np.float32)
        chosen = np.zeros(0, np.int64)
        for step, query in enumerate(queries.astype(np.float32)):
            if step % self.refresh == 0:
                chunks = np.arange(self.keep // self.block_k)
                for level in range(self.rounds):
                    with recorder.op(f"step {step} search {level}", 4.0 * len(chunks) * self.head_dim):
                        chunks = self._halve(query, chunks, level, search.rows)
                chosen = (chunks[:, None] * self.block_k + np.arange(self.block_k)).ravel()
            with recorder.op(f"step {step} attend", 4.0 * self.keep * self.head_dim):
                scores = keys.rows(chosen) @ query / np.float32(np.sqrt(self.head_dim))
                out[step] = softmax(scores) @ values.rows(chosen)
        sizes = (self.search_cache_blocks, self.attention_cache_blocks, self.attention_cache_blocks)
        return out, list(zip(("search", "key", "value"), (search, keys, values), sizes, strict=True))

    def _halve(self, query: Array, chunks: Array, level: int, rows: object) -> Array:
        """Split every chunk in two and keep the best half of the halves, judged by their middle keys."""
        halves = (chunks[:, None] * 2 + np.arange(2)).ravel()
        size = (self.tokens * self.block_k // self.keep) >> (level + 1)
        scores = rows(halves * size + size // 2) @ query  # type: ignore[operator]
        return halves[top_k(scores, len(chunks))]

    def _reference(self, queries: Array, k: Array, v: Array) -> Array:
        out = np.zeros((len(queries), self.head_dim))
        allowed = np.zeros((1, 1, self.tokens), bool)
        for step, query in enumerate(queries.astype(np.float64)):
            if step % self.refresh == 0:
                chunks = np.arange(self.keep // self.block_k)
                for level in range(self.rounds):
                    chunks = self._halve(query, chunks, level, lambda tokens: k[tokens].astype(np.float64))
                allowed[:] = np.isin(np.arange(self.tokens) // self.block_k, chunks)
            out[step] = dense_attention(query[None, None], k[None], v[None], allowed)[0, 0]
        return out

    def _needle_recall(self, rng: np.random.Generator) -> float:
        """Isolated needles in random keys: the search passes them by unless a representative sits next to them."""
        task = decode_needles(rng, 32, 1, self.tokens, self.head_dim)
        found = [self._decode(NullRecorder(), query, task.k[0], task.v[0])[0] for query in task.q]
        return task.recall(np.array(found))

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Representatives once per search, k rows once per step; each miss moves a block from host to device."""
        row = self.head_dim * np.dtype(self.dtype).itemsize
        block = self.fetch_block * row
        search, key, value = (counts[f"{name}_misses"] * block for name in ("search", "key", "value"))
        attention = self.steps * self.keep * row
        return {
            "host_k": Traffic(search + key),
            "host_v": Traffic(value),
            "search_k": Traffic(counts["search_rows"] * row, search),
            "attention_k": Traffic(attention, key),
            "attention_v": Traffic(attention, value),
        }
