"""Models of transformers, recorded: forward, training with an optimizer, decoding with a cache, PyTorch's own memory account."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch recorder needs torch")
transformers = pytest.importorskip("transformers", reason="the models are built from transformers' configurations")

from torch.utils.flop_counter import FlopCounterMode

from tiergarten.sim.trace import Role, Trace
from tiergarten.workloads.recorders.torch import TorchRecorder

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER = SHAPE | {"num_key_value_heads": 2, "vocab_size": 100}
FAMILIES = {
    "Llama": ("LlamaConfig", "LlamaForCausalLM", DECODER),
    "Qwen2": ("Qwen2Config", "Qwen2ForCausalLM", DECODER),
    "Mixtral": ("MixtralConfig", "MixtralForCausalLM", DECODER | {"num_local_experts": 4}),
    "GPT-2": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}),
    "ViT": ("ViTConfig", "ViTForImageClassification", SHAPE | {"image_size": 32, "patch_size": 8}),
}
KV_HEADS = {"Llama": 2, "Qwen2": 2, "Mixtral": 2, "GPT-2": 4}
UNKNOWN = "ignore::tiergarten.workloads.recorders.torch.UnknownOperatorWarning"
"""Mixtral calls an operator of transformers' own."""


def built(family: str):
    torch.manual_seed(0)
    config, kind, shape = FAMILIES[family]
    return getattr(transformers, kind)(getattr(transformers, config)(**shape))


def inputs(family: str, tokens: int = 8) -> dict:
    if family == "ViT":
        return {"pixel_values": torch.zeros(1, 3, 32, 32), "labels": torch.zeros(1, dtype=torch.long)}
    ids = torch.arange(tokens)[None]
    return {"input_ids": ids, "labels": ids}


def role_bytes(trace: Trace, role: Role, *, is_write: bool) -> int:
    chosen = (trace.objects.roles[trace.accesses.objects] == role) & (trace.accesses.is_write == is_write)
    return int(trace.accesses.num_bytes[chosen].sum())


def size_of(trace: Trace, role: Role) -> int:
    return int(trace.objects.num_bytes[trace.objects.roles == role].sum())


@pytest.mark.filterwarnings(UNKNOWN)
@pytest.mark.parametrize("family", FAMILIES)
def test_forward_reads_every_weight(family):
    model = built(family).eval()
    with torch.no_grad(), TorchRecorder(model) as recorder:
        model(**inputs(family))
    trace = recorder.trace()
    assert trace.problems() == []
    touched = {trace.objects.names[row] for row in np.unique(trace.accesses.objects)}
    unread = {name for name, _ in model.named_parameters()} - touched
    if family != "Mixtral":  # experts that no token was sent to are not read
        assert unread <= {"vit.embeddings.mask_token"}


@pytest.mark.filterwarnings(UNKNOWN)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_finds_gradients_states_and_flops(family):
    """Every trained parameter has a gradient and two states of its size; products cost what PyTorch counts."""
    model = built(family).train()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)

    def step():
        model(**inputs(family)).loss.backward()
        optimizer.step()

    torch.manual_seed(1)
    with TorchRecorder(model, optimizer) as recorder:
        step()
    trace = recorder.trace()
    assert trace.problems() == []
    gradients = {p.grad.untyped_storage()._cdata: p.grad.untyped_storage().nbytes()
                 for p in model.parameters() if p.grad is not None}  # fmt: skip
    trained = sum(p.numel() * 4 for p in model.parameters() if p.grad is not None)
    assert size_of(trace, Role.GRADIENT) == sum(gradients.values()) >= trained  # ViT keeps one inside a larger storage
    assert size_of(trace, Role.WEIGHT) >= trained
    states = [leaf for state in optimizer.state.values() for leaf in state.values()]
    assert size_of(trace, Role.OPTIMIZER) == sum(leaf.nbytes for leaf in states) >= 2 * trained
    assert role_bytes(trace, Role.WEIGHT, is_write=True) >= trained
    with FlopCounterMode(display=False) as counter:
        torch.manual_seed(1)
        model(**inputs(family)).loss.backward()
    products = ("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm", "aten.convolution", "attention", "grouped")
    ours = sum(flops for name, flops in zip(trace.ops.names, trace.ops.flops, strict=True)
               if name.startswith(products) or "attention" in name)  # fmt: skip
    assert ours >= counter.get_total_flops() > 0  # the counter does not know the CPU's fused attention


