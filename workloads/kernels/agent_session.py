"""An agent's session: context grows turn by turn, is trimmed when too long, and then has to be computed anew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder
from tiergarten.workloads.toy_decoder import PROJECTIONS, ToyDecoder
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


class Pass(NamedTuple):
    """One forward pass: `new` tokens behind `cached` ones."""

    cached: int
    new: int


@KERNELS.register("agent_session")
@dataclass(frozen=True)
class AgentSession:
    """Turns of tool output and reply over one growing KV cache; past a limit the oldest turns are dropped.

    No paper publishes bytes for this; the shape is that of agent memories (Task Memory Engine, Mem-α): fewer kept
    tokens, fewer prefilled. Derived: a pass of n tokens behind c cached ones reads c and writes n rows of KV per layer.
    Ours: a turn is one prefill of the observation and token-by-token replies; trimming keeps the system prompt and the
    most recent tokens, whose positions change, so that all but the system prompt is prefilled again.
    """

    layers: int = 2
    width: int = 32
    system_tokens: int = 12
    observation_tokens: int = 16
    reply_tokens: int = 4
    turns: int = 5
    limit: int = 64
    kept: int = 20

    @property
    def work(self) -> Work:
        return Work(self.turns * self.reply_tokens)

    @classmethod
    def examples(cls) -> list["AgentSession"]:
        """Trimmed, never trimmed, and trimmed at every turn."""
        return [cls(), cls(limit=1000, turns=3), cls(limit=30, kept=2, reply_tokens=1, turns=4)]

    def passes(self) -> Iterator[Pass]:
        """The forward passes of the session, from the lengths alone."""
        yield Pass(0, self.system_tokens)
        length = self.system_tokens
        for _ in range(self.turns):
            turn = self.observation_tokens + self.reply_tokens
            if length + turn > self.limit:
                recent = min(self.kept, length - self.system_tokens)
                length = self.system_tokens
                if recent:
                    yield Pass(length, recent)
                length += recent
            yield Pass(length, self.observation_tokens)
            length += self.observation_tokens
            for _ in range(self.reply_tokens):
                yield Pass(length, 1)
                length += 1

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Hidden state after every turn, against the visible text computed at once in float64."""
        rng = stream(seed, "agent_session")
        model = ToyDecoder.random(recorder, rng, self.layers, self.width)
        longest = self.system_tokens + self.kept + self.turns * (self.observation_tokens + self.reply_tokens)
        positions = rng.standard_normal((longest, self.width)).astype(np.float32)
        cache = tuple(
            recorder.array(f"{name}_cache", np.zeros((self.layers, longest, self.width), np.float32), Role.KV)
            for name in "kv"
        )
        tokens = rng.standard_normal((self.system_tokens, self.width)).astype(np.float32)
        results, references = [], []
        x = self._forward(recorder, model, tokens + positions[: self.system_tokens], cache, 0)
        for _ in range(self.turns):
            if len(tokens) + self.observation_tokens + self.reply_tokens > self.limit:
                tokens = self._trim(recorder, model, (tokens, positions), cache)
            for count in (self.observation_tokens, *[1] * self.reply_tokens):
                start = len(tokens)
                tokens = np.concatenate([tokens, rng.standard_normal((count, self.width)).astype(np.float32)])
                x = self._forward(recorder, model, tokens[start:] + positions[start : len(tokens)], cache, start)
            results.append(x[-1])
            references.append(model.dense(tokens + positions[: len(tokens)])[-1])
        return Outcome(np.array(results), np.array(references))

    def _forward(self, recorder: AnyRecorder, model: ToyDecoder, x: np.ndarray, cache: tuple, start: int) -> np.ndarray:
        for layer in range(self.layers):
            with recorder.op(f"{len(x)} tokens at {start} layer {layer}", model.flops(len(x), start + len(x))):
                x = model.layer(layer, x, cache, start)
        return x

    def _trim(self, recorder: AnyRecorder, model: ToyDecoder, text: tuple, cache: tuple) -> np.ndarray:
        """Drop the middle; prefill again what stays behind the system prompt."""
        tokens, positions = text
        recent = min(self.kept, len(tokens) - self.system_tokens)
        tokens = np.concatenate([tokens[: self.system_tokens], tokens[len(tokens) - recent :]])
        if recent:
            again = tokens[self.system_tokens :] + positions[self.system_tokens : len(tokens)]
            self._forward(recorder, model, again, cache, self.system_tokens)
        return tokens

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Sum over passes: weights once, cached rows read, new rows written."""
        passes = list(self.passes())
        row = self.layers * self.width * 4
        cache = Traffic(sum(p.cached for p in passes) * row, sum(p.new for p in passes) * row)
        weights = {name: Traffic(len(passes) * self.width * row) for name in PROJECTIONS}
        return {**weights, "k_cache": cache, "v_cache": cache}
