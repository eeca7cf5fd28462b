"""Replay an address trace on one DRAM channel and return every request's and every command's tick."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.dump import describe_deadlock
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.kernels.intake import fill_from_trace
from tiergarten.dram.mapping import Coordinates, map_addresses, mapping_shifts
from tiergarten.dram.resolve import DramDevice
from tiergarten.dram.tables import build_channel
from tiergarten.sim.errors import DeadlockError, Problem, TraceError
from tiergarten.sim.trace import AddressTrace

Int = NDArray[np.int64]
LAST_TICK = 10**12
"""Latest tick of a trace, minutes of memory time. Idle refreshes are simulated one by one, a hundred million until then."""
REQUEST_CHUNK = 1 << 11
"""Requests in a table of the kernels: small enough to stay in the processor's second-level cache."""
RECORD_CHUNK = 1 << 14
"""Commands recorded before they are moved to columns."""


@dataclass(frozen=True)
class DramConfig:
    """What a channel is: the resolved device and its controller."""

    device: DramDevice
    controller: ControllerConfig = field(default_factory=ControllerConfig)


@dataclass(frozen=True, eq=False)
class CommandTrace:
    """Commands in order of issue; two may share a tick where there are two command buses (column first). M commands."""

    ticks: Int
    """int64[M]."""
    commands: NDArray[np.int8]
    """int8[M], numbers of `tiergarten.dram.commands`."""
    requests: NDArray[np.int32]
    """int32[M], row of the trace; -1 for refresh and row policy."""
    targets: NDArray[np.int32]
    """int32[M], flat bank; scope (rank, pseudo channel) for commands to all banks."""


