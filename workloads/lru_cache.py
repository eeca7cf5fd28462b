"""A least-recently-used cache of equal slots, for kernels that keep part of something in fast memory."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence


class LruSlots:
    """Which key sits in which slot. Invariant: at most `capacity` keys, each in a slot of its own."""

    def __init__(self, capacity: int):
        if capacity < 1:
            raise ValueError(f"a cache of {capacity} slots holds nothing")
        self._slots: OrderedDict[Hashable, int] = OrderedDict()
        self._free = list(range(capacity))[::-1]

    def use(self, key: Hashable) -> tuple[int, bool]:
        """(slot of `key`, whether it was there). On a miss the least recently used key gives up its slot."""
        if key in self._slots:
            self._slots.move_to_end(key)
            return self._slots[key], True
        slot = self._free.pop() if self._free else self._slots.popitem(last=False)[1]
        self._slots[key] = slot
        return slot, False

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def __len__(self) -> int:
        return len(self._slots)


def lru_misses(keys: Sequence[Hashable], capacity: int) -> int:
    """Misses of an LRU cache, from reuse distances alone (Mattson et al. 1970): a use hits when fewer than `capacity`
    different keys lie since the last use of its key. Independent of `LruSlots`, which it checks."""
    last: dict[Hashable, int] = {}
    misses = 0
    for now, key in enumerate(keys):
        between = set(keys[last[key] + 1 : now]) if key in last else None
        misses += between is None or len(between) >= capacity
        last[key] = now
    return misses
