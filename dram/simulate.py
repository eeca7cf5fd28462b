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
from tiergarten.dram.tables import build_channel
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


def make_requests(trace: AddressTrace, config: DramConfig) -> tuple[Int, Coordinates]:
    """The trace as the kernels take it, and its coordinates.

    A request with a dependency waits until no earlier read is outstanding, whichever row it names.
    """
    coordinates = map_addresses(config.device, config.controller.addr_mapper, trace.addresses)
    requests = np.zeros((len(trace.ticks), at.REQUEST_COLUMNS), np.int64)
    requests[:, at.REQUEST_TICK] = trace.ticks
    requests[:, at.REQUEST_ADDRESS] = trace.addresses
    requests[:, at.REQUEST_FLAGS] = trace.is_write * at.IS_WRITE + (trace.depends_on >= 0) * at.WAITS
    requests[:, at.REQUEST_BANK] = coordinates.banks
    requests[:, at.REQUEST_ROW] = coordinates.rows
    return requests, coordinates


def empty_record(length: int) -> Int:
    """Room for `length` commands; 0 = do not record."""
    return np.zeros((length, at.RECORD_COLUMNS), np.int64)


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
    m = build_channel(config.device, config.controller)
    requests, coordinates = make_requests(trace, config)
    record_rows = empty_record(RECORD_CHUNK if record == "commands" else 0)
    chunks = []
    while (status := run(m, requests, record_rows, at.NEVER, True)) == at.RECORD_FULL:
        chunks.append(take_record(record_rows, m))
    if status != at.REACHED:
        raise DeadlockError(describe_deadlock(config.device, m, status))
    commands = None
    if record == "commands":
        commands = command_trace(np.concatenate([*chunks, take_record(record_rows, m)]))
    kept = record is not None
    return DramResult(
        config=config,
        total_ticks=int(m[at.CLOCK]),
        arrive=requests[:, at.REQUEST_ARRIVE] if kept else None,
        depart=requests[:, at.REQUEST_DEPART] if kept else None,
        done=requests[:, at.REQUEST_DONE] if kept else None,
        commands=commands,
        coordinates=coordinates,
        counters=counters(m, requests),
    )


def take_record(record: Int, m: Int) -> Int:
    """A copy of the commands recorded so far; the record is empty afterwards."""
    taken = record[: m[at.NUM_RECORDED]].copy()
    m[at.NUM_RECORDED] = 0
    return taken


def command_trace(rows: Int) -> CommandTrace:
    """Rows of a command record as columns."""
    return CommandTrace(
        ticks=rows[:, at.RECORD_TICK].copy(),
        commands=rows[:, at.RECORD_COMMAND].astype(np.int8),
        requests=rows[:, at.RECORD_REQUEST].astype(np.int32),
        targets=rows[:, at.RECORD_TARGET].astype(np.int32),
    )


def counters(m: Int, requests: Int) -> dict[str, int]:
    """Counts of a finished replay by name; sums of queue lengths are over all ticks."""
    is_write = (requests[:, at.REQUEST_FLAGS] & at.IS_WRITE) == 1
    latencies = requests[~is_write, at.REQUEST_DEPART] - requests[~is_write, at.REQUEST_ARRIVE]
    writes = int(is_write.sum())
    reads = len(is_write) - writes
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
        "read_latency_ticks": int(latencies.sum()),
        "maintenance": int(m[at.COUNT_MAINTENANCE]),
        "maintenance_served": int(m[at.COUNT_MAINTENANCE_SERVED]),
        "refreshes": int(m[at.COUNT_REFRESHES]),
        "stall_ticks": int(m[at.COUNT_STALLS]),
        "read_queue_length_sum": int(m[at.SUM_READS]),
        "write_queue_length_sum": int(m[at.SUM_WRITES]),
        "priority_queue_length_sum": int(m[at.SUM_PRIORITY]),
    }