@dataclass(frozen=True, eq=False)
class DramResult:
    """Outcome of a replay. T requests, in order of the trace; ticks are the controller's, tick_ps picoseconds each."""

    config: DramConfig
    total_ticks: int
    arrive: Int | None
    """int64[T]: tick of acceptance; None unless requests or commands are recorded."""
    depart: Int | None
    """int64[T]: tick of the last data of a read, of the command of a write."""
    done: Int | None
    """int64[T]: tick at which the requester is told."""
    commands: CommandTrace | None
    addresses: Int
    """int64[T]: byte addresses of the requests."""
    counters: dict[str, int]

    @property
    def coordinates(self) -> Coordinates:
        """Bank, row and column of every request, mapped anew at each call."""
        return map_addresses(self.config.device, self.config.controller.addr_mapper, self.addresses)

    @property
    def total_ps(self) -> int:
        return self.total_ticks * self.config.device.tick_ps

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes that crossed the data bus over the whole time."""
        served = self.counters["reads_issued"] + self.counters["writes_issued"]
        return served * self.config.device.transaction_bytes * 1e12 / max(1, self.total_ps)

    @property
    def mean_read_latency_ps(self) -> float:
        """Mean of departure minus arrival over all reads, forwarded ones included; 0.0 if there are none."""
        reads = self.counters["reads"]
        return self.counters["read_latency_ticks"] / reads * self.config.device.tick_ps if reads else 0.0


def check_trace(trace: AddressTrace, device: DramDevice, name: str = "") -> None:
    """Raise TraceError, with rows, for addresses that no channel of this device can serve and times that go back."""
    problems = []

    def report(bad: NDArray[np.bool_], message: str) -> None:
        rows = np.flatnonzero(bad)
        if len(rows):
            more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
            problems.append(Problem(message + more, file=name, path=f"row {rows[0] + 1}"))

    report(trace.addresses < 0, "address is negative")
    unaligned = trace.addresses % device.transaction_bytes != 0
    report(unaligned, f"address is no multiple of the transaction of {device.transaction_bytes} bytes")
    report(trace.ticks < 0, "time is negative")
    report(np.diff(trace.ticks, prepend=0) < 0, "time is before that of the row above")
    report(trace.ticks > LAST_TICK, f"time is beyond tick {LAST_TICK}")
    if problems:
        raise TraceError(problems)


def empty_record(length: int) -> Int:
    """Room for `length` commands; 0 = do not record."""
    return np.empty((length, at.RECORD_COLUMNS), np.int64)


def empty_outcomes(length: int) -> Int:
    """Room for the ticks of `length` requests; 0 = do not report."""
    return np.zeros((length, at.OUTCOME_COLUMNS), np.int64)


def simulate(
    config: DramConfig, trace: AddressTrace, record: Literal["commands", "requests"] | None = None
) -> DramResult:
    """Replay `trace` until every request is done.

    One request is offered a tick, in order, at or after its own tick, and again each tick while the queue is full; one
    with a dependency waits until no earlier read is outstanding, whichever row it names.

    Args:
        config: device and controller.
        trace: ticks in the controller's clock (`tick_ps` 0), or in `tick_ps` picoseconds, converted rounding up.
        record: "commands" for every command and request, "requests" for requests only, None for counters only.

    Raises:
        TraceError: addresses or times that cannot be served. DeadlockError: requests that can never be served.
    """
    if trace.tick_ps and trace.tick_ps != config.device.tick_ps:
        ticks = -(-trace.ticks * trace.tick_ps // config.device.tick_ps)
        trace = AddressTrace(ticks, trace.addresses, trace.is_write, trace.depends_on)
    m = build_channel(config.device, config.controller)
    outcomes = empty_outcomes(len(trace) if record is not None else 0)
    record_rows = empty_record(RECORD_CHUNK if record == "commands" else 0)
    chunks = []
    for requests in request_tables(m, trace, config):
        while (status := run(m, requests, outcomes, record_rows, at.NEVER, True)) == at.RECORD_FULL:
            chunks.append(take_commands(record_rows, m))
        if status not in (at.REACHED, at.TABLE_DONE):
            raise DeadlockError(describe_deadlock(config.device, m, status))
    kept = record is not None
    return DramResult(
        config=config,
        total_ticks=int(m[at.CLOCK]),
        arrive=outcomes[:, at.ARRIVE_TICK] if kept else None,
        depart=outcomes[:, at.DEPART_TICK] if kept else None,
        done=outcomes[:, at.DONE_TICK] if kept else None,
        commands=joined([*chunks, take_commands(record_rows, m)]) if record == "commands" else None,
        addresses=trace.addresses,
        counters=counters(m, len(trace)),
    )


def request_tables(m: Int, trace: AddressTrace, config: DramConfig) -> Iterator[Int]:
    """The trace as the kernels take it, a table at a time, each made when the one before has been taken in.

    Raises TraceError.
    """
    if len({len(column) for column in (trace.ticks, trace.addresses, trace.is_write, trace.depends_on)}) != 1:
        raise TraceError(Problem("columns differ in length"))
    mapping = mapping_shifts(config.device, config.controller.addr_mapper)
    columns = (
        np.ascontiguousarray(trace.ticks, np.int64),
        np.ascontiguousarray(trace.addresses, np.int64),
        np.ascontiguousarray(trace.is_write, np.bool_),
        np.ascontiguousarray(trace.depends_on, np.int64),
    )
    table = np.empty((min(REQUEST_CHUNK, len(trace)), at.REQUEST_COLUMNS), np.int64)
    first = 0
    while first < max(1, len(trace)):
        count = fill_from_trace(table, columns, mapping, first, config.device.transaction_bytes)
        if count == at.NONE:
            check_trace(trace, config.device)
        begin_table(m, first, first + count < len(trace))
        yield table[:count]
        first += max(1, count)


def begin_table(m: Int, first: int, more: bool) -> None:
    """Let the channel begin a new request table, whose first row is request `first`; `more`: another is to follow."""
    m[at.FIRST_REQUEST], m[at.NEXT_REQUEST], m[at.MORE_REQUESTS] = first, 0, more


def take_commands(record: Int, m: Int) -> CommandTrace:
    """The commands recorded so far; the record is empty afterwards."""
    rows = record[: m[at.NUM_RECORDED]]
    m[at.NUM_RECORDED] = 0
    return CommandTrace(
        ticks=rows[:, at.RECORD_TICK].copy(),
        commands=rows[:, at.RECORD_COMMAND].astype(np.int8),
        requests=rows[:, at.RECORD_REQUEST].astype(np.int32),
        targets=rows[:, at.RECORD_TARGET].astype(np.int32),
    )


def joined(parts: Sequence[CommandTrace]) -> CommandTrace:
    """Parts of a command trace one after the other."""
    return CommandTrace(
        ticks=np.concatenate([part.ticks for part in parts]),
        commands=np.concatenate([part.commands for part in parts]),
        requests=np.concatenate([part.requests for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
    )


def counters(m: Int, num_requests: int) -> dict[str, int]:
    """Counts of a finished replay by name; sums of queue lengths are over all ticks."""
    writes = int(m[at.COUNT_WRITES])
    reads = num_requests - writes
    names = [f"{kind}_row_{outcome}" for kind in ("read", "write") for outcome in ("hits", "misses", "conflicts")]
    rows = {name: int(m[at.COUNT_ROW + place]) for place, name in enumerate(names)}
    return {
        "cycles": int(m[at.CLOCK]),
        "reads": reads,
        "writes": writes,
        "reads_issued": reads - int(m[at.COUNT_FORWARDED]),
        "writes_issued": writes - int(m[at.COUNT_COALESCED]),
        "reads_forwarded": int(m[at.COUNT_FORWARDED]),
        "writes_coalesced": int(m[at.COUNT_COALESCED]),
        **rows,
        "read_latency_ticks": int(m[at.SUM_READ_LATENCY]),
        "maintenance": int(m[at.COUNT_MAINTENANCE]),
        "maintenance_served": int(m[at.COUNT_MAINTENANCE_SERVED]),
        "refreshes": int(m[at.COUNT_REFRESHES]),
        "stall_ticks": int(m[at.COUNT_STALLS]),
        "read_queue_length_sum": int(m[at.SUM_READS]),
        "write_queue_length_sum": int(m[at.SUM_WRITES]),
        "priority_queue_length_sum": int(m[at.SUM_PRIORITY]),
    }
