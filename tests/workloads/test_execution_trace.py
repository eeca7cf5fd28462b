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


def test_storage_ends_when_its_number_is_given_again(tmp_path):
    """9 is a result twice, of other sizes: two objects, the second at least as large as what is read of it."""
    small = (9, 0, (2,), (1,))
    nodes = [
        node(3, "aten::add", ADD, [X, X], [Y]),
        node(4, "aten::exp", "aten::exp(Tensor self) -> Tensor", [Y], [(11, 0, (4, 4), (4, 1))]),
        node(5, "aten::sum", "aten::sum(Tensor self) -> Tensor", [X], [small]),
        node(6, "aten::exp", "aten::exp(Tensor self) -> Tensor", [small], [(12, 0, (2,), (1,))]),
    ]
    trace = read_execution_trace(write(tmp_path, nodes))
    lives = dict(zip(trace.objects.names, zip(trace.birth_ops, trace.death_ops, strict=True), strict=True))
    assert lives["storage 9"] == (0, 1)
    assert lives["storage 9/2"] == (2, 4)
    sizes = dict(zip(trace.objects.names, trace.objects.num_bytes, strict=True))
    assert (sizes["storage 9"], sizes["storage 9/2"]) == (64, 8)
    assert trace.ops.waits_for(3).tolist() == [2]


def test_composite_operators_stand_for_what_they_call(tmp_path):
    nodes = [
        node(3, "aten::linear", ADD, [X, X], [Y]),
        node(4, "aten::mm", ADD, [X, X], [Y], parent=3),
        node(5, "aten::copy_", "aten::copy_(Tensor(a!) self, Tensor src) -> Tensor(a!)", [Y, X], [Y], parent=4),
        node(6, "aten::copy_", "aten::copy_(Tensor(a!) self, Tensor src) -> Tensor(a!)", [Y, X], [Y]),
    ]
    trace = read_execution_trace(write(tmp_path, nodes))
    assert trace.ops.names == ("aten::mm", "aten::copy_")
    assert trace.ops.flops.tolist() == [2 * 4 * 4 * 4, 0]
    assert traffic(trace)["storage 9"] == (0, 128)  # a copy does not read what it overwrites


def test_roles_follow_from_gradients_and_the_optimizer(tmp_path):
    weight, gradient, state, out = ((i, 0, (4,), (1,)) for i in (21, 22, 23, 24))
    in_place = "aten::add_.Tensor(Tensor(a!) self, Tensor other) -> Tensor(a!)"
    nodes = [
        node(3, "aten::mul", ADD, [weight, X], [out]),
        node(4, "aten::mul", ADD, [out, X], [gradient]),
        node(5, "torch::autograd::AccumulateGrad", "", [gradient]),
        node(6, "Optimizer.step#SGD.step", ""),
        node(7, "aten::add_", in_place, [state, gradient], [state], parent=6),
        node(8, "aten::add_", in_place, [weight, state], [weight], parent=6),
    ]
    trace = read_execution_trace(write(tmp_path, nodes))
    roles = {name: Role(role).name for name, role in zip(trace.objects.names, trace.objects.roles, strict=True)}
    assert roles == {
        "storage 21": "WEIGHT", "storage 7": "INPUT", "storage 24": "ACTIVATION", "storage 22": "GRADIENT",
        "storage 23": "OPTIMIZER",
    }  # fmt: skip


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
        (json.dumps({"schema": "1.1", "nodes": []}), "holds no operator"),
        (json.dumps({"schema": "1.1", "nodes": [5]}), r"nodes.0 \(id \?\): cannot be understood"),
        (
            json.dumps({"schema": "1.1", "nodes": [node(3, "a", ADD, [(7, -1, (4,), (1,))])]}),
            r"nodes.0 \(id 3\): cannot be understood",
        ),
        (
            json.dumps({"schema": "1.1", "nodes": [node(3, "a", ADD, [(7, 0, (4, 4), (1,))])]}),
            r"nodes.0 \(id 3\): cannot be understood",
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
