"""Chakra traces: ours come back whole, foreign ones keep sizes and order, damaged ones are refused."""

import gzip
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import TraceError
from tiergarten.sim.trace import Trace
from tiergarten.workloads.exchange.chakra import Node, NodeType, _node, read_chakra, write_chakra
from tiergarten.workloads.exchange.protobuf_wire import (
    bytes_field,
    double_field,
    fields,
    messages,
    number_field,
    packed_field,
    read_varint,
    varint,
)
from tiergarten.workloads.kernel import KERNELS, record
from tiergarten.workloads.traffic import traffic


def same(one: Trace, two: Trace) -> bool:
    columns = [
        ("objects", ["num_bytes", "roles"]),
        ("ops", ["streams", "flops", "dependency_offsets", "dependencies"]),
        ("accesses", ["ops", "objects", "offsets", "num_bytes", "is_write"]),
    ]
    equal = all(
        np.array_equal(getattr(getattr(one, t), c), getattr(getattr(two, t), c)) for t, names in columns for c in names
    )
    lives = np.array_equal(one.birth_ops, two.birth_ops) and np.array_equal(one.death_ops, two.death_ops)
    return equal and lives and one.objects.names == two.objects.names and one.ops.names == two.ops.names


@settings(deadline=None)
@given(st.integers(-(2**63), 2**64 - 1))
def test_varints_come_back(number):
    encoded = varint(number)
    assert read_varint(encoded, 0) == (number % 2**64, len(encoded))


def test_fields_of_a_message_by_hand():
    """From the encoding's own documentation: field 1 = 150 is 08 96 01, field 2 = "testing" is 12 07 and the text."""
    assert number_field(1, 150) == bytes.fromhex("089601")
    assert bytes_field(2, "testing") == bytes.fromhex("120774657374696e67")
    assert packed_field(6, [3, 270, 86942]) == bytes.fromhex("3206038e029ea705")
    message = number_field(1, -2) + double_field(3, 1.5) + bytes_field(2, "ü")
    one, two, three = fields(message)
    assert (one.signed(), two.double(), three.text()) == (-2, 1.5, "ü")


@pytest.mark.parametrize(
    "name", ["memo_swap", "paged_swap", "byte_scale", "dfloat11", "vattention_decode", "agent_session"]
)
@pytest.mark.parametrize("suffix", ["et", "et.gz"])
def test_traces_of_ours_come_back_whole(tmp_path, name, suffix):
    _, trace = record(KERNELS.get(name).examples()[0])
    write_chakra(trace, tmp_path / f"x.{suffix}")
    assert same(read_chakra(tmp_path / f"x.{suffix}"), trace)


def foreign_file(tmp_path, *nodes: Node):
    parts = [bytes_field(1, "0.0.4"), *map(_node, nodes)]
    path = tmp_path / "foreign.et"
    path.write_bytes(b"".join(varint(len(part)) + part for part in parts))
    return path


def test_foreign_trace_keeps_memory_nodes_and_dependencies(tmp_path):
    path = foreign_file(
        tmp_path,
        Node(7, "add", NodeType.COMP, [3, 9], {"num_ops": 1000}),
        Node(3, "weights", NodeType.MEM_LOAD, [], {"tensor_size": 4096}),
        Node(9, "reduce", 7, [3], {"comm_size": 64}),
        Node(1, "result", NodeType.MEM_STORE, [7], {"tensor_size": 512}),
    )
    trace = read_chakra(path)
    assert trace.ops.names == ("weights", "reduce", "add", "result")
    assert trace.ops.flops.tolist() == [0, 0, 1000, 0]
    assert [trace.ops.waits_for(op).tolist() for op in range(4)] == [[], [0], [0, 1], [2]]
    moved = traffic(trace)
    assert (moved["memory of node 3"].read_bytes, moved["memory of node 1"].written_bytes) == (4096, 512)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([Node(1, waits_for=[2]), Node(2, waits_for=[1])], "in a circle"),
        ([Node(1, waits_for=[5])], "node 5 is waited for but is not there"),
        ([Node(1), Node(1)], "a node id occurs twice"),
        ([], "holds no node"),
    ],
)
def test_impossible_graphs_are_refused(tmp_path, nodes, said):
    with pytest.raises(TraceError, match=said):
        read_chakra(foreign_file(tmp_path, *nodes))


def test_truncated_files_are_refused_with_their_place(tmp_path):
    _, trace = record(KERNELS.get("paged_decode").examples()[0])
    path = tmp_path / "x.et"
    write_chakra(trace, path)
    content = path.read_bytes()
    refused = 0
    for length in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:length])
        with pytest.raises(TraceError, match=r"x\.et"):
            read_chakra(path)
        refused += 1
    assert refused > 20
    last = max(begin for begin, _ in messages(content))
    path.write_bytes(content[:last])  # between two messages
    with pytest.raises(TraceError, match="not as many as were written"):
        read_chakra(path)
    path.write_bytes(content[:-3])
    with pytest.raises(TraceError, match=r"message at byte \d+: .* claims \d+ bytes, \d+ are left"):
        read_chakra(path)
    path.write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(TraceError, match="damaged or cut short"):
        read_chakra(path)


def test_flipped_bytes_give_a_trace_or_a_refusal_never_a_traceback(tmp_path):
    _, trace = record(KERNELS.get("flash_prefill").examples()[2])
    path = tmp_path / "x.et"
    write_chakra(trace, path)
    content, rng = path.read_bytes(), random.Random(3)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            assert read_chakra(path).problems() == []
        except TraceError:
            pass
