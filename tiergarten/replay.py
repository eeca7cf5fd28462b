"""Replays a recorded program: operations on their streams, objects placed in tiers, accesses as transfers.

An operation starts when its stream is free and what it waits for is done. Its FLOPs and its accesses then run side by
side; it is done when the slower is. Accesses of an object in the tier beside the device use that tier alone; others
cross the links between, but do not land in the near tier: the trace says itself what is written where.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from simpy.events import Event

from tiergarten.driver import Machine
from tiergarten.sim.burst import NONE, Bursts, Program, Spans
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.params import StrictModel
from tiergarten.sim.trace import Role, Trace
from tiergarten.sim.transfer import Cause, Transfer
from tiergarten.sim.units import PS_PER_S

Int = NDArray[np.int64]

ROLES = tuple(role.name.lower() for role in Role)

MAX_RUN: Final = 10_000
"""Operations issued together at most, so that progress shows."""


class PlacementRule(StrictModel):
    """Where some objects live."""

    objects: str = Field("*", description="Names, with * and ? as wildcards.")
    roles: list[Literal[ROLES]] = Field([], description="Only objects of these roles; all when empty.")  # type: ignore[valid-type]
    tiers: list[str] = Field(min_length=1, description="Tiers in order of preference; the first with room is taken.")

    def applies(self, name: str, role: Role) -> bool:
        """Whether the rule is about an object of that name and role."""
        return (not self.roles or ROLES[role] in self.roles) and fnmatchcase(name, self.objects)


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
        self._program = _program(trace, pace)
        self._spans = Spans.of(len(trace.ops))
        self._done = np.zeros(len(trace.ops), np.bool_)
        self._merges = pace.transfers == "operation"
        self._bursts = Bursts(machine.system, self._program, 2 * len(trace.objects), self._spans)
        self._in_bursts = not self._merges
        self._waiters: dict[int, Event] = {}
        self._waits: dict[int, list[int]] = {}
        self._waited_ps: dict[str, int] = defaultdict(int)
        self._homes: dict[int, str] = {}
        self._ways_of_tier: dict[str, tuple[int, int]] = {}
        self._roles = [Role(role) for role in trace.objects.roles.tolist()]
        self._born: dict[int, list[int]] = defaultdict(list)
        for ident, birth in enumerate(trace.birth_ops.tolist()):
            self._born[birth].append(ident)
        self._users = _Users(trace)
        streams = trace.ops.streams
        self._streams = {f"stream {stream}": np.flatnonzero(streams == stream) for stream in np.unique(streams)}
        self._boundaries = self._run_boundaries()

    def start(self) -> None:
        """Place what exists before the program, and start every stream."""
        self._place(self._born[-1])
        self._waits = _waits_across_streams(self._trace)
        across = sorted({op for waits in self._waits.values() for op in waits})
        self._waiters = {op: self._machine.engine.event() for op in across}
        for name, ops in self._streams.items():
            self._machine.engine.process(self._run_stream(name, ops.tolist()))

    def _run_stream(self, name: str, ops: list[int]) -> Process:
        engine = self._machine.engine
        at = 0
        while at < len(ops):
            op, waiting_ps = ops[at], engine.now_ps
            for other in self._waits.get(op, ()):
                if not self._done[other]:
                    yield self._waiters[other]
            self._waited_ps[name] += engine.now_ps - waiting_ps
            if op in self._born:
                self._place(self._born[op])
            if self._in_bursts:
                end = self._end_of_run(op)
                yield self._bursts.issue(op, end)
                at += end - op
                self._finish(op, end)
            else:
                yield from self._run_op(op)
                at += 1
                self._finish(op, op + 1)

    def _end_of_run(self, first: int) -> int:
        """One behind the last operation that can be issued together with `first`."""
        boundary = bisect_right(self._boundaries, first)
        return min(self._boundaries[boundary], first + MAX_RUN)

    def _run_boundaries(self) -> list[int]:
        """Operations at which a run of operations that are issued together has to begin anew, and the end of the program.

        With one stream that is where objects come or go: until then nobody else uses the servers.
        """
        num_ops = len(self._trace.ops)
        if len(self._streams) > 1 or self._machine.until_ps is not None:
            return list(range(num_ops + 1))
        return sorted({num_ops, *self._born, *(op + 1 for op in self._users.last_users)})

    def _run_op(self, op: int) -> Process:
        """Each transfer of the operation by itself."""
        engine, spans = self._machine.engine, self._spans
        spans.started_ps[op] = engine.now_ps
        computed = engine.timeout(int(self._program.compute_ps[op]))
        for place, transfer in _last_of_known(self._merged(op) if self._merges else self._one_by_one(op)):
            before_ps = engine.now_ps
            yield transfer
            if engine.now_ps > before_ps:
                spans.awaited[op] = place
        if not computed.processed:
            yield computed
        spans.ended_ps[op] = engine.now_ps

    def _one_by_one(self, op: int) -> list[tuple[int, Transfer]]:
        """Each access of the operation as a transfer."""
        return [(place, self._transfer(op, place, num_bytes)) for place, num_bytes in self._accesses(op)]

    def _merged(self, op: int) -> list[tuple[int, Transfer]]:
        """What the operation moves of a role in a tier, one way, as one transfer; it goes by the first place."""
        sums: dict[tuple[str, bool, Role], tuple[int, int]] = {}
        for place, num_bytes in self._accesses(op):
            ident, is_write = divmod(place, 2)
            key = (self._homes[ident], bool(is_write), self._roles[ident])
            first, before = sums.get(key, (place, 0))
            sums[key] = (first, before + num_bytes)
        return [(place, self._transfer(op, place, num_bytes)) for place, num_bytes in sums.values()]

    def _accesses(self, op: int) -> Iterator[tuple[int, int]]:
        """(place, bytes) of the accesses of an operation."""
        program = self._program
        rows = slice(program.accesses[op], program.accesses[op + 1])
        return zip(program.places[rows].tolist(), program.num_bytes[rows].tolist(), strict=True)

    def _transfer(self, op: int, place: int, num_bytes: int) -> Transfer:
        ident, is_write = divmod(place, 2)
        route = self._machine.system.access_route(self._near, self._homes[ident], bool(is_write))
        return self._machine.system.begin(route, num_bytes, Cause.DEMAND, self._roles[ident], op)

    def _place(self, idents: list[int]) -> None:
        for ident in idents:
            name, role = self._trace.objects.names[ident], self._roles[ident]
            size = int(self._trace.objects.num_bytes[ident])
            tiers = next((rule.tiers for rule in self._rules if rule.applies(name, role)), [self._near])
            home = next((tier for tier in tiers if self._machine.placement.free_bytes(tier) >= size), None)
            if home is None:
                raise TiergartenError(f"object {name!r} of {size} bytes has no room in {' or '.join(tiers)}")
            self._machine.placement.add(home, ident, size, role)
            self._homes[ident] = home
            if self._in_bursts:
                self._bursts.ways[2 * ident : 2 * ident + 2] = self._ways(home)

    def _ways(self, tier: str) -> tuple[int, int]:
        """How bursts name the routes of reads from and writes to a tier. Gives up bursts where they cannot go there."""
        if tier not in self._ways_of_tier:
            read, write = (self._machine.system.access_route(self._near, tier, is_write) for is_write in (False, True))
            self._ways_of_tier[tier] = self._bursts.way(read), self._bursts.way(write)
            self._in_bursts = NONE not in self._ways_of_tier[tier]
        return self._ways_of_tier[tier]

    def _finish(self, first: int, end: int) -> None:
        """Wake who waits for the operations, drop objects whose last user has ended."""
        self._done[first:end] = True
        for op in range(first, end):
            if op in self._waiters:
                self._waiters[op].succeed()
            for ident in self._users.of_op(op):
                self._users.left[ident] -= 1
                if self._users.left[ident] == 0:
                    self._machine.placement.discard(self._homes[ident], ident)
        self._machine.progress(end / len(self._done))

    def require_finished(self) -> None:
        """Raise TiergartenError where the clock was stopped before the program ended."""
        missing = int((~self._done).sum())
        if missing and self._machine.until_ps is None:
            raise TiergartenError(f"{missing} operations never ran")

    def states_ps(self) -> dict[str, dict[str, int]]:
        """Per stream: computing, and stalled on which tier or on other streams."""
        return {name: self._states_of(name, ops[self._done[ops]]) for name, ops in self._streams.items()}

    def _states_of(self, stream: str, ops: Int) -> dict[str, int]:
        spans, compute_ps = self._spans, self._program.compute_ps[ops]
        stalls_ps: dict[str, int] = {"stall:other streams": self._waited_ps[stream]}
        stalled_ps = spans.ended_ps[ops] - spans.started_ps[ops] - compute_ps
        waited = spans.awaited[ops] != NONE
        for place, ps in zip(spans.awaited[ops][waited].tolist(), stalled_ps[waited].tolist(), strict=True):
            state = f"stall:{self._homes[place // 2]}"
            stalls_ps[state] = stalls_ps.get(state, 0) + ps
        return {"busy": int(compute_ps.sum()), **{state: ps for state, ps in stalls_ps.items() if ps}}

    def spans_ps(self) -> dict[int, int]:
        """How long each operation that has ended took."""
        ops = np.flatnonzero(self._done)
        lasted_ps = self._spans.ended_ps[ops] - self._spans.started_ps[ops]
        return dict(zip(ops.tolist(), lasted_ps.tolist(), strict=True))

    def metrics(self) -> dict[str, float | int | str | None]:
        """Operations, FLOPs, bytes by tier, share of stream 0's time that is not computing."""
        elapsed_ps = max(self._machine.engine.now_ps, 1)
        first = next(iter(self.states_ps().values()))
        return {
            "operations": int(self._done.sum()),
            "accesses": len(self._trace.accesses),
            "flops": float(self._trace.ops.flops.sum()),
            **self._moved(),
            "stall_share": 1 - first["busy"] / elapsed_ps,
        }

    def _moved(self) -> dict[str, int]:
        """Bytes that the operations begun so far have read from and written to each tier."""
        program = self._program
        begun = np.repeat(self._spans.started_ps != NONE, np.diff(program.accesses))
        by_place = np.bincount(program.places[begun], program.num_bytes[begun])
        moved: dict[tuple[str, int], int] = defaultdict(int)
        for place in np.flatnonzero(by_place).tolist():
            moved[self._homes[place // 2], place % 2] += int(by_place[place])
        return {
            f"program_{'written' if is_write else 'read'}_{tier}_bytes": num_bytes
            for (tier, is_write), num_bytes in sorted(moved.items())
        }


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
        last_op_of = dict(zip(objects.tolist(), ops.tolist(), strict=True))  # ops rise: the last one stays
        self.last_users = set(last_op_of.values())
        """Operations that are the last user of an object, in program order."""
        self._objects: list[int] = objects.tolist()
        self._starts: list[int] = np.searchsorted(ops, np.arange(num_ops + 1)).tolist()

    def of_op(self, op: int) -> list[int]:
        """Objects that wait for this operation."""
        return self._objects[self._starts[op] : self._starts[op + 1]]


def _last_of_known(under_way: list[tuple[int, Transfer]]) -> list[tuple[int, Transfer]]:
    """The transfers that have to be waited for: of those whose end is known already, only the last."""
    unknown = [pair for pair in under_way if not pair[1].triggered]
    known = [pair for pair in under_way if pair[1].triggered]
    return [*unknown, max(known, key=lambda pair: pair[1].finished_ps)] if known else unknown


def _program(trace: Trace, pace: Pace) -> Program:
    """The trace as operations with accesses: its own, or one per object and direction in order of first touch."""
    a = trace.accesses
    ops, places, num_bytes = a.ops, 2 * a.objects + a.is_write, a.num_bytes
    if pace.transfers != "access" and len(a):
        _, first, inverse = np.unique(ops * 2 * len(trace.objects) + places, return_index=True, return_inverse=True)
        sums = np.zeros(len(first), np.int64)
        np.add.at(sums, inverse, num_bytes)
        order = np.argsort(first)
        ops, places, num_bytes = ops[first][order], places[first][order], sums[order]
    starts = np.searchsorted(ops, np.arange(len(trace.ops) + 1))
    roles = trace.objects.roles[places // 2].astype(np.int64)
    rate = inf if pace.flops_per_s is None else pace.flops_per_s
    compute_ps = np.ceil(trace.ops.flops * PS_PER_S / rate).astype(np.int64)
    return Program(compute_ps, starts, places, num_bytes, roles)


def _waits_across_streams(trace: Trace) -> dict[int, list[int]]:
    """Per operation what it waits for on other streams; its own stream keeps the order by itself."""
    ops = trace.ops
    waiting = np.repeat(np.arange(len(ops)), np.diff(ops.dependency_offsets))
    across = ops.streams[waiting] != ops.streams[ops.dependencies]
    found: dict[int, list[int]] = defaultdict(list)
    for op, other in zip(waiting[across].tolist(), ops.dependencies[across].tolist(), strict=True):
        found[op].append(other)
    return found
