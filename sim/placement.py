"""The placement ledger: which object lies in which tier. The only code that changes occupancy."""

from array import array
from collections import defaultdict
from collections.abc import Hashable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import ConservationError, TiergartenError
from tiergarten.sim.tier import Tier
from tiergarten.sim.timeline import LastValueTimeline
from tiergarten.sim.trace import Role


class Resident(NamedTuple):
    """An object's copy in one tier."""

    num_bytes: int
    role: Role
    booking: int
    """Its row in the bookings."""


NOT_LEFT: Final = -1
MADE_HERE: Final = -1


class Leaving(IntEnum):
    """How a copy came to leave a tier."""

    HELD = 0
    """It did not."""
    REMOVED = 1
    """The object has to be complete in another tier."""
    DISCARDED = 2
    """Its bytes are not wanted any more: it may be the last copy."""


class Bookings:
    """Every copy that was ever in a tier, in order of booking. B bookings; columns are int64[B]."""

    def __init__(self) -> None:
        self.objects: dict[Hashable, int] = {}
        """Number of each key."""
        self.object_numbers, self.tiers, self.num_bytes, self.leavings, self.arrivals = (array("q") for _ in range(5))
        self.booked_ps: list[int] = []  # no arrays: a run may pass the end of int64 before it is refused for its length
        self.left_ps: list[int] = []

    def __len__(self) -> int:
        return len(self.booked_ps)

    def enter(self, tier: int, key: Hashable, num_bytes: int, now_ps: int, arrival: int) -> int:
        """A copy gets its place; returns its row."""
        self.object_numbers.append(self.objects.setdefault(key, len(self.objects)))
        self.tiers.append(tier)
        self.num_bytes.append(num_bytes)
        self.booked_ps.append(now_ps)
        self.left_ps.append(NOT_LEFT)
        self.leavings.append(Leaving.HELD)
        self.arrivals.append(arrival)
        return len(self.booked_ps) - 1

    def leave(self, row: int, now_ps: int, leaving: Leaving) -> None:
        """The copy of that row gives up its place."""
        self.left_ps[row] = now_ps
        self.leavings[row] = leaving


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
        self._numbers = {name: number for number, name in enumerate(tiers)}
        self.bookings = Bookings()
        """Where every object was when."""

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

    def add(self, tier: str, key: Hashable, num_bytes: int, role: Role, arrival: int = MADE_HERE) -> None:
        """Put a copy into a tier. TiergartenError if it does not fit: the caller must evict first.

        The copy is complete at once, or when the transfer with the id `arrival` has finished.
        """
        residents = self._residents[tier]
        if key in residents:
            raise ConservationError(f"{key!r} is already in {tier}")
        if num_bytes > self.free_bytes(tier):
            raise TiergartenError(
                f"{tier} is full: {num_bytes} bytes of {role.name.lower()} do not fit into the "
                f"{self.free_bytes(tier)} free of {self._capacities[tier]}"
            )
        row = self.bookings.enter(self._numbers[tier], key, num_bytes, self._engine.now_ps, arrival)
        residents[key] = Resident(num_bytes, role, row)
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
        self._residents[tier][key] = resident._replace(num_bytes=num_bytes)
        self.bookings.num_bytes[resident.booking] = num_bytes
        self._change(tier, resident.role, more)

    def remove(self, tier: str, key: Hashable) -> Resident:
        """Drop a copy of an object that is complete in another tier. The run's laws hold whoever calls this to it."""
        return self._drop(tier, key, Leaving.REMOVED)

    def discard(self, tier: str, key: Hashable) -> Resident:
        """Drop a copy that may be the last one: nobody wants the object's bytes any more."""
        return self._drop(tier, key, Leaving.DISCARDED)

    def _drop(self, tier: str, key: Hashable, leaving: Leaving) -> Resident:
        try:
            resident = self._residents[tier].pop(key)
        except KeyError:
            raise ConservationError(f"{key!r} is not in {tier}") from None
        self.bookings.leave(resident.booking, self._engine.now_ps, leaving)
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
