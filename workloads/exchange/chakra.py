"""Chakra execution traces (mlcommons/chakra, schema/protobuf/et_def.proto), with their memory nodes.

Written: each operation is a COMP node, each access a MEM_LOAD or MEM_STORE node; loads come before the computation that
waits for them, stores after it. Attributes `num_ops`, `tensor_size` and `is_cpu_op` are those that ASTRA-sim reads; the
others (`tensor`, `offset`, `order`, `stream`, `op`, and the objects in the metadata) bring a trace of ours back whole.
Read: traces of ours exactly; any other trace with a node as an operation, and every memory node as an access to an object
of its own. Sizes and dependencies are kept, durations are not: how long things take is the simulator's business.
"""

import gzip
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import Accesses, Objects, Ops, Role, Trace
from tiergarten.sim.trace_io import write_atomically
from tiergarten.workloads.exchange.protobuf_wire import (
    Field,
    bytes_field,
    double_field,
    fields,
    messages,
    number_field,
    packed_field,
    varint,
)
from tiergarten.workloads.recorders.builder import TraceBuilder

SCHEMA_VERSION: Final = "0.0.4"
OURS: Final = "tiergarten.objects"
"""Attribute that marks a file of ours: the names of its objects."""
_SINGLE: Final = {"double": 3, "int64": 9, "uint64": 13, "bool": 27, "string": 29}
_LISTS: Final = {"int64": 10, "string": 30}


class NodeType(IntEnum):
    """Kinds of node that are told apart here."""

    MEM_LOAD = 2
    MEM_STORE = 3
    COMP = 4


@dataclass
class Node:
    """A node of an execution trace."""

    id: int = 0
    name: str = ""
    type: int = 0
    waits_for: list[int] = field(default_factory=list)
    """Control and data dependencies."""
    attributes: dict[str, Any] = field(default_factory=dict)


