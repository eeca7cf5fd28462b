"""Reads the Chrome-trace JSON that torch.profiler exports (Kineto), alone or with the observer's file of the same run.

Host events nest by time on their thread. An operator becomes an operation: its stream is that of the device work that it
launched (kernel, copy or fill, found by the runtime call of the same correlation number), or its thread. Memory events
give objects their size, birth and death. With the observer's execution trace, joined by record function, every tensor
has its storage. Alone, no event says which tensor an operator reads: then each argument is an object of that operation
alone, and what it allocates and leaves behind is its result. Device work that no operator launched is an operation of
its own. Times are not kept: how long things take is the simulator's business.

Form: pytorch/kineto, libkineto/src/output_json.cpp, and pytorch, torch/csrc/autograd/profiler_kineto.cpp (fields `Input
Dims`, `Input Strides`, `Input type`, `Record function id`, `Bytes`, `Addr`, `correlation`, `stream`).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any, Final

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import Trace
from tiergarten.workloads.exchange.execution_trace import ACCUMULATE_GRADIENT, OPTIMIZER_STEP, Node, read_nodes
from tiergarten.workloads.exchange.json_file import read_json
from tiergarten.workloads.exchange.profiled_program import (
    MAX_ELEMENTS,
    Event,
    Gradients,
    MemoryEvent,
    Operation,
    TensorUse,
    joined,
)
from tiergarten.workloads.exchange.torch_operators import (
    COMPOSITE,
    CREATES,
    OVERWRITES,
    VIEWS,
    base_name,
    operator_flops,
)

DEVICE_WORK: Final = ("kernel", "gpu_memcpy", "gpu_memset")
HOST: Final = ("cpu_op", "user_annotation")
RUNTIME: Final = ("cuda_runtime", "cuda_driver")
MAX_DEPTH: Final = 200
"""Calls inside calls."""
_OPERATOR: Final = re.compile(r"[A-Za-z_]\w*::[\w.]+")
"""`aten::mm`, `c10d::allreduce_`; not `autograd::engine::evaluate_function: AddmmBackward0`."""
ITEM_BYTES: Final[Mapping[str, int]] = {
    "float": 4, "double": 8, "c10::Half": 2, "c10::BFloat16": 2, "int": 4, "long": 8, "long int": 8, "short": 2,
    "short int": 2, "bool": 1, "unsigned char": 1, "signed char": 1, "char": 1, "c10::complex<float>": 8,
    "c10::complex<double>": 16, "c10::Float8_e4m3fn": 1, "c10::Float8_e5m2": 1,
}  # fmt: skip
"""Bytes of an element by the C++ type that the profiler prints."""


@dataclass
class HostEvent:
    """A call on a thread, with what happened during it."""

    place: int
    """Among the file's events."""
    name: str
    thread: int
    start_us: float
    end_us: float
    is_operator: bool
    args: Mapping[str, Any]
    children: "list[HostEvent]" = field(default_factory=list)
    memory: list[tuple[float, MemoryEvent]] = field(default_factory=list)
    launched: "list[DeviceWork]" = field(default_factory=list)

    @property
    def record(self) -> int:
        """Number of the call's record function, -1 = none."""
        number = self.args.get("Record function id", -1)
        return number if isinstance(number, int) else -1

    def family(self) -> "Iterator[HostEvent]":
        """Itself and all that it called."""
        yield self
        for child in self.children:
            yield from child.family()


@dataclass(frozen=True)
class DeviceWork:
    """A kernel, copy or fill on a stream of a device."""

    name: str
    place: tuple[str, int, int]
    """("stream", device, stream)."""
    start_us: float
    correlation: int
    num_bytes: int
    """Of a copy or a fill; 0 for a kernel."""


@dataclass
class Profile:
    """What a Kineto file says, nested and linked."""

    file: str
    roots: list[HostEvent]
    memory: list[tuple[float, MemoryEvent]]
    """Outside of every host event."""
    orphans: list[DeviceWork]
    """Launched by no host event in the file."""
    freed_us: dict[tuple[float, int], float]
    """(time, address) of an allocation -> when it was given back."""


def read_kineto(path: str | Path, observer: str | Path | None = None) -> Trace:
    """The trace in a Kineto file, plain or gzip; `observer`: the execution trace of the same run.

    Raises TraceError with the place of what is wrong, and where the two files are not of one run.
    """
    return trace_of_profile(read_json(path), str(path), observer)


