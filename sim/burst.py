"""Operations of a program computed together in a kernel, instead of one transfer at a time.

Where every hop of a route serves first come, first served, nothing that comes later changes what is there: all starts and
ends follow from when the queues are free and from the service times. A burst writes the same rows into the log as
single transfers would, and raises one event at its end.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from tiergarten.sim.jit import njit
from tiergarten.sim.server import FifoQueue, Stage
from tiergarten.sim.system import Route, System
from tiergarten.sim.transfer import Cause
from tiergarten.sim.transfer_log import Column

Int = NDArray[np.int64]

NONE: Final = -1
ID, ROUTE, BYTES, CAUSE, ROLE = (int(column) for column in list(Column)[:5])
REQUESTED_PS, STARTED_PS, FINISHED_PS, OWNER = (int(column) for column in list(Column)[5:])
DEMAND: Final = int(Cause.DEMAND)


class Ways(NamedTuple):
    """What a burst has to know of its routes. R routes of at most H hops, G stages, Q queues, S sizes."""

    stages: Int
    """int64[R, H], stage of each hop, NONE behind the last one."""
    queues: Int
    """int64[G], queue that the stage works off."""
    latencies_ps: Int
    """int64[G]."""
    services_ps: Int
    """int64[G, S]."""
    delays_ps: Int
    """int64[R, S]: latency of the route and the time its pipeline needs to fill."""
    routes: Int
    """int64[R], row of `System.routes`."""


class Program(NamedTuple):
    """Operations one after another, and the accesses each issues at its start. P operations, T accesses, L places."""

    compute_ps: Int
    """int64[P]: an operation ends with its last access, and not before it has computed for this long."""
    accesses: Int
    """int64[P + 1]: operation p makes the accesses from accesses[p] to accesses[p + 1] - 1."""
    places: Int
    """int64[T]: what is accessed; accesses of one place take one route."""
    num_bytes: Int
    """int64[T]."""
    roles: Int
    """int64[T]."""


class Spans(NamedTuple):
    """When operations ran. P operations; NONE for those that have not been issued."""

    started_ps: Int
    """int64[P]."""
    ended_ps: Int
    """int64[P]."""
    awaited: Int
    """int64[P]: place of the access that ended last, of several the first; NONE where there was nothing to wait for."""

    @classmethod
    def of(cls, num_ops: int) -> "Spans":
        """Entries for so many operations, none of them made."""
        return cls(*np.full((3, num_ops), NONE, np.int64))


class Bursts:
    """Issues operations of a program in bursts. The queues stay those of the servers."""

    def __init__(self, system: System, program: Program, num_places: int, spans: Spans):
        self._system = system
        self._program = program
        self._spans = spans
        self._distinct, sizes = np.unique(program.num_bytes, return_inverse=True)
        self._sizes = sizes.astype(np.int64)
        self.ways: Int = np.full(num_places, NONE, np.int64)
        """int64[L]: the way of each place, as numbered by `way`. The caller fills it before a place is accessed."""
        self._starts: list[int] = program.accesses.tolist()
        self._routes: dict[Route, int] = {}
        self._stages: dict[Stage, int] = {}
        self._queues: dict[FifoQueue, int] = {}

    def way(self, route: Route) -> int:
        """The number of a route; NONE where a hop of it is not first come, first served."""
        return self._routes[route] if route in self._routes or self._add(route) else NONE

    def _add(self, route: Route) -> bool:
        if route.stages is None:
            return False
        for stage in route.stages:
            self._stages.setdefault(stage, len(self._stages))
            self._queues.setdefault(stage.queue, len(self._queues))
        self._routes[route] = len(self._routes)
        self._tables = _tables(self._routes, self._stages, self._queues, self._distinct.tolist())
        self._free_ps, self._busy_ps = np.zeros((2, len(self._queues)), np.int64)
        return True

    def issue(self, first: int, end: int) -> Event:
        """Issue operations `first` to `end - 1` now, each when the one before it has ended; the event of the last end.

        Several operations may go together only where nothing else uses their servers meanwhile.
        """
        system, free_ps, busy_ps = self._system, self._free_ps, self._busy_ps
        for index, queue in enumerate(self._queues):
            free_ps[index] = queue.free_ps
        count = self._starts[end] - self._starts[first]
        log, row = system.log.reserve(count)
        issued = (system.engine.now_ps, system.take_transfer_ids(count), row)
        ended_ps = serve_ops(
            self._program, self._sizes, self.ways, self._tables, (first, end), issued,
            free_ps, busy_ps, log, self._spans,
        )  # fmt: skip
        for queue, free, busy in zip(self._queues, free_ps.tolist(), busy_ps.tolist(), strict=True):
            queue.free_ps = free
            queue.busy_ps += busy
        return system.engine.wait_until(ended_ps)


def _tables(
    routes: Collection[Route], stages: Mapping[Stage, int], queues: Mapping[FifoQueue, int], sizes: Sequence[int]
) -> Ways:
    stages_of = np.full((len(routes), max(len(route.hops) for route in routes)), NONE, np.int64)
    for row, route in enumerate(routes):
        stages_of[row, : len(route.hops)] = [stages[stage] for stage in route.stages or ()]
    return Ways(
        stages_of,
        np.array([queues[stage.queue] for stage in stages], np.int64),
        np.array([stage.latency_ps for stage in stages], np.int64),
        np.array([[stage.duration_ps(size) for size in sizes] for stage in stages], np.int64),
        np.array([[route.delay_ps(size) for size in sizes] for route in routes], np.int64),
        np.array([route.number for route in routes], np.int64),
    )


@njit(cache=True)
def serve_ops(
    program: Program,
    sizes: Int,
    way_of_place: Int,
    ways: Ways,
    ops: tuple[int, int],
    issued: tuple[int, int, int],
    free_ps: Int,
    busy_ps: Int,
    log: Int,
    spans: Spans,
) -> int:
    """Run operations one after another, sending the accesses of each through their hops in order, and log them.

    Args:
        program: Program.
        sizes: int64[T], which of the S sizes each access has.
        way_of_place: int64[L], row of `ways`.
        ways: Ways.
        ops: (first operation, one behind the last).
        issued: (start of the first operation in ps, id of the first access, its column in `log`).
        free_ps: int64[Q], when each queue is free; advanced.
        busy_ps: int64[Q], set to the time for which each queue works on these accesses.
        log: int64[9, capacity], a column per access filled in.
        spans: Spans, entries of these operations filled in.

    Returns:
        End of the last operation in ps.
    """
    now_ps, ident, column = issued
    busy_ps[:] = 0
    for op in range(ops[0], ops[1]):
        last_ps, awaited = now_ps, NONE
        for access in range(program.accesses[op], program.accesses[op + 1]):
            place, size = int(program.places[access]), int(sizes[access])
            way = int(way_of_place[place])
            started_ps = done_ps = now_ps
            for hop in range(ways.stages.shape[1]):
                stage = int(ways.stages[way, hop])
                if stage == NONE:
                    break
                queue, service_ps = int(ways.queues[stage]), int(ways.services_ps[stage, size])
                start_ps = max(int(free_ps[queue]), now_ps)
                free_ps[queue] = start_ps + service_ps
                busy_ps[queue] += service_ps
                started_ps = max(started_ps, start_ps)
                done_ps = max(done_ps, start_ps + service_ps + int(ways.latencies_ps[stage]))
            finished_ps = done_ps + int(ways.delays_ps[way, size])
            if finished_ps > last_ps:
                last_ps, awaited = finished_ps, place
            log[ID, column] = ident
            log[ROUTE, column] = ways.routes[way]
            log[BYTES, column] = program.num_bytes[access]
            log[CAUSE, column] = DEMAND
            log[ROLE, column] = program.roles[access]
            log[REQUESTED_PS, column] = now_ps
            log[STARTED_PS, column] = started_ps
            log[FINISHED_PS, column] = finished_ps
            log[OWNER, column] = op
            ident, column = ident + 1, column + 1
        ended_ps = max(last_ps, now_ps + int(program.compute_ps[op]))
        spans.started_ps[op], spans.ended_ps[op], spans.awaited[op] = now_ps, ended_ps, awaited
        now_ps = ended_ps
    return now_ps