def write_chakra(trace: Trace, path: str | Path) -> None:
    """Write a trace; gzip if the name ends in .gz. Raises TraceError for a bad trace or an unwritable file."""
    problems = trace.problems()
    if problems:
        raise TraceError([Problem(problem, str(path)) for problem in problems])
    parts = [_metadata(trace), *(_node(node) for node in _nodes(trace))]
    content = b"".join(varint(len(part)) + part for part in parts)
    write_atomically(path, gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


def read_chakra(path: str | Path) -> Trace:
    """The trace in a file, plain or gzip. Raises TraceError with the place of what is wrong."""
    file = str(path)
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(Problem("the gzip data is damaged or cut short", file)) from error
    except OSError as error:
        raise TraceError(Problem(f"cannot be read: {error.strerror or error}", file)) from error
    metadata, nodes = _parse(data, file)
    try:
        trace = _ours(metadata, nodes) if OURS in metadata else _foreign(nodes)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise TraceError(Problem(f"is not a usable Chakra trace: {type(error).__name__}: {error}", file)) from error
    problems = trace.problems()
    if problems:
        raise TraceError([Problem(problem, file) for problem in problems])
    return trace


def _metadata(trace: Trace) -> bytes:
    objects = trace.objects
    columns: dict[str, list[Any]] = {
        OURS: list(objects.names),
        "tiergarten.num_bytes": objects.num_bytes.tolist(),
        "tiergarten.roles": objects.roles.tolist(),
        "tiergarten.births": trace.birth_ops.tolist(),
        "tiergarten.deaths": trace.death_ops.tolist(),
        "tiergarten.counts": [len(trace.ops), len(trace.accesses)],
    }
    listed = [_attribute_list(name, values) for name, values in columns.items()]
    return bytes_field(1, SCHEMA_VERSION) + b"".join(bytes_field(2, part) for part in listed)


def _nodes(trace: Trace) -> Iterable[Node]:
    """Loads, computation and stores of every operation; node numbers in order."""
    ops, accesses = trace.ops, trace.accesses
    starts = np.searchsorted(accesses.ops, np.arange(len(ops) + 1)).tolist()
    columns = [c.tolist() for c in (accesses.objects, accesses.offsets, accesses.num_bytes, accesses.is_write)]
    number = 0
    ends: list[list[int]] = []
    for op, name in enumerate(ops.names):
        waits = [node for other in ops.waits_for(op).tolist() for node in ends[other]]
        mine = [(row, *(column[row] for column in columns)) for row in range(starts[op], starts[op + 1])]
        loads = []
        for row, ident, offset, size, is_write in mine:
            if not is_write:
                yield _memory_node(
                    number, trace, (op, row - starts[op]), (ident, offset, size), waits, NodeType.MEM_LOAD
                )
                loads.append(number)
                number += 1
        flops = float(ops.flops[op])
        attributes: dict[str, Any] = {
            "num_ops": int(flops),
            "is_cpu_op": False,
            "stream": int(ops.streams[op]),
            "op": op,
        }
        if not flops.is_integer():
            attributes["flops"] = flops
        attributes["tiergarten.waits_for"] = ops.waits_for(op).tolist()
        yield Node(number, name, NodeType.COMP, loads or waits, attributes)
        compute, stores = number, []
        number += 1
        for row, ident, offset, size, is_write in mine:
            if is_write:
                place = (op, row - starts[op])
                yield _memory_node(number, trace, place, (ident, offset, size), [compute], NodeType.MEM_STORE)
                stores.append(number)
                number += 1
        ends.append(stores or [compute])


def _memory_node(
    number: int, trace: Trace, place: tuple[int, int], access: tuple[int, int, int], waits: list[int], kind: NodeType
) -> Node:
    (op, order), (ident, offset, size) = place, access
    name = trace.objects.names[ident]
    attributes = {"tensor_size": size, "is_cpu_op": False, "tensor": ident, "offset": offset, "op": op, "order": order}
    verb = "load" if kind == NodeType.MEM_LOAD else "store"
    return Node(number, f"{verb} {name}", kind, waits, attributes)


def _node(node: Node) -> bytes:
    out = number_field(1, node.id) + bytes_field(2, node.name) + number_field(3, node.type)
    out += packed_field(5, node.waits_for)
    for name, value in node.attributes.items():
        part = _attribute_list(name, value) if isinstance(value, list) else _attribute(name, value)
        out += bytes_field(10, part)
    return out


def _attribute(name: str, value: bool | int | float) -> bytes:
    head = bytes_field(1, name)
    if isinstance(value, bool):
        return head + number_field(_SINGLE["bool"], int(value))
    if isinstance(value, float):
        return head + double_field(_SINGLE["double"], value)
    kind = "uint64" if name == "tensor_size" else "int64"
    return head + number_field(_SINGLE[kind], value)


def _attribute_list(name: str, values: Sequence[Any]) -> bytes:
    if name == OURS:
        inner = b"".join(bytes_field(1, value) for value in values)
        return bytes_field(1, name) + bytes_field(_LISTS["string"], inner)
    return bytes_field(1, name) + bytes_field(_LISTS["int64"], packed_field(1, [int(value) for value in values]))


def _parse(data: bytes, file: str) -> tuple[dict[str, Any], list[Node]]:
    metadata: dict[str, Any] = {}
    nodes: list[Node] = []
    begin = 0
    try:
        for number, (first, message) in enumerate(messages(data)):
            begin = first
            if number == 0:
                metadata = _attributes(part for part in fields(message) if part.number == 2)
            else:
                nodes.append(_parse_node(message))
    except (ValueError, UnicodeDecodeError) as error:
        raise TraceError(
            Problem(f"is no Chakra trace, or a damaged one: message at byte {begin}: {error}", file)
        ) from error
    if not nodes:
        raise TraceError(Problem("holds no node", file))
    return metadata, nodes


def _parse_node(message: bytes) -> Node:
    node = Node()
    attributes = []
    for part in fields(message):
        if part.number == 1:
            node.id = part.unsigned()
        elif part.number == 2:
            node.name = part.text()
        elif part.number == 3:
            node.type = part.unsigned()
        elif part.number in (4, 5):
            node.waits_for += part.varints()
        elif part.number == 10:
            attributes.append(part)
    node.attributes = _attributes(attributes)
    return node


def _attributes(parts: Iterable[Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        inner = list(fields(part.data()))
        name = next((item.text() for item in inner if item.number == 1), "")
        for item in inner:
            if item.number > 2:
                found[name] = _value(item)
    return found


def _value(item: Field) -> Any:
    """The value of an attribute; kinds that no trace here uses are None."""
    if item.number in (7, 9):
        return item.signed()
    if item.number in (11, 13):
        return item.unsigned()
    if item.number == _SINGLE["bool"]:
        return bool(item.unsigned())
    if item.number == _SINGLE["double"]:
        return item.double()
    if item.number == _SINGLE["string"]:
        return item.text()
    if item.number == _LISTS["string"]:
        return [part.text() for part in fields(item.data())]
    if item.number == _LISTS["int64"]:
        numbers = [number for part in fields(item.data()) for number in part.varints()]
        return [number - (1 << 64) if number >> 63 else number for number in numbers]
    return None


def _ours(metadata: dict[str, Any], nodes: list[Node]) -> Trace:
    computations = [node for node in nodes if node.type == NodeType.COMP]
    memory = [node for node in nodes if node.type in (NodeType.MEM_LOAD, NodeType.MEM_STORE)]
    if [len(computations), len(memory)] != metadata.get("tiergarten.counts"):
        raise ValueError(
            f"holds {len(computations)} operations and {len(memory)} accesses, not as many as were written"
        )
    memory.sort(key=lambda node: (node.attributes["op"], node.attributes["order"]))
    computations.sort(key=lambda node: int(node.attributes["op"]))
    waits = [node.attributes.get("tiergarten.waits_for") or [] for node in computations]

    def column(key: str) -> Any:
        return np.array([node.attributes[key] for node in memory], np.int64)

    return Trace(
        Objects(
            tuple(metadata[OURS]),
            np.array(metadata.get("tiergarten.num_bytes") or [], np.int64),
            np.array(metadata.get("tiergarten.roles") or [], np.int8),
        ),
        Ops(
            tuple(node.name for node in computations),
            np.array([node.attributes["stream"] for node in computations], np.int32),
            np.array([node.attributes.get("flops", node.attributes["num_ops"]) for node in computations], np.float64),
            np.concatenate([[0], np.cumsum([len(row) for row in waits])]).astype(np.int64),
            np.array([op for row in waits for op in row], np.int64),
        ),
        Accesses(
            column("op"),
            column("tensor"),
            column("offset"),
            column("tensor_size"),
            np.array([node.type == NodeType.MEM_STORE for node in memory], np.bool_),
        ),
        np.array(metadata.get("tiergarten.births") or [], np.int64),
        np.array(metadata.get("tiergarten.deaths") or [], np.int64),
    )


def _foreign(nodes: list[Node]) -> Trace:
    """Each node an operation, in an order that its dependencies allow."""
    builder = TraceBuilder()
    places: dict[int, int] = {}
    objects: dict[str, int] = {}
    for node in _in_order(nodes):
        flops = float(node.attributes.get("num_ops") or 0)
        stream = int(node.attributes.get("stream") or 0)
        after = [places[other] for other in node.waits_for]
        places[node.id] = builder.begin_op(node.name or f"node {node.id}", flops, stream, after)
        size = int(node.attributes.get("tensor_size") or 0)
        if node.type in (NodeType.MEM_LOAD, NodeType.MEM_STORE) and size > 0:
            name = f"memory of node {node.id}"
            objects[name] = builder.add_object(name, size, Role.OTHER, from_start=True)
            builder.touch(objects[name], node.type == NodeType.MEM_STORE, np.zeros(1, np.int64), size)
        builder.end_op()
    return builder.trace()


def _in_order(nodes: list[Node]) -> list[Node]:
    """Nodes after everything that they wait for, else in file order. ValueError for unknown ids and circles."""
    by_id = {node.id: node for node in nodes}
    if len(by_id) != len(nodes):
        raise ValueError("a node id occurs twice")
    unknown = sorted({other for node in nodes for other in node.waits_for if other not in by_id})
    if unknown:
        raise ValueError(f"node {unknown[0]} is waited for but is not there")
    waiting = {node.id: len(set(node.waits_for)) for node in nodes}
    waiters: dict[int, list[int]] = {}
    for node in nodes:
        for other in set(node.waits_for):
            waiters.setdefault(other, []).append(node.id)
    ready = [node.id for node in nodes if waiting[node.id] == 0]
    order = []
    for ident in ready:
        order.append(by_id[ident])
        for waiter in waiters.get(ident, []):
            waiting[waiter] -= 1
            if waiting[waiter] == 0:
                ready.append(waiter)
    if len(order) != len(nodes):
        raise ValueError("nodes wait for each other in a circle")
    return order