def trace_of_profile(content: Any, file: str, observer: str | Path | None = None) -> Trace:
    """The trace of a profile that was read from `file`; otherwise as `read_kineto`."""
    profile = _profile(content, file)
    if observer is None:
        events = _Alone(profile).events()
    else:
        nodes = read_nodes(read_json(observer), str(observer))
        by_record = {node.record: node for node in nodes if node.record >= 0}
        _same_run(profile, by_record, str(observer))
        events = _Observed(profile, by_record).events()
    trace = joined(events)
    if len(trace.accesses) == 0:
        reason = "says of no operator which bytes it touches: profile with record_shapes=True and profile_memory=True"
        raise TraceError(Problem(reason, file))
    problems = trace.problems()
    if problems:
        raise TraceError([Problem(problem, file) for problem in problems])
    return trace


def _same_run(profile: Profile, nodes: Mapping[int, Node], observer: str) -> None:
    """TraceError unless the two files agree on the names of the operators that they share, and share some."""
    operators = [event for root in profile.roots for event in root.family() if event.is_operator]
    shared = [event for event in operators if event.record in nodes]
    if not shared:
        reason = f"shares no record function with {observer}: they are not of the same run"
        raise TraceError(Problem(reason, profile.file))
    for event in shared:
        name = nodes[event.record].name
        if name != event.name:
            reason = f"record function {event.record} is {event.name} here and {name} in {observer}: not the same run"
            raise TraceError(Problem(reason, profile.file, path=f"traceEvents.{event.place}"))


# --- the file ----------------------------------------------------------------------------------------------------------


def _profile(content: Any, file: str) -> Profile:
    if not isinstance(content, dict) or not isinstance(content.get("traceEvents"), list):
        raise TraceError(Problem("is not a Kineto trace: traceEvents are missing", file))
    threads: dict[tuple[Any, Any], int] = {}
    host: list[HostEvent] = []
    memory: list[tuple[float, int, MemoryEvent]] = []
    launches: list[tuple[float, int, int]] = []
    work: dict[int, list[DeviceWork]] = {}
    for place, event in enumerate(content["traceEvents"]):
        try:
            kind = event.get("cat")
            if kind not in (*HOST, *RUNTIME, *DEVICE_WORK, "cpu_instant_event"):
                continue
            args, start_us = event.get("args") or {}, float(event["ts"])
            if not isinstance(args, dict):
                raise TypeError(f"args are no table but {args!r:.80}")
            if not isfinite(start_us):
                raise ValueError(f"a time of {start_us}")
            if kind in DEVICE_WORK:
                found = _device_work(event, args, start_us)
                work.setdefault(found.correlation, []).append(found)
                continue
            thread = threads.setdefault((event["pid"], event["tid"]), len(threads))
            if kind in HOST:
                duration_us = float(event["dur"])
                if not (duration_us >= 0 and isfinite(duration_us)):
                    raise ValueError(f"a duration of {duration_us}")
                name = str(event["name"])
                is_operator = kind == "cpu_op" and _OPERATOR.fullmatch(name) is not None
                host.append(HostEvent(place, name, thread, start_us, start_us + duration_us, is_operator, args))
            elif kind in RUNTIME:
                launches.append((start_us, thread, int(args.get("correlation", -1))))
            elif event.get("name") == "[memory]":
                memory.append((start_us, thread, MemoryEvent(int(args["Addr"]), _size(args["Bytes"]))))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"cannot be understood: {type(error).__name__}: {error}"
            raise TraceError(Problem(reason, file, path=f"traceEvents.{place}")) from error
    if not host and not work:
        raise TraceError(Problem("is not of torch.profiler: it holds neither host operators nor device work", file))
    return _linked(host, memory, launches, work, file)


def _device_work(event: Mapping[str, Any], args: Mapping[str, Any], start_us: float) -> DeviceWork:
    place = ("stream", int(args.get("device", event.get("pid", 0))), int(args.get("stream", event.get("tid", 0))))
    num_bytes = _size(args.get("bytes", 0))
    if num_bytes < 0:
        raise ValueError(f"a copy of {num_bytes} bytes")
    return DeviceWork(str(event["name"]), place, start_us, int(args.get("correlation", -1)), num_bytes)


def _size(value: Any) -> int:
    size = int(value)
    if abs(size) > MAX_ELEMENTS:
        raise ValueError(f"a size of {size} bytes")
    return size


