"""Reads the JSON of PyTorch's ExecutionTraceObserver (schema 1.1, torch.profiler.ExecutionTraceObserver).

Every operator that the program calls becomes an operation; what it calls inside is not listed again. Tensors name their
storage, offset, shape and strides, so that storages become objects and tensors accesses to the bytes they cover; the
operator's schema says what it writes. Views are left out. The format has no FLOPs, and no frees: storages that an
operator makes are born there and outlive the program.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.recorders.builder import TraceBuilder
from tiergarten.workloads.recorders.strided import strided_runs

MAX_ELEMENTS = 1 << 48
"""Larger tensors are taken for damage."""


@dataclass(frozen=True)
class TensorUse:
    """A tensor as an argument or result."""

    storage: int
    offset: int
    item_bytes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    written: bool
    """The schema says that the operator writes to it."""

    @property
    def end_byte(self) -> int:
        """First byte of the storage beyond the tensor."""
        if 0 in self.shape:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return (self.offset + last + 1) * self.item_bytes


@dataclass(frozen=True)
class Call:
    """One operator that the program called."""

    name: str
    inputs: list[TensorUse]
    outputs: list[TensorUse]

    def is_view(self) -> bool:
        """Whether it only looks at its inputs' storages in another way."""
        known = {use.storage for use in self.inputs}
        return not any(use.written for use in self.inputs) and all(use.storage in known for use in self.outputs)


def read_execution_trace(path: str | Path) -> Trace:
    """The trace in a JSON file, plain or gzip. Raises TraceError with the node that is wrong."""
    file = str(path)
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        content = json.loads(data)
    except OSError as error:
        raise TraceError(Problem(f"cannot be read: {error}", file)) from error
    except (EOFError, zlib.error) as error:
        raise TraceError(Problem("the gzip data is damaged or cut short", file)) from error
    except (ValueError, RecursionError) as error:
        raise TraceError(Problem(f"is not JSON: {error}", file)) from error
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list) or "schema" not in content:
        raise TraceError(Problem("is not an execution trace: schema or nodes are missing", file))
    calls = list(_calls(content["nodes"], file))
    if not calls:
        raise TraceError(Problem("holds no operator", file))
    trace = _trace(calls)
    problems = trace.problems()
    if problems:
        raise TraceError([Problem(problem, file) for problem in problems])
    return trace


def _calls(nodes: list[Any], file: str) -> Iterator[Call]:
    """Operators that no other operator called, in order of their numbers."""
    schemas: dict[int, str] = {}
    parents: dict[int, int] = {}
    for place, node in enumerate(nodes):
        try:
            attributes = {part["name"]: part.get("value") for part in node.get("attrs", [])}
            schemas[int(node["id"])] = str(attributes.get("op_schema") or "")
            parents[int(node["id"])] = int(node["ctrl_deps"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TraceError(Problem(f"is no node: {error!r}", file, path=f"nodes.{place}")) from error
    for node in sorted(nodes, key=lambda node: int(node["id"])):
        ident = int(node["id"])
        if not schemas[ident] or _inside_operator(ident, schemas, parents):
            continue
        try:
            written = _written_arguments(schemas[ident])
            inputs = list(_tensors(node["inputs"], written))
            yield Call(str(node["name"]), inputs, list(_tensors(node["outputs"], [])))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise TraceError(Problem(f"cannot be understood: {error!r}", file, path=f"node {ident}")) from error


def _inside_operator(ident: int, schemas: dict[int, str], parents: dict[int, int]) -> bool:
    seen = {ident}
    parent = parents[ident]
    while parent in parents and parent not in seen:
        if schemas[parent]:
            return True
        seen.add(parent)
        parent = parents[parent]
    return False


def _written_arguments(schema: str) -> list[bool]:
    """For each argument of a schema like `aten::add_(Tensor(a!) self, ...) -> ...` whether it is written to."""
    inner = schema[schema.index("(") + 1 : schema.rindex(") ->") if ") ->" in schema else len(schema)]
    arguments, depth, start = [], 0, 0
    for place, letter in enumerate(inner):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            arguments.append(inner[start:place])
            start = place + 1
    arguments.append(inner[start:])
    return ["!" in argument for argument in arguments if argument.strip() and argument.strip() != "*"]


def _tensors(side: dict[str, Any], written: list[bool]) -> Iterator[TensorUse]:
    columns = (side["values"], side["shapes"], side["types"], side["strides"])
    for place, (value, shape, kind, strides) in enumerate(zip(*columns, strict=True)):
        is_written = place < len(written) and written[place]
        if kind.startswith("Tensor("):
            yield _tensor(value, shape, strides, is_written)
        elif kind.startswith("GenericList[Tensor("):
            for parts in zip(value, shape, strides, strict=True):
                yield _tensor(*parts, is_written)


def _tensor(value: list[Any], shape: list[int], strides: list[int], written: bool) -> TensorUse:
    _, storage, offset, _, item_bytes, *_ = value
    use = TensorUse(int(storage), int(offset), int(item_bytes), tuple(shape), tuple(strides), written)
    numbers = [use.offset, use.item_bytes, *use.shape, *use.strides]
    if any(not isinstance(n, int) or n < 0 or n > MAX_ELEMENTS for n in numbers) or len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
    return use


def _trace(calls: list[Call]) -> Trace:
    builder = TraceBuilder()
    sizes: dict[int, int] = {}
    for call in calls:
        for use in (*call.inputs, *call.outputs):
            sizes[use.storage] = max(sizes.get(use.storage, 0), use.end_byte)
    idents: dict[int, int] = {}

    def touch(use: TensorUse, is_write: bool, *, from_start: bool) -> None:
        if use.end_byte == 0:
            return
        if use.storage not in idents:
            role = Role.INPUT if from_start else Role.ACTIVATION
            name = f"storage {use.storage}"
            idents[use.storage] = builder.add_object(name, sizes[use.storage], role, from_start=from_start)
        builder.touch(idents[use.storage], is_write, *strided_runs(use.shape, use.strides, use.offset, use.item_bytes))

    for call in calls:
        if call.is_view():
            continue
        builder.begin_op(call.name, 0.0)
        for use in call.inputs:
            touch(use, False, from_start=True)
        known = {use.storage for use in call.inputs}
        for use in call.inputs:
            if use.written:
                touch(use, True, from_start=True)
        for use in call.outputs:
            if use.storage not in known:
                touch(use, True, from_start=False)
        builder.end_op()
    return builder.trace()
