"""Block tables of a paged KV cache: which physical block holds which part of each sequence.

Follows PagedAttention (Kwon et al., arXiv 2309.06180): fixed-size blocks, a table per sequence, free blocks reused last
in, first out. A fresh pool hands out its blocks in an order shuffled by the caller's generator, as after long use.
"""

import numpy as np
from numpy.typing import NDArray


class BlockPool:
    """Free blocks of one memory. Invariant: a block is free or belongs to exactly one holder."""

    def __init__(self, num_blocks: int, rng: np.random.Generator):
        self._free: list[int] = rng.permutation(num_blocks).tolist()

    def __len__(self) -> int:
        """Blocks that are free."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """`count` free blocks. Raises ValueError when there are fewer."""
        if count > len(self._free):
            raise ValueError(f"{count} blocks are wanted, {len(self._free)} are free")
        return [self._free.pop() for _ in range(count)]

    def give_back(self, blocks: list[int]) -> None:
        """Return blocks to the pool."""
        self._free.extend(blocks)


def num_blocks(tokens: int, block_tokens: int) -> int:
    """Blocks that `tokens` tokens fill, the last one partly."""
    return -(-tokens // block_tokens)


def table_of(blocks: list[list[int]]) -> NDArray[np.int32]:
    """int32[sequences, longest]: one row of block numbers per sequence, -1 where there is none."""
    table = np.full((len(blocks), max(map(len, blocks))), -1, np.int32)
    for row, ids in enumerate(blocks):
        table[row, : len(ids)] = ids
    return table
