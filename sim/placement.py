"""The placement ledger: which object lies in which tier. The only code that changes occupancy."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import ConservationError, TiergartenError
from tiergarten.sim.tier import Tier
from tiergarten.sim.timeline import LastValueTimeline
from tiergarten.sim.trace import Role


class Resident(NamedTuple):
    """An object's copy in one tier."""

    num_bytes: int
    role: Role


class Placement:
    """Copies of objects in tiers, by key. An object may have copies in several tiers (write-through, read-mostly).

    Invariant: in every tier the bytes of its residents are its occupancy, and that never exceeds its capacity.
    """

    def __init__(self, engine: Engine, tiers: Mapping[str, Tier]):
        self._engine = engine
        self._capacities = {name: tier.capacity_bytes for name, tier in tiers.items()}
        self._residents: dict[str, dict[Hashable, Resident]] = {name: {} for name in tiers}
        self._occupancy = dict.fromkeys(tiers, 0)
        self._by_role: dict[tuple[str, Role], int] = defaultdict(int)
        self.timelines: dict[tuple[str, Role], LastValueTimeline] = {}

    def occupancy_bytes(self, tier: str) -> int:
        """Bytes in use."""
        return self._occupancy[tier]

    def free_bytes(self, tier: str) -> int:
        """Bytes not in use."""
        return self._capacities[tier] - self._occupancy[tier]

    def holds(self, tier: str, key: Hashable) -> bool:
        """True if the tier has a copy."""
        return key in self._residents[tier]

    def residents(self, tier: str) -> Mapping[Hashable, Resident]:
        """All copies in a tier, in order of arrival."""
        return self._residents[tier]

    def add(self, tier: str, key: Hashable, num_bytes: int, role: Role) -> None:
        """Put a copy into a tier. TiergartenError if it does not fit: the caller must evict first."""
        residents = self._residents[tier]
        if key in residents:
            raise ConservationError(f"{key!r} is already in {tier}")
        if num_bytes > self.free_bytes(tier):
            raise TiergartenError(
                f"{tier} is full: {num_bytes} bytes of {role.name.lower()} do not fit into the "
                f"{self.free_bytes(tier)} free of {self._capacities[tier]}"
            )
        residents[key] = Resident(num_bytes, role)
        self._change(tier, role, num_bytes)

    def resize(self, tier: str, key: Hashable, num_bytes: int) -> None:
        """Change the size of a copy, for memory that is kept page by page elsewhere. TiergartenError if it does not fit."""
        resident = self._residents[tier].get(key)
        if resident is None:
            raise ConservationError(f"{key!r} is not in {tier}")
        more = num_bytes - resident.num_bytes
        if more > self.free_bytes(tier):
            raise TiergartenError(
                f"{tier} is full: {key!r} would grow by {more} bytes, {self.free_bytes(tier)} of "
                f"{self._capacities[tier]} are free"
            )
        self._residents[tier][key] = Resident(num_bytes, resident.role)
        self._change(tier, resident.role, more)

    def remove(self, tier: str, key: Hashable) -> Resident:
        """Drop a copy."""
        try:
            resident = self._residents[tier].pop(key)
        except KeyError:
            raise ConservationError(f"{key!r} is not in {tier}") from None
        self._change(tier, resident.role, -resident.num_bytes)
        return resident

    def check(self) -> None:
        """Raise ConservationError unless occupancy equals the residents' bytes and fits, in every tier."""
        for tier, residents in self._residents.items():
            total = sum(resident.num_bytes for resident in residents.values())
            if total != self._occupancy[tier]:
                raise ConservationError(
                    f"{tier}: residents have {total} bytes, the ledger says {self._occupancy[tier]}"
                )
            if total > self._capacities[tier]:
                raise ConservationError(f"{tier}: {total} bytes in a capacity of {self._capacities[tier]}")

    def _change(self, tier: str, role: Role, delta_bytes: int) -> None:
        self._occupancy[tier] += delta_bytes
        key = (tier, role)
        self._by_role[key] += delta_bytes
        if key not in self.timelines:
            self.timelines[key] = LastValueTimeline()
        self.timelines[key].set(self._engine.now_ps, self._by_role[key])
