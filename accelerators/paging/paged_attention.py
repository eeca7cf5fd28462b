"""PagedAttention's block tables: KV memory in fixed blocks, shared with copy-on-write, swapped to the host block by block.

Allocation is a list operation and costs the system nothing; what it costs the kernels is a factor, and swaps and copies are link
or memory traffic. Source: vLLM (block of 16 tokens, also FlashInfer; 256 in FlashAttention-2); factors from vAttention, Secs. 3.3
and 7.
"""

from dataclasses import dataclass, field
from typing import Final

from tiergarten.sim.copy_cost import CopyCost
from tiergarten.sim.errors import ConservationError, InputError, Problem

PREFILL_FACTOR_MAX: Final = {"flash_attention_2": 1.37, "flash_infer": 1.42}
"""Paged against contiguous prefill kernels, at most (vAttention Sec. 3.3.1)."""
DECODE_FACTOR_MAX: Final = 2.8
"""vLLM's own decode kernel against FlashAttention-2, at most (vAttention Table 7)."""
TABLE_SHARE_MAX: Final = {"before": 0.30, "after": 0.10}
"""Share of a decode iteration spent on block tables, before and after a fix in vLLM (vAttention Sec. 3.3.2)."""


@dataclass(frozen=True)
class BlockCopy:
    """A block that has to be copied before the next iteration."""

    source: int
    destination: int


@dataclass
class Table:
    """One sequence: its blocks in order and how many tokens they hold."""

    blocks: list[int] = field(default_factory=list)
    tokens: int = 0
    on_device: bool = True


@dataclass
class BlockTables:
    """All sequences' block tables over two pools.

    Invariant (`check`): a block is free, or used by as many tables as its count says; a table's blocks lie in one pool.
    """

    block_tokens: int
    device_blocks: int
    host_blocks: int = 0
    tables: dict[int, Table] = field(default_factory=dict)
    _free: dict[bool, list[int]] = field(init=False)
    _uses: dict[tuple[bool, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.block_tokens <= 0 or self.device_blocks <= 0 or self.host_blocks < 0:
            numbers = f"{self.block_tokens} tokens, {self.device_blocks} and {self.host_blocks} blocks"
            raise InputError(
                Problem(f"needs tokens per block and device blocks above zero, got {numbers}", path="block_tables")
            )
        self._free = {True: list(range(self.device_blocks))[::-1], False: list(range(self.host_blocks))[::-1]}

    def free_blocks(self, on_device: bool = True) -> int:
        return len(self._free[on_device])

    def add(self, sequence: int, tokens: int) -> bool:
        """Give a new sequence blocks for its prompt; False (and nothing changed) if there are too few."""
        needed = -(-tokens // self.block_tokens)
        if sequence in self.tables or tokens <= 0:
            raise InputError(Problem("is known already or has no tokens", path=f"sequence {sequence}"))
        if needed > self.free_blocks():
            return False
        self.tables[sequence] = Table([self._take(True) for _ in range(needed)], tokens)
        return True

    def append(self, sequence: int) -> BlockCopy | None:
        """One more token. Returns the copy to make if the last block was shared (copy-on-write).

        Raises InputError when no block is free: preempt or swap out a sequence first.
        """
        table = self.tables[sequence]
        if not table.on_device:
            raise InputError(Problem("is swapped out", path=f"sequence {sequence}"))
        copy = None
        if table.tokens % self.block_tokens == 0:
            table.blocks.append(self._take(True))
        elif self._uses[True, last := table.blocks[-1]] > 1:
            table.blocks[-1] = self._take(True)
            self._uses[True, last] -= 1
            copy = BlockCopy(last, table.blocks[-1])
        table.tokens += 1
        return copy

    def fork(self, parent: int, child: int) -> None:
        """A new sequence that shares all of the parent's blocks (parallel sampling, beam search)."""
        if child in self.tables:
            raise InputError(Problem("is known already", path=f"sequence {child}"))
        table = self.tables[parent]
        for block in table.blocks:
            self._uses[table.on_device, block] += 1
        self.tables[child] = Table(list(table.blocks), table.tokens, table.on_device)

    def remove(self, sequence: int) -> None:
        """The sequence is done; blocks that nobody else uses become free."""
        table = self.tables.pop(sequence)
        for block in table.blocks:
            self._drop(table.on_device, block)

    def swap(self, sequence: int, to_device: bool) -> list[BlockCopy]:
        """Move a sequence's blocks to the other pool. Returns the copies; empty (and nothing changed) if it has no room.

        Sequences that share blocks with it are moved along, so that each block is copied once.
        """
        group = self._sharers(sequence)
        blocks = list(dict.fromkeys(block for name in group for block in self.tables[name].blocks))
        if self.tables[sequence].on_device == to_device or len(blocks) > self.free_blocks(to_device):
            return []
        moved = {block: self._free[to_device].pop() for block in blocks}
        for block, new in moved.items():
            self._uses[to_device, new] = self._uses.pop((not to_device, block))
            self._free[not to_device].append(block)
        for name in group:
            self.tables[name].blocks = [moved[block] for block in self.tables[name].blocks]
            self.tables[name].on_device = to_device
        return [BlockCopy(block, new) for block, new in moved.items()]

    def check(self) -> None:
        """Raise ConservationError unless every block is where the invariant says."""
        uses: dict[tuple[bool, int], int] = {}
        for table in self.tables.values():
            for block in table.blocks:
                uses[table.on_device, block] = uses.get((table.on_device, block), 0) + 1
        if uses != self._uses:
            raise ConservationError("block use counts disagree with the tables")
        for on_device, total in ((True, self.device_blocks), (False, self.host_blocks)):
            used = {block for place, block in uses if place == on_device}
            free = set(self._free[on_device])
            if used & free or len(used) + len(self._free[on_device]) != total:
                raise ConservationError(f"{'device' if on_device else 'host'} pool of {total} blocks does not add up")

    def _sharers(self, sequence: int) -> list[int]:
        group, blocks, grew = [sequence], set(self.tables[sequence].blocks), True
        place = self.tables[sequence].on_device
        while grew:
            grew = False
            for name, table in self.tables.items():
                if name not in group and table.on_device == place and blocks & set(table.blocks):
                    group.append(name)
                    blocks |= set(table.blocks)
                    grew = True
        return group

    def _take(self, on_device: bool) -> int:
        if not self._free[on_device]:
            message = f"all {self.device_blocks} device blocks are in use; swap out or remove a sequence first"
            raise InputError(Problem(message, path="block_tables"))
        block = self._free[on_device].pop()
        self._uses[on_device, block] = 1
        return block

    def _drop(self, on_device: bool, block: int) -> None:
        self._uses[on_device, block] -= 1
        if self._uses[on_device, block] == 0:
            del self._uses[on_device, block]
            self._free[on_device].append(block)


def swap_ps(copies: int, block_bytes: int, cost: CopyCost, batched: bool) -> int:
    """Time to move `copies` blocks of `block_bytes`: one copy each, or all gathered into one."""
    if copies == 0:
        return 0
    return cost.duration_ps(copies * block_bytes) if batched else copies * cost.duration_ps(block_bytes)
