"""Five plain address patterns. B = footprint / block is the number of blocks that a pattern may touch.

Reads and writes are drawn independently with the given read share; accesses are `gap_ticks` apart.
"""

from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import AddressTrace, Int
from tiergarten.workloads.addresses import address_patterns

NO_DEPENDENCY = -1


@dataclass(frozen=True)
class Pattern:
    """What every pattern has."""

    accesses: int = 100_000
    footprint_bytes: int = 1 << 24
    block_bytes: int = 64
    read_share: float = 0.67
    gap_ticks: int = 1

    def __post_init__(self) -> None:
        if self.accesses < 1 or self.block_bytes < 1 or self.footprint_bytes < self.block_bytes or self.gap_ticks < 0:
            raise ValueError(f"{self}: accesses and sizes must be positive, and a block fit the footprint")
        if not 0 <= self.read_share <= 1:
            raise ValueError(f"{self}: the read share must lie between 0 and 1")

    @property
    def blocks(self) -> int:
        """B."""
        return self.footprint_bytes // self.block_bytes

    def _trace(self, blocks: Int, rng: np.random.Generator, depends_on: Int | None = None) -> AddressTrace:
        rows = np.arange(len(blocks), dtype=np.int64)
        return AddressTrace(
            rows * self.gap_ticks,
            blocks.astype(np.int64) * self.block_bytes,
            rng.random(len(blocks)) >= self.read_share,
            np.full(len(blocks), NO_DEPENDENCY, np.int64) if depends_on is None else depends_on,
        )


@address_patterns.register("stream")
@dataclass(frozen=True)
class Stream(Pattern):
    """Block after block, from the start again at the end: reuse distance B - 1, one run per pass."""

    def generate(self, seed: int) -> AddressTrace:
        """Only the writes depend on the seed."""
        return self._trace(np.arange(self.accesses) % self.blocks, stream(seed, "stream"))


@address_patterns.register("stride")
@dataclass(frozen=True)
class Stride(Pattern):
    """Every `stride_blocks`-th block; the next pass begins one block later, so that all B are touched in turn.

    Runs of one block (unless the stride is 1), reuse distance B - 1.
    """

    stride_blocks: int = 16

    def generate(self, seed: int) -> AddressTrace:
        """Only the writes depend on the seed."""
        if not 1 <= self.stride_blocks <= self.blocks:
            raise ValueError(f"{self}: a stride of 1 to {self.blocks} blocks")
        order = np.concatenate(
            [np.arange(first, self.blocks, self.stride_blocks) for first in range(self.stride_blocks)]
        )
        return self._trace(order[np.arange(self.accesses) % self.blocks], stream(seed, "stride"))


@address_patterns.register("random")
@dataclass(frozen=True)
class Random(Pattern):
    """Every block equally likely: T accesses touch about B·(1 - (1 - 1/B)^T); reuse distances are even over 0 ... B - 1."""

    def generate(self, seed: int) -> AddressTrace:
        """Independent draws."""
        rng = stream(seed, "random")
        return self._trace(rng.integers(0, self.blocks, self.accesses), rng)


@address_patterns.register("pointer_chase")
@dataclass(frozen=True)
class PointerChase(Pattern):
    """One random cycle through all B blocks, each access waiting for the one before: reuse distance B - 1, one in flight."""

    read_share: float = 1.0

    def generate(self, seed: int) -> AddressTrace:
        """A uniformly random cyclic order."""
        rng = stream(seed, "pointer_chase")
        order = rng.permutation(self.blocks)
        depends_on = np.arange(-1, self.accesses - 1, dtype=np.int64)
        return self._trace(order[np.arange(self.accesses) % self.blocks], rng, depends_on)


@address_patterns.register("hot_set")
@dataclass(frozen=True)
class HotSet(Pattern):
    """A share `hot_share` of accesses goes evenly to `hot_fraction` of the blocks (the first ones), the rest to the others."""

    hot_share: float = 0.9
    hot_fraction: float = 0.1

    def generate(self, seed: int) -> AddressTrace:
        """Independent draws."""
        hot = round(self.hot_fraction * self.blocks)
        if not (0 <= self.hot_share <= 1 and 0 < hot < self.blocks):
            raise ValueError(f"{self}: shares lie between 0 and 1, and both sets hold at least a block")
        rng = stream(seed, "hot_set")
        is_hot = rng.random(self.accesses) < self.hot_share
        blocks = np.where(is_hot, rng.integers(0, hot, self.accesses), rng.integers(hot, self.blocks, self.accesses))
        return self._trace(blocks, rng)
