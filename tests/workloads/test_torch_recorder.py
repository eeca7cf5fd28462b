"""Recorded PyTorch programs: bytes, FLOPs, roles and lives against PyTorch's own accounts."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch recorder needs torch")
transformers = pytest.importorskip("transformers", reason="the models are built from transformers' configurations")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.recorders.torch import TorchRecorder, UnknownOperatorWarning, tensor_runs
from tiergarten.workloads.traffic import traffic

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


def llama(**changes):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**(SMALL | {"num_key_value_heads": 2} | changes))
    return transformers.LlamaForCausalLM(config).eval()


def role_bytes(trace: Trace, role: Role, is_write: bool) -> int:
    chosen = (trace.objects.roles[trace.accesses.objects] == role) & (trace.accesses.is_write == is_write)
    return int(trace.accesses.num_bytes[chosen].sum())


# --- ranges ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data())
def test_runs_cover_exactly_the_bytes_of_a_view(data):
    tensor = torch.arange(60, dtype=torch.int32).reshape(3, 4, 5)
    for _ in range(data.draw(st.integers(0, 4))):
        kind = data.draw(st.sampled_from(["permute", "narrow", "step", "select", "expand"]))
        if tensor.dim() == 0:
            break
        dim = data.draw(st.integers(0, tensor.dim() - 1))
        size = tensor.shape[dim]
        if kind == "permute":
            tensor = tensor.permute(data.draw(st.permutations(range(tensor.dim()))))
        elif kind == "narrow":
            start = data.draw(st.integers(0, size - 1))
            tensor = tensor.narrow(dim, start, data.draw(st.integers(1, size - start)))
        elif kind == "step":
            tensor = tensor[tuple(slice(None, None, 2) if d == dim else slice(None) for d in range(tensor.dim()))]
        elif kind == "select":
            tensor = tensor.select(dim, data.draw(st.integers(0, size - 1)))
        else:
            tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
    starts, run = tensor_runs(tensor)
    covered = sorted({byte // 4 for start in starts.tolist() for byte in range(start, start + run)})
    assert covered == sorted(set(tensor.reshape(-1).tolist()))
    assert len(starts) * run == 4 * len(covered)


def test_rows_are_touched_in_the_order_given():
    table = torch.zeros(10, 4)
    starts, run = tensor_runs(table, (0, np.array([7, 1, 7])))
    assert (starts.tolist(), run) == ([112, 16, 112], 16)
    starts, run = tensor_runs(torch.zeros(2, 5, 4), (1, np.array([3])))
    assert (starts.tolist(), run) == ([48, 128], 16)


# --- small programs ----------------------------------------------------------------------------------------------------


def test_matrix_product_by_hand():
    a, b = torch.ones(4, 8), torch.ones(8, 2)
    with TorchRecorder() as recorder:
        a @ b
    trace = recorder.trace()
    assert trace.problems() == []
    assert trace.ops.names == ("aten.mm#0",)
    assert trace.ops.flops.tolist() == [2 * 4 * 8 * 2]
    assert sorted(t.read_bytes for t in traffic(trace).values()) == [0, 64, 128]
    assert sum(t.written_bytes for t in traffic(trace).values()) == 4 * 2 * 4
    assert [Role(r).name for r in trace.objects.roles] == ["INPUT", "INPUT", "ACTIVATION"]


def test_views_touch_nothing_and_their_uses_only_what_they_cover():
    x = torch.zeros(10, 8)
    with TorchRecorder() as recorder:
        x.t()[2:4].reshape(2, 10).sum()
    trace = recorder.trace()
    x_reads = trace.accesses.num_bytes[(trace.accesses.objects == 0) & ~trace.accesses.is_write]
    assert x_reads.sum() == 2 * 10 * 4
    assert (x_reads == 8).all()  # two neighbouring floats of each row of 8


def test_in_place_reads_and_writes_but_copy_only_writes():
    x, y = torch.zeros(16), torch.ones(16)
    with TorchRecorder() as recorder:
        x.add_(y)
        x.copy_(y)
        x.zero_()
    trace = recorder.trace()
    moved = [
        [
            (int(trace.accesses.objects[i]), bool(trace.accesses.is_write[i]))
            for i in np.flatnonzero(trace.accesses.ops == op)
        ]
        for op in range(3)
    ]
    assert moved == [[(0, False), (1, False), (0, True)], [(1, False), (0, True)], [(0, True)]]
    assert trace.ops.waits_for(1).tolist() == []
    assert x.sum() == 0


def test_embedding_reads_its_rows_and_index_copy_writes_its_rows():
    table, cache = torch.zeros(1000, 8), torch.zeros(2, 50, 4)
    with TorchRecorder() as recorder:
        torch.nn.functional.embedding(torch.tensor([5, 900]), table)
        cache.index_copy_(1, torch.tensor([7]), torch.ones(2, 1, 4))
    trace = recorder.trace()
    names = trace.objects.names
    table_object = int(np.flatnonzero(trace.objects.num_bytes == table.nbytes)[0])
    reads = trace.accesses.objects == table_object
    assert list(zip(trace.accesses.offsets[reads], trace.accesses.num_bytes[reads], strict=True)) == [
        (160, 32),
        (28800, 32),
    ]
    cache_object = int(np.flatnonzero(trace.objects.num_bytes == cache.nbytes)[0])
    writes = trace.accesses.objects == cache_object
    assert trace.accesses.is_write[writes].all()
    assert trace.accesses.offsets[writes].tolist() == [7 * 16, (50 + 7) * 16]
    assert len(names) == len(set(names))


def test_storages_are_born_and_die_with_the_program():
    x = torch.ones(8)
    with TorchRecorder() as recorder:
        y = x + 1
        z = y * 2
        del y
        z = z.exp()
    trace = recorder.trace()
    assert trace.problems() == []
    assert trace.birth_ops.tolist() == [-1, 0, 1, 2]
    assert trace.death_ops.tolist() == [3, 1, 2, 3]
    assert z.numel() == 8


def test_saved_tensors_live_until_their_backward():
    w = torch.ones(8, requires_grad=True)
    with TorchRecorder() as recorder:
        hidden = (w * 3).exp()
        loss = hidden.sum()
        del hidden
        before = recorder.live_bytes()
        loss.backward()
    trace = recorder.trace()
    assert trace.problems() == []
    assert before == 8 * 4 + 4  # exp keeps its result; the product is gone
    exp = next(i for i, name in enumerate(trace.objects.names) if "exp" in name)
    users = np.unique(trace.accesses.ops[trace.accesses.objects == exp])
    assert trace.death_ops[exp] >= users.max() > [n.split("#")[0] for n in trace.ops.names].index("aten.sum")


def test_unknown_operator_is_recorded_with_a_warning_once():
    library = torch.library.Library("tiergarten_test", "DEF")
    library.define("odd(Tensor x, Tensor(a!) y) -> Tensor")
    library.impl("odd", lambda x, y: y.add_(1) + x, "CompositeExplicitAutograd")
    x, y = torch.ones(4), torch.ones(4)
    with TorchRecorder() as recorder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            torch.ops.tiergarten_test.odd(x, y)
    assert [w.category for w in caught] == [UnknownOperatorWarning]
    assert "tiergarten_test::odd is not known" in str(caught[0].message)
    trace = recorder.trace()
    assert [name.split("#")[0] for name in trace.ops.names] == ["tiergarten_test.odd"] * 2
    first = trace.accesses.ops == 0
    assert trace.accesses.num_bytes[first & ~trace.accesses.is_write].sum() == 32
    assert trace.accesses.num_bytes[first & trace.accesses.is_write].sum() == 32


# --- models ------------------------------------------------------------------------------------------------------------


def test_decode_reads_every_weight_once_and_one_embedding_row():
    model = llama()
    with torch.no_grad():
        cache = model(torch.arange(7)[None], use_cache=True).past_key_values
        with TorchRecorder(model) as recorder:
            model(torch.tensor([[3]]), past_key_values=cache, use_cache=True)
    trace = recorder.trace()
    assert trace.problems() == []
    weights = sum(p.numel() * 4 for p in model.parameters())
    table = 100 * 32 * 4
    buffers = sum(b.numel() * b.element_size() for b in model.buffers() if b.numel())
    read = role_bytes(trace, Role.WEIGHT, False)
    assert weights - table + 32 * 4 <= read <= weights - table + 32 * 4 + 2 * buffers
    assert role_bytes(trace, Role.WEIGHT, True) == 0
    kv_new = 2 * 2 * 2 * 8 * 4  # layers, k and v, heads, size, bytes of one token
    assert role_bytes(trace, Role.KV, True) == 8 * kv_new  # the dynamic cache is copied whole when it grows


def test_recording_changes_no_result():
    model, ids = llama(), torch.arange(9)[None]
    with torch.no_grad():
        plain = model(ids).logits
        with TorchRecorder(model):
            recorded = model(ids).logits
    assert torch.equal(plain, recorded)


def test_flops_are_pytorchs_own():
    model, ids = llama(), torch.arange(9)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids)
    with torch.no_grad(), TorchRecorder(model) as recorder:
        model(ids)
    trace = recorder.trace()
    products = [name.split("#")[0] in ("aten.mm", "aten.addmm", "aten.bmm") for name in trace.ops.names]
    attention = [i for i, name in enumerate(trace.ops.names) if "attention" in name]
    assert len(attention) == 2
    assert trace.ops.flops[attention].tolist() == [4 * 4 * 9 * 9 * 8] * 2
    counted = counter.get_total_flops()
    assert trace.ops.flops[products].sum() in (counted, counted - trace.ops.flops[attention].sum())


def training_step(recorder_class=TorchRecorder):
    model = llama().train()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    ids = torch.arange(8)[None]
    with recorder_class(model, optimizer) as recorder:
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    return model, optimizer, recorder.trace()


def test_training_step_has_all_roles():
    model, optimizer, trace = training_step()
    assert trace.problems() == []
    sizes = {role: int(trace.objects.num_bytes[trace.objects.roles == role].sum()) for role in Role}
    parameters = sum(p.numel() * 4 for p in model.parameters())
    assert sizes[Role.GRADIENT] == parameters
    state = sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values())
    assert sizes[Role.OPTIMIZER] == state
    assert role_bytes(trace, Role.WEIGHT, True) >= parameters
    forward_to_backward = trace.ops.flops.sum()
    assert forward_to_backward > 3 * 2 * 8 * sum(p.numel() for n, p in model.named_parameters() if "layers" in n) * 0.9


def test_same_program_same_trace():
    one, two = training_step()[2], training_step()[2]
    for name in ("ops", "objects", "offsets", "num_bytes", "is_write"):
        assert np.array_equal(getattr(one.accesses, name), getattr(two.accesses, name))
    assert np.array_equal(one.death_ops, two.death_ops)
    assert one.objects.names == two.objects.names


def test_meta_model_of_8b_is_recorded_small_and_whole():
    """One decode step of Llama-3-8B's shape, 4 of 32 layers here: every weight byte, without holding one."""
    shape = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 4, "num_attention_heads": 32,
             "num_key_value_heads": 8, "vocab_size": 128256}  # fmt: skip
    with torch.device("meta"), torch.no_grad():
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)).to(torch.bfloat16).eval()
        cache = model(torch.zeros(1, 512, dtype=torch.long), use_cache=True).past_key_values
        with TorchRecorder(model) as recorder:
            recorder.mark([t for layer in cache.layers for t in (layer.keys, layer.values)], Role.KV)
            model(torch.zeros(1, 1, dtype=torch.long), past_key_values=cache)
    trace = recorder.trace()
    assert trace.problems() == []
    layers = 4 * (4096 * 4096 * 2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096)
    head = 128256 * 4096 + 4096
    assert role_bytes(trace, Role.WEIGHT, False) == pytest.approx(2 * (layers + head + 4096), abs=1024)
    assert role_bytes(trace, Role.KV, True) == 4 * 2 * 8 * 128 * 2 * 513
