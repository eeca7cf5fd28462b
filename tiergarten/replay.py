"""Replays a recorded program: operations on their streams, objects placed in tiers, accesses as transfers.

An operation starts when its stream is free and what it waits for is done. Its FLOPs and its accesses then run side by
side; it is done when the slower is. Accesses of an object in the tier beside the device use that tier alone; others
cross the links between, but do not land in the near tier: the trace says itself what is written where.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from simpy.events import Event

from tiergarten.driver import Machine
from tiergarten.sim.burst import Burst, Bursts
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.params import StrictModel
from tiergarten.sim.trace import Role, Trace
from tiergarten.sim.transfer import Cause, Transfer
from tiergarten.sim.units import PS_PER_S

Int = NDArray[np.int64]

ROLES = tuple(role.name.lower() for role in Role)

UnderWay: TypeAlias = "Sequence[tuple[str, Transfer | Burst]]"
"""What an operation has to wait for, each with its tier."""


class PlacementRule(StrictModel):
    """Where some objects live."""

    objects: str = Field("*", description="Names, with * and ? as wildcards.")
    roles: list[Literal[ROLES]] = Field([], description="Only objects of these roles; all when empty.")  # type: ignore[valid-type]
    tiers: list[str] = Field(min_length=1, description="Tiers in order of preference; the first with room is taken.")

    def applies(self, name: str, role: Role) -> bool:
        """Whether the rule is about an object of that name and role."""
        return fnmatchcase(name, self.objects) and (not self.roles or role.name.lower() in self.roles)


@dataclass(frozen=True)
class Pace:
    """How fast and in which pieces a program is replayed."""

    near: str
    """The tier beside the device."""
    flops_per_s: float | None
    """None: FLOPs take no time."""
    transfers: str
    """What is one transfer: all of an "operation" by role and tier, of one "object", or each "access"."""


class Replay:
    """One replay under way."""

    def __init__(self, machine: Machine, trace: Trace, pace: Pace, rules: list[PlacementRule]):
        self._machine, self._trace, self._near, self._rules = machine, trace, pace.near, rules
        rate, flops = pace.flops_per_s, trace.ops.flops
        self._compute_ps = [0] * len(flops) if rate is None else [ceil(f * PS_PER_S / rate) for f in flops.tolist()]
        self._touches = _touches(trace, by_object=pace.transfers != "access")
        self._issue: Callable[[int], UnderWay] = self._merged if pace.transfers == "operation" else self._in_a_burst
        self._bursts = Bursts(machine.system, self._touches.num_bytes, trace.objects.roles[self._touches.objects])
        self._burst_routes = np.zeros(2 * len(trace.objects), np.int64)
        self._waiters: dict[int, Event] = {}
        self._waits: dict[int, list[int]] = {}
        self._begun = np.zeros(len(trace.ops), bool)
        self._done = bytearray(len(trace.ops))
        self._homes: dict[int, str] = {}
        self._roles = [Role(role) for role in trace.objects.roles.tolist()]
        self._born: dict[int, list[int]] = defaultdict(list)
        for ident, birth in enumerate(trace.birth_ops.tolist()):
            self._born[birth].append(ident)
        self._users = _Users(trace)
        self._states: dict[str, dict[str, int]] = {}

    def start(self) -> None:
        """Place what exists before the program, and start every stream."""
        self._place(self._born[-1])
        streams = self._trace.ops.streams
        self._waits = _waits_across_streams(self._trace)
        across = sorted({op for waits in self._waits.values() for op in waits})
        self._waiters = {op: self._machine.engine.event() for op in across}
        for stream in np.unique(streams).tolist():
            ops = np.flatnonzero(streams == stream).tolist()
            self._machine.engine.process(self._run_stream(f"stream {stream}", ops))

    def _run_stream(self, name: str, ops: list[int]) -> Process:
        engine = self._machine.engine
        states = self._states.setdefault(name, defaultdict(int))
        states["busy"] = 0
        for op in ops:
            waiting_ps = engine.now_ps
            for other in self._waits.get(op, ()):
                if not self._done[other]:
                    yield self._waiters[other]
            states["stall:other streams"] += engine.now_ps - waiting_ps
            yield from self._run_op(op, states)
            self._finish(op)

    def _run_op(self, op: int, states: dict[str, int]) -> Process:
        engine = self._machine.engine
        started_ps, compute_ps = engine.now_ps, self._compute_ps[op]
        self._begun[op] = True
        if op in self._born:
            self._place(self._born[op])
        slowest = ""
        for tier, transfer in self._issue(op):
            before_ps = engine.now_ps
            yield transfer
            if engine.now_ps > before_ps:
                slowest = tier
        if engine.now_ps < started_ps + compute_ps:
            yield engine.wait_until(started_ps + compute_ps)
        states["busy"] += compute_ps
        if slowest:
            states[f"stall:{slowest}"] += engine.now_ps - started_ps - compute_ps

    def _in_a_burst(self, op: int) -> UnderWay:
        """All accesses of the operation as one burst."""
        touches = self._touches
        first, end = touches.starts[op], touches.starts[op + 1]
        if first == end:
            return []
        burst = self._bursts.issue(first, self._burst_routes[touches.slots[first:end]], op)
        return [(self._homes[int(touches.objects[burst.slowest])], burst)]

    def _one_by_one(self, op: int) -> UnderWay:
        """Each access of the operation as a transfer."""
        return _last_of_known(
            [
                self._transfer(op, self._homes[ident], is_write, self._roles[ident], num_bytes)
                for ident, is_write, num_bytes in self._touches.of_op(op)
            ]
        )

    def _merged(self, op: int) -> UnderWay:
        """What the operation moves of a role in a tier, one way, as one transfer."""
        sums: dict[tuple[str, bool, Role], int] = {}
        for ident, is_write, num_bytes in self._touches.of_op(op):
            key = (self._homes[ident], is_write, self._roles[ident])
            sums[key] = sums.get(key, 0) + num_bytes
        return _last_of_known([self._transfer(op, *key, num_bytes) for key, num_bytes in sums.items()])

    def _transfer(self, op: int, tier: str, is_write: bool, role: Role, num_bytes: int) -> tuple[str, Transfer]:
        system = self._machine.system
        route = system.access_route(self._near, tier, is_write)
        return tier, system.begin(route, num_bytes, Cause.DEMAND, role, op)

    def _place(self, idents: list[int]) -> None:
        for ident in idents:
            name, role = self._trace.objects.names[ident], self._roles[ident]
            size = int(self._trace.objects.num_bytes[ident])
            rule = next((rule for rule in self._rules if rule.applies(name, role)), None)
            tiers = rule.tiers if rule is not None else [self._near]
            room = [tier for tier in tiers if self._machine.placement.free_bytes(tier) >= size]
            if not room:
                raise TiergartenError(f"object {name!r} of {size} bytes has no room in {' or '.join(tiers)}")
            self._machine.placement.add(room[0], ident, size, role)
            self._homes[ident] = room[0]
            if self._issue == self._in_a_burst:
                self._prepare_bursts(ident)

    def _prepare_bursts(self, ident: int) -> None:
        """Note the routes of an object for bursts; give up bursts where something on the way is no plain queue."""
        for is_write in (False, True):
            route = self._machine.system.access_route(self._near, self._homes[ident], is_write)
            number = self._bursts.add_route(route)
            if number is None:
                self._issue = self._one_by_one
                return
            self._burst_routes[2 * ident + is_write] = number

    def _finish(self, op: int) -> None:
        """Wake who waits, drop objects whose last user this was."""
        self._done[op] = 1
        if op in self._waiters:
            self._waiters[op].succeed()
        for ident in self._users.of_op(op):
            self._users.left[ident] -= 1
            if self._users.left[ident] == 0:
                self._machine.placement.remove(self._homes[ident], ident)
        self._machine.progress(op / len(self._done))

    def require_finished(self) -> None:
        """Raise TiergartenError where the clock was stopped before the program ended."""
        missing = len(self._done) - sum(self._done)
        if missing and self._machine.until_ps is None:
            raise TiergartenError(f"{missing} operations never ran")

    def states_ps(self) -> dict[str, dict[str, int]]:
        """Per stream: computing, and stalled on which tier or on other streams."""
        return {stream: {state: ps for state, ps in states.items() if ps or state == "busy"}
                for stream, states in self._states.items()}  # fmt: skip

    def metrics(self) -> dict[str, float | int | str | None]:
        """Operations, FLOPs, bytes by tier, share of stream 0's time that is not computing."""
        elapsed_ps = max(self._machine.engine.now_ps, 1)
        first = next(iter(self._states.values()))
        return {
            "operations": sum(self._done),
            "accesses": len(self._trace.accesses),
            "flops": float(self._trace.ops.flops.sum()),
            **self._moved(),
            "stall_share": 1 - first["busy"] / elapsed_ps,
        }

    def _moved(self) -> dict[str, int]:
        """Bytes that the operations begun so far have read from and written to each tier."""
        touches = self._touches
        begun = np.repeat(self._begun, np.diff(touches.starts))
        slots = np.bincount(touches.slots[begun], touches.num_bytes[begun], 2 * len(self._trace.objects))
        moved: dict[tuple[str, bool], int] = defaultdict(int)
        for slot in np.flatnonzero(slots).tolist():
            moved[self._homes[slot // 2], bool(slot % 2)] += int(slots[slot])
        return {
            f"program_{'written' if is_write else 'read'}_{tier}_bytes": num_bytes
            for (tier, is_write), num_bytes in sorted(moved.items())
        }


@dataclass(frozen=True, eq=False)
class _Touches:
    """What operations move of objects, in order of first touch: one row per object and direction, or one per access."""

    starts: list[int]
    """Operation p has the rows starts[p] to starts[p + 1] - 1."""
    objects: Int
    is_write: NDArray[np.bool_]
    num_bytes: Int
    slots: Int
    """2 x object + is_write."""

    def of_op(self, op: int) -> list[tuple[int, bool, int]]:
        """(object, is_write, bytes) of one operation."""
        rows = slice(self.starts[op], self.starts[op + 1])
        return list(
            zip(self.objects[rows].tolist(), self.is_write[rows].tolist(), self.num_bytes[rows].tolist(), strict=True)
        )


class _Users:
    """How many operations each dying object still has to outlive."""

    def __init__(self, trace: Trace):
        num_ops, num_objects = len(trace.ops), max(len(trace.objects), 1)
        mortal = trace.death_ops < num_ops
        ends = np.flatnonzero(mortal & (trace.death_ops >= 0))
        used = mortal[trace.accesses.objects]
        keys = np.concatenate(
            [
                trace.accesses.ops[used] * num_objects + trace.accesses.objects[used],
                trace.death_ops[ends] * num_objects + ends,
            ]
        )
        ops, objects = np.divmod(np.unique(keys), num_objects)
        self.left = np.bincount(objects, minlength=len(trace.objects)).tolist()
        self._objects: list[int] = objects.tolist()
        self._starts: list[int] = np.searchsorted(ops, np.arange(num_ops + 1)).tolist()

    def of_op(self, op: int) -> list[int]:
        """Objects that wait for this operation."""
        return self._objects[self._starts[op] : self._starts[op + 1]]


def _last_of_known(under_way: list[tuple[str, Transfer]]) -> list[tuple[str, Transfer]]:
    """The transfers that have to be waited for: of those whose end is known already, only the last."""
    unknown = [pair for pair in under_way if not pair[1].triggered]
    known = [pair for pair in under_way if pair[1].triggered]
    return [*unknown, max(known, key=lambda pair: pair[1].finished_ps)] if known else unknown


def _touches(trace: Trace, *, by_object: bool) -> _Touches:
    a = trace.accesses
    columns: tuple[NDArray[Any], ...] = (a.ops, a.objects, a.is_write, a.num_bytes)
    if by_object and len(a):
        keys = (a.ops * len(trace.objects) + a.objects) * 2 + a.is_write
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        sums = np.zeros(len(first), np.int64)
        np.add.at(sums, inverse, a.num_bytes)
        order = np.argsort(first)
        columns = (a.ops[first][order], a.objects[first][order], a.is_write[first][order], sums[order])
    ops, objects, is_write, num_bytes = columns
    starts = np.searchsorted(ops, np.arange(len(trace.ops) + 1)).tolist()
    return _Touches(starts, objects, is_write, num_bytes, 2 * objects + is_write)


def _waits_across_streams(trace: Trace) -> dict[int, list[int]]:
    """Per operation what it waits for on other streams; its own stream keeps the order by itself."""
    ops = trace.ops
    waiting = np.repeat(np.arange(len(ops)), np.diff(ops.dependency_offsets))
    across = ops.streams[waiting] != ops.streams[ops.dependencies]
    found: dict[int, list[int]] = defaultdict(list)
    for op, other in zip(waiting[across].tolist(), ops.dependencies[across].tolist(), strict=True):
        found[op].append(other)
    return found
