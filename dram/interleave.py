"""How the bytes of a memory lie over its channels: blocks dealt round to any number of channels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Interleave:
    """Blocks of `block_bytes` go to the channels in turn, so that every channel carries the same share of any long range."""

    num_channels: int
    block_bytes: int

    def place(self, addresses: Int) -> tuple[Int, Int]:
        """(channel, byte address within the channel) of byte addresses in the memory."""
        block = addresses // self.block_bytes
        return block % self.num_channels, block // self.num_channels * self.block_bytes + addresses % self.block_bytes


def expand_bursts(addresses: Int, num_bytes: Int, burst_bytes: int) -> tuple[Int, Int]:
    """(byte address, index of the access) of every burst that the accesses touch, in order."""
    first = addresses // burst_bytes
    counts = -(-(addresses + num_bytes) // burst_bytes) - first
    owners = np.repeat(np.arange(len(addresses), dtype=np.int64), counts)
    starts = np.cumsum(counts) - counts
    within = np.arange(len(owners), dtype=np.int64) - starts[owners]
    return (first[owners] + within) * burst_bytes, owners
