"""Time and bytes of one iteration of a serving engine: a roofline per group of operators.

The matrix products of all tokens in the batch run as one group, bound by flops or by reading the weights once; attention of
prefill chunks and of decoding requests are groups of their own, bound by flops or by reading keys and values. The groups
of an iteration follow one another. Roofline: Williams, Waterman and Patterson, CACM 52(4), 2009.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import NamedTuple

from tiergarten.accelerators.model_shapes import ModelShape
from tiergarten.sim.units import PS_PER_S


class Chunk(NamedTuple):
    """Part of a prompt that one iteration computes."""

    tokens: int
    before: int
    """Tokens of the same request whose keys and values are there already."""


class DecodeRun(NamedTuple):
    """Consecutive decode steps of a batch that does not change: step i takes `fixed_ps` + `per_token_ps` (context + i batch)."""

    fixed_ps: float
    per_token_ps: float
    batch: int
    context_tokens: int

    def time_ps(self, steps: int) -> int:
        """Time of the first `steps` steps together."""
        tokens = steps * self.context_tokens + self.batch * steps * (steps + 1) / 2
        return ceil(steps * self.fixed_ps + self.per_token_ps * tokens)

    def steps_until(self, elapsed_ps: int) -> int:
        """Fewest steps, at least one, that take `elapsed_ps` or longer: when somebody who came meanwhile can be served."""
        a = self.per_token_ps * self.batch / 2
        b = self.fixed_ps + self.per_token_ps * self.context_tokens + a
        root = elapsed_ps / b if a * elapsed_ps < 1e-9 * b * b else (sqrt(b * b + 4 * a * elapsed_ps) - b) / (2 * a)
        steps = max(1, int(root))
        while self.time_ps(steps) < elapsed_ps:
            steps += 1
        while steps > 1 and self.time_ps(steps - 1) >= elapsed_ps:
            steps -= 1
        return steps


@dataclass(frozen=True)
class StepCosts:
    """A model on a device, at the rates that software reaches (peak times efficiency)."""

    shape: ModelShape
    flops_per_s: float
    bytes_per_s: float
    layer_overhead_ps: int = 0
    """Once per layer and iteration: kernel launches, collectives."""
    step_overhead_ps: int = 0
    """Once per iteration: scheduling, sampling."""

    @property
    def overhead_ps(self) -> int:
        """What every iteration takes beyond flops and bytes."""
        return self.step_overhead_ps + self.shape.layers * self.layer_overhead_ps

    def products_ps(self, tokens: int, sampled: int) -> float:
        """Matrix products of `tokens` tokens, of which `sampled` go through the output head."""
        flops = tokens * self.shape.token_flops + sampled * self.shape.head_flops
        return PS_PER_S * max(flops / self.flops_per_s, self.shape.step_weight_bytes(tokens) / self.bytes_per_s)

    def chunk_attention_ps(self, chunk: Chunk) -> float:
        """Causal attention of a prefill chunk over itself and what came before."""
        pairs = chunk.tokens * chunk.before + chunk.tokens * (chunk.tokens + 1) / 2
        num_bytes = self.shape.kv_bytes_per_token * (chunk.before + chunk.tokens)
        return PS_PER_S * max(pairs * self.shape.pair_flops / self.flops_per_s, num_bytes / self.bytes_per_s)

    @property
    def decode_token_ps(self) -> float:
        """Attention of one new token to one token of its context."""
        return PS_PER_S * max(
            self.shape.pair_flops / self.flops_per_s, self.shape.kv_bytes_per_token / self.bytes_per_s
        )

    def mixed_ps(self, chunks: list[Chunk], finished: int, batch: int, context_tokens: int) -> int:
        """One iteration: prefill chunks, of which `finished` end their prompt, and a step of `batch` decoding requests."""
        tokens = batch + sum(chunk.tokens for chunk in chunks)
        time_ps = self.overhead_ps + self.products_ps(tokens, batch + finished)
        time_ps += sum(self.chunk_attention_ps(chunk) for chunk in chunks)
        return ceil(time_ps + self.decode_token_ps * (context_tokens + batch))

    def decode_run(self, batch: int, context_tokens: int) -> DecodeRun:
        """Steps of `batch` requests whose contexts sum to `context_tokens` before the first step."""
        fixed_ps = self.overhead_ps + self.products_ps(batch, batch)
        return DecodeRun(fixed_ps, self.decode_token_ps, batch, context_tokens)
