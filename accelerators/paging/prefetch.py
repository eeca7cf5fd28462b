"""Prefetch policies: what a fault fetches beside its page. Built-in ones are numbers for the kernel; others are asked in Python.

A plug-in registers a class with a method `fetch`; the kernel stops at every VABlock that faults and asks it. That costs about
20 us of Python per VABlock service against 0.3 us inside the kernel, so expect some 50 000 services a second.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging.kernel_config import PrefetchKind
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.registry import Registry

PREFETCHERS: Registry[type] = Registry("paging prefetcher", "tiergarten.accelerators.paging")


@dataclass(frozen=True)
class BlockView:
    """What a plug-in prefetcher sees of the VABlock in service."""

    block: int
    time_ps: int
    faulted: NDArray[np.bool_]
    """bool[pages of a VABlock]."""
    on_device: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    memory_was_full: bool


class Prefetcher(Protocol):
    """A prefetch policy. Built-in ones differ in `kind` and numbers alone; a plug-in has kind PLUGIN and `fetch`."""

    kind: ClassVar[PrefetchKind]

    def fetch(self, view: BlockView) -> NDArray[np.bool_]:
        """Pages of the VABlock to fetch beside the faulted ones, bool[pages]; those on the device already are ignored."""
        ...


@PREFETCHERS.register("none")
@dataclass(frozen=True)
class NoPrefetch:
    """Only the faulted pages."""

    kind: ClassVar[PrefetchKind] = PrefetchKind.NONE


@PREFETCHERS.register("tree")
@dataclass(frozen=True)
class TreePrefetch:
    """The driver's density tree, see `tree.py`; on by default in UVM."""

    kind: ClassVar[PrefetchKind] = PrefetchKind.TREE
    percent: int = 51
    """A sub-tree with more than this share of its pages is fetched whole (driver default)."""
    grow_to_region: bool = True
    """Faulted pages become whole 64 KiB regions first."""

    def __post_init__(self) -> None:
        if not 1 <= self.percent <= 100:
            raise InputError(Problem(f"must lie in 1..100, got {self.percent}", path="prefetch.percent"))


@PREFETCHERS.register("region")
@dataclass(frozen=True)
class RegionPrefetch:
    """The big-page region (64 KiB) of every faulted page: "sequential local" of UVMSmart."""

    kind: ClassVar[PrefetchKind] = PrefetchKind.REGION


@PREFETCHERS.register("random_page")
@dataclass(frozen=True)
class RandomPagePrefetch:
    """One more page of the VABlock per fault, drawn at random (UVMSmart)."""

    kind: ClassVar[PrefetchKind] = PrefetchKind.RANDOM_PAGE


@PREFETCHERS.register("whole_block")
@dataclass(frozen=True)
class WholeBlockPrefetch:
    """The whole VABlock at its first fault."""

    kind: ClassVar[PrefetchKind] = PrefetchKind.WHOLE_BLOCK
