"""PyTorch's own execution traces: the same program gives the bytes that our recorder sees."""

import json

import numpy as np
import pytest

from tiergarten.sim.errors import TraceError
from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.exchange.execution_trace import _written_arguments, read_execution_trace
from tiergarten.workloads.traffic import traffic


def node(ident, name, schema, inputs=(), outputs=(), parent=1):
    def side(uses):
        return {
            "values": [[ident, storage, offset, 0, 4, "cpu"] for storage, offset, _, _ in uses],
            "shapes": [list(shape) for _, _, shape, _ in uses],
            "types": ["Tensor(float)"] * len(uses),
            "strides": [list(strides) for _, _, _, strides in uses],
        }

    return {"id": ident, "name": name, "ctrl_deps": parent, "inputs": side(inputs), "outputs": side(outputs),
            "attrs": [{"name": "op_schema", "type": "string", "value": schema}]}  # fmt: skip


ADD = "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"
X, Y, COLUMN = (7, 0, (4, 4), (4, 1)), (9, 0, (4, 4), (4, 1)), (7, 2, (4,), (4,))


def write(tmp_path, nodes, **changes):
    path = tmp_path / "et.json"
    path.write_text(json.dumps({"schema": "1.1.1-chakra.0.0.4", "nodes": nodes} | changes))
    return path


def test_calls_by_hand(tmp_path):
    nodes = [
        node(1, "[pytorch|profiler|execution_trace|thread]", ""),
        node(6, "aten::add_", "aten::add_.Tensor(Tensor(a!) self, Tensor other) -> Tensor(a!)", [Y, X], [Y]),
        node(3, "aten::add", ADD, [X, X], [Y]),
        node(4, "aten::inner", ADD, [X], [(99, 0, (1,), (1,))], parent=3),
        node(5, "aten::select", "aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)", [X], [COLUMN]),
        node(8, "aten::exp", "aten::exp(Tensor self) -> Tensor", [COLUMN], [(11, 0, (4,), (1,))]),
    ]
    trace = read_execution_trace(write(tmp_path, nodes))
    assert trace.ops.names == ("aten::add", "aten::add_", "aten::exp")
    assert traffic(trace) == {
        "storage 7": (64 + 64 + 64 + 16, 0), "storage 9": (64, 64 + 64), "storage 11": (0, 16),
    }  # fmt: skip
    assert trace.birth_ops.tolist() == [-1, 0, 2]  # 9 is made by the first call
    assert [Role(r).name for r in trace.objects.roles] == ["INPUT", "ACTIVATION", "ACTIVATION"]
    column = trace.accesses.offsets[(trace.accesses.ops == 2) & ~trace.accesses.is_write]
    assert column.tolist() == [8, 24, 40, 56]


def test_schema_says_what_is_written():
    assert _written_arguments("aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)") == [
        True, False, False,
    ]  # fmt: skip
    assert _written_arguments("aten::cat.out(Tensor[] tensors, int dim=0, *, Tensor(a!) out) -> Tensor(a!)")[-1]
    assert _written_arguments("aten::rand(SymInt[] size, *, int[2] x=[1, 1]) -> Tensor") == [False, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not an execution trace"),
        (json.dumps({"schema": "x", "nodes": []}), "holds no operator"),
        (json.dumps({"schema": "x", "nodes": [5]}), "nodes.0: is no node"),
        (
            json.dumps({"schema": "x", "nodes": [node(3, "a", ADD, [(7, -1, (4,), (1,))])]}),
            "node 3: cannot be understood",
        ),
        (
            json.dumps({"schema": "x", "nodes": [node(3, "a", ADD, [(7, 0, (4, 4), (1,))])]}),
            "node 3: cannot be understood",
        ),
    ],
)
def test_foreign_and_damaged_files_are_refused(tmp_path, content, said):
    (tmp_path / "et.json").write_text(content)
    with pytest.raises(TraceError, match=said):
        read_execution_trace(tmp_path / "et.json")
    with pytest.raises(TraceError, match="cannot be read"):
        read_execution_trace(tmp_path / "gone.json")


def test_observer_and_recorder_see_the_same_bytes(tmp_path):
    torch = pytest.importorskip("torch", reason="the observer is PyTorch's")
    from tiergarten.workloads.recorders.torch import TorchRecorder

    x, w = torch.randn(16, 8), torch.randn(8, 8)

    def program():
        hidden = torch.mm(x, w)
        hidden.clamp_min_(0)
        return torch.mm(hidden.t(), hidden).sum(), hidden[:, 2].exp()

    observer = torch.profiler.ExecutionTraceObserver()
    observer.register_callback(str(tmp_path / "et.json"))
    observer.start()
    program()
    observer.stop()
    observer.unregister_callback()
    with TorchRecorder() as recorder:
        kept = program()
    assert kept

    def bytes_of(trace: Trace) -> list[tuple[int, int]]:
        a = trace.accesses
        return [
            tuple(int(a.num_bytes[(a.ops == op) & (a.is_write == w)].sum()) for w in (False, True))
            for op in range(len(trace.ops))
        ]

    assert bytes_of(read_execution_trace(tmp_path / "et.json")) == bytes_of(recorder.trace())
    assert np.array(bytes_of(recorder.trace())).sum() > 0
