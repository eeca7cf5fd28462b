"""A memory controller as one point of the DRAMGym design space: ten knobs, 442,368 grid points.

Knobs, values and their order are those of ArchGym's DRAMGym (`envHelpers.action_decoder_rl`, oss-arch-gym 53f745a), which
drives DRAMSys (tukl-msd/DRAMSys). Any positive buffer size, transaction count and refresh budget is a valid design; the
grid holds the powers of two that the learning agents choose from.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem, did_you_mean


class PagePolicy(IntEnum):
    """When a row is closed after a column access."""

    OPEN = 0
    """Only for a conflict or a refresh."""
    OPEN_ADAPTIVE = 1
    """At once if the bank has further requests and none of them hits the row."""
    CLOSED = 2
    """Always (auto-precharge)."""
    CLOSED_ADAPTIVE = 3
    """Always, unless a further queued request hits the row."""


class Scheduler(IntEnum):
    """Which request of a bank's queue is served next."""

    FIFO = 0
    FR_FCFS_GRP = 1
    """Row hits first, among them those of the kind (read or write) of the last column command."""
    FR_FCFS = 2


class SchedulerBuffer(IntEnum):
    """What the request buffer size counts."""

    BANKWISE = 0
    READ_WRITE = 1
    SHARED = 2


class ResponseQueue(IntEnum):
    """Order in which the controller hands back responses."""

    FIFO = 0
    """Order of data completion."""
    REORDER = 1
    """Order of arrival."""


class RefreshPolicy(IntEnum):
    """How refresh is done."""

    NO_REFRESH = 0
    ALL_BANK = 1


class Arbiter(IntEnum):
    """How requests get from the initiator to the controller."""

    SIMPLE = 0
    """Not buffered; the controller's back pressure reaches the initiator."""
    FIFO = 1
    """Buffers up to `max_active_transactions`; responses in the controller's order."""
    REORDER = 2
    """As FIFO, but responses in the order of requests."""


_POWERS: Final = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Knob:
    """One dimension of the grid."""

    name: str
    """Name in ArchGym and in DRAMSys's configuration files."""
    field: str
    """Name of the field of ControllerDesign."""
    values: tuple[int, ...]
    """Grid values in the order of the action index."""
    labels: tuple[str, ...]
    """Spelling of each value in ArchGym and DRAMSys."""


KNOBS: Final = (
    Knob("PagePolicy", "page_policy", tuple(PagePolicy), ("Open", "OpenAdaptive", "Closed", "ClosedAdaptive")),
    Knob("Scheduler", "scheduler", tuple(Scheduler), ("Fifo", "FrFcfsGrp", "FrFcfs")),
    Knob("SchedulerBuffer", "scheduler_buffer", tuple(SchedulerBuffer), ("Bankwise", "ReadWrite", "Shared")),
    Knob("RequestBufferSize", "request_buffer_size", _POWERS, tuple(map(str, _POWERS))),
    Knob("RespQueue", "response_queue", tuple(ResponseQueue), ("Fifo", "Reorder")),
    Knob("RefreshPolicy", "refresh_policy", tuple(RefreshPolicy), ("NoRefresh", "AllBank")),
    Knob("RefreshMaxPostponed", "refresh_max_postponed", _POWERS[:4], tuple(map(str, _POWERS[:4]))),
    Knob("RefreshMaxPulledin", "refresh_max_pulled_in", _POWERS[:4], tuple(map(str, _POWERS[:4]))),
    Knob("Arbiter", "arbiter", tuple(Arbiter), ("Simple", "Fifo", "Reorder")),
    Knob("MaxActiveTransactions", "max_active_transactions", _POWERS, tuple(map(str, _POWERS))),
)
KNOB_SIZES: Final = tuple(len(knob.values) for knob in KNOBS)
NUM_GRID_DESIGNS: Final = math.prod(KNOB_SIZES)

MAX_ENTRIES: Final = 1 << 20
"""Largest accepted buffer size and transaction count."""
MAX_REFRESHES_MOVED: Final = 8
"""JEDEC lets a DDR3 or DDR4 rank postpone or pull in at most eight refreshes (JESD79-3F 4.13, JESD79-4B 4.26)."""


