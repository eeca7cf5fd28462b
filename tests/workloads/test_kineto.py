"""Profiles of torch.profiler: a recorded one against our own recorder, device work by hand, broken files refused.

`profiles/` holds what `profiled` wrote with PyTorch 2 on a CPU: one training step of a small model.
"""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from tiergarten.sim.errors import TraceError
from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.exchange.kineto import read_kineto
from tiergarten.workloads.exchange.program_files import read_program
from tiergarten.workloads.exchange.torch_operators import COMPOSITE, VIEWS, operator_flops
from tiergarten.workloads.recorders.strided import num_runs, strided_runs
from tiergarten.workloads.traffic import traffic

PROFILES = Path(__file__).parent / "profiles"
KINETO, OBSERVER = PROFILES / "kineto.json.gz", PROFILES / "observer.json.gz"


def program():
    torch = pytest.importorskip("torch", reason="the program under the profiler is PyTorch's")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False), torch.ones(3, 8)


def training_step(model, optimizer, inputs):
    loss = model(inputs).sum()
    loss.backward()
    optimizer.step()
    return loss


def profiled(folder: Path) -> None:
    """Write kineto.json and observer.json of a training step."""
    import torch

    parts = program()
    observer = torch.profiler.ExecutionTraceObserver().register_callback(str(folder / "observer.json"))
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        record_shapes=True,
        profile_memory=True,
        execution_trace_observer=observer,
    ) as profiler:
        training_step(*parts)
    profiler.export_chrome_trace(str(folder / "kineto.json"))


def per_operation(trace: Trace) -> list[tuple[str, float, int, int]]:
    """(name, FLOPs, bytes read, bytes written) of each."""
    a = trace.accesses
    names = [name.split("#")[0].replace("aten.", "aten::") for name in trace.ops.names]
    moved = [[int(a.num_bytes[(a.ops == op) & (a.is_write == w)].sum()) for w in (False, True)]
             for op in range(len(names))]  # fmt: skip
    return [(name, float(trace.ops.flops[op]), *moved[op]) for op, name in enumerate(names)]


def role_bytes(trace: Trace) -> dict[str, int]:
    sizes = {role.name: int(trace.objects.num_bytes[trace.objects.roles == role].sum()) for role in Role}
    return {name: size for name, size in sizes.items() if size}


def peak_bytes(trace: Trace) -> int:
    changes = np.zeros(len(trace.ops) + 3, np.int64)
    np.add.at(changes, trace.birth_ops + 1, trace.objects.num_bytes)
    np.add.at(changes, trace.death_ops + 2, -trace.objects.num_bytes)
    return int(changes.cumsum().max())


# --- a recorded program ------------------------------------------------------------------------------------------------


def test_recorded_profile_with_observer_has_the_bytes_and_lives_of_the_program():
    trace = read_kineto(KINETO, OBSERVER)
    parameters = 4 * (8 * 16 + 16 + 16 * 4 + 4)
    assert role_bytes(trace) == {
        "WEIGHT": parameters, "GRADIENT": parameters, "OPTIMIZER": parameters, "INPUT": 3 * 8 * 4,
        "ACTIVATION": role_bytes(trace)["ACTIVATION"],
    }  # fmt: skip
    assert per_operation(trace)[:3] == [
        ("aten::addmm", 2 * 3 * 8 * 16, 64 + 96 + 512, 192),
        ("aten::relu", 48, 192, 192),
        ("aten::addmm", 2 * 3 * 16 * 4, 16 + 192 + 256, 48),
    ]
    hidden = int(np.flatnonzero(trace.objects.num_bytes == 192)[0])  # freed once relu has run
    assert (trace.birth_ops[hidden], trace.death_ops[hidden]) == (0, 1)
    assert trace.ops.waits_for(1).tolist() == [0]
    assert trace.death_ops.min() >= 1


def test_profile_agrees_with_the_recorder(tmp_path):
    """Every operator, its FLOPs and its bytes in order; sizes by role; the most that is alive at once."""
    pytest.importorskip("torch", reason="records the same program")
    from tiergarten.workloads.recorders.torch import TorchRecorder

    profiled(tmp_path)
    model, optimizer, inputs = program()
    with TorchRecorder(model, optimizer) as recorder:
        kept = training_step(model, optimizer, inputs)
    ours = recorder.trace()
    assert kept.numel() == 1
    for theirs in (
        read_kineto(KINETO, OBSERVER),
        read_kineto(tmp_path / "kineto.json", tmp_path / "observer.json"),
    ):
        assert per_operation(theirs) == per_operation(ours)
        roles = role_bytes(theirs)
        scratch = roles["ACTIVATION"] - role_bytes(ours)["ACTIVATION"]
        assert roles == role_bytes(ours) | {"ACTIVATION": role_bytes(ours)["ACTIVATION"] + scratch}
        assert 0 <= scratch <= 96  # the copies that a product makes of an expanded argument, inside the operator
        assert peak_bytes(theirs) == peak_bytes(ours)


