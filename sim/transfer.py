"""A transfer: bytes that move from one tier to another, or between a tier and the compute unit beside it."""

from enum import IntEnum
from typing import TYPE_CHECKING

from simpy.events import Event

from tiergarten.sim.server import PENDING, Stage

if TYPE_CHECKING:
    from tiergarten.sim.system import Route, System


class Cause(IntEnum):
    """Why bytes move. The order is the order of urgency on a link with priority sharing: lower goes first."""

    DEMAND = 0
    """Somebody waits for it."""
    PREFETCH = 1
    """Somebody will probably want it."""
    EVICTION = 2
    """Makes room."""
    WRITEBACK = 3
    """Copies ahead of need, so that a later eviction is free."""


class Transfer(Event):
    """One transfer under way. It is itself the event that happens when the last byte has arrived.

    All hops of its route work on it at once (cut-through): it is done when the slowest hop has moved the last byte, plus
    the latencies of all hops, plus the time the first chunk needs to fill the pipeline (`Route.fill_ps`).
    Three timestamps: requested, started (every hop has begun), finished. Made by `System.transfer` only.
    """

    __slots__ = (
        "_last_ps", "_log", "_pending_hops", "cause", "finished_ps", "id", "num_bytes", "owner",
        "requested_ps", "role", "route", "started_ps",
    )  # fmt: skip

    def __init__(self, system: "System", route: "Route", num_bytes: int, cause: int, role: int, owner: int):
        self.env = system.engine  # this and the next three are what SimPy's events have, set here for speed
        self.callbacks = []
        self._ok = True
        self._value = self
        self._log = system.log
        self.id = system.take_transfer_ids(1)
        self.route = route
        self.num_bytes = num_bytes
        self.cause = cause
        self.role = role
        self.owner = owner
        self.requested_ps = self.started_ps = self._last_ps = system.engine.now_ps
        self.finished_ps = PENDING
        self._pending_hops = 0

    @property
    def triggered(self) -> bool:
        """True once the time of completion is known (SimPy's sense of the word)."""
        return self.finished_ps != PENDING

    def begin(self, source_address: int, destination_address: int) -> None:
        """Hand the transfer to every hop of its route."""
        if self.route.stages is not None:
            self._pass(self.route.stages)
            return
        for server, is_write, is_destination in self.route.hops:
            started_ps, done_ps = server.accept(
                self, is_write, destination_address if is_destination else source_address
            )
            if done_ps == PENDING:
                self._pending_hops += 1
                continue
            if started_ps > self.started_ps:
                self.started_ps = started_ps
            if done_ps > self._last_ps:
                self._last_ps = done_ps
        if not self._pending_hops:
            self._complete()

    def _pass(self, stages: tuple[Stage, ...]) -> None:
        """Queue at hops that are all first come, first served."""
        started_ps = last_ps = now_ps = self.requested_ps
        for queue, duration_ps, latency_ps in stages:
            start_ps = queue.take(now_ps, duration_ps(self.num_bytes))
            if start_ps > started_ps:
                started_ps = start_ps
            done_ps = queue.free_ps + latency_ps
            if done_ps > last_ps:
                last_ps = done_ps
        self.started_ps, self._last_ps = started_ps, last_ps
        self._complete()

    def hop_done(self, started_ps: int, done_ps: int) -> None:
        """A hop that could not say when it would be done has finished."""
        self.started_ps = max(self.started_ps, started_ps)
        self._last_ps = max(self._last_ps, done_ps)
        self._pending_hops -= 1
        if not self._pending_hops:
            self._complete()

    def _complete(self) -> None:
        route = self.route
        self.finished_ps = finished_ps = self._last_ps + route.delay_ps(self.num_bytes)
        self._log.append(
            (
                self.id, route.number, self.num_bytes, self.cause, self.role,
                self.requested_ps, self.started_ps, finished_ps, self.owner,
            )
        )  # fmt: skip
        self.env.trigger_at(finished_ps, self)  # type: ignore[attr-defined]
