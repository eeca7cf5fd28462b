"""Replays a recorded program: operations on their streams, objects placed in tiers, accesses as transfers.

An operation starts when its stream is free and what it waits for is done. Its FLOPs and its accesses then run side by
side; it is done when the slower is. Accesses of an object in the tier beside the device use that tier alone; others
cross the links between, but do not land in the near tier: the trace says itself what is written where.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from simpy.events import Event

from tiergarten.driver import Driver, Machine, Output, drivers
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import TiergartenError, did_you_mean
from tiergarten.sim.params import InputFile, Share, StrictModel, configured
from tiergarten.sim.system import COMPUTE, Route
from tiergarten.sim.trace import Role, Trace
from tiergarten.sim.trace_io import load_trace
from tiergarten.sim.trace_join import repeat
from tiergarten.sim.transfer import Cause, Transfer
from tiergarten.sim.units import PS_PER_S
from tiergarten.workloads.kernel import KERNELS, record

ROLES = tuple(role.name.lower() for role in Role)


class RepeatConfig(StrictModel):
    """One recorded layer as a deeper program."""

    times: int = Field(gt=0, le=100_000, description="Number of layers.")
    shared: list[str] = Field([], description="Objects that all layers use.")
    carry: dict[str, str] = Field({}, description="A layer's output -> the next layer's input.")


class PlacementRule(StrictModel):
    """Where some objects live."""

    objects: str = Field("*", description="Names, with * and ? as wildcards.")
    roles: list[Literal[ROLES]] = Field([], description="Only objects of these roles; all when empty.")  # type: ignore[valid-type]
    tiers: list[str] = Field(min_length=1, description="Tiers in order of preference; the first with room is taken.")

    def applies(self, name: str, role: Role) -> bool:
        """Whether the rule is about an object of that name and role."""
        return fnmatchcase(name, self.objects) and (not self.roles or role.name.lower() in self.roles)


@drivers.register("trace")
class TraceReplay(Driver):
    """A recorded kernel or program, replayed on the machine's tiers."""

    class Params(StrictModel):
        """Keys of `workload:`."""

        file: InputFile | None = Field(None, description="A .trace file.")
        kernel: dict[str, Any] | None = Field(
            None, description="A kernel by `name`, with its parameters; see `tiergarten trace kernels`."
        )
        repeat: RepeatConfig | None = Field(None, description="Repeat the program as layers of a deeper one.")
        near: str = Field(description="The tier beside the device; the others are reached over links.")
        device: str | None = Field(None, description="What computes, a key of `devices`; absent: FLOPs take no time.")
        number_format: str = Field("bf16", description="Which of the device's peak rates the FLOPs run at.")
        efficiency: Share = Field(1.0, description="Share of the peak rate that operations reach.")
        transfers: Literal["operation", "object", "access"] = Field(
            "operation",
            description="What is one transfer: all that an operation reads (or writes) of one role in one tier; of one "
            "object; or each run of bytes.",
        )

        @model_validator(mode="after")
        def _one_source(self) -> "TraceReplay.Params":
            if (self.file is None) == (self.kernel is None):
                raise ValueError("needs `file` or `kernel`, and not both")
            return self

    class Policies(StrictModel):
        """Keys of `policies:`."""

        placement: list[PlacementRule] = Field(
            [], description="The first rule that applies decides; else the near tier."
        )

    def check(self, scenario: Any) -> list[tuple[str, str]]:
        """Tiers, device, number format and kernel must exist."""
        params = self.params
        found = []
        named = {"workload.near": params.near}
        named |= {
            f"policies.placement.{row}.tiers.{place}": tier
            for row, rule in enumerate(self.policies.placement)
            for place, tier in enumerate(rule.tiers)
        }
        for key, tier in named.items():
            if tier not in scenario.tiers:
                found.append((key, f"unknown tier {tier!r}. {did_you_mean(tier, scenario.tiers)}"))
        if params.device is not None and params.device not in scenario.devices:
            found.append(
                (
                    "workload.device",
                    f"unknown device {params.device!r}. {did_you_mean(params.device, scenario.devices)}",
                )
            )
        elif params.device is not None:
            try:
                scenario.devices[params.device].flops_per_s(params.number_format)
            except ValueError as error:
                found.append(("workload.number_format", str(error)))
        if params.kernel is not None:
            found += [("workload.kernel", message) for message in _kernel_problems(params.kernel)]
        return found

    def run(self, machine: Machine) -> Output:
        """Replay to the end."""
        trace, trace_hash = self._trace(machine.seed)
        replay = _Replay(machine, trace, self.params, self.policies.placement)
        replay.start()
        machine.run()
        replay.require_finished()
        return Output(metrics=replay.metrics(), states_ps=replay.states_ps(), trace_hash=trace_hash)

    def _trace(self, seed: int) -> tuple[Trace, str]:
        params = self.params
        if params.file is not None:
            trace = load_trace(params.file)
        else:
            try:
                _, trace = record(_kernel(params.kernel), seed)
            except (ValueError, IndexError, ArithmeticError, MemoryError) as error:
                raise TiergartenError(f"workload.kernel: this shape cannot be run: {error}") from error
        if params.repeat is not None:
            try:
                trace = repeat(trace, params.repeat.times, params.repeat.shared, params.repeat.carry)
            except ValueError as error:
                raise TiergartenError(f"workload.repeat: {error}") from error
        if len(trace.ops) == 0:
            raise TiergartenError("the trace has no operations")
        return trace, _hash(trace)


