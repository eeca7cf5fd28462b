"""Where a scenario's requests come from: a file, or a generator of our own."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tiergarten.sim.params import InputFile, PositivePs, StrictModel
from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_S
from tiergarten.workloads.requests.arrivals import ArrivalProcess, Diurnal, GammaBursts, Poisson
from tiergarten.workloads.requests.files import read_requests
from tiergarten.workloads.requests.generators import Conversations, generate_conversations


class FileRequests(StrictModel):
    """Requests read from a file."""

    source: Literal["file"]
    path: InputFile = Field(description="Trace file; .gz and .zst are unpacked.")
    format: str | None = Field(None, description="A request format; absent = recognised by the first line.")
    block_tokens: int = Field(0, ge=0, le=2**20, description="Tokens per prefix block where the file does not say.")
    num_requests: int | None = Field(None, gt=0, description="Only so many from the first.")
    time_scale: float = Field(
        1.0, gt=0, le=1e6, description="Arrival times are multiplied by it; 0.5 doubles the load."
    )
    requests_per_s: float | None = Field(
        None, gt=0, le=1e9, description="Poisson arrivals at this rate instead of those in the file."
    )

    def trace(self, seed: int) -> RequestTrace:
        """Read the file. Raises TraceError."""
        trace = read_requests(self.path, self.format, self.block_tokens, self.num_requests)
        if self.requests_per_s is not None:
            gaps_s = stream(seed, "arrivals").exponential(1 / self.requests_per_s, len(trace))
            return trace.with_arrivals(np.rint(np.cumsum(gaps_s) * PS_PER_S).astype(np.int64))
        if self.time_scale != 1.0:
            return trace.with_arrivals(np.rint(trace.arrivals_ps * self.time_scale).astype(np.int64))
        return trace


class GeneratedRequests(StrictModel):
    """Conversations of our own making; see `docs/kv-tiers.md` for what is drawn from which distribution."""

    source: Literal["generated"] = "generated"
    duration: PositivePs = Field(1200 * PS_PER_S, description="How long requests arrive, as in 20 min.")
    sessions_per_s: float = Field(0.42, gt=0, le=1e6, description="Rate at which sessions begin.")
    arrivals: Literal["poisson", "gamma", "diurnal"] = Field("gamma", description="How sessions arrive.")
    cv: float = Field(1.5, gt=0, le=100, description="gamma: coefficient of variation of the gaps.")
    swing: float = Field(0.5, ge=0, le=1, description="diurnal: relative swing of the rate.")
    period: PositivePs = Field(600 * PS_PER_S, description="diurnal: time of one swing.")
    mean_turns: float = Field(4.0, ge=1, le=1000, description="Mean number of turns of a session, geometric.")
    mean_gap: PositivePs = Field(90 * PS_PER_S, description="Mean time between turns, exponential.")
    system_prompts: int = Field(8, gt=0, le=100_000, description="Shared system prompts, Zipf-popular.")
    document_share: float = Field(0.1, ge=0, le=1, description="Share of messages that bring a long document.")
    longest_prompt: int = Field(32768, ge=8192, le=10_000_000, description="A session ends before it grows longer.")
    block_tokens: int = Field(64, gt=0, le=2**20, description="Tokens per prefix block.")

    def trace(self, seed: int) -> RequestTrace:
        """Generate. Raises ValueError if no session arrives."""
        return generate_conversations(
            Conversations(
                duration_s=self.duration / PS_PER_S,
                sessions=self._process(),
                mean_turns=self.mean_turns,
                mean_gap_s=self.mean_gap / PS_PER_S,
                num_system_prompts=self.system_prompts,
                document_share=self.document_share,
                longest_prompt=self.longest_prompt,
                block_tokens=self.block_tokens,
            ),
            seed,
        )

    def _process(self) -> ArrivalProcess:
        if self.arrivals == "poisson":
            return Poisson(self.sessions_per_s)
        if self.arrivals == "gamma":
            return GammaBursts(self.sessions_per_s, self.cv)
        return Diurnal(self.sessions_per_s, self.swing, self.period / PS_PER_S)


RequestSource = Annotated[FileRequests | GeneratedRequests, Field(discriminator="source")]
