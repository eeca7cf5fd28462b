"""Random eviction: the baseline that has no knowledge at all."""

import numpy as np

from tiergarten.sim.eviction import EvictionSetup
from tiergarten.sim.policies import eviction_policies


@eviction_policies.register("random")
class RandomChoice:
    """Evicts an unpinned key drawn uniformly from a seeded stream. The draw stands until the candidates change."""

    def __init__(self, setup: EvictionSetup):
        if setup.rng is None:
            raise ValueError("random needs EvictionSetup.rng, a stream of tiergarten.sim.seeds")
        self._rng: np.random.Generator = setup.rng
        self._cached: set[int] = set()
        self._candidates: list[int] = []
        self._place: dict[int, int] = {}
        self._drawn: int | None = None

    def insert(self, key: int, now: int) -> None:
        """Cache `key`."""
        self._cached.add(key)
        self._offer(key)

    def access(self, key: int, now: int) -> None:
        """Nothing changes."""

    def remove(self, key: int) -> None:
        """Drop `key`."""
        self._cached.remove(key)
        self._withdraw(key)

    def pin(self, key: int) -> None:
        """Keep `key` from being a victim."""
        if key not in self._cached:
            raise KeyError(key)
        self._withdraw(key)

    def unpin(self, key: int) -> None:
        """Let `key` be a victim again."""
        if key not in self._cached:
            raise KeyError(key)
        self._offer(key)

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """A random unpinned key."""
        if self._drawn is None and self._candidates:
            self._drawn = self._candidates[int(self._rng.integers(len(self._candidates)))]
        return self._drawn

    def __len__(self) -> int:
        return len(self._cached)

    def __contains__(self, key: object) -> bool:
        return key in self._cached

    def _offer(self, key: int) -> None:
        if key not in self._place:
            self._place[key] = len(self._candidates)
            self._candidates.append(key)
            self._drawn = None

    def _withdraw(self, key: int) -> None:
        place = self._place.pop(key, None)
        if place is None:
            return
        last = self._candidates.pop()
        if last != key:
            self._candidates[place] = last
            self._place[last] = place
        self._drawn = None
