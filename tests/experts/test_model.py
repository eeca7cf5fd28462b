"""Time and bytes of one run, in closed form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.accelerators.experts.model import MAX_DECODE_SEGMENTS, Executor, LanguageModel, Shape
from tiergarten.accelerators.provenance import device_files

LLAMA2_7B = LanguageModel(parameters=7e9, layers=32, heads=32, kv_heads=32, head_size=128)
TINY = LanguageModel(parameters=500, layers=1, heads=1, kv_heads=1, head_size=1)  # 1000 bytes of weights, 4 a token


def device(**keys) -> DeviceSpec:
    return DeviceSpec(kind="gpu", peak_flops={"bf16": "1 PFLOP/s"}, **keys)


def test_llama2_7b_in_numbers():
    assert LLAMA2_7B.weight_bytes == 14_000_000_000
    assert LLAMA2_7B.kv_bytes_per_token == 524_288  # 2 x 32 layers x 32 heads x 128 values x 2 bytes


def test_run_reads_weights_once_a_token_and_the_growing_context():
    cost = Executor(device(), 1000.0).run(TINY, Shape(batch=1, prompt_tokens=5, output_tokens=3))
    assert cost.read_bytes == 3 * 1000 + 4 * (6 + 7)  # two steps, with 6 and 7 tokens of context
    assert cost.duration_ps == (3 * 1000 + 4 * (6 + 7)) * 10**9  # at 1000 B/s
    assert cost.first_token_ps == 10**12


def test_batch_shares_weights_and_not_context():
    cost = Executor(device(), 1000.0).run(TINY, Shape(batch=3, prompt_tokens=5, output_tokens=2))
    assert cost.read_bytes == 2 * 1000 + 3 * 4 * 6


def test_long_prompt_is_bound_by_compute():
    """14e9 FLOP a token and causal attention over 2 PFLOP/s x 0.5; the weights would take 14 GB / 14 TB/s = 1 ms."""
    spec = DeviceSpec(kind="gpu", count=2, peak_flops={"bf16": "1 PFLOP/s"}, efficiency={"prefill": 0.5})
    cost = Executor(spec, 14e12).run(LLAMA2_7B, Shape(1, 4096, 1))
    flops = 14e9 * 4096 + 2 * 32 * 32 * 128 * 4096**2
    assert cost.duration_ps == pytest.approx(flops / 1e15 * 1e12, abs=1)


def test_fixed_costs_are_added_once_a_run_and_once_a_layer_and_step():
    spec = device(overhead={"request": "7 ms", "layer": "10 us"})
    plain = Executor(device(), 14e12).run(LLAMA2_7B, Shape(1, 1, 3))
    costly = Executor(spec, 14e12).run(LLAMA2_7B, Shape(1, 1, 3))
    assert costly.duration_ps - plain.duration_ps == pytest.approx(7e9 + 3 * 32 * 10e6, abs=3)
    assert costly.first_token_ps - plain.first_token_ps == pytest.approx(7e9 + 32 * 10e6, abs=1)


def test_memory_efficiency_divides_the_bandwidth():
    half = Executor(device(efficiency={"memory": 0.5}), 2000.0).run(TINY, Shape(1, 1, 4))
    whole = Executor(device(), 1000.0).run(TINY, Shape(1, 1, 4))
    assert half == whole


@given(st.integers(1, 500), st.integers(1, 8), st.integers(1, 400))
def test_segments_hold_the_whole_run(prompt_tokens, batch, output_tokens):
    cost = Executor(device(), 1e6).run(TINY, Shape(batch, prompt_tokens, output_tokens))
    steps = range(1, output_tokens)
    read = output_tokens * 1000 + sum(batch * 4 * (prompt_tokens + step) for step in steps)
    assert len(cost.segments) <= 1 + MAX_DECODE_SEGMENTS
    assert abs(cost.read_bytes - read) <= MAX_DECODE_SEGMENTS
    assert cost.duration_ps == pytest.approx(read / 1e6 * 1e12, rel=1e-9, abs=len(cost.segments))


@pytest.mark.parametrize(("file", "published_ms"), [("dgx-a100", 136.5), ("dgx-h100", 97.6)])
def test_dgx_run_takes_what_nvidia_published(file, published_ms):
    """Llama-2-7B, batch 1, TP8, 128 tokens in, 20 out (NeMo Framework User Guide, Llama-2 Results).

    The request overhead was set by this number, so this checks the arithmetic of the file and nothing else; that the
    rest of the run is right is checked where other token counts and systems follow from it.
    """
    cost = dgx_run(file, output_tokens=20)
    assert cost.duration_ps / 1e9 == pytest.approx(published_ms, rel=0.002)


def dgx_run(file: str, output_tokens: int):
    from tiergarten.scenario.merge import strip_provenance

    (tree,) = [strip_provenance(item.tree) for item in device_files() if item.name == file]
    (spec,) = tree["devices"].values()
    from tiergarten.sim.units import parse_bytes_per_s

    hbm = tree["tiers"]["hbm"]
    bandwidth = parse_bytes_per_s(hbm["bandwidth"]) * hbm["count"]
    return Executor(DeviceSpec.model_validate(spec), bandwidth).run(LLAMA2_7B, Shape(1, 128, output_tokens))


@pytest.mark.parametrize(
    ("file", "output_tokens", "published"),
    [("dgx-a100", 20, 2.0), ("dgx-h100", 20, 1.5), ("dgx-a100", 200, 3.2), ("dgx-h100", 200, 2.3)],
)
def test_expert_alone_is_as_much_faster_on_the_sn40l_node_as_published(file, output_tokens, published):
    """Table V of the SN40L paper, rows of the expert alone; two digits are printed. How independent each is: docs/experts.md."""
    speedup = dgx_run(file, output_tokens).duration_ps / dgx_run("sn40l-node", output_tokens).duration_ps
    assert speedup == pytest.approx(published, rel=0.08)