def _linked(
    host: list[HostEvent],
    memory: list[tuple[float, int, MemoryEvent]],
    launches: list[tuple[float, int, int]],
    work: dict[int, list[DeviceWork]],
    file: str,
) -> Profile:
    """Host events nested by thread; memory events and launches given to the innermost event around them."""
    profile = Profile(file, [], [], [], _freed(memory))
    moments: list[tuple[float, int, int, Any]] = [
        (event.start_us, 0, number, event)
        for number, event in enumerate(sorted(host, key=lambda event: (event.start_us, -event.end_us)))
    ]
    moments += [(start_us, 1, number, (thread, event)) for number, (start_us, thread, event) in enumerate(memory)]
    moments += [(start_us, 2, number, (thread, ident)) for number, (start_us, thread, ident) in enumerate(launches)]
    open_events: dict[int, list[HostEvent]] = {}
    for now_us, kind, _, what in sorted(moments, key=lambda moment: moment[:3]):
        thread = what.thread if kind == 0 else what[0]
        stack = open_events.setdefault(thread, [])
        while stack and (stack[-1].end_us < now_us or (kind == 0 and stack[-1].end_us <= now_us)):
            stack.pop()
        if kind == 0:
            (stack[-1].children if stack else profile.roots).append(what)
            stack.append(what)
            if len(stack) > MAX_DEPTH:
                reason = f"lies {len(stack)} events deep; {MAX_DEPTH} are taken for damage"
                raise TraceError(Problem(reason, file, path=f"traceEvents.{what.place}"))
        elif kind == 1:
            (stack[-1].memory if stack else profile.memory).append((now_us, what[1]))
        elif stack and what[1] in work:
            stack[-1].launched += work.pop(what[1])
    profile.orphans = [item for items in work.values() for item in items]
    return profile


def _freed(memory: list[tuple[float, int, MemoryEvent]]) -> dict[tuple[float, int], float]:
    held: dict[int, float] = {}
    freed = {}
    for now_us, _, event in sorted(memory, key=lambda moment: moment[0]):
        if event.num_bytes >= 0:
            held[event.address] = now_us
        elif event.address in held:
            freed[held.pop(event.address), event.address] = now_us
    return freed


# --- its operations ----------------------------------------------------------------------------------------------------


class _Reading(ABC):
    """The events of a profile in order of time; what an operator touches is said by the two ways of reading below."""

    def __init__(self, profile: Profile):
        self.profile = profile
        self._streams: dict[tuple[str, int, int], int] = {}
        self._unknown = count(-1, -1)

    def events(self) -> list[Event]:
        """Operators, orphaned device work and the memory events between them."""
        timed: list[tuple[float, Event]] = [(now_us, event) for now_us, event in self.profile.memory]
        for root in self.profile.roots:
            timed += self._below(root, in_optimizer=False)
        timed += [(work.start_us, self._orphan(work)) for work in self.profile.orphans]
        return [event for _, event in sorted(timed, key=lambda moment: moment[0])]

    @abstractmethod
    def is_operation(self, event: HostEvent) -> bool:
        """Whether the event's work is its own."""

    @abstractmethod
    def operation(self, event: HostEvent, *, in_optimizer: bool) -> Operation:
        """What the event does; without arguments and results where it touches no memory."""

    def gradients(self, event: HostEvent) -> tuple[int, ...]:
        """Storages that a gradient's accumulation is given."""
        return ()

    def stream(self, event: HostEvent) -> int:
        """That of the first device work that it launched, or its thread's."""
        work = next((work for member in event.family() for work in member.launched), None)
        return self._stream(("thread", 0, event.thread) if work is None else work.place)

    def _stream(self, place: tuple[str, int, int]) -> int:
        return self._streams.setdefault(place, len(self._streams))

    def _below(self, event: HostEvent, *, in_optimizer: bool) -> list[tuple[float, Event]]:
        if event.is_operator and self.is_operation(event):
            try:
                operation = self.operation(event, in_optimizer=in_optimizer)
            except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
                reason = f"cannot be understood: {type(error).__name__}: {error}"
                raise TraceError(Problem(reason, self.profile.file, path=f"traceEvents.{event.place}")) from error
            if operation.inputs or operation.outputs:
                return [(event.start_us, operation)]
            return [(event.start_us, memory) for memory in operation.memory]
        found: list[tuple[float, Event]] = [(now_us, memory) for now_us, memory in event.memory]
        found += [(work.start_us, self._orphan(work)) for work in event.launched]
        if event.name == ACCUMULATE_GRADIENT:
            found.append((event.start_us, Gradients(self.gradients(event))))
        in_optimizer = in_optimizer or event.name.startswith(OPTIMIZER_STEP)
        for child in event.children:
            found += self._below(child, in_optimizer=in_optimizer)
        return found

    def _orphan(self, work: DeviceWork) -> Operation:
        """A copy reads and writes bytes of its own, a fill writes, a kernel's bytes are not known."""
        is_copy = "memset" not in work.name.lower()
        uses = [self._bytes(work.num_bytes, written=False)] * is_copy + [self._bytes(work.num_bytes, written=True)]
        inputs = tuple(uses if work.num_bytes else ())
        return Operation(work.name, inputs, (), self._stream(work.place), reads_written=False)

    def _bytes(self, num_bytes: int, *, written: bool) -> TensorUse:
        return TensorUse(next(self._unknown), 0, 1, (num_bytes,), (1,), written)


