"""Hints that a program gives about managed memory (cudaMemAdvise), as changes of page flags.

ReadMostly keeps a host copy of what is on the device, so that eviction writes nothing back; AccessedBy maps host pages for the
GPU at once; a preferred location keeps pages on one side. cudaMemPrefetchAsync is `UvmMachine.prefetch`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging.state import HOST, PREFER_DEVICE, PREFER_HOST, READ_MOSTLY, REMOTE
from tiergarten.sim.registry import Registry

Flags = NDArray[np.uint8]


@dataclass(frozen=True)
class Hint:
    """A named change of page flags."""

    name: str
    apply: Callable[[Flags], Flags]
    """uint8[N] flags before, uint8[N] after."""


HINTS: Registry[Hint] = Registry("paging hint", "tiergarten.accelerators.paging")


def _register(name: str, apply: Callable[[Flags], Flags]) -> Hint:
    hint = Hint(name, apply)
    HINTS.register(name)(hint)
    return hint


def _map_host_pages(flags: Flags) -> Flags:
    return np.where(flags & HOST, flags | REMOTE, flags).astype(np.uint8)


READ_MOSTLY_HINT = _register("read_mostly", lambda flags: flags | np.uint8(READ_MOSTLY))
"""Reads copy pages and leave the host its copy; a write makes the device's the only one."""
PREFER_DEVICE_HINT = _register(
    "prefer_device", lambda flags: (flags | np.uint8(PREFER_DEVICE)) & np.uint8(255 - PREFER_HOST)
)
"""The first fault in a VABlock fetches all of it."""
PREFER_HOST_HINT = _register(
    "prefer_host", lambda flags: (flags | np.uint8(PREFER_HOST)) & np.uint8(255 - PREFER_DEVICE)
)
"""Faults map pages where they are; every touch goes over the link."""
ACCESSED_BY_HINT = _register("accessed_by", _map_host_pages)
"""Host pages are mapped for the GPU beforehand: no fault, no migration, unless an access counter asks for one."""
