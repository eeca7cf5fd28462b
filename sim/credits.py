"""Credit-based flow control: a flit goes out when the wire is free and a credit is at hand; the credit comes back a round trip later.

The far end's buffers are what the credits stand for, as in PCIe and CXL (Compute Express Link Specification 3.0, chapter 4, link-layer
credits); a host's outstanding lines bound it in the same way. Throughput is not put in: it comes out as the lesser of the wire's
and of credits per round trip.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.availability import ALWAYS, Availability
from tiergarten.sim.engine import Engine
from tiergarten.sim.jit import njit
from tiergarten.sim.server import PENDING, Carried, Server
from tiergarten.sim.units import NEVER_PS

NOT_YET: Final = -1


@dataclass(frozen=True)
class Credits:
    """Flow control of one direction of a link."""

    number: int
    """Flits that may be out without an answer."""
    round_trip_ps: int
    """From the start of a flit to the return of its credit."""
    flit_bytes: int
    """Payload of a flit; a transfer is sent in whole flits."""
    flit_ps: int
    """Time of a flit on the wire."""

    def duration_ps(self, num_bytes: int) -> int:
        """Time from the first flit's start to the last flit's end on an idle link."""
        returns = np.zeros(self.number, np.int64)
        num_flits = -(-num_bytes // self.flit_bytes)
        _, _, _, free_ps = send(returns, 0, 0, 0, NEVER_PS, num_flits, self.flit_ps, self.round_trip_ps)
        return int(free_ps)


class CreditedServer(Server):
    """First come, first served, flit by flit, as wire and credits allow. Credits come back while the link is down."""

    def __init__(self, engine: Engine, credits: Credits, latency_ps: int = 0, availability: Availability = ALWAYS):
        super().__init__(engine, latency_ps)
        self._credits = credits
        self._availability = availability
        self._returns: NDArray[np.int64] = np.zeros(credits.number, np.int64)
        self._cursor = 0
        self._free_ps = 0
        self._busy_ps = 0
        self._stranded: list[Carried] = []

    @property
    def busy_ps(self) -> int:
        """Time in which flits were on the wire; waiting for credits does not count."""
        return self._busy_ps

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        credits, now_ps = self._credits, carried.requested_ps
        left = -(-carried.num_bytes // credits.flit_bytes)
        started_ps = NOT_YET
        while left and not self._stranded:
            share = self._availability.share(now_ps)
            until_ps = self._availability.next_change_ps(now_ps)
            if share > 0:
                flit_ps = ceil(credits.flit_ps / share)
                sent, first_ps, cursor, free_ps = send(
                    self._returns, self._cursor, self._free_ps, now_ps, until_ps, left, flit_ps, credits.round_trip_ps
                )
                left -= sent
                if sent:
                    started_ps = int(first_ps) if started_ps == NOT_YET else started_ps
                    self._cursor, self._free_ps = int(cursor), int(free_ps)
                    self._busy_ps += int(sent) * flit_ps
            if left and until_ps == NEVER_PS:
                break
            now_ps = until_ps
        if left:
            self._stranded.append(carried)
            return PENDING, PENDING
        return started_ps, self._free_ps

    def unfinished(self) -> list[Carried]:
        return self._stranded


@njit(cache=True)
def send(returns_ps, cursor, free_ps, now_ps, until_ps, num_flits, flit_ps, round_trip_ps):  # type: ignore[no-untyped-def]
    """Send flits, each as soon as the wire is free and the oldest credit is back, as far as they start before `until_ps`.

    Flit i starts at max(start of flit i - 1 + flit_ps, start of flit i - C + round_trip_ps). Once every flit of a lap of C follows
    the one a lap before by the same time, so will all later ones; whole laps are then taken in one step.

    Args:
        returns_ps: int64[C], when each credit is back, oldest at `cursor`; advanced.
        cursor: credit to be used next.
        free_ps: when the wire is free.
        now_ps: when the flits are there.
        until_ps: no flit starts at or after this time.
        num_flits: how many, > 0.
        flit_ps, round_trip_ps: of one flit.

    Returns:
        (flits sent, start of the first or NOT_YET, cursor, time at which the wire is free).
    """
    num_credits = len(returns_ps)
    first_ps = np.int64(NOT_YET)
    sent, in_lap = np.int64(0), np.int64(0)
    shortest, longest = np.int64(NEVER_PS), np.int64(0)
    while sent < num_flits:
        start_ps = max(now_ps, free_ps, returns_ps[cursor])
        if start_ps >= until_ps:
            break
        if first_ps == NOT_YET:
            first_ps = start_ps
        step_ps = start_ps - (returns_ps[cursor] - round_trip_ps)
        returns_ps[cursor] = start_ps + round_trip_ps
        free_ps = start_ps + flit_ps
        cursor = (cursor + 1) % num_credits
        sent += 1
        if sent <= num_credits:  # the lap before is not all of this burst
            continue
        shortest, longest = min(shortest, step_ps), max(longest, step_ps)
        in_lap += 1
        if in_lap == num_credits:
            if shortest == longest:
                laps = min((num_flits - sent) // num_credits, max(0, until_ps - free_ps - 1) // longest)
                for credit in range(num_credits):
                    returns_ps[credit] += laps * longest
                free_ps += laps * longest
                sent += laps * num_credits
            in_lap, shortest, longest = np.int64(0), np.int64(NEVER_PS), np.int64(0)
    return sent, first_ps, cursor, free_ps
