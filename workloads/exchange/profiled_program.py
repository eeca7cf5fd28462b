"""Joins what PyTorch's profilers say of a program, operators and memory events in order of time, into a Trace.

A storage is known by a number that the profiler may give again once the memory is free. So an operator's result whose
storage is not among its arguments is a new object, and ends the old one of that number. With memory events objects
have the allocator's size, birth and death; without them the size is what the tensors cover, and an object lives until its
number is given again. Allocations that no tensor is known of are objects too: they fill memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.recorders.builder import TraceBuilder
from tiergarten.workloads.recorders.strided import num_runs, strided_runs

MAX_ELEMENTS = 1 << 48
"""Larger tensors are taken for damage."""
MAX_RUNS = 1 << 24
"""So are tensors in more pieces."""


@dataclass(frozen=True)
class TensorUse:
    """A tensor as an argument or result."""

    storage: int
    """The profiler's number; below 0 = not known, a storage of its own for this operation."""
    offset: int
    item_bytes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    written: bool = False
    """The schema says that the operator writes to it."""

    def __post_init__(self) -> None:
        numbers = [self.offset, self.item_bytes, *self.shape, *self.strides]
        too_large = any(number < 0 or number > MAX_ELEMENTS for number in numbers) or self.end_byte > MAX_ELEMENTS
        if len(self.shape) != len(self.strides) or too_large:
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides}, offset {self.offset}")
        if num_runs(self.shape, self.strides) > MAX_RUNS:
            raise ValueError(
                f"a tensor of shape {self.shape} and strides {self.strides} in more than {MAX_RUNS} pieces"
            )

    @property
    def end_byte(self) -> int:
        """First byte of the storage beyond the tensor."""
        if 0 in self.shape:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return (self.offset + last + 1) * self.item_bytes


@dataclass(frozen=True)
class MemoryEvent:
    """Memory taken from the allocator, or given back."""

    address: int
    num_bytes: int
    """Below 0: given back."""
    candidates: tuple[TensorUse, ...] = ()
    """Tensors that may lie in it, the likeliest first."""


@dataclass(frozen=True)
class Operation:
    """One operator that the program called."""

    name: str
    inputs: tuple[TensorUse, ...]
    outputs: tuple[TensorUse, ...]
    stream: int = 0
    flops: float = 0.0
    memory: tuple[MemoryEvent, ...] = ()
    """What happened while it ran."""
    reads_written: bool = True
    """Whether it reads the arguments that it writes."""
    in_optimizer: bool = False


@dataclass(frozen=True)
class Gradients:
    """Storages that hold gradients of parameters, from here on."""

    storages: tuple[int, ...]


Event = Operation | MemoryEvent | Gradients


def joined(events: Sequence[Event]) -> Trace:
    """The trace of a program from its events in order of time."""
    storages = _Storages()
    touches = [storages.take(event) for event in events]
    builder = TraceBuilder()
    idents = {}
    kept = [row for row, storage in enumerate(storages.found) if storage.is_seen]
    for row in kept:
        storage = storages.found[row]
        idents[row] = builder.add_object(storage.name, storage.num_bytes, storage.final_role, from_start=True)
    for event, uses in zip(events, touches, strict=True):
        if isinstance(event, Operation):
            builder.begin_op(event.name, event.flops, event.stream)
            for row, use, is_write in uses:
                builder.touch(idents[row], is_write, *strided_runs(use.shape, use.strides, use.offset, use.item_bytes))
            builder.end_op()
    trace = builder.trace()
    births = [storages.found[row].birth for row in kept]
    deaths = [min(storages.found[row].death, len(trace.ops)) for row in kept]
    return replace(trace, birth_ops=np.array(births, np.int64), death_ops=np.array(deaths, np.int64))


_NEVER = 1 << 62


@dataclass
class _Storage:
    name: str
    birth: int
    """Operation, -1 = before the program."""
    role: Role
    num_bytes: int = 0
    death: int = _NEVER
    written_by_optimizer: bool = False
    used_by_optimizer: bool = False
    used_by_model: bool = False

    @property
    def is_seen(self) -> bool:
        """Not empty, and there while some operation runs."""
        return self.num_bytes > 0 and self.death >= self.birth

    @property
    def final_role(self) -> Role:
        """What an optimizer changes of a model is a weight, what it keeps to itself its state."""
        if self.role in (Role.INPUT, Role.ACTIVATION):
            if self.birth < 0 and self.used_by_model and self.written_by_optimizer:
                return Role.WEIGHT
            if self.used_by_optimizer and not self.used_by_model and self.death == _NEVER:
                return Role.OPTIMIZER
        return self.role


