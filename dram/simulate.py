"""Replay an address trace on one DRAM channel and return every request's and every command's tick."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.dump import describe_deadlock
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.mapping import Coordinates, map_addresses
from tiergarten.dram.resolve import DramDevice
from tiergarten.dram.tables import build_tables, initial_state
from tiergarten.sim.errors import DeadlockError, Problem, TraceError
from tiergarten.sim.trace import AddressTrace

Int = NDArray[np.int64]
RECORD_CHUNK = 1 << 16


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
    coordinates: Coordinates
    counters: dict[str, int]

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

    lengths = {len(column) for column in (trace.ticks, trace.addresses, trace.is_write, trace.depends_on)}
    if len(lengths) != 1:
        raise TraceError(Problem("columns differ in length", file=name))
    report(trace.addresses < 0, "address is negative")
    unaligned = trace.addresses % device.transaction_bytes != 0
    report(unaligned, f"address is no multiple of the transaction of {device.transaction_bytes} bytes")
    report(trace.ticks < 0, "time is negative")
    report(np.diff(trace.ticks, prepend=0) < 0, "time is before that of the row above")
    report(trace.ticks >= at.NEVER // 2, "time is out of range")
    if problems:
        raise TraceError(problems)


def make_requests(trace: AddressTrace, config: DramConfig) -> tuple[at.Requests, Coordinates]:
    """The trace as the kernels take it. A request with a dependency waits until no earlier read is outstanding."""
    coordinates = map_addresses(config.device, config.controller.addr_mapper, trace.addresses)
    flags = trace.is_write.astype(np.int8) | ((trace.depends_on >= 0).astype(np.int8) << 1)
    count = len(trace.ticks)
    requests = at.Requests(
        ticks=np.ascontiguousarray(trace.ticks, np.int64),
        addresses=np.ascontiguousarray(trace.addresses, np.int64),
        flags=flags,
        banks=coordinates.banks,
        rows=coordinates.rows,
        arrive=np.zeros(count, np.int64),
        depart=np.zeros(count, np.int64),
        done=np.zeros(count, np.int64),
    )
    return requests, coordinates


def empty_record(length: int) -> at.Record:
    """Room for `length` commands; 0 = do not record."""
    return at.Record(
        np.zeros(length, np.int64), np.zeros(length, np.int8), np.zeros(length, np.int32), np.zeros(length, np.int32)
    )


def simulate(
    config: DramConfig, trace: AddressTrace, record: Literal["commands", "requests"] | None = None
) -> DramResult:
    """Replay `trace` until every request is done.

    One request is offered a tick, in order, at or after its own tick, and again each tick while the queue is full.

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
    check_trace(trace, config.device)
    tables = build_tables(config.device, config.controller)
    state = initial_state(config.device, tables)
    requests, coordinates = make_requests(trace, config)
    buffer = empty_record(RECORD_CHUNK if record == "commands" else 0)
    chunks: list[at.Record] = []
    while (status := run(tables, state, requests, buffer, at.NEVER, True)) == at.RECORD_FULL:
        chunks.append(_take(buffer, state))
    if status != at.REACHED:
        raise DeadlockError(describe_deadlock(config.device, tables, state, status))
    commands = None
    if record == "commands":
        chunks.append(_take(buffer, state))
        commands = CommandTrace(*(np.concatenate(columns) for columns in zip(*chunks, strict=True)))
    kept = record is not None
    return DramResult(
        config=config,
        total_ticks=int(state.scalar[at.CLOCK]),
        arrive=requests.arrive if kept else None,
        depart=requests.depart if kept else None,
        done=requests.done if kept else None,
        commands=commands,
        coordinates=coordinates,
        counters=counters(state, requests),
    )


def _take(buffer: at.Record, state: at.State) -> at.Record:
    count = int(state.scalar[at.NUM_RECORDED])
    state.scalar[at.NUM_RECORDED] = 0
    return at.Record(*(column[:count].copy() for column in buffer))


def counters(state: at.State, requests: at.Requests) -> dict[str, int]:
    """Counts of a finished replay by name; sums of queue lengths are over all ticks."""
    scalar = [int(value) for value in state.scalar]
    writes = int(np.count_nonzero(requests.flags & 1))
    reads = len(requests.flags) - writes
    is_read = (requests.flags & 1) == 0
    row = scalar[at.COUNT_ROW : at.COUNT_ROW + 6]
    return {
        "cycles": scalar[at.CLOCK],
        "reads": reads,
        "writes": writes,
        "reads_issued": reads - scalar[at.COUNT_FORWARDED],
        "writes_issued": writes - scalar[at.COUNT_COALESCED],
        "reads_forwarded": scalar[at.COUNT_FORWARDED],
        "writes_coalesced": scalar[at.COUNT_COALESCED],
        "read_row_hits": row[0],
        "read_row_misses": row[1],
        "read_row_conflicts": row[2],
        "write_row_hits": row[3],
        "write_row_misses": row[4],
        "write_row_conflicts": row[5],
        "read_latency_ticks": int((requests.depart - requests.arrive)[is_read].sum()),
        "maintenance": scalar[at.COUNT_MAINTENANCE],
        "maintenance_served": scalar[at.COUNT_MAINTENANCE_SERVED],
        "refreshes": scalar[at.NUM_REFRESHES],
        "stall_ticks": scalar[at.COUNT_STALLS],
        "read_queue_length_sum": scalar[at.SUM_READS],
        "write_queue_length_sum": scalar[at.SUM_WRITES],
        "priority_queue_length_sum": scalar[at.SUM_PRIORITY],
    }
