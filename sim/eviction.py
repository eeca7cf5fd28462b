"""Cache eviction: the protocol that every eviction policy fills, and the queue of ranked keys most of them are made of.

A policy only orders keys. What a key stands for (a KV block, a page, an expert), how many fit and where an evicted key goes
is the caller's business; the caller evicts by `victim()` followed by `remove()`.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Protocol, runtime_checkable

import numpy as np

from tiergarten.sim.chooser import Chooser
from tiergarten.sim.params import StrictModel

NEVER: Final = 2**62
"""Position of a use that does not come; later than every position."""


class FutureUses:
    """When each key will be used: what Belady's policy knows and no other policy may look at."""

    def __init__(self, accesses: Iterable[tuple[int, int]]):
        """Takes (position, key) pairs, positions not decreasing."""
        self._positions: dict[int, list[int]] = {}
        for position, key in accesses:
            self._positions.setdefault(key, []).append(position)

    def next_use(self, key: int, now: int) -> int:
        """First position after `now` at which `key` is used, NEVER if there is none. O(log uses of the key)."""
        positions = self._positions.get(key)
        if positions is None:
            return NEVER
        index = bisect_right(positions, now)
        return positions[index] if index < len(positions) else NEVER


@dataclass(frozen=True)
class EvictionSetup:
    """What a policy may be built from. Every policy takes this one argument and uses what it needs."""

    capacity: int
    """Keys that fit; adaptive policies size their lists by it."""
    future: FutureUses | None = None
    """Only for `opt`."""
    rng: np.random.Generator | None = None
    """Only for `random`; a stream of `tiergarten.sim.seeds`."""
    params: StrictModel | None = None
    """The policy's own parameters, of its class `Params`."""
    chooser: Chooser | None = None
    """Only for `learned`: stands in for its weights, as an agent does while it learns."""


@runtime_checkable
class EvictionPolicy(Protocol):
    """Decides which cached key leaves next. Keys are integers; `now` is a position in the stream of accesses, not decreasing.

    Law of use, held by `tiergarten.testing.check_eviction_policy`: `insert` only absent keys, `access`, `pin`, `unpin` and
    `remove` only present ones; a victim is present and not pinned; asking for the victim twice gives the same answer.
    """

    def __init__(self, setup: EvictionSetup) -> None: ...

    def insert(self, key: int, now: int) -> None:
        """`key` is cached from now on. It comes in unpinned."""
        ...

    def access(self, key: int, now: int) -> None:
        """A cached `key` is used again."""
        ...

    def remove(self, key: int) -> None:
        """`key` is cached no longer, pinned or not. Policies with a memory of the past remember it."""
        ...

    def pin(self, key: int) -> None:
        """`key` must not be a victim until it is unpinned; its place in the order is kept. Pinning twice is pinning once."""
        ...

    def unpin(self, key: int) -> None:
        """`key` may be a victim again."""
        ...

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """The key to evict next; None if all are pinned, or if `incoming` (the key that needs room) is not worth it."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...


class RankQueue:
    """Keys with ranks, of which the lowest unpinned one can be had in O(log n).

    A heap holds at least one entry, of a rank not above the key's own, for every unpinned key. Entries are corrected
    only when they come to the top: a rank that rises costs nothing, a pinned key drops out and returns when unpinned.
    Ranks are tuples or integers and are unique.
    """

    def __init__(self) -> None:
        self._ranks: dict[int, tuple[int, ...] | int] = {}
        self._queued: dict[int, tuple[int, ...] | int] = {}
        self._pinned: set[int] = set()
        self._heap: list[tuple] = []

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, key: object) -> bool:
        return key in self._ranks

    def set_rank(self, key: int, rank: tuple[int, ...] | int) -> None:
        """Add `key`, or move it to another rank."""
        self._ranks[key] = rank
        if key not in self._pinned:
            queued = self._queued.get(key)
            if queued is None or rank < queued:  # type: ignore[operator]
                self._push(key, rank)

    def rank(self, key: int) -> tuple[int, ...] | int:
        """The key's rank; KeyError if it is absent."""
        return self._ranks[key]

    def remove(self, key: int) -> bool:
        """Take `key` out; True if it was pinned."""
        del self._ranks[key]
        self._queued.pop(key, None)
        if key in self._pinned:
            self._pinned.remove(key)
            return True
        return False

    def pin(self, key: int) -> None:
        """Hide `key` from `lowest`."""
        if key not in self._ranks:
            raise KeyError(key)
        self._pinned.add(key)

    def unpin(self, key: int) -> None:
        """Show `key` again."""
        rank = self._ranks[key]
        self._pinned.discard(key)
        queued = self._queued.get(key)
        if queued is None or rank < queued:  # type: ignore[operator]
            self._push(key, rank)

    def lowest(self) -> int | None:
        """The unpinned key of lowest rank, None if there is none. It stays in the queue."""
        heap, queued = self._heap, self._queued
        while heap:
            entry, key = heap[0]
            if queued.get(key) != entry:
                heappop(heap)
            elif key in self._pinned:
                heappop(heap)
                del queued[key]
            elif self._ranks[key] != entry:
                heappop(heap)
                self._push(key, self._ranks[key])
            else:
                return key  # type: ignore[no-any-return]
        return None

    def _push(self, key: int, rank: tuple[int, ...] | int) -> None:
        self._queued[key] = rank
        heappush(self._heap, (rank, key))
        if len(self._heap) > 64 + 4 * len(self._ranks):
            self._heap = [(entry, other) for other, entry in self._queued.items()]
            heapify(self._heap)


class GhostList:
    """Keys that were evicted lately, oldest first; forgets beyond `capacity`."""

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._order: deque[tuple[int, int]] = deque()
        self._serial: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._serial)

    def __contains__(self, key: object) -> bool:
        return key in self._serial

    def add(self, key: int) -> None:
        """Remember `key` as the newest; the oldest goes if there is no room."""
        if self._capacity <= 0:
            return
        self._count += 1
        self._serial[key] = self._count
        self._order.append((self._count, key))
        while len(self._serial) > self._capacity:
            self.forget_oldest()
        if len(self._order) > 64 + 4 * len(self._serial):
            self._order = deque((serial, other) for serial, other in self._order if self._serial.get(other) == serial)

    def discard(self, key: int) -> None:
        """Forget `key` if it is remembered."""
        self._serial.pop(key, None)

    def forget_oldest(self) -> None:
        """Forget the key that has been here longest."""
        while self._order:
            serial, key = self._order.popleft()
            if self._serial.get(key) == serial:
                del self._serial[key]
                return
