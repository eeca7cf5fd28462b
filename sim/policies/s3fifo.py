"""S3-FIFO: a small FIFO filters one-hit wonders, a main FIFO with reinsertion keeps the rest, a ghost FIFO remembers.

Source: J. Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023, Algorithm 1 (small queue 10 % of the
cache, two-bit use counters, ghost of the main queue's size). Pinned keys keep their place and are passed over.
"""

from typing import Final

from tiergarten.sim.eviction import EvictionSetup, GhostList, RankQueue
from tiergarten.sim.policies import eviction_policies

SMALL_SHARE: Final = 0.1
MAX_USES: Final = 3


def small_queue_target(capacity: int) -> int:
    """Keys the small queue may hold before it gives up its oldest: a tenth of the cache, at least one."""
    return max(1, int(capacity * SMALL_SHARE))


@eviction_policies.register("s3fifo")
class S3Fifo:
    """Evicts from the small queue while that holds its share, else from the main one, which gives used keys another round."""

    def __init__(self, setup: EvictionSetup):
        self._small_target = small_queue_target(setup.capacity)
        self._small = RankQueue()
        self._main = RankQueue()
        self._ghost = GhostList(setup.capacity - self._small_target)
        self._uses: dict[int, int] = {}
        self._clock = 0

    def insert(self, key: int, now: int) -> None:
        """Into the main queue if the ghost remembers the key, else into the small one."""
        self._uses[key] = 0
        if key in self._ghost:
            self._ghost.discard(key)
            self._append(self._main, key)
        else:
            self._append(self._small, key)

    def access(self, key: int, now: int) -> None:
        """Count the use, up to three."""
        self._uses[key] = min(self._uses[key] + 1, MAX_USES)

    def remove(self, key: int) -> None:
        """Drop `key`; the ghost remembers it if it leaves from the small queue."""
        del self._uses[key]
        if key in self._small:
            self._small.remove(key)
            self._ghost.add(key)
        else:
            self._main.remove(key)

    def pin(self, key: int) -> None:
        """Keep `key` from being a victim."""
        self._queue_of(key).pin(key)

    def unpin(self, key: int) -> None:
        """Let `key` be a victim again."""
        self._queue_of(key).unpin(key)

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """Next key to leave. Used keys met on the way move on (small to main) or go round again (main)."""
        while True:
            from_small = len(self._small) >= self._small_target
            first, second = (self._small, self._main) if from_small else (self._main, self._small)
            key = first.lowest()
            key = second.lowest() if key is None else key
            if key is None:
                return None
            if key in self._small:
                if self._uses[key] <= 1:
                    return key
                self._small.remove(key)
                self._uses[key] = 0
            else:
                if self._uses[key] == 0:
                    return key
                self._uses[key] -= 1
            self._append(self._main, key)

    def __len__(self) -> int:
        return len(self._uses)

    def __contains__(self, key: object) -> bool:
        return key in self._uses

    def _queue_of(self, key: int) -> RankQueue:
        return self._small if key in self._small else self._main

    def _append(self, queue: RankQueue, key: int) -> None:
        self._clock += 1
        queue.set_rank(key, self._clock)
