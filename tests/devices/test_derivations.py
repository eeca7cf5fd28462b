"""Numbers of the device files that were derived from measurements are derived again here, from the measurements."""

import numpy as np
import pandas as pd
import pytest

from tiergarten.accelerators.provenance import device_files
from tiergarten.sim.units import parse_bytes_per_s, parse_flops, parse_ps

NUMBERS = {(file.name, item.path): item.value for file in device_files() for item in file.numbers}
LAYER_BYTES = 2 * 4096 * (3 * 4096 + 4096 + 3 * 11008)
"""Weights of a Llama-2-7B decoder layer in bf16: attention projections and gated MLP."""

PARTS = [("a100", "dgx-a100", "a100-80gb"), ("h100", "dgx-h100", "h100-sxm")]


def layer_us(shared, gpu: str, tp: int, tokens: int) -> float:
    """Sum of the kernels of one layer without attention, microseconds."""
    table = pd.read_csv(shared / "reference" / "gpu" / "vidur_linear_ops.csv")
    mine = table[
        (table.gpu == gpu) & (table.model == "Llama-2-7b-hf") & (table.tp == tp) & (table.num_tokens == tokens)
    ]
    return float(mine[mine.op != "emb"].groupby("op").time_us_median.median().sum())


def over_tp(shared, gpu: str) -> tuple[float, float]:
    """(slope, intercept) of a layer's time at one token over 1/TP, microseconds."""
    degrees = (1, 2, 4, 8)
    slope, intercept = np.polyfit([1 / tp for tp in degrees], [layer_us(shared, gpu, tp, 1) for tp in degrees], 1)
    return float(slope), float(intercept)


def attention_us(shared, gpu: str) -> float:
    """Median decode attention of one short sequence with four heads a GPU (32 heads at TP8)."""
    table = pd.read_csv(shared / "reference" / "gpu" / "aiconfigurator_attention.csv")
    mine = table[
        (table.gpu == f"{gpu}_sxm") & (table.phase == "generation") & (table.batch_size == 1) & (table.past_kv <= 512)
        & (table.num_heads == 4) & (table.head_dim == 128) & (table.kv_dtype == "bfloat16")
    ]  # fmt: skip
    return float(mine.time_us.median())


def all_reduce_us(shared, gpu: str) -> float:
    """NCCL all-reduce over eight GPUs of 4096 halves, one token's activations."""
    table = pd.read_csv(shared / "reference" / "gpu" / "aiconfigurator_comm.csv")
    mine = table[
        (table.gpu == f"{gpu}_sxm") & (table.impl == "nccl") & (table.op == "all_reduce") & (table.dtype == "half")
        & (table.num_gpus == 8) & (table["size"] == 4096)
    ]  # fmt: skip
    return float(mine.time_us.median())


@pytest.mark.parametrize(("gpu", "node", "part"), PARTS)
def test_memory_efficiency_is_the_slope_over_tp(shared, gpu, node, part):
    slope_us, _ = over_tp(shared, gpu)
    peak = parse_bytes_per_s(NUMBERS[part, "tiers.hbm.bandwidth"])
    share = LAYER_BYTES / (slope_us * 1e-6) / peak
    assert share == pytest.approx(NUMBERS[part, "devices.gpu.efficiency.memory"], abs=0.006)  # written to two digits
    assert NUMBERS[node, "devices.gpu.efficiency.memory"] == NUMBERS[part, "devices.gpu.efficiency.memory"]


@pytest.mark.parametrize(("gpu", "node", "part"), PARTS)
def test_layer_overhead_is_kernels_attention_and_all_reduces(shared, gpu, node, part):
    _, kernels_us = over_tp(shared, gpu)
    total_us = kernels_us + attention_us(shared, gpu) + 2 * all_reduce_us(shared, gpu)
    written_us = parse_ps(NUMBERS[node, "devices.gpu.overhead.layer"]) / 1e6
    assert total_us == pytest.approx(written_us, abs=0.3)
    alone_us = parse_ps(NUMBERS[part, "devices.gpu.overhead.layer"]) / 1e6
    assert kernels_us + attention_us(shared, gpu) == pytest.approx(alone_us, abs=0.3)


@pytest.mark.parametrize(("gpu", "node", "part"), PARTS)
def test_decode_efficiency_is_that_of_a_whole_layer(shared, gpu, node, part):
    peak = parse_bytes_per_s(NUMBERS[part, "tiers.hbm.bandwidth"])
    share = LAYER_BYTES / ((layer_us(shared, gpu, 1, 1) + attention_us(shared, gpu)) * 1e-6) / peak
    assert share == pytest.approx(NUMBERS[part, "devices.gpu.efficiency.decode"], abs=0.01)


@pytest.mark.parametrize(("gpu", "node", "part"), PARTS)
def test_prefill_efficiency_is_that_of_large_layers(shared, gpu, node, part):
    peak = parse_flops(NUMBERS[part, "devices.gpu.peak_flops.bf16"])

    def share(tp: int, tokens: int) -> float:
        flops = LAYER_BYTES * tokens / tp  # two operations per weight of two bytes
        return flops / (layer_us(shared, gpu, tp, tokens) * 1e-6) / peak

    alone = np.mean([share(1, 2048), share(1, 4096)])
    together = np.mean([share(8, 2048), share(8, 4096)])
    assert alone == pytest.approx(NUMBERS[part, "devices.gpu.efficiency.prefill"], abs=0.015)
    assert together == pytest.approx(NUMBERS[node, "devices.gpu.efficiency.prefill"], abs=0.015)
