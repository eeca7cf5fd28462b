"""Least frequently used, counted since the key came in ("in-cache LFU"); the older use breaks ties."""

from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.policies.ranked import RankedPolicy


@eviction_policies.register("lfu")
class Lfu(RankedPolicy):
    """Evicts the key with the fewest uses since its insertion, among equals the one used longest ago."""

    def insert(self, key: int, now: int) -> None:
        """Rank: (uses, serial number of the last use); the insertion is the first use."""
        self._queue.set_rank(key, (1, self._tick()))

    def access(self, key: int, now: int) -> None:
        """One more use."""
        uses, _ = self._queue.rank(key)  # type: ignore[misc]
        self._queue.set_rank(key, (uses + 1, self._tick()))
