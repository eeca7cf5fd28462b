"""Base of the policies that evict the cached key of lowest rank: FIFO, LRU, LFU and OPT differ only in the rank."""

from tiergarten.sim.eviction import EvictionSetup, RankQueue


class RankedPolicy:
    """A policy whose next victim is the unpinned key of lowest rank. Subclasses say what the rank is."""

    def __init__(self, setup: EvictionSetup):
        self._queue = RankQueue()
        self._clock = 0

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def insert(self, key: int, now: int) -> None:
        """Cache `key`."""
        raise NotImplementedError

    def access(self, key: int, now: int) -> None:
        """Note a use of the cached `key`."""
        raise NotImplementedError

    def remove(self, key: int) -> None:
        """Drop `key`."""
        self._queue.remove(key)

    def pin(self, key: int) -> None:
        """Keep `key` from being a victim."""
        self._queue.pin(key)

    def unpin(self, key: int) -> None:
        """Let `key` be a victim again."""
        self._queue.unpin(key)

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """The unpinned key of lowest rank."""
        return self._queue.lowest()

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, key: object) -> bool:
        return key in self._queue