class _Replay:
    """One replay under way."""

    def __init__(self, machine: Machine, trace: Trace, params: "TraceReplay.Params", rules: list[PlacementRule]):
        self._machine, self._trace, self._near, self._rules = machine, trace, params.near, rules
        rate = None
        if params.device is not None:
            rate = machine.devices[params.device].flops_per_s(params.number_format) * params.efficiency
        flops = trace.ops.flops
        self._compute_ps = [0] * len(flops) if rate is None else [ceil(f * PS_PER_S / rate) for f in flops.tolist()]
        self._merges = params.transfers == "operation"
        self._touches = _touches(trace, by_object=params.transfers != "access")
        self._waiters: dict[int, Event] = {}
        self._waits: dict[int, list[int]] = {}
        self._done = bytearray(len(trace.ops))
        self._homes: dict[int, str] = {}
        self._routes: dict[tuple[str, bool], Route] = {}
        self._roles = [Role(role) for role in trace.objects.roles.tolist()]
        self._born: dict[int, list[int]] = defaultdict(list)
        for ident, birth in enumerate(trace.birth_ops.tolist()):
            self._born[birth].append(ident)
        self._users = _Users(trace)
        self._states: dict[str, dict[str, int]] = {}
        self._moved: dict[tuple[str, bool], int] = defaultdict(int)

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
        self._place(self._born.get(op, []))
        slowest = ""
        for tier, transfer in _last_of_known(self._transfers(op)):
            before_ps = engine.now_ps
            yield transfer
            if engine.now_ps > before_ps:
                slowest = tier
        if engine.now_ps < started_ps + compute_ps:
            yield engine.wait_until(started_ps + compute_ps)
        states["busy"] += compute_ps
        if slowest:
            states[f"stall:{slowest}"] += engine.now_ps - started_ps - compute_ps

    def _transfers(self, op: int) -> list[tuple[str, Transfer]]:
        """Start what the operation moves; (tier, transfer) each."""
        touches = self._touches.get(op, [])
        if not self._merges:
            return [self._transfer(op, self._homes[i], is_write, self._roles[i], size) for i, is_write, size in touches]
        sums: dict[tuple[str, bool, Role], int] = {}
        for ident, is_write, num_bytes in touches:
            key = (self._homes[ident], is_write, self._roles[ident])
            sums[key] = sums.get(key, 0) + num_bytes
        return [self._transfer(op, *key, num_bytes) for key, num_bytes in sums.items()]

    def _transfer(self, op: int, tier: str, is_write: bool, role: Role, num_bytes: int) -> tuple[str, Transfer]:
        system = self._machine.system
        self._moved[tier, is_write] += num_bytes
        if tier == self._near:
            access = system.write if is_write else system.read
            return tier, access(tier, num_bytes, role, op)
        transfer = Transfer(system, self._far_route(tier, is_write), num_bytes, Cause.DEMAND, role, op)
        transfer.begin(-1, -1)
        return tier, transfer

    def _far_route(self, tier: str, is_write: bool) -> Route:
        """The way between the device and a far tier: links and that tier, without the near tier's memory."""
        key = (tier, is_write)
        if key not in self._routes:
            system = self._machine.system
            source, destination = (self._near, tier) if is_write else (tier, self._near)
            whole = system.route(source, destination)
            hops = whole.hops[1:] if is_write else whole.hops[:-1]
            self._routes[key] = replace(
                whole,
                source=COMPUTE if is_write else tier,
                destination=tier if is_write else COMPUTE,
                hops=hops,
                latency_ps=sum(server.latency_ps for server, _, _ in hops),
            )
        return self._routes[key]

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

    def _finish(self, op: int) -> None:
        """Wake who waits, drop objects whose last user this was."""
        self._done[op] = 1
        if op in self._waiters:
            self._waiters[op].succeed()
        for ident in self._users.of_op(op):
            self._users.left[ident] -= 1
            if self._users.left[ident] == 0:
                self._machine.placement.discard(self._homes[ident], ident)
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
        found: dict[str, float | int | str | None] = {
            "operations": sum(self._done),
            "accesses": len(self._trace.accesses),
            "flops": float(self._trace.ops.flops.sum()),
        }
        for (tier, is_write), moved in sorted(self._moved.items()):
            found[f"program_{'written' if is_write else 'read'}_{tier}_bytes"] = moved
        first = next(iter(self._states.values()))
        found["stall_share"] = 1 - first["busy"] / elapsed_ps
        return found


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


