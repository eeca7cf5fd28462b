"""ARC: two LRU lists, keys seen once and keys seen again, whose share adapts to the hits in the ghosts of each.

Source: N. Megiddo and D. S. Modha, ARC: a self-tuning, low overhead replacement cache, FAST 2003, Fig. 4. Names T1, T2, B1,
B2 and p are the paper's. Pinned keys keep their place and are passed over; if a list has no other, the other list gives.
"""

from tiergarten.sim.eviction import EvictionSetup, GhostList, RankQueue
from tiergarten.sim.policies import eviction_policies


@eviction_policies.register("arc")
class Arc:
    """Evicts the least recent key of T1 (seen once) or T2 (seen again), whichever is above its adaptive share."""

    def __init__(self, setup: EvictionSetup):
        self._capacity = setup.capacity
        self._t1, self._t2 = RankQueue(), RankQueue()
        self._b1, self._b2 = GhostList(setup.capacity), GhostList(2 * setup.capacity)
        self._p = 0.0
        self._clock = 0
        self._adapted_for: int | None = None

    def insert(self, key: int, now: int) -> None:
        """Into T2 if a ghost remembers the key (its share adapts), else into T1."""
        self._adapt(key)
        self._adapted_for = None
        if key in self._b1 or key in self._b2:
            self._b1.discard(key)
            self._b2.discard(key)
            self._append(self._t2, key)
        else:
            self._append(self._t1, key)
            self._trim_ghosts()

    def access(self, key: int, now: int) -> None:
        """The key is seen again: most recent of T2."""
        pinned = self._t1.remove(key) if key in self._t1 else self._t2.remove(key)
        self._append(self._t2, key)
        if pinned:
            self._t2.pin(key)

    def remove(self, key: int) -> None:
        """Drop `key`; the ghost of its list remembers it."""
        if key in self._t1:
            self._t1.remove(key)
            self._b1.add(key)
        else:
            self._t2.remove(key)
            self._b2.add(key)

    def pin(self, key: int) -> None:
        """Keep `key` from being a victim."""
        self._list_of(key).pin(key)

    def unpin(self, key: int) -> None:
        """Let `key` be a victim again."""
        self._list_of(key).unpin(key)

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """REPLACE of the paper: from T1 if it is above p (or at p, when `incoming` was last evicted from T2), else from T2."""
        if incoming is not None:
            self._adapt(incoming)
        size = len(self._t1)
        from_t1 = size > 0 and (size > self._p or (size == self._p and incoming is not None and incoming in self._b2))
        first, second = (self._t1, self._t2) if from_t1 else (self._t2, self._t1)
        key = first.lowest()
        return second.lowest() if key is None else key

    def __len__(self) -> int:
        return len(self._t1) + len(self._t2)

    def __contains__(self, key: object) -> bool:
        return key in self._t1 or key in self._t2

    def _adapt(self, key: int) -> None:
        """Move p once for every ghost hit, before the victim is chosen."""
        if self._adapted_for == key:
            return
        self._adapted_for = key
        if key in self._b1:
            self._p = min(float(self._capacity), self._p + max(1.0, len(self._b2) / len(self._b1)))
        elif key in self._b2:
            self._p = max(0.0, self._p - max(1.0, len(self._b1) / len(self._b2)))

    def _trim_ghosts(self) -> None:
        """|T1| + |B1| <= c and |T1| + |T2| + |B1| + |B2| <= 2c."""
        while len(self._b1) > 0 and len(self._t1) + len(self._b1) > self._capacity:
            self._b1.forget_oldest()
        while len(self._b2) > 0 and len(self) + len(self._b1) + len(self._b2) > 2 * self._capacity:
            self._b2.forget_oldest()

    def _list_of(self, key: int) -> RankQueue:
        return self._t1 if key in self._t1 else self._t2

    def _append(self, queue: RankQueue, key: int) -> None:
        self._clock += 1
        queue.set_rank(key, self._clock)
