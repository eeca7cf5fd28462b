"""One memory controller driven by hand: send requests, tick, read the commands it issued."""

from typing import NamedTuple

import numpy as np

from tiergarten.dram.dump import describe_deadlock
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.kernels.requests import accept, has_room
from tiergarten.dram.mapping import map_addresses
from tiergarten.dram.simulate import CommandTrace, DramConfig, empty_record, take_commands
from tiergarten.dram.tables import build_channel
from tiergarten.sim.errors import DeadlockError, Problem, TraceError

FIRST_ROOM = 256


class Finished(NamedTuple):
    """A request of which the requester has been told that it is done."""

    request: int
    """Number given by `send`."""
    arrive: int
    depart: int
    done: int


class Controller:
    """A channel and its controller. `clock` is the number of ticks done; a request sent now can issue in the next tick."""

    def __init__(self, config: DramConfig):
        self.config = config
        self._m = build_channel(config.device, config.controller)
        self._m[at.NEXT_REQUEST] = at.NEVER
        self._requests = np.zeros((FIRST_ROOM, at.REQUEST_COLUMNS), np.int64)
        self._outcomes = np.full((FIRST_ROOM, at.OUTCOME_COLUMNS), at.NONE, np.int64)
        self._record = empty_record(FIRST_ROOM)
        self._count = 0
        self._told = np.zeros(FIRST_ROOM, bool)

    @property
    def clock(self) -> int:
        return int(self._m[at.CLOCK])

    @property
    def waiting(self) -> int:
        """Requests accepted whose data command has not been issued."""
        return int(self._m[at.NUM_READS] + self._m[at.NUM_WRITES] + self._m[at.NUM_ACTIVE]) + int(
            self._m[at.SPLIT_SLOT] != at.NONE
        )

    def send(self, address: int, is_write: bool) -> int | None:
        """Offer a request: its number, or None if the queue is full. TraceError for an address that cannot be."""
        if address < 0 or address % self.config.device.transaction_bytes:
            message = f"address {address} is no multiple of {self.config.device.transaction_bytes} bytes from 0 on"
            raise TraceError(Problem(message))
        place = map_addresses(self.config.device, self.config.controller.addr_mapper, np.array([address], np.int64))
        if self._count == len(self._requests):
            self._requests = np.concatenate([self._requests, np.zeros_like(self._requests)])
            self._outcomes = np.concatenate([self._outcomes, np.full_like(self._outcomes, at.NONE)])
            self._told = np.concatenate([self._told, np.zeros_like(self._told)])
        bank = int(self._m[at.BANKS]) + int(place.banks[0]) * at.BANK_FIELDS
        if not has_room(self._m, bank, address, int(is_write)):
            return None
        number = self._count
        row = self._requests[number]
        row[at.REQUEST_ADDRESS], row[at.REQUEST_FLAGS] = address, int(is_write)
        row[at.REQUEST_BANK], row[at.REQUEST_ROW] = place.banks[0], place.rows[0]
        row[at.REQUEST_REPORT] = number
        accept(self._m, self._requests, self._outcomes, number, self.clock)
        self._m[at.LAST_ACCEPT] = self.clock
        self._m[at.DIRTY] = 1
        self._m[at.ISSUE_AT] = self.clock + 1
        self._count += 1
        return number

    def tick(self, ticks: int = 1) -> None:
        """Advance. Raises DeadlockError if requests wait that can never be served."""
        until = self.clock + ticks
        while (status := run(self._m, self._requests, self._outcomes, self._record, until, False)) == at.RECORD_FULL:
            self._record = np.concatenate([self._record, np.zeros_like(self._record)])
        if status != at.REACHED:
            raise DeadlockError(describe_deadlock(self.config.device, self._m, status))

    def take_commands(self) -> CommandTrace:
        """Commands issued since the last call."""
        return take_commands(self._record, self._m)

    def take_finished(self) -> list[Finished]:
        """Requests done up to now and not reported before, in order of completion."""
        done = self._outcomes[: self._count, at.DONE_TICK]
        fresh = np.flatnonzero((done != at.NONE) & (done <= self.clock) & ~self._told[: self._count])
        self._told[fresh] = True
        order = fresh[np.argsort(done[fresh], kind="stable")]
        columns = (at.ARRIVE_TICK, at.DEPART_TICK, at.DONE_TICK)
        return [Finished(int(n), *(int(self._outcomes[n, column]) for column in columns)) for n in order]
