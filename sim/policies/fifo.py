"""First in, first out."""

from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.policies.ranked import RankedPolicy


@eviction_policies.register("fifo")
class Fifo(RankedPolicy):
    """Evicts the key that was inserted first; uses do not count."""

    def insert(self, key: int, now: int) -> None:
        """Rank: serial number of the insertion."""
        self._queue.set_rank(key, self._tick())

    def access(self, key: int, now: int) -> None:
        """Nothing changes."""
