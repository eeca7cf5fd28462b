"""A language model as numbers, and the time and bytes of one run of it on a device.

Prefill and every decode step follow the roofline, plus the device's fixed cost per layer and per run.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.accelerators.roofline import Roofline
from tiergarten.sim.params import StrictModel
from tiergarten.sim.units import PS_PER_S

MAX_DECODE_SEGMENTS: Final = 31
"""Transfers that stand for the decode steps of one run; enough for copies to get their turn at the memory between them."""


class LanguageModel(StrictModel):
    """A dense decoder-only transformer."""

    parameters: float = Field(gt=0, le=1e14, description="Number of weights, as in 7.0e+9.")
    layers: int = Field(gt=0, le=10_000, description="Decoder layers.")
    heads: int = Field(gt=0, le=100_000, description="Attention heads.")
    kv_heads: int = Field(gt=0, le=100_000, description="Heads of keys and values.")
    head_size: int = Field(gt=0, le=100_000, description="Values of one head.")
    value_bytes: int = Field(2, gt=0, le=8, description="Bytes of a weight and of a cached value.")

    @property
    def weight_bytes(self) -> int:
        """All weights."""
        return int(self.parameters) * self.value_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        """Key and value of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_size * self.value_bytes

    def prefill_flops(self, num_tokens: int) -> float:
        """Two per weight and token, and causal attention: scores and mixture over half of the square."""
        return 2 * self.parameters * num_tokens + 2 * self.layers * self.heads * self.head_size * num_tokens**2

    def step_flops(self, context_tokens: "np.ndarray | int") -> "np.ndarray | float":
        """One new token that attends to `context_tokens`."""
        return 2 * self.parameters + 4 * self.layers * self.heads * self.head_size * context_tokens


@dataclass(frozen=True)
class Shape:
    """One run: prompts that go together, their length, and the tokens each gets back."""

    batch: int
    prompt_tokens: int
    output_tokens: int


class Segment(NamedTuple):
    """A stretch of a run that reads memory as one transfer: the prefill, or some decode steps."""

    duration_ps: int
    read_bytes: int


@dataclass(frozen=True)
class RunCost:
    """What one run takes."""

    segments: tuple[Segment, ...]
    """The first ends with the first token: fixed cost and prefill."""
    flops: float

    @property
    def duration_ps(self) -> int:
        """The whole run."""
        return sum(segment.duration_ps for segment in self.segments)

    @property
    def first_token_ps(self) -> int:
        """Until the first token."""
        return self.segments[0].duration_ps

    @property
    def read_bytes(self) -> int:
        """Weights and cached keys and values that the device reads from its memory."""
        return sum(segment.read_bytes for segment in self.segments)


@dataclass(frozen=True)
class Executor:
    """A device and the bandwidth of the memory it works from."""

    device: DeviceSpec
    memory_bytes_per_s: float
    number_format: str = "bf16"

    def roofline(self) -> Roofline:
        """Rates that software reaches. ValueError if the device has no peak rate for the number format."""
        efficiency = self.device.efficiency
        return Roofline(
            self.device.flops_per_s(self.number_format) * efficiency.get("prefill", 1.0),
            self.memory_bytes_per_s * efficiency.get("memory", efficiency.get("decode", 1.0)),
        )

    def run(self, model: LanguageModel, shape: Shape) -> RunCost:
        """Prefill, which gives the first token, and one step for each further token.

        Every step reads all weights once and the keys and values of every prompt's context.
        """
        roofline = self.roofline()
        layers_s = model.layers * self.device.overhead.layer / PS_PER_S
        prefill_flops = shape.batch * model.prefill_flops(shape.prompt_tokens)
        prefill_s = roofline.time_s(prefill_flops, model.weight_bytes) + layers_s
        contexts = shape.prompt_tokens + np.arange(1, shape.output_tokens, dtype=np.float64)
        step_bytes = model.weight_bytes + shape.batch * model.kv_bytes_per_token * contexts
        step_flops = shape.batch * model.step_flops(contexts)
        steps_s = np.maximum(step_flops / roofline.flops_per_s, step_bytes / roofline.bytes_per_s) + layers_s
        segments = [Segment(self.device.overhead.request + round(prefill_s * PS_PER_S), model.weight_bytes)]
        for part in np.array_split(np.arange(len(contexts)), MAX_DECODE_SEGMENTS):
            if len(part):
                segments.append(Segment(round(float(steps_s[part].sum()) * PS_PER_S), int(step_bytes[part].sum())))
        return RunCost(tuple(segments), prefill_flops + float(np.sum(step_flops)))
