"""Paged decoding with too little memory: whole sequences are swapped to the host and back (arXiv 2309.06180)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.attention import OnlineSoftmax, dense_attention, normal, scores_f32
from tiergarten.workloads.block_table import BlockPool, num_blocks
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@dataclass(eq=False)
class Sequence:
    """One request under way. Its blocks are all on the device or all on the host."""

    number: int
    keys: Array
    values: Array
    prompt: int
    blocks: list[int] = field(default_factory=list)
    on_host: bool = False
    done: int = 0
    """Tokens generated so far."""

    @property
    def length(self) -> int:
        """Tokens whose keys are cached."""
        return self.prompt + self.done


@KERNELS.register("paged_swap")
@dataclass(frozen=True)
class PagedSwap:
    """Sequences decode together until blocks run out; the last come is swapped out whole and returns when it fits.

    The paper's (Sec. 4.5): all blocks of a sequence are evicted or none, latest arrivals first, and swapped-out blocks
    come back before new work starts. Derived: 2·G·D·P·block bytes each way per swapped block. Ours: swap copies whole
    blocks, a sequence returns when its blocks and one more are free, prompts are cached before the run begins.
    """

    prompts: tuple[int, ...] = (30, 20, 15)
    new_tokens: int = 20
    device_blocks: int = 10
    block_tokens: int = 8
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 32
    dtype: str = "float16"

    @property
    def work(self) -> Work:
        return Work(len(self.prompts) * self.new_tokens)

    @classmethod
    def examples(cls) -> list["PagedSwap"]:
        """Swapping, never swapping, and room for one sequence at a time."""
        return [
            cls(),
            cls(device_blocks=40, new_tokens=3),
            cls(prompts=(6, 6), new_tokens=12, device_blocks=5, block_tokens=4, dtype="float32"),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Every token's attention output, against dense attention over plain copies."""
        rng = stream(seed, "paged_swap")
        sequences = []
        for number, prompt in enumerate(self.prompts):
            shape = (self.num_kv_heads, prompt + self.new_tokens, self.head_dim)
            keys, values = (normal(rng, shape, self.dtype) for _ in range(2))
            sequences.append(Sequence(number, keys, values, prompt))
        result_shape = (len(self.prompts), self.new_tokens, self.num_heads, self.head_dim)
        queries = normal(rng, result_shape, self.dtype)
        machine = _Machine(self, recorder, rng)
        for sequence in sequences:
            machine.place_prompt(sequence)
        out = recorder.array("out", np.zeros(result_shape, np.float32), Role.ACTIVATION)
        running, swapped = list(sequences), list[Sequence]()
        while running or swapped:
            while swapped and machine.can_return(swapped[0]):
                running.append(machine.swap_in(swapped.pop(0)))
                running.sort(key=lambda sequence: sequence.number)
            if not running:
                raise ValueError(f"sequence {swapped[0].number} does not fit {self.device_blocks} blocks any more")
            swapped = machine.make_room(running) + swapped
            for sequence in running:
                machine.decode(sequence, queries[sequence.number, sequence.done], out)
            for sequence in [s for s in running if s.done == self.new_tokens]:
                machine.release(sequence)
                running.remove(sequence)
        return Outcome(plain(out), self._reference(sequences, queries), {"swapped_blocks": machine.swapped_blocks})

    def _reference(self, sequences: list[Sequence], queries: Array) -> Array:
        out = np.zeros(queries.shape)
        for sequence in sequences:
            for token in range(self.new_tokens):
                seen = sequence.prompt + token + 1
                q = queries[sequence.number, token][:, None]
                out[sequence.number, token] = dense_attention(q, sequence.keys[:, :seen], sequence.values[:, :seen])[
                    :, 0
                ]
        return out

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Decode as in `paged_decode`, without a table; each swapped block crosses once out and once in."""
        row = self.num_kv_heads * self.head_dim * np.dtype(self.dtype).itemsize
        read = sum(prompt + token + 1 for prompt in self.prompts for token in range(self.new_tokens)) * row
        written = len(self.prompts) * self.new_tokens * row
        swap = counts["swapped_blocks"] * self.block_tokens * row
        cache, host = Traffic(read + swap, written + swap), Traffic(swap, swap)
        found = {"k_cache": cache, "v_cache": cache}
        found |= {"host_k": host, "host_v": host} if swap else {}
        found["out"] = Traffic(0, len(self.prompts) * self.new_tokens * self.num_heads * self.head_dim * 4)
        return found


class _Machine:
    """Device and host block pools and what moves between them."""

    def __init__(self, shape: PagedSwap, recorder: AnyRecorder, rng: np.random.Generator):
        self.shape, self.recorder = shape, recorder
        self.pool = BlockPool(shape.device_blocks, rng)
        host_blocks = sum(num_blocks(prompt + shape.new_tokens, shape.block_tokens) for prompt in shape.prompts)
        self.host_pool = BlockPool(host_blocks, rng)
        block = (shape.num_kv_heads, shape.block_tokens, shape.head_dim)
        self.caches = [recorder.array(f"{name}_cache", np.zeros((shape.device_blocks, *block), shape.dtype), Role.KV)
                       for name in "kv"]  # fmt: skip
        self.host = [recorder.array(f"host_{name}", np.zeros((host_blocks, *block), shape.dtype), Role.KV)
                     for name in "kv"]  # fmt: skip
        self.swapped_blocks = 0

    def place_prompt(self, sequence: Sequence) -> None:
        """Cache a prompt before the run; raises ValueError where it does not fit beside the others."""
        sequence.blocks = self.pool.take(num_blocks(sequence.prompt, self.shape.block_tokens))
        for cache, rows in zip(self.caches, (sequence.keys, sequence.values), strict=True):
            for page, block in enumerate(sequence.blocks):
                start = page * self.shape.block_tokens
                part = rows[:, start : min(start + self.shape.block_tokens, sequence.prompt)]
                plain(cache)[block, :, : part.shape[1]] = part

    def _needs_block(self, sequence: Sequence) -> bool:
        return sequence.length == len(sequence.blocks) * self.shape.block_tokens

    def make_room(self, running: list[Sequence]) -> list[Sequence]:
        """Give every running sequence the block it needs; evict from the back until that works. Gives the evicted."""
        evicted: list[Sequence] = []
        while sum(map(self._needs_block, running)) > len(self.pool):
            if len(running) == 1:
                raise ValueError(f"sequence {running[0].number} alone does not fit {self.shape.device_blocks} blocks")
            evicted.insert(0, self._swap(running.pop(), self.caches, self.host, (self.pool, self.host_pool)))
        for sequence in running:
            if self._needs_block(sequence):
                sequence.blocks += self.pool.take(1)
        return evicted

    def can_return(self, sequence: Sequence) -> bool:
        """Whether the blocks of a swapped sequence, and one to grow into, are free."""
        return len(sequence.blocks) + 1 <= len(self.pool)

    def swap_in(self, sequence: Sequence) -> Sequence:
        """Bring a sequence back to the device."""
        return self._swap(sequence, self.host, self.caches, (self.host_pool, self.pool))

    def _swap(self, sequence: Sequence, source: list, target: list, pools: tuple[BlockPool, BlockPool]) -> Sequence:
        old, new = sequence.blocks, pools[1].take(len(sequence.blocks))
        with self.recorder.op(f"swap {'in' if sequence.on_host else 'out'} sequence {sequence.number}", stream=1):
            for here, there in zip(source, target, strict=True):
                for a, b in zip(old, new, strict=True):
                    there[b] = here[a]
        pools[0].give_back(old)
        self.swapped_blocks += 0 if sequence.on_host else len(old)
        sequence.blocks, sequence.on_host = new, not sequence.on_host
        return sequence

    def decode(self, sequence: Sequence, query: Array, out: Array) -> None:
        """Append a token and attend."""
        shape, position = self.shape, sequence.length
        flops = 4.0 * shape.num_heads * (position + 1) * shape.head_dim
        with self.recorder.op(f"sequence {sequence.number} token {sequence.done}", flops):
            block, place = sequence.blocks[position // shape.block_tokens], position % shape.block_tokens
            for cache, rows in zip(self.caches, (sequence.keys, sequence.values), strict=True):
                cache[block, :, place] = rows[:, position]
            grouped = query.reshape(shape.num_kv_heads, -1, shape.head_dim)
            state = OnlineSoftmax(grouped.shape[:2], shape.head_dim)
            for page, block in enumerate(sequence.blocks):
                here = slice(0, min(shape.block_tokens, position + 1 - page * shape.block_tokens))
                keys, values = (cache[block, :, here] for cache in self.caches)
                state.add(scores_f32(grouped, keys), values.astype(np.float32))
            out[sequence.number, sequence.done] = state.result().reshape(shape.num_heads, shape.head_dim)
        sequence.done += 1

    def release(self, sequence: Sequence) -> None:
        """A finished sequence gives its blocks back."""
        self.pool.give_back(sequence.blocks)
