"""Two recorded layers repeated to a depth are what a recording of that depth is."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch recorder needs torch")
transformers = pytest.importorskip("transformers", reason="the models are built from transformers' configurations")

from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.recorders.layers import LayerSpans, Span, deepen
from tiergarten.workloads.recorders.torch import TorchRecorder

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 100}
CONTEXT = 9
FAMILIES = {
    "Llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, SHAPE | {"num_key_value_heads": 2}),
    "Qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, SHAPE | {"num_key_value_heads": 2}),
}


def recorded(family: str, depth: int, *, decode: bool, device: str = "meta") -> tuple[Trace, list[Span]]:
    config, kind, shape = FAMILIES[family]
    torch.manual_seed(0)
    with torch.device(device), torch.no_grad():
        model = kind(config(num_hidden_layers=depth, **shape)).eval()
        recorder, inputs = TorchRecorder(model), {}
        if decode:
            cache = transformers.StaticCache(model.config, max_cache_len=CONTEXT + 1)
            cache.early_initialization(1, 2, 8, torch.float32, torch.device(device))
            recorder.mark([part for layer in cache.layers for part in (layer.keys, layer.values)], Role.KV)
            inputs = {"past_key_values": cache, "position_ids": torch.full((1, 1), CONTEXT)}
        with recorder, LayerSpans(recorder, model.model.layers) as layers:
            model(torch.zeros(1, 1 if decode else CONTEXT, dtype=torch.long), use_cache=True, **inputs)
    return recorder.trace(), layers.spans


def canonical(trace: Trace) -> tuple:
    """All that a trace says, with objects by name; those without a name of their own by the order of their first use."""
    accesses, names = trace.accesses, list(trace.objects.names)
    order = [int(row) for row in dict.fromkeys(accesses.objects.tolist())]
    for place, row in enumerate(order):
        if names[row].startswith(("kv#", "input#")):
            names[row] = f"unnamed {place}"
    objects = {
        names[row]: tuple(int(column[row]) for column in (
            trace.objects.num_bytes, trace.objects.roles, trace.birth_ops, trace.death_ops))
        for row in range(len(names)) if row in set(order) or not names[row].startswith(("kv#", "input#"))
    }  # fmt: skip
    ops = [(trace.ops.names[op], float(trace.ops.flops[op]), trace.ops.waits_for(op).tolist())
           for op in range(len(trace.ops))]  # fmt: skip
    columns = (accesses.ops, accesses.offsets, accesses.num_bytes, accesses.is_write)
    return objects, ops, [names[row] for row in accesses.objects], [column.tolist() for column in columns]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("decode", [False, True], ids=["prefill", "decode"])
def test_repeated_layers_equal_a_recording_of_the_whole_depth(family, decode):
    two, spans = recorded(family, 2, decode=decode)
    whole, _ = recorded(family, 5, decode=decode)
    deep = deepen(two, spans, 5)
    assert deep.problems() == []
    for ours, theirs in zip(canonical(deep), canonical(whole), strict=True):
        assert ours == theirs


def test_three_recorded_layers_and_the_cpu_do_as_well():
    three, spans = recorded("Llama", 3, decode=False, device="cpu")
    assert canonical(deepen(three, spans, 5)) == canonical(recorded("Llama", 5, decode=False, device="cpu")[0])
    assert canonical(deepen(three, spans, 3)) == canonical(three)


def test_layers_that_differ_are_not_repeated():
    trace, spans = recorded("Llama", 3, decode=False)
    for wrong in ([spans[0]], [spans[0], spans[2]], [Span(3, 9), Span(9, 15)]):
        with pytest.raises(TiergartenError, match=r"recorded|bytes"):
            deepen(trace, wrong, 5)
    with pytest.raises(TiergartenError, match="at most 2"):
        deepen(trace, spans, 2)
    sizes = trace.accesses.num_bytes.copy()
    sizes[np.searchsorted(trace.accesses.ops, spans[2].start)] += 1
    with pytest.raises(TiergartenError, match="do not touch the same bytes"):
        deepen(replace(trace, accesses=replace(trace.accesses, num_bytes=sizes)), spans, 5)


def test_llama_70b_at_128k_has_its_weights_cache_and_flops():
    """By arithmetic: 80 layers of 8192 with 8 KV heads of 128; 70.55 billion parameters in 16 bits."""
    shape = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8,
             "vocab_size": 128256, "max_position_embeddings": 131072}  # fmt: skip
    tokens, heads, size = 128 * 1024, 64, 128
    with torch.device("meta"), torch.no_grad():
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(num_hidden_layers=2, **shape))
        model = model.to(torch.bfloat16).eval()
        with TorchRecorder(model) as recorder, LayerSpans(recorder, model.model.layers) as layers:
            model(torch.zeros(1, tokens, dtype=torch.long), use_cache=True, logits_to_keep=1)
    trace = deepen(recorder.trace(), layers.spans, 80)
    assert trace.problems() == []

    def size_of(role: Role) -> int:
        return int(trace.objects.num_bytes[trace.objects.roles == role].sum())

    layer = 8192 * 8192 * 2 + 2 * 8192 * 1024 + 3 * 8192 * 28672 + 2 * 8192
    assert size_of(Role.WEIGHT) == pytest.approx(2 * (80 * layer + 2 * 128256 * 8192 + 8192), abs=1024)
    assert size_of(Role.KV) == 2 * 80 * 8 * size * 2 * tokens
    products = 2 * tokens * 80 * (layer - 2 * 8192) + 2 * 128256 * 8192
    attention = 80 * 4 * heads * size * tokens**2
    assert trace.ops.flops.sum() == pytest.approx(products + attention, rel=0.001)
    assert len(trace.accesses) < 500_000


def test_attention_on_the_meta_device_is_fused():
    """Queries, keys and values are read once, whatever the length; nothing of the size of the scores exists."""
    with torch.device("meta"):
        q, k = torch.empty(1, 8, 4096, 64), torch.empty(1, 2, 4096, 64)
        with TorchRecorder() as recorder, torch.no_grad():
            torch.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True)
    trace = recorder.trace()
    assert trace.ops.names == ("aten._scaled_dot_product_flash_attention_for_cpu#0",)
    assert trace.ops.flops.tolist() == [4 * 8 * 4096 * 4096 * 64]
    reads = trace.accesses.num_bytes[~trace.accesses.is_write]
    assert reads.tolist() == [q.nbytes, k.nbytes, k.nbytes]
    assert trace.objects.num_bytes.max() == q.nbytes


def test_attention_with_gradients_keeps_its_backward():
    with torch.device("meta"):
        q, k = (torch.empty(1, 4, 16, 8, requires_grad=True) for _ in range(2))
        with TorchRecorder() as recorder:
            torch.nn.functional.scaled_dot_product_attention(q, k, k).sum().backward()
    names = [name.split("#")[0] for name in recorder.trace().ops.names]
    assert names.count("aten._scaled_dot_product_flash_attention_for_cpu_backward") == 1


def test_tensor_in_many_pieces_keeps_its_bytes():
    x = torch.zeros(3000, 8)
    with TorchRecorder() as recorder:
        x[:, 2:4].sum()
        x[:1000, 2:4].sum()
    trace = recorder.trace()
    reads = [~trace.accesses.is_write & (trace.accesses.ops == op) for op in (0, 1)]
    assert [trace.accesses.num_bytes[read].sum() for read in reads] == [3000 * 8, 1000 * 8]
    assert [read.sum() for read in reads] == [1000, 1000]
    assert trace.accesses.offsets[reads[0]].tolist() == [8 + 3 * 32 * group for group in range(1000)]
    with TorchRecorder(max_runs=10_000) as recorder:
        x[:, 2:4].sum()
    assert (~recorder.trace().accesses.is_write).sum() == 3000