@pytest.mark.filterwarnings(UNKNOWN)
@pytest.mark.parametrize("family", KV_HEADS)
def test_decoding_grows_the_cache_by_a_token(family):
    """The dynamic cache copies itself when it grows: 7 tokens are read, 8 written and read, per layer, k and v."""
    model = built(family).eval()
    with torch.no_grad():
        cache = model(torch.arange(7)[None], use_cache=True).past_key_values
        with TorchRecorder(model) as recorder:
            model(torch.tensor([[3]]), past_key_values=cache, use_cache=True)
    trace = recorder.trace()
    assert trace.problems() == []
    token = 2 * 2 * KV_HEADS[family] * 8 * 4
    assert role_bytes(trace, Role.KV, is_write=True) == 8 * token
    assert size_of(trace, Role.KV) == (7 + 8) * token
    assert role_bytes(trace, Role.KV, is_write=False) >= (7 + 8) * token
    assert role_bytes(trace, Role.WEIGHT, is_write=True) == 0


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "Adagrad"])
@pytest.mark.parametrize("foreach", [False, True])
def test_states_of_any_optimizer_are_found(optimizer, foreach):
    model = torch.nn.Linear(8, 4)
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    chosen = getattr(torch.optim, optimizer)(model.parameters(), foreach=foreach, **options)
    with TorchRecorder(model, chosen) as recorder:
        model(torch.ones(2, 8)).sum().backward()
        chosen.step()
    trace = recorder.trace()
    states = [leaf for state in chosen.state.values() for leaf in state.values() if isinstance(leaf, torch.Tensor)]
    assert trace.problems() == []
    assert size_of(trace, Role.OPTIMIZER) == sum(leaf.nbytes for leaf in states)
    decays = 2 if optimizer == "AdamW" else 1  # the weights are scaled first, on their own
    assert role_bytes(trace, Role.WEIGHT, is_write=True) == decays * 4 * (8 * 4 + 4)


# --- PyTorch's own account ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(UNKNOWN)
@pytest.mark.parametrize(("family", "checkpointing"), [*((family, False) for family in FAMILIES), ("Llama", True)])
def test_live_bytes_are_those_of_pytorchs_profiler(family, checkpointing):
    """After forward, backward and step: bytes that PyTorch's allocator reports as held = bytes alive in the trace."""
    from torch.profiler import ProfilerActivity, profile

    model = built(family).train()
    if checkpointing:
        # without the random state, which PyTorch keeps beside the program: 5056 B per checkpoint
        model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, foreach=False)
    batch = inputs(family)

    def step(after):
        loss = model(**batch).loss
        after("forward")
        loss.backward()
        after("backward")
        optimizer.step()
        after("step")
        return loss

    with TorchRecorder(model, optimizer) as recorder:
        ours = {}
        kept = step(lambda name: ours.__setitem__(name, recorder.live_bytes()))
    del kept
    model.zero_grad()
    optimizer.state.clear()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(lambda name: torch.profiler.record_function(name).__enter__())
    theirs = held_at_marks(profiler, ("forward", "backward", "step"))
    # GPT-2 multiplies by numbers, which PyTorch saves for the backward as tensors of 8 B that no operator shows
    numbers = {"forward": 6 * 8} if family == "GPT-2" else {}
    assert theirs == {name: held + numbers.get(name, 0) for name, held in ours.items()}
    assert ours["backward"] > ours["forward"] > 0


def held_at_marks(profiler, names) -> dict[str, int]:
    """Bytes allocated since the profile began, at the start of each named range."""
    from torch._C._profiler import _EventType

    events = []

    def walk(nodes):
        for node in nodes:
            events.append(node)
            walk(node.children)

    walk(profiler.profiler.kineto_results.experimental_event_tree())
    held, found = 0, {}
    for event in sorted(events, key=lambda event: event.start_time_ns):
        if event.tag == _EventType.Allocation:
            held += event.extra_fields.alloc_size
        elif event.name in names:
            found[event.name] = held
    return found
