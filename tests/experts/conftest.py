"""A machine small enough to check in the head: experts of 1 GB, copies at 1 GB/s, runs of a known time."""

from pathlib import Path
from typing import Any

import pytest

from tiergarten.result import RunResult
from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.simulate import simulate

SCENARIO = """
schema_version: 1
name: small
devices:
  unit:
    kind: gpu
    peak_flops: {bf16: 1000 TFLOP/s}     # never the bound here
tiers:
  hbm: {kind: hbm, device: unit, capacity: "3.5 GB", bandwidth: "4 GB/s"}   # router, 2 experts, context
  ddr: {kind: ddr, device: unit, capacity: "100 GB", bandwidth: "1000 GB/s"}
links:
  copy: {between: [ddr, hbm], bandwidth: "1 GB/s"}
workload:
  kind: experts
  experts: 2
  model: {parameters: 5.0e+8, layers: 1, heads: 1, kv_heads: 1, head_size: 1}   # 1 GB, 0.25 s a step
  batch_size: 1
  prompt_tokens: 1
  output_tokens: 2
  batches: 12
"""


@pytest.fixture
def run_small(tmp_path: Path):
    """Runs the small machine with dotted keys replaced."""
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    scenario = load_scenario(path)

    def run(**values: Any) -> RunResult:
        return simulate(with_values(scenario, {key.replace("__", "."): value for key, value in values.items()}, "test"))

    return run