def test_profile_alone_has_the_same_operators_and_bytes():
    alone, observed = read_kineto(KINETO), read_kineto(KINETO, OBSERVER)
    assert [row[0] for row in per_operation(alone)] == [row[0] for row in per_operation(observed)]
    assert [row[2:] for row in per_operation(alone)] == [row[2:] for row in per_operation(observed)]
    made = [
        sorted(
            int(size)
            for name, size, birth in zip(t.objects.names, t.objects.num_bytes, t.birth_ops, strict=True)
            if birth >= 0 and not name.startswith("argument")
        )
        for t in (alone, observed)
    ]
    assert made[0] == made[1]


def test_observer_alone_has_the_same_operators():
    assert per_operation(read_program(OBSERVER)) == per_operation(read_kineto(KINETO, OBSERVER))


# --- device work by hand -----------------------------------------------------------------------------------------------


def host(name, start, duration, category="cpu_op", thread=1, **args):
    return {"ph": "X", "cat": category, "name": name, "pid": 10, "tid": thread, "ts": start, "dur": duration,
            "args": args}  # fmt: skip


def launch(start, correlation):
    return host("cudaLaunchKernel", start, 1, "cuda_runtime", correlation=correlation)


def device(name, start, correlation, stream, category="kernel", **args):
    return host(name, start, 5, category, thread=stream, device=0, stream=stream, correlation=correlation, **args)


def memory(start, num_bytes, address):
    args = {"Bytes": num_bytes, "Addr": address, "Device Type": 1, "Device Id": 0, "Total Allocated": 0}
    return {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 10, "tid": 1, "ts": start, "args": args}


def matrices(*shapes, kind="c10::BFloat16"):
    return {"Input Dims": list(shapes), "Input type": [kind] * len(shapes),
            "Input Strides": [[shape[1], 1] for shape in shapes]}  # fmt: skip


GPU = [
    host("[param|cuda]", 0, 100, "user_annotation"),
    host("aten::matmul", 1, 20, **matrices([64, 32], [32, 16])),
    host("aten::mm", 2, 18, **matrices([64, 32], [32, 16])),
    memory(3, 2048, 4096),
    launch(4, 101),
    device("ampere_bf16_gemm", 30, 101, 7),
    host("aten::t", 22, 2, **matrices([64, 16])),
    host("aten::add_", 25, 10, **matrices([64, 16], [64, 16])),
    launch(26, 102),
    device("vectorized_elementwise", 40, 102, 20),
    memory(50, -2048, 4096),
    launch(60, 103),
    device("Memcpy DtoH (Device -> Pinned)", 61, 103, 7, "gpu_memcpy", bytes=512),
    launch(70, 104),
    device("Memset (Device)", 71, 104, 7, "gpu_memset", bytes=256),
    {"ph": "s", "id": 101, "pid": 10, "tid": 1, "ts": 4, "cat": "ac2g", "name": "ac2g"},
    {"ph": "M", "name": "process_name", "pid": 10, "tid": 0, "ts": 0, "args": {"name": "python"}},
]


def write(tmp_path, events, name="profile.json", **fields):
    path = tmp_path / name
    content = json.dumps({"schemaVersion": 1, "traceEvents": events} | fields).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["profile.json", "profile.json.gz"])
def test_device_work_gives_streams_copies_and_memory(tmp_path, name):
    trace = read_kineto(write(tmp_path, GPU, name))
    assert per_operation(trace) == [
        ("aten::mm", 2 * 64 * 32 * 16, 2 * (64 * 32 + 32 * 16), 2048),
        ("aten::add_", 64 * 16, 2 * 2 * 64 * 16, 2 * 64 * 16),
        ("Memcpy DtoH (Device -> Pinned)", 0, 512, 512),
        ("Memset (Device)", 0, 0, 256),
    ]
    assert trace.ops.streams.tolist() == [0, 1, 0, 0]  # 7, 20, 7, 7 in order of appearance
    result = trace.objects.roles == Role.ACTIVATION
    assert (trace.objects.num_bytes[result].tolist(), trace.birth_ops[result].tolist()) == ([2048], [0])
    assert trace.death_ops[result].tolist() == [1]