class _Observed(_Reading):
    """With the observer's nodes: tensors have storages, schemas say what is written."""

    def __init__(self, profile: Profile, nodes: Mapping[int, Node]):
        super().__init__(profile)
        self._nodes = nodes

    def is_operation(self, event: HostEvent) -> bool:
        node = self._nodes.get(event.record)
        return node is not None and node.is_operation

    def gradients(self, event: HostEvent) -> tuple[int, ...]:
        node = self._nodes.get(event.record)
        return () if node is None else tuple(use.storage for use in node.inputs)

    def operation(self, event: HostEvent, *, in_optimizer: bool) -> Operation:
        node = self._nodes[event.record]
        memory = tuple(found for _, found in sorted(self._memory(event, ()), key=lambda moment: moment[0]))
        if not node.touches_memory:
            return Operation(node.name, (), (), memory=memory)
        return Operation(
            node.name, node.inputs, node.outputs, self.stream(event), node.flops(),
            memory, node.reads_written, in_optimizer,
        )  # fmt: skip

    def _memory(self, event: HostEvent, outer: tuple[TensorUse, ...]) -> Iterator[tuple[float, MemoryEvent]]:
        """What was allocated in a call may be a result of it, or of a call around it; the size says which."""
        node = self._nodes.get(event.record)
        results = (() if node is None else node.outputs) + outer
        for now_us, memory in event.memory:
            fitting = sorted(
                (use for use in results if 0 < use.end_byte <= memory.num_bytes),
                key=lambda use: memory.num_bytes - use.end_byte,
            )
            yield now_us, MemoryEvent(memory.address, memory.num_bytes, tuple(fitting))
        for child in event.children:
            yield from self._memory(child, results)


class _Alone(_Reading):
    """Without the observer: arguments by their shapes, results by what was allocated and kept."""

    def __init__(self, profile: Profile):
        super().__init__(profile)
        self._results = count(1)

    def is_operation(self, event: HostEvent) -> bool:
        return base_name(event.name) not in COMPOSITE

    def operation(self, event: HostEvent, *, in_optimizer: bool) -> Operation:
        base = base_name(event.name)
        memory, results = self._memory(event)
        if base in VIEWS | CREATES:
            return Operation(event.name, (), (), memory=memory)
        shapes, inputs = self._arguments(event, base)
        flops = operator_flops(event.name, shapes, [])
        return Operation(
            event.name, inputs, results, self.stream(event), flops, memory, base not in OVERWRITES, in_optimizer
        )

    def _memory(self, event: HostEvent) -> tuple[tuple[MemoryEvent, ...], tuple[TensorUse, ...]]:
        """Memory events of an operator, and its results: what is held beyond its end."""
        events, results = [], []
        moments = [moment for member in event.family() for moment in member.memory]
        for now_us, memory in sorted(moments, key=lambda moment: moment[0]):
            if (
                memory.num_bytes > 0
                and self.profile.freed_us.get((now_us, memory.address), float("inf")) > event.end_us
            ):
                results.append(TensorUse(next(self._results), 0, 1, (memory.num_bytes,), (1,)))
                memory = MemoryEvent(memory.address, memory.num_bytes, (results[-1],))
            events.append(memory)
        return tuple(events), tuple(results)

    def _arguments(self, event: HostEvent, base: str) -> tuple[list[tuple[int, ...]], tuple[TensorUse, ...]]:
        """Shapes of the tensor arguments, and the arguments themselves; the first of an `op_` is written."""
        columns = [event.args.get(name, []) for name in ("Input Dims", "Input type", "Input Strides")]
        dims, kinds, strides = columns
        shapes: list[tuple[int, ...]] = []
        uses: list[TensorUse] = []
        for place, (shape, kind) in enumerate(zip(dims, kinds, strict=False)):
            if kind not in ITEM_BYTES or not all(isinstance(size, int) for size in shape):
                continue
            stride = strides[place] if place < len(strides) and len(strides[place]) == len(shape) else _dense(shape)
            written = base.endswith("_") and not base.startswith("_") and not uses
            uses.append(TensorUse(next(self._unknown), 0, ITEM_BYTES[kind], tuple(shape), tuple(stride), written))
            shapes.append(tuple(shape))
        return shapes, tuple(uses)


def _dense(shape: list[int]) -> list[int]:
    strides = [1] * len(shape)
    for dim in range(len(shape) - 2, -1, -1):
        strides[dim] = strides[dim + 1] * max(shape[dim + 1], 1)
    return strides
