"""Eviction policies: which chunk of device memory is emptied when none is free. Built-in ones are numbers for the kernel.

A plug-in registers a class with a method `victim`, which the kernel asks at every eviction (about 20 us of Python each).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging.kernel_config import EvictionKind
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.registry import Registry

EVICTORS: Registry[type] = Registry("paging evictor", "tiergarten.accelerators.paging")


@dataclass(frozen=True)
class MemoryView:
    """What a plug-in evictor sees."""

    time_ps: int
    candidates: NDArray[np.int64]
    """int64[N], chunks that may be named, least recently allocated first."""
    resident_pages: NDArray[np.int32]
    """int32[N], pages of each on the device."""
    touches: NDArray[np.int64]
    """int64[N], touches since each was allocated."""
    needed_by_block: int


class Evictor(Protocol):
    """An eviction policy. Built-in ones differ in `kind` alone; a plug-in has kind PLUGIN and `victim`."""

    kind: ClassVar[EvictionKind]
    chunk_bytes: int

    def victim(self, view: MemoryView) -> int:
        """One of `view.candidates`."""
        ...


@EVICTORS.register("lra")
@dataclass(frozen=True)
class LeastRecentlyAllocated:
    """The chunk whose memory was allocated longest ago: what the UVM driver does, 2 MiB at a time."""

    kind: ClassVar[EvictionKind] = EvictionKind.LEAST_RECENTLY_ALLOCATED
    chunk_bytes: int = 2 << 20


@EVICTORS.register("lru")
@dataclass(frozen=True)
class LeastRecentlyUsed:
    """The chunk touched longest ago; needs a record of touches that real GPUs do not give the driver."""

    kind: ClassVar[EvictionKind] = EvictionKind.LEAST_RECENTLY_USED
    chunk_bytes: int = 2 << 20


@EVICTORS.register("lfu")
@dataclass(frozen=True)
class LeastFrequentlyUsed:
    """The chunk with the fewest touches since its allocation."""

    kind: ClassVar[EvictionKind] = EvictionKind.LEAST_FREQUENTLY_USED
    chunk_bytes: int = 2 << 20


@EVICTORS.register("random")
@dataclass(frozen=True)
class RandomChunk:
    """A chunk drawn at random."""

    kind: ClassVar[EvictionKind] = EvictionKind.RANDOM
    chunk_bytes: int = 2 << 20


@EVICTORS.register("tree")
@dataclass(frozen=True)
class TreeEviction:
    """The least recently used 64 KiB region, and with it every sub-tree of its VABlock that is left less than half full.

    Source: tree-based neighbourhood eviction of UVMSmart (gpgpu-sim_UVMSmart bafab5d).
    """

    kind: ClassVar[EvictionKind] = EvictionKind.TREE
    chunk_bytes: int = 64 << 10
    percent: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= 100:
            raise InputError(Problem(f"must lie in 0..100, got {self.percent}", path="eviction.percent"))
