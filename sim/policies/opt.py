"""Belady's optimal replacement: evict what is needed latest, and keep out what is needed later still.

Source: L. A. Belady, A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 5(2), 1966 (MIN);
with bypass, as a KV cache need not admit a block.
"""

from tiergarten.sim.eviction import EvictionSetup
from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.policies.ranked import RankedPolicy


@eviction_policies.register("opt")
class Opt(RankedPolicy):
    """Evicts the key whose next use lies furthest ahead, among equals the larger key.

    Needs the future: a bound, not a policy to run.
    """

    def __init__(self, setup: EvictionSetup):
        if setup.future is None:
            raise ValueError("opt needs EvictionSetup.future, the uses that are still to come")
        super().__init__(setup)
        self._future = setup.future

    def insert(self, key: int, now: int) -> None:
        """Rank: (minus the next use, minus the key)."""
        self._queue.set_rank(key, (-self._future.next_use(key, now), -key))

    def access(self, key: int, now: int) -> None:
        """The next use moves on."""
        self.insert(key, now)

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """The key needed latest; None if `incoming` is needed no earlier than that one."""
        key = self._queue.lowest()
        if key is None or incoming is None:
            return key
        minus_next_use, _ = self._queue.rank(key)  # type: ignore[misc]
        return key if self._future.next_use(incoming, now) < -minus_next_use else None
