"""The serving engine against real servers: vLLM 0.19 on an RTX PRO 6000, and TensorRT-LLM on an H100.

vLLM: Llama-3.1-8B, 300 ShareGPT requests with their own times. The card's numbers come from its data sheet (503.8 dense bf16 TFLOP/s, 1792 GB/s) and from profiles of single operators on the
same card: 2048-token layers reach 0.74 of the peak rate, one-token layers stream weights at 0.80 of the bandwidth, small
kernels take 20 us per layer. None of them is fitted to the run.
"""

import numpy as np
import pandas as pd
import pytest

from tiergarten.scenario.load import load_scenario
from tiergarten.simulate import simulate

SCENARIO = """
schema_version: 1
name: vllm-run
devices:
  gpu:
    kind: gpu
    peak_flops: {bf16: "503.8 TFLOP/s"}
    efficiency: {prefill: 0.74, memory: 0.80}
    overhead: {layer: "20 us"}
tiers:
  vram: {kind: gddr, device: gpu, capacity: "96 GB", bandwidth: "1792 GB/s"}
workload:
  kind: serving
  model: llama-3-8b
  cache: [vram]
  batching: {max_requests: 128, max_tokens: 2048}
  requests: {source: file, path: TRACE}
  hit_rate_curve: false
"""


@pytest.fixture
def measured(shared):
    table = pd.read_csv(shared / "reference/gpu/serving_vllm_requests.csv")
    table = table[table.model == "Llama-3.1-8B"].reset_index(drop=True)
    return pd.DataFrame(
        {
            "ttft_ms": table.first_token_ms - table.queued_ms,
            "tpot_ms": (table.last_token_ms - table.first_token_ms) / (table.output_tokens - 1),
            "e2e_ms": table.last_token_ms - table.queued_ms,
        }
    )


def simulated(shared, tmp_path, overhead):
    path = tmp_path / "vllm.yaml"
    path.write_text(SCENARIO.replace("TRACE", str(shared / "reference/traces/sharegpt_llama31_8b_300.csv")))
    requests = simulate(load_scenario(path, [f"workload.batching.overhead={overhead}"])).requests.to_pandas()
    return pd.DataFrame(
        {
            "ttft_ms": (requests.first_token_ps - requests.arrival_ps) / 1e9,
            "tpot_ms": (requests.finished_ps - requests.first_token_ps) / 1e9 / (requests.output_tokens - 1),
            "e2e_ms": (requests.finished_ps - requests.arrival_ps) / 1e9,
        }
    )


def test_operators_alone_are_a_close_lower_bound(shared, measured, tmp_path):
    """What operators take is less than what the server took, which also schedules, samples and detokenises: 17 % of TPOT."""
    model = simulated(shared, tmp_path, "0 ms")
    assert 0.78 < model.tpot_ms.mean() / measured.tpot_ms.mean() < 1
    assert 0.70 < model.e2e_ms.mean() / measured.e2e_ms.mean() < 1
    # who waits longer in reality waits longer here
    assert np.corrcoef(model.ttft_ms, measured.ttft_ms)[0, 1] > 0.95


def test_one_number_fitted_to_half_of_the_requests_predicts_the_other_half(shared, measured, tmp_path):
    """The time per iteration beyond the operators, chosen by E2E of requests 0 to 149 and scored on 150 to 299.

    5.75 ms is chosen; the errors on the second half are then 1.2 % (TTFT), 3.6 % (TPOT) and 1.5 % (E2E).
    """
    errors = {
        overhead: ((simulated(shared, tmp_path, overhead) - measured).abs() / measured)
        for overhead in ("0 ms", "3 ms", "5 ms", "5.5 ms", "5.75 ms", "6 ms", "7 ms")
    }
    best = min(errors, key=lambda overhead: errors[overhead].e2e_ms[:150].mean())
    held_out = errors[best][150:].mean()
    assert best == "5.75 ms"
    assert held_out.ttft_ms < 0.02
    assert held_out.tpot_ms < 0.045
    assert held_out.e2e_ms < 0.02


def benchmark_points(shared, model, tp):
    """Closed-loop benchmarks of an H100 system: (requests at a time, input tokens, output tokens, measured TPOT in ms)."""
    table = pd.read_csv(shared / "reference/gpu/serving_silicon_ttft_tpot.csv", low_memory=False)
    points = table[
        (table.model_path == model) & (table.system == "h100_sxm") & (table["mode"] == "agg") & (table.tp_size == tp)
    ]
    return [(int(p.batch_size), int(p.isl), int(p.osl), p.silicon_tpot_ms) for p in points.itertuples()]


def simulated_tpot_ms(scenario, tmp_path, running, inputs, outputs):
    """Mean TPOT while `running` requests are under way: the second third of three times as many."""
    path = tmp_path / "load.csv"
    path.write_text("arrival_ms,input_tokens,output_tokens\n" + f"0,{inputs},{outputs}\n" * 3 * running)
    overrides = [
        f"workload.requests={{source: file, path: {path}}}",
        "workload.cache=[hbm]",
        f"workload.batching={{max_requests: {running}, max_tokens: 8192}}",
    ]
    requests = simulate(load_scenario(scenario, overrides)).requests.to_pandas()[running : 2 * running]
    return (requests.finished_ps - requests.first_token_ps).mean() / 1e9 / (outputs - 1)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_tpot_of_tensorrt_llm_on_h100_within_3_percent(shared, tmp_path, every):
    """42 benchmarks of Llama-3.1-8B, 8 to 128 requests at a time; devices/h100-sxm as it is, nothing fitted.

    The mean absolute error of TPOT is 2.8 %, the worst 10 %. TTFT hangs on how a benchmark was started, which is not known.
    """
    points = benchmark_points(shared, "meta-llama/Llama-3.1-8B-Instruct", 1)
    assert len(points) == 42
    errors = [
        simulated_tpot_ms("kv-tiers", tmp_path, running, inputs, outputs) / measured_ms - 1
        for running, inputs, outputs, measured_ms in points[::every]
    ]
    assert np.mean(np.abs(errors)) < 0.035
    assert np.max(np.abs(errors)) < 0.12
    assert abs(np.median(errors)) < 0.02


def test_tpot_of_vllm_on_eight_h100_is_a_lower_bound(shared, tmp_path):
    """15 benchmarks of Llama-3.1-70B in fp8, devices/dgx-h100 as it is: 3 to 6 % too low up to 8 requests, 27 % at 64.

    The fixed cost per layer holds the all-reduces of a single token; those of larger batches probably take longer.
    """
    path = tmp_path / "dgx.yaml"
    path.write_text(
        "schema_version: 1\nname: dgx\ninclude: [devices/dgx-h100]\nworkload:\n  kind: serving\n"
        "  model: {name: llama-3-70b, weight_bytes_per_value: 1}\n  number_format: fp8\n  cache: [hbm]\n"
    )
    points = benchmark_points(shared, "meta-llama/Llama-3.1-70B", 8)
    assert len(points) == 15
    for running, inputs, outputs, measured_ms in points:
        ratio = simulated_tpot_ms(path, tmp_path, running, inputs, outputs) / measured_ms
        assert (0.92 if running <= 8 else 0.70) < ratio < 1