def test_order_in_the_file_does_not_matter(tmp_path):
    shuffled = GPU.copy()
    random.Random(1).shuffle(shuffled)
    one, other = read_kineto(write(tmp_path, GPU)), read_kineto(write(tmp_path, shuffled, "other.json"))
    assert per_operation(one) == per_operation(other)
    assert np.array_equal(one.death_ops, other.death_ops)


def test_work_that_no_operator_launched_is_an_operation(tmp_path):
    events = [device("lone_kernel", 5, 1, 7), device("Memcpy HtoD", 9, 2, 9, "gpu_memcpy", bytes=64)]
    trace = read_kineto(write(tmp_path, events))
    assert per_operation(trace) == [("lone_kernel", 0, 0, 0), ("Memcpy HtoD", 0, 64, 64)]
    assert trace.ops.streams.tolist() == [0, 1]


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([5], r"traceEvents\.0: cannot be understood"),
        ([host("aten::mm", "soon", 1)], r"traceEvents\.0: cannot be understood: ValueError"),
        ([host("aten::mm", 1, -1)], r"traceEvents\.0: .*a duration of -1"),
        ([host("aten::mm", float("nan"), 1)], r"traceEvents\.0: .*a time of nan"),
        ([memory(1, 2**70, 1), *GPU], r"traceEvents\.0: .*a size of"),
        ([host("aten::mm", 1, 1, **matrices([-4, 4]))], r"traceEvents\.0: .*a tensor of shape \(-4, 4\)"),
        ([host("aten::mm", 1, 1, **{"Input Dims": 5, "Input type": 6})], r"traceEvents\.0: cannot be understood"),
        ([host("a", i, 10000 - 2 * i) for i in range(1000)], r"traceEvents\.200: lies 201 events deep"),
        ([{"ph": "X", "cat": "category", "name": "x"}], "is not of torch.profiler"),
        ([host("aten::mm", 1, 1)], "profile with record_shapes=True"),
        ([], "is not of torch.profiler"),
    ],
)
def test_broken_and_foreign_profiles_are_refused(tmp_path, events, said):
    with pytest.raises(TraceError, match=said):
        read_kineto(write(tmp_path, events))


def test_tensor_in_too_many_pieces_is_refused_before_memory_is_taken(tmp_path):
    uses = {"Input Dims": [[1 << 40]], "Input type": ["float"], "Input Strides": [[2]]}
    with pytest.raises(TraceError, match="in more than 16777216 pieces"):
        read_kineto(write(tmp_path, [host("aten::exp", 1, 1, **uses)]))


