"""How much of its rate a link has at each time: faults that are known before the run, and the work that fits between them.

Work is measured in picoseconds at full rate. Because all faults are known, a server knows when work will be done although
the link fails half-way: nothing is lost, what is under way waits and goes on.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil
from typing import Final

from tiergarten.sim.units import NEVER_PS


@dataclass(frozen=True, order=True)
class Fault:
    """A time in which a link has only a part of its rate. Where faults overlap, the smallest share counts."""

    start_ps: int
    end_ps: int
    """NEVER_PS: it stays so."""
    share: float
    """Of the full rate; 0 = down."""


class Availability:
    """A piecewise constant share of the full rate over time, 1 where nothing is said."""

    def __init__(self, faults: Iterable[Fault] = ()):
        self.faults = tuple(sorted(faults))
        """As given, in order of time."""
        self._edges = sorted(
            {0, *(edge for fault in self.faults for edge in (fault.start_ps, fault.end_ps))} - {NEVER_PS}
        )
        self._shares = list(_smallest_shares(self.faults, self._edges))

    def share(self, time_ps: int) -> float:
        """Share of the rate at that time."""
        return self._shares[self._segment(time_ps)]

    def next_change_ps(self, time_ps: int) -> int:
        """When the share changes next after `time_ps`; NEVER_PS if it does not."""
        following = self._segment(time_ps) + 1
        return self._edges[following] if following < len(self._edges) else NEVER_PS

    def next_up_ps(self, time_ps: int) -> int:
        """The first time from `time_ps` on at which the link is not down; NEVER_PS if it stays down."""
        while self.faults and time_ps < NEVER_PS and not self.share(time_ps):
            time_ps = self.next_change_ps(time_ps)
        return time_ps

    def after(self, start_ps: int, work_ps: float) -> int:
        """When `work_ps` of work that begins at `start_ps` is done; NEVER_PS if the link stays down before."""
        if not self.faults:
            return start_ps + ceil(work_ps)
        index = self._segment(start_ps)
        at_ps, left = start_ps, work_ps
        while True:
            share = self._shares[index]
            is_last = index + 1 == len(self._edges)
            if share > 0 and (is_last or (self._edges[index + 1] - at_ps) * share >= left):
                return at_ps + ceil(left / share)
            if is_last:
                return NEVER_PS if left > 0 else at_ps
            left -= (self._edges[index + 1] - at_ps) * share
            index += 1
            at_ps = self._edges[index]

    def work_ps(self, start_ps: int, end_ps: int) -> float:
        """Work that is done from `start_ps` to `end_ps`."""
        if not self.faults:
            return end_ps - start_ps
        total, at_ps = 0.0, start_ps
        for index in range(self._segment(start_ps), self._segment(end_ps)):
            total += (self._edges[index + 1] - at_ps) * self._shares[index]
            at_ps = self._edges[index + 1]
        return total + (end_ps - at_ps) * self.share(end_ps)

    def down_ps(self, start_ps: int, end_ps: int) -> int:
        """How long the link is down between two times."""
        return self._time_ps(start_ps, end_ps, lambda share: share == 0)

    def degraded_ps(self, start_ps: int, end_ps: int) -> int:
        """How long the link works at less than its full rate between two times."""
        return self._time_ps(start_ps, end_ps, lambda share: 0 < share < 1)

    def _time_ps(self, start_ps: int, end_ps: int, counts: Callable[[float], bool]) -> int:
        if not self.faults:
            return 0
        total, at_ps = 0, start_ps
        for index in range(self._segment(start_ps), self._segment(end_ps) + 1):
            until_ps = min(end_ps, self._edges[index + 1] if index + 1 < len(self._edges) else end_ps)
            if counts(self._shares[index]):
                total += until_ps - at_ps
            at_ps = until_ps
        return total

    def _segment(self, time_ps: int) -> int:
        return bisect_right(self._edges, time_ps) - 1


def _smallest_shares(faults: tuple[Fault, ...], edges: list[int]) -> Iterator[float]:
    """The smallest share of the faults that hold from each edge on; both in order of time."""
    begun: list[tuple[float, int]] = []
    following = 0
    for edge in edges:
        while following < len(faults) and faults[following].start_ps <= edge:
            heappush(begun, (faults[following].share, faults[following].end_ps))
            following += 1
        while begun and begun[0][1] <= edge:
            heappop(begun)
        yield begun[0][0] if begun else 1.0


ALWAYS: Final = Availability()
"""No fault ever."""
