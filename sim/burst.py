"""Accesses that are issued at one instant, computed together instead of one transfer at a time.

Where every hop of a route serves first come, first served, nothing that comes later changes what is there: all starts and
ends follow from when the queues are free and from the service times. A burst does this in a kernel, writes the same
rows into the log as single transfers would, and raises one event at the end of its last access.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from tiergarten.sim.engine import Engine
from tiergarten.sim.jit import njit
from tiergarten.sim.server import FifoQueue, Stage
from tiergarten.sim.system import Route, System
from tiergarten.sim.transfer import Cause
from tiergarten.sim.transfer_log import Column

Int = NDArray[np.int64]

NO_STAGE: Final = -1
ID, ROUTE, BYTES, CAUSE, ROLE = (int(column) for column in list(Column)[:5])
REQUESTED_PS, STARTED_PS, FINISHED_PS, OWNER = (int(column) for column in list(Column)[5:])
DEMAND: Final = int(Cause.DEMAND)


class Burst(Event):
    """Accesses under way that were issued together. It is the event of the end of the last one."""

    __slots__ = ("finished_ps", "slowest")

    def __init__(self, engine: Engine, finished_ps: int, slowest: int):
        super().__init__(engine)
        self._ok = True
        self._value = self
        self.finished_ps = finished_ps
        self.slowest = slowest
        """Which access of the program ends last; of several the first."""

    @property
    def triggered(self) -> bool:
        """True: the time of completion is known from the start."""
        return True


class Ways(NamedTuple):
    """What a burst has to know of its routes. R routes of at most H hops, G stages, Q queues, S sizes."""

    stages: Int
    """int64[R, H], stage of each hop, NO_STAGE behind the last one."""
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
    """The accesses that bursts are parts of. T accesses."""

    num_bytes: Int
    """int64[T]."""
    sizes: Int
    """int64[T], which of the S distinct sizes."""
    roles: Int
    """int64[T]."""


class Bursts:
    """Issues the accesses of a program in bursts. Routes are made known first; the queues stay those of the servers."""

    def __init__(self, system: System, num_bytes: Int, roles: NDArray[np.integer]):
        self._system = system
        self._distinct, sizes = np.unique(num_bytes, return_inverse=True)
        self._program = Program(num_bytes.astype(np.int64), sizes.astype(np.int64), roles.astype(np.int64))
        self._routes: list[Route] = []
        self._stages: list[Stage] = []
        self._queues: list[FifoQueue] = []

    def add_route(self, route: Route) -> int | None:
        """The number by which `issue` knows the route; None where a hop of it is not first come, first served."""
        if route in self._routes:
            return self._routes.index(route)
        stages = [server.stage(is_write) for server, is_write, _ in route.hops]
        if None in stages:
            return None
        self._routes.append(route)
        self._stages += [stage for stage in stages if stage is not None and stage not in self._stages]
        self._queues = list(dict.fromkeys(stage.queue for stage in self._stages))
        self._free_ps = np.zeros(len(self._queues), np.int64)
        self._busy_ps = np.zeros(len(self._queues), np.int64)
        self._ways = _ways(self._routes, self._stages, self._queues, self._distinct.tolist())
        return len(self._routes) - 1

    def issue(self, first: int, routes: Int, owner: int) -> Burst:
        """Issue the accesses `first`, `first + 1`, ... of the program now, in this order.

        Args:
            first: row of the first one.
            routes: int64[n], n > 0, the route of each, as numbered by `add_route`.
            owner: kept in the log.
        """
        system, free_ps, busy_ps = self._system, self._free_ps, self._busy_ps
        for index, queue in enumerate(self._queues):
            free_ps[index] = queue.free_ps
        log, row = system.log.reserve(len(routes))
        ident = system.take_transfer_ids(len(routes))
        now_ps = system.engine.now_ps
        finished_ps, slowest = serve_burst(
            self._ways, self._program, first, routes, (now_ps, ident, owner), free_ps, busy_ps, log, row
        )
        for queue, free, busy in zip(self._queues, free_ps.tolist(), busy_ps.tolist(), strict=True):
            queue.free_ps = free
            queue.busy_ps += busy
        burst = Burst(system.engine, finished_ps, slowest)
        system.engine.trigger_at(finished_ps, burst)
        return burst


def _ways(routes: Sequence[Route], stages: Sequence[Stage], queues: Sequence[FifoQueue], sizes: Sequence[int]) -> Ways:
    hops = max(len(route.hops) for route in routes)
    stages_of = np.full((len(routes), hops), NO_STAGE, np.int64)
    for row, route in enumerate(routes):
        for hop, (server, is_write, _) in enumerate(route.hops):
            stages_of[row, hop] = stages.index(server.stage(is_write))
    return Ways(
        stages_of,
        np.array([queues.index(stage.queue) for stage in stages], np.int64),
        np.array([stage.latency_ps for stage in stages], np.int64),
        np.array([[stage.duration_ps(size) for size in sizes] for stage in stages], np.int64),
        np.array([[route.delay_ps(size) for size in sizes] for route in routes], np.int64),
        np.array([route.number for route in routes], np.int64),
    )


@njit(cache=True)
def serve_burst(
    ways: Ways,
    program: Program,
    first: int,
    routes: Int,
    issued: tuple[int, int, int],
    free_ps: Int,
    busy_ps: Int,
    log: Int,
    row: int,
) -> tuple[int, int]:
    """Send accesses through their hops in order, all arriving at one instant, and log them.

    Args:
        ways: Ways.
        program: Program.
        first: first row of the program.
        routes: int64[n], row of `ways` per access.
        issued: (now_ps, id of the first transfer, owner).
        free_ps: int64[Q], when each queue is free; advanced.
        busy_ps: int64[Q], set to the time for which each queue works on these accesses.
        log: int64[9, capacity], filled in columns row to row + n - 1.

    Returns:
        (end of the last access in ps, its row of the program; of several the first).
    """
    now_ps, ident, owner = issued
    busy_ps[:] = 0
    last_ps, slowest = -1, first
    for i in range(len(routes)):
        route, size = int(routes[i]), int(program.sizes[first + i])
        started_ps = done_ps = now_ps
        for hop in range(ways.stages.shape[1]):
            stage = ways.stages[route, hop]
            if stage == NO_STAGE:
                break
            queue, service_ps = int(ways.queues[stage]), int(ways.services_ps[stage, size])
            start_ps = max(int(free_ps[queue]), now_ps)
            free_ps[queue] = start_ps + service_ps
            busy_ps[queue] += service_ps
            started_ps = max(started_ps, start_ps)
            done_ps = max(done_ps, start_ps + service_ps + int(ways.latencies_ps[stage]))
        finished_ps = done_ps + int(ways.delays_ps[route, size])
        if finished_ps > last_ps:
            last_ps, slowest = finished_ps, first + i
        log[ID, row + i] = ident + i
        log[ROUTE, row + i] = ways.routes[route]
        log[BYTES, row + i] = program.num_bytes[first + i]
        log[CAUSE, row + i] = DEMAND
        log[ROLE, row + i] = program.roles[first + i]
        log[REQUESTED_PS, row + i] = now_ps
        log[STARTED_PS, row + i] = started_ps
        log[FINISHED_PS, row + i] = finished_ps
        log[OWNER, row + i] = owner
    return last_ps, slowest