def test_cut_files_name_the_byte(tmp_path):
    content = gzip.decompress(KINETO.read_bytes())
    for end in (0, 1, 100, len(content) // 2, len(content) - 2):
        (tmp_path / "cut.json").write_bytes(content[:end])
        with pytest.raises(TraceError, match=rf"is not JSON from byte \d+ of {end}"):
            read_program(tmp_path / "cut.json")
    (tmp_path / "cut.json.gz").write_bytes(KINETO.read_bytes()[:1000])
    with pytest.raises(TraceError, match=r"cut short \(1000 bytes are there\)"):
        read_program(tmp_path / "cut.json.gz")


def test_files_of_two_runs_are_not_joined(tmp_path):
    with pytest.raises(TraceError, match="record function 1 is aten::mm here and aten::linear in .*not the same run"):
        read_kineto(write(tmp_path, [host("aten::mm", 1, 1, **{"Record function id": 1})]), OBSERVER)
    with pytest.raises(TraceError, match="shares no record function"):
        read_kineto(write(tmp_path, GPU), OBSERVER)
    with pytest.raises(TraceError, match="goes with torch.profiler's"):
        read_program(OBSERVER, OBSERVER)
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(TraceError, match="neither traceEvents"):
        read_program(tmp_path / "a.json")


def _places(content):
    """(holder, key) of every value, at any depth."""
    for key in content if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


@pytest.mark.parametrize("file", [KINETO, OBSERVER], ids=["profile", "observer"])
def test_spoiled_values_give_a_trace_or_a_refusal_never_a_traceback(tmp_path, file):
    """One value at a time is replaced by something of another kind or size."""
    content = json.loads(gzip.decompress(file.read_bytes()))
    chance, spoiled = random.Random(0), tmp_path / "x.json"
    wrong = [None, -1, "x", [], {}, 1e300, float("inf"), 2**70, [[2**50]], True]
    refused = 0
    for holder, key in chance.sample(list(_places(content)), 40):
        right, holder[key] = holder[key], chance.choice(wrong)
        spoiled.write_text(json.dumps(content))
        holder[key] = right
        for arguments in [(spoiled,), (spoiled, OBSERVER) if file is KINETO else (KINETO, spoiled)]:
            try:
                assert read_program(*arguments).problems() == []
            except TraceError:
                refused += 1
    assert 0 < refused < 80


# --- what is known of operators ----------------------------------------------------------------------------------------


def test_operator_lists_are_those_of_this_pytorch():
    torch = pytest.importorskip("torch", reason="asks PyTorch's dispatcher")
    for name in ("linear", "matmul", "reshape", "softmax", "cross_entropy_loss", "layer_norm", "to", "conv2d"):
        assert name in COMPOSITE
    for name in ("t", "view", "transpose", "as_strided", "expand", "detach"):
        assert name in VIEWS
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    found = {}
    for name in sorted(COMPOSITE):
        packet = getattr(torch.ops.aten, name, None)
        for overload in [] if packet is None else packet.overloads():
            schema = f"aten::{name}" + ("" if overload == "default" else f".{overload}")
            try:
                found[schema] = has(schema, "CompositeImplicitAutograd")
            except RuntimeError:  # an operator of TorchScript, which the dispatcher does not know
                continue
    assert len(found) > 400
    assert {schema for schema, is_composite in found.items() if not is_composite} <= {
        "aten::softmax.int_out", "aten::log_softmax.int_out", "aten::linear.out",
    }  # fmt: skip


def test_flops_are_those_of_pytorchs_counter():
    torch = pytest.importorskip("torch", reason="the formulas are compared with torch.utils.flop_counter")
    from torch.utils.flop_counter import flop_registry

    aten = torch.ops.aten
    a, b, c = torch.empty(3, 5), torch.empty(5, 7), torch.empty(7)
    x, y = torch.empty(2, 3, 5), torch.empty(2, 5, 7)
    image, weight = torch.empty(2, 4, 9, 9), torch.empty(6, 2, 3, 3)
    filtered = torch.nn.functional.conv2d(image, weight, groups=2)
    shape = [2, 2, 6, 8]
    for name, packet, arguments, out in (
        ("aten::mm", aten.mm, (a, b), torch.empty(3, 7)),
        ("aten::addmm", aten.addmm, (c, a, b), torch.empty(3, 7)),
        ("aten::bmm", aten.bmm, (x, y), torch.empty(2, 3, 7)),
        ("aten::convolution", aten.convolution,
         (image, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 2), filtered),
    ):  # fmt: skip
        shapes = [tuple(t.shape) for t in arguments if isinstance(t, torch.Tensor)]
        assert operator_flops(name, shapes, [tuple(out.shape)]) == flop_registry[packet](*arguments, out_val=out)
    counted = flop_registry[aten._scaled_dot_product_flash_attention](*[torch.empty(shape)] * 3, out_val=None)
    assert operator_flops("aten::_scaled_dot_product_flash_attention", [tuple(shape)] * 3, []) == counted
    assert operator_flops("aten::mm", [(3,)], []) == 0.0
    assert operator_flops("aten::relu", [(3, 4)], [(3, 4)]) == 12.0
    assert operator_flops("aten::cumsum", [(3, 4)], [(3, 4)]) == 0.0


def test_pieces_are_counted_as_they_are_listed():
    chance = random.Random(2)
    for _ in range(200):
        dims = [(chance.randint(0, 4), chance.choice([0, 1, 2, 3, 4, 8, 12])) for _ in range(chance.randint(0, 4))]
        shape, strides = [size for size, _ in dims], [stride for _, stride in dims]
        assert num_runs(shape, strides) >= len(strided_runs(shape, strides, 0, 4)[0])


def test_traffic_of_a_profile_is_by_storage():
    moved = traffic(read_kineto(KINETO, OBSERVER))
    assert moved["storage 7"].written_bytes == 8 * 16 * 4  # the first weight, by the optimizer
