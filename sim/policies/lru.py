"""Least recently used."""

from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.policies.ranked import RankedPolicy


@eviction_policies.register("lru")
class Lru(RankedPolicy):
    """Evicts the key whose last use lies furthest back."""

    def insert(self, key: int, now: int) -> None:
        """Rank: serial number of the last use."""
        self._queue.set_rank(key, self._tick())

    def access(self, key: int, now: int) -> None:
        """The key becomes the most recent one."""
        self._queue.set_rank(key, self._tick())
