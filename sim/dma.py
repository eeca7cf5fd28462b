"""DMA engines: how many copies a link's ends work on at a time, and in which pieces.

A copy takes an engine, is set up, and then sends its chunks over the wire in turn with the copies of the other engines of its
direction; copies beyond the number of engines wait. A copy that is alone is one event, however many chunks it has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tiergarten.sim.availability import ALWAYS, Availability
from tiergarten.sim.engine import Call, Engine
from tiergarten.sim.server import PENDING, Carried, DurationPs, Server
from tiergarten.sim.units import NEVER_PS


@dataclass(frozen=True)
class Dma:
    """Copy engines of a link; both directions share them."""

    engines: int
    """Copies under way at a time."""
    chunk_bytes: int
    """A copy gives way to others after so many bytes."""


@dataclass(eq=False)
class _Copy:
    """A copy that has an engine or waits for one."""

    carried: Carried
    started_ps: int = 0
    done_bytes: int = 0
    order: tuple[int, int] = field(default=(0, 0))
    """(urgency, turn): the smallest goes next."""


class CopyEngines:
    """The engines of a link, given out by urgency and then in order of arrival."""

    def __init__(self, number: int):
        self._free = number
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._arrivals = 0

    def take(self, urgency: int, function: Callable[[], None]) -> None:
        """Call `function` as soon as an engine is free; it must be given back."""
        if self._free:
            self._free -= 1
            function()
            return
        self._arrivals += 1
        heappush(self._waiting, (urgency, self._arrivals, function))

    def give_back(self) -> None:
        """An engine is free again."""
        if self._waiting:
            heappop(self._waiting)[2]()
        else:
            self._free += 1


@dataclass(eq=False)
class _Run:
    """Chunks of one copy that go over the wire without a break."""

    copy: _Copy
    start_ps: int
    end_bytes: int
    call: Call | None


class DmaServer(Server):
    """One direction of a link that copy engines use.

    The set-up of a copy occupies its engine and not the wire, so that several engines hide it.
    """

    def __init__(
        self,
        engine: Engine,
        duration_ps: DurationPs,
        setup_ps: int,
        engines: CopyEngines,
        chunk_bytes: int,
        *,
        by_urgency: bool = False,
        latency_ps: int = 0,
        availability: Availability = ALWAYS,
    ):
        super().__init__(engine, latency_ps)
        self._duration_ps = duration_ps
        self._setup_ps = setup_ps
        self._engines = engines
        self._chunk_bytes = chunk_bytes
        self._by_urgency = by_urgency
        self._availability = availability
        self._accepted: dict[Carried, None] = {}
        self._ready: list[tuple[tuple[int, int], _Copy]] = []
        self._turns = 0
        self._run: _Run | None = None
        self._busy_ps = 0

    @property
    def busy_ps(self) -> int:
        """Time in which bytes were on the wire; set-up does not count."""
        return self._busy_ps

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        self._accepted[carried] = None
        self._engines.take(self._urgency(carried), lambda: self._set_up(_Copy(carried)))
        return PENDING, PENDING

    def unfinished(self) -> list[Carried]:
        return list(self._accepted)

    def _urgency(self, carried: Carried) -> int:
        return carried.cause if self._by_urgency else 0

    def _set_up(self, copy: _Copy) -> None:
        copy.started_ps = self.engine.now_ps
        self.engine.call_at(copy.started_ps + self._setup_ps, lambda: self._become_ready(copy))

    def _become_ready(self, copy: _Copy) -> None:
        self._turns += 1
        copy.order = (self._urgency(copy.carried), self._turns)
        heappush(self._ready, (copy.order, copy))
        if self._run is None:
            self._send_next()
        else:
            self._cut(self._run)

    def _wire_ps(self, copy: _Copy, end_bytes: int) -> int:
        """Time at full rate of the copy's bytes from where it is to `end_bytes`; chunks add up to the whole copy's time."""
        done_ps = self._duration_ps(copy.done_bytes) - self._setup_ps if copy.done_bytes else 0
        return max(0, self._duration_ps(end_bytes) - self._setup_ps - done_ps)

    def _send_next(self) -> None:
        """Send a chunk of the copy whose turn it is, or all that is left of it if it is alone."""
        copy = heappop(self._ready)[1]
        end_bytes = copy.carried.num_bytes
        if self._ready:
            end_bytes = min(end_bytes, copy.done_bytes + self._chunk_bytes)
        run = self._run = _Run(copy, self.engine.now_ps, end_bytes, None)
        self._schedule(run)

    def _schedule(self, run: _Run) -> None:
        if run.call is not None:
            run.call.withdraw()
            run.call = None
        end_ps = self._end_ps(run, run.end_bytes)
        if end_ps < NEVER_PS:
            run.call = self.engine.call_at(end_ps, lambda: self._sent(run))

    def _end_ps(self, run: _Run, end_bytes: int) -> int:
        return self._availability.after(run.start_ps, self._wire_ps(run.copy, end_bytes))

    def _cut(self, run: _Run) -> None:
        """Somebody else is ready: the run ends with the chunk that is on the wire now."""
        first = run.copy.done_bytes
        low, high = 1, -(-(run.end_bytes - first) // self._chunk_bytes)
        while low < high:  # the first chunk that ends now or later
            middle = (low + high) // 2
            if self._end_ps(run, min(run.end_bytes, first + middle * self._chunk_bytes)) >= self.engine.now_ps:
                high = middle
            else:
                low = middle + 1
        end_bytes = min(run.end_bytes, first + low * self._chunk_bytes)
        if end_bytes < run.end_bytes:
            run.end_bytes = end_bytes
            self._schedule(run)

    def _sent(self, run: _Run) -> None:
        copy, now_ps = run.copy, self.engine.now_ps
        self._busy_ps += now_ps - run.start_ps - self._availability.down_ps(run.start_ps, now_ps)
        copy.done_bytes = run.end_bytes
        self._run = None
        is_done = copy.done_bytes == copy.carried.num_bytes
        if not is_done:
            self._turns += 1
            copy.order = (copy.order[0], self._turns)
            heappush(self._ready, (copy.order, copy))
        if self._ready:
            self._send_next()
        if is_done:
            del self._accepted[copy.carried]
            self._engines.give_back()
            copy.carried.hop_done(copy.started_ps, now_ps)