def _touches(trace: Trace, *, by_object: bool) -> dict[int, list[tuple[int, bool, int]]]:
    """Per operation (object, is_write, bytes) in order of first touch: one per object and direction, or one per access."""
    a = trace.accesses
    columns: tuple[NDArray[Any], ...] = (a.ops, a.objects, a.is_write, a.num_bytes)
    if by_object and len(a):
        keys = (a.ops * len(trace.objects) + a.objects) * 2 + a.is_write
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        sums = np.zeros(len(first), np.int64)
        np.add.at(sums, inverse, a.num_bytes)
        order = np.argsort(first)
        columns = (a.ops[first][order], a.objects[first][order], a.is_write[first][order], sums[order])
    found: dict[int, list[tuple[int, bool, int]]] = defaultdict(list)
    for op, ident, is_write, num_bytes in zip(*(column.tolist() for column in columns), strict=True):
        found[op].append((ident, is_write, num_bytes))
    return found


def _waits_across_streams(trace: Trace) -> dict[int, list[int]]:
    """Per operation what it waits for on other streams; its own stream keeps the order by itself."""
    ops = trace.ops
    waiting = np.repeat(np.arange(len(ops)), np.diff(ops.dependency_offsets))
    across = ops.streams[waiting] != ops.streams[ops.dependencies]
    found: dict[int, list[int]] = defaultdict(list)
    for op, other in zip(waiting[across].tolist(), ops.dependencies[across].tolist(), strict=True):
        found[op].append(other)
    return found


def _kernel(config: dict[str, Any]) -> Any:
    return configured(KERNELS.get(config["name"]), {key: value for key, value in config.items() if key != "name"})


def _kernel_problems(config: dict[str, Any]) -> Iterator[str]:
    name = config.get("name")
    if not isinstance(name, str) or name not in KERNELS:
        yield f"unknown kernel {name!r}. {did_you_mean(str(name), KERNELS.names())}"
        return
    try:
        _kernel(config)
    except ValueError as error:
        yield f"{name}: {error}"


def _hash(trace: Trace) -> str:
    """SHA-256 over the columns."""
    digest = hashlib.sha256()
    objects, ops, accesses = trace.objects, trace.ops, trace.accesses
    for names in (objects.names, ops.names):
        digest.update("\0".join(names).encode())
    for column in (
        objects.num_bytes, objects.roles, trace.birth_ops, trace.death_ops, ops.streams, ops.flops, ops.dependency_offsets,
        ops.dependencies, accesses.ops, accesses.objects, accesses.offsets, accesses.num_bytes, accesses.is_write,
    ):  # fmt: skip
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
