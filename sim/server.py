"""Servers: what a hop of a transfer queues at. A link direction is a server, and so is a tier's memory.

`accept` either knows at once when the hop will be done (FIFO: nothing that comes later can change it) or returns PENDING
and calls the transfer's `hop_done` when it is. All servers count the time they worked; the bytes are in the system's log.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil
from typing import Final, NamedTuple, Protocol

from tiergarten.sim.availability import ALWAYS, Availability
from tiergarten.sim.engine import Call, Engine
from tiergarten.sim.units import NEVER_PS, PS_PER_S

PENDING: Final = -1


class Carried(Protocol):
    """What a server knows of the transfer that passes it."""

    num_bytes: int
    requested_ps: int
    """The time now, when it is handed to `accept`."""
    cause: int
    """Urgency: lower goes first where the server has priorities."""

    def hop_done(self, started_ps: int, done_ps: int) -> None:
        """Told by a server that had answered PENDING."""
        ...


DurationPs = Callable[[int], int]
"""Service time in picoseconds of a number of bytes."""


class FifoQueue:
    """First come, first served: when the work handed in so far is done, and how much work that was."""

    __slots__ = ("busy_ps", "free_ps")

    def __init__(self) -> None:
        self.busy_ps = 0
        self.free_ps = 0

    def take(self, now_ps: int, service_ps: int) -> int:
        """Add work that arrives now; returns when it starts."""
        start_ps = self.free_ps
        if now_ps > start_ps:
            start_ps = now_ps
        self.free_ps = start_ps + service_ps
        self.busy_ps += service_ps
        return start_ps


class Stage(NamedTuple):
    """How bytes pass a server where nothing can overtake: done = start + duration + latency, start by the queue."""

    queue: FifoQueue
    duration_ps: DurationPs
    latency_ps: int


class Server(ABC):
    """Carries transfers one way. `latency_ps` is added once per hop by the transfer and does not occupy the server."""

    def __init__(self, engine: Engine, latency_ps: int = 0):
        self.engine = engine
        self.latency_ps = latency_ps
        self._charged_ps = 0

    @property
    @abstractmethod
    def busy_ps(self) -> int:
        """Time spent at work on what it accepted, never more than the time that has passed once all work is done."""

    @property
    def occupied_ps(self) -> int:
        """`busy_ps` and the time that it was charged with."""
        return self.busy_ps + self._charged_ps

    def charge(self, duration_ps: int) -> None:
        """Count work whose timing somebody else computed: nothing queues behind it."""
        self._charged_ps += duration_ps

    @abstractmethod
    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        """Take the transfer at its `requested_ps`, which is now. `address` < 0: nobody fixed the place.

        Returns (started_ps, done_ps), or (PENDING, PENDING) and calls `hop_done` later.
        """

    def unfinished(self) -> list[Carried]:
        """What has been accepted and is not done; once nothing more can happen, what a failed link keeps for good."""
        return []

    def stage(self, is_write: bool) -> Stage | None:
        """What `accept` does, where that is a plain queue; None where load, urgency, place or time matter too."""
        return None


class RateServer(Server):
    """A server whose service time at full rate depends on the size alone, say bytes / bandwidth."""

    def __init__(
        self, engine: Engine, duration_ps: DurationPs, latency_ps: int = 0, availability: Availability = ALWAYS
    ):
        super().__init__(engine, latency_ps)
        self._duration_ps = duration_ps
        self._availability = availability
        self._busy_ps = 0

    @property
    def busy_ps(self) -> int:
        return self._busy_ps


class FifoServer(RateServer):
    """First come, first served."""

    def __init__(self, engine: Engine, duration_ps: DurationPs, latency_ps: int = 0):
        super().__init__(engine, duration_ps, latency_ps)
        self._queue = FifoQueue()

    @property
    def busy_ps(self) -> int:
        return self._queue.busy_ps

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        start_ps = self._queue.take(carried.requested_ps, self._duration_ps(carried.num_bytes))
        return start_ps, self._queue.free_ps

    def stage(self, is_write: bool) -> Stage:
        return Stage(self._queue, self._duration_ps, 0)


class InterruptedFifoServer(RateServer):
    """First come, first served by a server with faults: what is under way when it fails waits, and so does all behind it."""

    def __init__(
        self, engine: Engine, duration_ps: DurationPs, latency_ps: int = 0, availability: Availability = ALWAYS
    ):
        super().__init__(engine, duration_ps, latency_ps, availability)
        self._free_ps = 0
        self._stranded: list[Carried] = []

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        start_ps = self._availability.next_up_ps(max(carried.requested_ps, self._free_ps))
        service_ps = self._duration_ps(carried.num_bytes)
        self._free_ps = self._availability.after(start_ps, service_ps) if start_ps < NEVER_PS else NEVER_PS
        if self._free_ps == NEVER_PS:
            self._stranded.append(carried)
            return PENDING, PENDING
        self._busy_ps += self._free_ps - start_ps - self._availability.down_ps(start_ps, self._free_ps)
        return start_ps, self._free_ps

    def unfinished(self) -> list[Carried]:
        return self._stranded


class PriorityServer(RateServer):
    """Most urgent cause first, first come first served within a cause; a transfer under way is not interrupted."""

    def __init__(
        self, engine: Engine, duration_ps: DurationPs, latency_ps: int = 0, availability: Availability = ALWAYS
    ):
        super().__init__(engine, duration_ps, latency_ps, availability)
        self._queue: list[tuple[int, int, Carried]] = []
        self._arrivals = 0
        self._serving: Carried | None = None

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        self._arrivals += 1
        heappush(self._queue, (carried.cause, self._arrivals, carried))
        if self._serving is None:
            self._start_next()
        return PENDING, PENDING

    def unfinished(self) -> list[Carried]:
        return [*([self._serving] if self._serving else []), *(carried for _, _, carried in self._queue)]

    def _start_next(self) -> None:
        _, _, carried = heappop(self._queue)
        start_ps = self.engine.now_ps
        done_ps = self._availability.after(start_ps, self._duration_ps(carried.num_bytes))
        start_ps = self._availability.next_up_ps(start_ps)
        self._serving = carried
        if done_ps == NEVER_PS:
            return
        self._busy_ps += done_ps - start_ps - self._availability.down_ps(start_ps, done_ps)
        self.engine.call_at(done_ps, lambda: self._finish(carried, start_ps))

    def _finish(self, carried: Carried, start_ps: int) -> None:
        self._serving = None
        if self._queue:
            self._start_next()
        carried.hop_done(start_ps, self.engine.now_ps)


class FairServer(RateServer):
    """Processor sharing: each of n transfers under way gets an n-th of the rate.

    Virtual time counts the service that each transfer has had (in picoseconds of a server of its own); a transfer that
    arrives at virtual time v and needs s leaves at v + s. Kleinrock, Queueing Systems II (1976), section 4.4.
    """

    def __init__(
        self, engine: Engine, duration_ps: DurationPs, latency_ps: int = 0, availability: Availability = ALWAYS
    ):
        super().__init__(engine, duration_ps, latency_ps, availability)
        self._leaving: list[tuple[float, int, int, Carried]] = []
        self._arrivals = 0
        self._virtual_ps = 0.0
        self._last_ps = 0
        self._wake: Call | None = None

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        now_ps = carried.requested_ps
        self._catch_up(now_ps)
        self._arrivals += 1
        service_ps = self._duration_ps(carried.num_bytes)
        heappush(self._leaving, (self._virtual_ps + service_ps, self._arrivals, now_ps, carried))
        self._schedule()
        return PENDING, PENDING

    def unfinished(self) -> list[Carried]:
        return [carried for _, _, _, carried in self._leaving]

    def _catch_up(self, now_ps: int) -> None:
        if self._leaving:
            self._virtual_ps += self._availability.work_ps(self._last_ps, now_ps) / len(self._leaving)
            self._busy_ps += now_ps - self._last_ps - self._availability.down_ps(self._last_ps, now_ps)
        else:
            self._virtual_ps = 0.0  # keeps the float exact over long runs
        self._last_ps = now_ps

    def _schedule(self) -> None:
        if self._wake is not None:
            self._wake.withdraw()
            self._wake = None
        if self._leaving:
            remaining_ps = max(0.0, self._leaving[0][0] - self._virtual_ps) * len(self._leaving)
            wake_ps = self._availability.after(self._last_ps, max(0.0, remaining_ps - 1e-6))
            if wake_ps < NEVER_PS:
                self._wake = self.engine.call_at(wake_ps, self._depart)

    def _depart(self) -> None:
        self._wake = None
        now_ps = self.engine.now_ps
        self._catch_up(now_ps)
        gone = []
        # half a picosecond of service: the rounding of the wake-up time, never a whole event early
        while self._leaving and self._leaving[0][0] <= self._virtual_ps + 0.5:
            gone.append(heappop(self._leaving))
        self._schedule()
        for _, _, arrived_ps, carried in gone:
            carried.hop_done(arrived_ps, now_ps)


SHARING: Final[dict[str, type[RateServer]]] = {"fifo": FifoServer, "priority": PriorityServer, "fair": FairServer}
"""How a link's capacity is shared, by the name used in scenarios."""

WITH_FAULTS: Final[dict[str, type[RateServer]]] = {**SHARING, "fifo": InterruptedFifoServer}
"""The same for links that fail."""


def at_rate(bytes_per_s: float) -> DurationPs:
    """Service time of a server that moves `bytes_per_s`: picoseconds, rounded up so that the rate is never exceeded."""
    ps_per_byte = PS_PER_S / bytes_per_s

    def duration_ps(num_bytes: int) -> int:
        return ceil(num_bytes * ps_per_byte)

    return duration_ps