Touch = tuple[int, TensorUse, bool]
"""Row of a storage, the tensor, whether it is written."""


@dataclass
class _Storages:
    """Which storage every number and address means at this moment of the program."""

    found: list[_Storage] = field(default_factory=list)
    _of_number: dict[int, int] = field(default_factory=dict)
    _of_address: dict[int, int] = field(default_factory=dict)
    _allocated: set[int] = field(default_factory=set)
    """Rows that have an address now."""
    _between: list[int] = field(default_factory=list)
    """Rows allocated since the last operation, by nothing that is known: numbers made into tensors, for one."""
    _names: dict[str, int] = field(default_factory=dict)
    _num_ops: int = 0

    def take(self, event: Event) -> list[Touch]:
        """What an event touches; its births and deaths are noted."""
        if isinstance(event, Operation):
            return self._operation(event)
        if isinstance(event, MemoryEvent):
            self._memory(event, self._num_ops - 1, set())
        else:
            for number in event.storages:
                if number in self._of_number:
                    self.found[self._of_number[number]].role = Role.GRADIENT
        return []

    def _operation(self, call: Operation) -> list[Touch]:
        op = self._num_ops
        inputs = [(self._argument(use, op), use) for use in call.inputs]
        arguments = {use.storage for use in call.inputs}
        for event in call.memory:
            self._memory(event, op, arguments)
        outputs = [(self._result(use, op), use) for use in call.outputs if use.storage not in arguments]
        touches = [(row, use, False) for row, use in inputs if not use.written or call.reads_written]
        touches += [(row, use, True) for row, use in inputs if use.written]
        touches += [(row, use, True) for row, use in outputs]
        for row, use, is_write in touches:
            storage = self.found[row]
            storage.num_bytes = max(storage.num_bytes, use.end_byte)
            storage.used_by_optimizer |= call.in_optimizer
            storage.written_by_optimizer |= call.in_optimizer and is_write
            storage.used_by_model |= not call.in_optimizer
        self._num_ops += 1
        self._between.clear()
        return [touch for touch in touches if touch[1].end_byte > 0]

    def _argument(self, use: TensorUse, op: int) -> int:
        if use.storage < 0:
            row = self._new(f"argument of op {op}", op, Role.OTHER)
            self.found[row].death = op
            return row
        known = self._of_number.get(use.storage)
        if known is not None and self.found[known].death >= op:
            return known
        made = [row for row in self._between if self.found[row].num_bytes == use.end_byte and row in self._allocated]
        if made:
            self._between.remove(made[-1])
            row = made[-1]
            self.found[row].role = Role.ACTIVATION
        else:
            row = self._new(f"storage {use.storage}", -1 if known is None else op, Role.INPUT)
        self._of_number[use.storage] = row
        return row

    def _result(self, use: TensorUse, op: int) -> int:
        known = self._of_number.get(use.storage)
        if known is not None:
            if known in self._allocated or self.found[known].birth == op:
                return known
            self.found[known].death = min(self.found[known].death, op - 1)
        row = self._of_number[use.storage] = self._new(f"storage {use.storage}", op, Role.ACTIVATION)
        return row

    def _memory(self, event: MemoryEvent, op: int, arguments: set[int]) -> None:
        """While operation `op` runs, or after it."""
        if event.num_bytes < 0:
            row = self._of_address.pop(event.address, None)
            if row is not None:
                self.found[row].death = op
                self._allocated.discard(row)
            return
        use = next((use for use in event.candidates if use.storage not in arguments
                    and self._of_number.get(use.storage) not in self._allocated), None)  # fmt: skip
        birth = max(op, self._num_ops)
        if use is None:
            row = self._new(f"memory of op {birth}", birth, Role.OTHER)
            self._between.append(row)
        else:
            row = self._result(use, birth)
        self.found[row].num_bytes = max(self.found[row].num_bytes, event.num_bytes)
        self._of_address[event.address] = row
        self._allocated.add(row)

    def _new(self, name: str, birth: int, role: Role) -> int:
        copy = self._names[name] = self._names.get(name, 0) + 1
        self.found.append(_Storage(name if copy == 1 else f"{name}/{copy}", birth, role))
        return len(self.found) - 1