@dataclass(frozen=True)
class ControllerDesign:
    """The ten knobs of a controller. The command multiplexer always takes the oldest of the commands that are ready."""

    page_policy: PagePolicy = PagePolicy.OPEN
    scheduler: Scheduler = Scheduler.FR_FCFS
    scheduler_buffer: SchedulerBuffer = SchedulerBuffer.BANKWISE
    request_buffer_size: int = 8
    """Entries per bank, per kind (reads and writes each) or per channel, see SchedulerBuffer."""
    response_queue: ResponseQueue = ResponseQueue.FIFO
    refresh_policy: RefreshPolicy = RefreshPolicy.ALL_BANK
    refresh_max_postponed: int = 1
    refresh_max_pulled_in: int = 1
    arbiter: Arbiter = Arbiter.SIMPLE
    max_active_transactions: int = 128
    """Requests between arbiter and initiator; no effect with Arbiter.SIMPLE."""

    def __post_init__(self) -> None:
        problems = [problem for field in fields(self) if (problem := _check(field.name, getattr(self, field.name)))]
        if problems:
            raise InputError(problems)
        for name, kind in _ENUMS.items():  # plain integers are accepted and become members
            object.__setattr__(self, name, kind(getattr(self, name)))

    @classmethod
    def from_indices(cls, indices: Sequence[int] | NDArray[np.integer]) -> "ControllerDesign":
        """The grid point of ten action indices, in the order of KNOBS. Raises InputError if one is out of range."""
        if len(indices) != len(KNOBS):
            raise InputError(Problem(f"a design has {len(KNOBS)} indices, got {len(indices)}"))
        problems = [
            Problem(f"index {index} is not in 0..{len(knob.values) - 1}", path=knob.name)
            for knob, index in zip(KNOBS, indices, strict=True)
            if int(index) != index or not 0 <= index < len(knob.values)
        ]
        if problems:
            raise InputError(problems)
        values: dict[str, Any] = {
            knob.field: knob.values[int(index)] for knob, index in zip(KNOBS, indices, strict=True)
        }
        return cls(**values)

    def to_indices(self) -> NDArray[np.int64]:
        """int64[10], the action indices. Raises InputError if the design is not on the grid."""
        problems = [
            Problem(f"{getattr(self, knob.field)} is not on the grid {knob.values}", path=knob.name)
            for knob in KNOBS
            if getattr(self, knob.field) not in knob.values
        ]
        if problems:
            raise InputError(problems)
        return np.array([knob.values.index(getattr(self, knob.field)) for knob in KNOBS], np.int64)

    @classmethod
    def from_number(cls, number: int) -> "ControllerDesign":
        """Grid point 0 <= number < 442,368; the last knob runs fastest."""
        if not 0 <= number < NUM_GRID_DESIGNS:
            raise InputError(Problem(f"design number {number} is not in 0..{NUM_GRID_DESIGNS - 1}"))
        return cls.from_indices(np.array(np.unravel_index(number, KNOB_SIZES), np.int64))

    def to_number(self) -> int:
        """Inverse of from_number."""
        return int(np.ravel_multi_index(tuple(self.to_indices()), KNOB_SIZES))

    @classmethod
    def from_knobs(cls, values: Mapping[str, Any]) -> "ControllerDesign":
        """A design from DRAMSys's names and spellings, as {"PagePolicy": "Open", "RequestBufferSize": 8, ...}.

        Knobs left out keep their default. Raises InputError naming every unknown knob and value.
        """
        known = {knob.name: knob for knob in KNOBS}
        chosen: dict[str, Any] = {}
        problems = []
        for name, value in values.items():
            knob = known.get(name)
            if knob is None:
                problems.append(Problem(f"unknown knob. {did_you_mean(name, known)}", path=name))
            elif str(value) in knob.labels:
                chosen[knob.field] = knob.values[knob.labels.index(str(value))]
            elif knob.field in _ENUMS or not str(value).isdecimal():
                problems.append(Problem(f"unknown value {value!r}. {did_you_mean(str(value), knob.labels)}", path=name))
            else:
                chosen[knob.field] = int(value)
        if problems:
            raise InputError(problems)
        return cls(**chosen)

    def to_knobs(self) -> dict[str, str | int]:
        """DRAMSys's names and spellings."""
        knobs: dict[str, str | int] = {}
        for knob in KNOBS:
            value = getattr(self, knob.field)
            knobs[knob.name] = knob.labels[value] if knob.field in _ENUMS else value
        return knobs

    def canonical(self, has_writes: bool = True) -> "ControllerDesign":
        """The design with every knob that cannot act set to its first value, so that equal behaviour compares equal.

        Refresh budgets do nothing without refresh, transaction slots nothing with the simple arbiter; in a trace without
        writes FR-FCFS-grouped is FR-FCFS and a read-write buffer is a shared one.
        """
        design = self
        if design.refresh_policy == RefreshPolicy.NO_REFRESH:
            design = replace(design, refresh_max_postponed=1, refresh_max_pulled_in=1)
        if design.arbiter == Arbiter.SIMPLE:
            design = replace(design, max_active_transactions=1)
        if not has_writes:
            if design.scheduler == Scheduler.FR_FCFS_GRP:
                design = replace(design, scheduler=Scheduler.FR_FCFS)
            if design.scheduler_buffer == SchedulerBuffer.READ_WRITE:
                design = replace(design, scheduler_buffer=SchedulerBuffer.SHARED)
        return design


_ENUMS: Final[dict[str, type[IntEnum]]] = {
    "page_policy": PagePolicy,
    "scheduler": Scheduler,
    "scheduler_buffer": SchedulerBuffer,
    "response_queue": ResponseQueue,
    "refresh_policy": RefreshPolicy,
    "arbiter": Arbiter,
}
_LARGEST: Final = {
    "request_buffer_size": MAX_ENTRIES,
    "refresh_max_postponed": MAX_REFRESHES_MOVED,
    "refresh_max_pulled_in": MAX_REFRESHES_MOVED,
    "max_active_transactions": MAX_ENTRIES,
}


def _check(name: str, value: object) -> Problem | None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return Problem(f"must be a whole number or a member of its enumeration, got {value!r}", path=name)
    if name in _ENUMS:
        if int(value) not in {int(member) for member in _ENUMS[name]}:
            return Problem(f"unknown value {value!r}; known: {', '.join(m.name for m in _ENUMS[name])}", path=name)
    elif not 1 <= value <= _LARGEST[name]:
        return Problem(f"must be in 1..{_LARGEST[name]}, got {value}", path=name)
    return None


def grid_designs() -> Iterator[ControllerDesign]:
    """All 442,368 designs of the grid in order of their number."""
    for number in range(NUM_GRID_DESIGNS):
        yield ControllerDesign.from_number(number)
