"""Reads the JSON of PyTorch's ExecutionTraceObserver (schema 1.1, torch.profiler.ExecutionTraceObserver).

Every operator that the program calls becomes an operation; composite operators, which only call others, stand for what
they call. Tensors name their storage, offset, shape and strides, so that storages become objects and tensors accesses to
the bytes they cover; the operator's schema says what it writes. Views are left out. FLOPs follow from the shapes. The
format has no frees: an object lives until its storage's number is given again, or outlives the program.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import Trace
from tiergarten.workloads.exchange.json_file import read_json
from tiergarten.workloads.exchange.profiled_program import Event, Gradients, Operation, TensorUse, joined
from tiergarten.workloads.exchange.torch_operators import (
    COMPOSITE,
    CREATES,
    OVERWRITES,
    VIEWS,
    base_name,
    operator_flops,
)

SCHEMA = "1.1"
ACCUMULATE_GRADIENT = "torch::autograd::AccumulateGrad"
OPTIMIZER_STEP = "Optimizer.step#"


@dataclass(frozen=True)
class Node:
    """A call that the observer saw, of an operator or of something around operators."""

    id: int
    name: str
    parent: int
    record: int
    """Number of the call's record function: the same in a Kineto trace of the same run. -1 = none."""
    schema: str
    """Empty for what is not an operator."""
    inputs: tuple[TensorUse, ...]
    outputs: tuple[TensorUse, ...]

    @property
    def is_operation(self) -> bool:
        """Whether its work is its own, not that of the operators that it calls."""
        return bool(self.schema) and base_name(self.name) not in COMPOSITE

    @property
    def touches_memory(self) -> bool:
        """Whether it does more than look at its arguments' storages in another way, or make one."""
        known = {use.storage for use in self.inputs}
        changes = any(use.written for use in self.inputs) or any(use.storage not in known for use in self.outputs)
        reads_only = bool(self.inputs) and not self.outputs
        return (changes or reads_only) and base_name(self.name) not in CREATES | VIEWS

    def shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Shapes of the arguments and of the results."""
        return [use.shape for use in self.inputs], [use.shape for use in self.outputs]

    def flops(self) -> float:
        """From the shapes."""
        return operator_flops(self.name, *self.shapes())

    @property
    def reads_written(self) -> bool:
        """Whether it reads the arguments that it writes."""
        return base_name(self.name) not in OVERWRITES and "out=" not in self.schema and ".out(" not in self.schema


def read_execution_trace(path: str | Path) -> Trace:
    """The trace in a JSON file, plain or gzip. Raises TraceError with the node that is wrong."""
    return trace_of_nodes(read_json(path), str(path))


def trace_of_nodes(content: Any, file: str) -> Trace:
    """The trace of an execution trace that was read from `file`. Raises TraceError with the node that is wrong."""
    trace = joined(list(_events(read_nodes(content, file))))
    if len(trace.ops) == 0:
        raise TraceError(Problem("holds no operator", file))
    problems = trace.problems()
    if problems:
        raise TraceError([Problem(problem, file) for problem in problems])
    return trace


def read_nodes(content: Any, file: str) -> list[Node]:
    """The calls of an execution trace by rising number. Raises TraceError with the node that is wrong."""
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list) or "schema" not in content:
        raise TraceError(Problem("is not an execution trace: schema or nodes are missing", file))
    if not str(content["schema"]).startswith(SCHEMA):
        reason = f"has schema {content['schema']!r}; {SCHEMA} is read, which has storages and strides"
        raise TraceError(Problem(reason, file))
    nodes = []
    for place, node in enumerate(content["nodes"]):
        try:
            nodes.append(_node(node))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            ident = node.get("id", "?") if isinstance(node, dict) else "?"
            reason = f"cannot be understood: {type(error).__name__}: {error}"
            raise TraceError(Problem(reason, file, path=f"nodes.{place} (id {ident})")) from error
    return sorted(nodes, key=lambda node: node.id)


def _node(node: dict[str, Any]) -> Node:
    attributes = {part["name"]: part.get("value") for part in node.get("attrs", [])}
    schema = str(attributes.get("op_schema") or "")
    written = _written_arguments(schema) if schema else []
    return Node(
        int(node["id"]),
        str(node["name"]),
        int(node["ctrl_deps"]),
        int(attributes.get("rf_id") or -1),
        schema,
        tuple(_tensors(node["inputs"], written)),
        tuple(_tensors(node["outputs"], [])),
    )


def _events(nodes: list[Node]) -> Iterator[Event]:
    """Operations that no other operation called, in order of their numbers."""
    by_id = {node.id: node for node in nodes}
    inside: dict[int, tuple[bool, bool]] = {}
    """Of each call: whether it is an operation or in one, and whether it is in an optimizer's step."""

    def place(ident: int) -> tuple[bool, bool]:
        chain = []
        while ident in by_id and ident not in inside:
            chain.append(ident)
            inside[ident] = (False, False)  # ends a circle
            ident = by_id[ident].parent
        found = inside.get(ident, (False, False))
        for member in reversed(chain):
            node = by_id[member]
            found = (found[0] or node.is_operation, found[1] or node.name.startswith(OPTIMIZER_STEP))
            inside[member] = found
        return found

    for node in nodes:
        in_operation, in_optimizer = place(node.parent)
        if node.name == ACCUMULATE_GRADIENT:
            yield Gradients(tuple(use.storage for use in node.inputs))
        elif node.is_operation and not in_operation and node.touches_memory:
            yield Operation(
                node.name, node.inputs, node.outputs, flops=node.flops(),
                reads_written=node.reads_written, in_optimizer=in_optimizer,
            )  # fmt: skip


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
    if not all(isinstance(number, int) for number in (storage, offset, item_bytes, *shape, *strides)):
        raise ValueError(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
    return TensorUse(storage, offset, item_bytes, tuple(shape), tuple(strides), written)
