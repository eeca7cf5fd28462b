"""The event engine: SimPy with integer picoseconds.

Events are ordered by (time, priority, insertion). One event stands for one transfer (page, tile, KV block) or one
decision, never for a DRAM command or a cache line; what is finer lives in a kernel behind a MemoryModel.
"""

from collections.abc import Callable, Generator
from heapq import heappush
from typing import Any

import simpy
from simpy.events import NORMAL, Event

Process = Generator[Event, Any, Any]


class Call(Event):
    """A plain function call at a given time. Cheaper than a process, and it can be withdrawn."""

    __slots__ = ("_withdrawn",)

    def __init__(self, engine: "Engine", function: Callable[[], None]):
        super().__init__(engine)
        self._ok = True
        self._value = None
        self._withdrawn = False
        assert self.callbacks is not None
        self.callbacks.append(lambda _: None if self._withdrawn else function())

    def withdraw(self) -> None:
        """Make the call do nothing when its time comes."""
        self._withdrawn = True


class Engine(simpy.Environment):
    """Simulated time in integer picoseconds, from 0."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)

    @property
    def now_ps(self) -> int:
        """The current time."""
        return self._now  # type: ignore[return-value]

    def trigger_at(self, time_ps: int, event: Event, priority: int = NORMAL) -> None:
        """Let `event`, whose value is already set, happen at `time_ps` (not before now)."""
        if time_ps < self._now:
            raise ValueError(f"cannot schedule an event at {time_ps} ps, it is {self._now} ps already")
        heappush(self._queue, (time_ps, priority, next(self._eid), event))  # type: ignore[misc]

    def call_at(self, time_ps: int, function: Callable[[], None], priority: int = NORMAL) -> Call:
        """Call `function()` at `time_ps`; the returned Call can be withdrawn."""
        call = Call(self, function)
        self.trigger_at(time_ps, call, priority)
        return call

    def wait_until(self, time_ps: int) -> Event:
        """An event to yield in a process: happens at `time_ps`."""
        return self.timeout(time_ps - self._now)
