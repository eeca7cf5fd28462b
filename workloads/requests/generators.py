"""Request traces of our own making: multi-turn conversations over shared system prompts, from a seed.

A session draws one system prompt and a number of turns. Each turn's prompt is everything before it plus a new message;
the answer joins the history. Nothing is fitted to anybody's trace: the defaults are round numbers in the range that
published chat traces show, chosen so that the KV cache of one H100 with Llama-3-8B comes under pressure.
"""

from dataclasses import dataclass, field

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_S
from tiergarten.workloads.requests.arrivals import ArrivalProcess, GammaBursts

MAX_REQUESTS = 2_000_000
MAX_BLOCKS = 50_000_000
"""More than that is refused rather than generated, so that no scenario exhausts memory."""


@dataclass(frozen=True)
class Lengths:
    """Log-normal token counts, rounded and clipped to [shortest, longest]."""

    median: float
    sigma: float
    """Standard deviation of the logarithm."""
    shortest: int = 1
    longest: int = 32768

    def __post_init__(self) -> None:
        if not (self.median > 0 and self.sigma >= 0 and 1 <= self.shortest <= self.longest):
            raise ValueError(f"lengths need median > 0, sigma >= 0 and 1 <= shortest <= longest, got {self}")

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """int64[count]."""
        drawn = np.rint(rng.lognormal(np.log(self.median), self.sigma, count))
        return np.clip(drawn, self.shortest, self.longest).astype(np.int64)


@dataclass(frozen=True)
class Conversations:
    """A stream of chat sessions. The defaults make about 2,000 requests in 20 minutes."""

    duration_s: float = 1200.0
    sessions: ArrivalProcess = field(default_factory=lambda: GammaBursts(rate_per_s=0.42, cv=1.5))
    mean_turns: float = 4.0
    """Geometric: after every turn the session goes on with probability 1 - 1 / mean_turns."""
    mean_gap_s: float = 90.0
    """Between the arrivals of a session's turns; exponential."""
    num_system_prompts: int = 8
    zipf_exponent: float = 1.0
    """Popularity of the system prompts: the k-th is chosen with weight k^-exponent."""
    system_prompt: Lengths = Lengths(800, 0.6, 64, 4096)
    message: Lengths = Lengths(120, 1.1, 4, 4096)
    document: Lengths = Lengths(5000, 0.7, 512, 24576)
    document_share: float = 0.1
    """Share of messages that bring a document along."""
    answer: Lengths = Lengths(220, 0.9, 1, 2048)
    longest_prompt: int = 32768
    """A session ends before a prompt would grow beyond this."""
    block_tokens: int = 64

    def __post_init__(self) -> None:
        if not (np.isfinite(self.duration_s) and self.duration_s > 0 and self.mean_gap_s > 0):
            raise ValueError("duration_s and mean_gap_s must be positive")
        if self.mean_turns < 1 or not 0 <= self.document_share <= 1:
            raise ValueError("mean_turns must be at least 1 and document_share between 0 and 1")
        if self.num_system_prompts < 1 or self.block_tokens < 1:
            raise ValueError("num_system_prompts and block_tokens must be at least 1")
        if self.system_prompt.longest + self.message.longest > self.longest_prompt:
            raise ValueError("longest_prompt must hold the longest system prompt and message")


def generate_conversations(config: Conversations, seed: int) -> RequestTrace:
    """The trace of `config`; the same seed gives the same trace.

    Sessions begin before time 0, so that the trace shows the steady state from its first second: at any time some
    sessions are in their first turn, others deep in. Only full blocks are shared; a partly filled last block is the
    request's own. Raises ValueError if nobody arrives, or too many for memory.
    """
    rng = stream(seed, "requests")
    ids = _BlockIds(config.block_tokens)
    prompts = config.system_prompt.draw(config.num_system_prompts, rng)
    weights = np.arange(1, config.num_system_prompts + 1) ** -config.zipf_exponent
    # past this lead-in fewer than one session in a thousand is still alive
    lead_in_s = 7 * config.mean_turns * config.mean_gap_s
    expected = config.sessions.rate_per_s * (config.duration_s + lead_in_s) * config.mean_turns
    if expected > MAX_REQUESTS:
        raise ValueError(
            f"would make about {expected:.3g} requests, at most {MAX_REQUESTS} are made; lower rate or duration"
        )
    requests: list[tuple[float, int, int, list[int]]] = []
    num_blocks = 0
    for session, start_s in enumerate(config.sessions.times_s(-lead_in_s, config.duration_s, rng).tolist()):
        system = int(rng.choice(config.num_system_prompts, p=weights / weights.sum()))
        for arrival_s, prompt, answer in _turns(config, start_s, int(prompts[system]), rng):
            if 0 <= arrival_s < config.duration_s:
                shared = int(prompts[system]) // config.block_tokens
                requests.append((arrival_s, prompt, answer, ids.of(system, shared, session, prompt)))
                num_blocks += len(requests[-1][3])
        if num_blocks > MAX_BLOCKS:
            raise ValueError(f"would make more than {MAX_BLOCKS} prefix blocks; use larger blocks or fewer requests")
    if not requests:
        raise ValueError("no session arrives within the duration; raise the rate or the duration")
    requests.sort(key=lambda request: request[0])
    arrivals_ps = np.rint(np.array([request[0] for request in requests]) * PS_PER_S).astype(np.int64)
    return RequestTrace(
        arrivals_ps,
        np.array([request[1] for request in requests], np.int64),
        np.array([request[2] for request in requests], np.int64),
        np.concatenate(([0], np.cumsum([len(request[3]) for request in requests]))).astype(np.int64),
        np.array([block for request in requests for block in request[3]], np.int64),
        config.block_tokens,
        f"conversations, seed {seed}",
    )


def _turns(
    config: Conversations, start_s: float, system_tokens: int, rng: np.random.Generator
) -> list[tuple[float, int, int]]:
    """(arrival, prompt tokens, answer tokens) of a session's turns."""
    count = int(rng.geometric(1 / config.mean_turns))
    messages = config.message.draw(count, rng)
    messages += np.where(rng.random(count) < config.document_share, config.document.draw(count, rng), 0)
    answers = config.answer.draw(count, rng)
    times_s = start_s + np.concatenate(([0.0], np.cumsum(rng.exponential(config.mean_gap_s, count - 1))))
    turns, context = [], system_tokens
    for arrival_s, message, answer in zip(times_s.tolist(), messages.tolist(), answers.tolist(), strict=True):
        if context + message > config.longest_prompt:
            break
        turns.append((arrival_s, context + message, answer))
        context += message + answer
    return turns


class _BlockIds:
    """Numbers blocks: those of a system prompt are shared by all sessions on it, those behind belong to one session."""

    def __init__(self, block_tokens: int):
        self._block_tokens = block_tokens
        self._known: dict[tuple[int, int, int], int] = {}
        self._count = 0

    def of(self, system: int, shared_blocks: int, session: int, prompt_tokens: int) -> list[int]:
        """Ids of all blocks of a prompt."""
        full, rest = divmod(prompt_tokens, self._block_tokens)
        ids = [self._id((system, -1, i) if i < shared_blocks else (system, session, i)) for i in range(full)]
        return [*ids, self._new()] if rest else ids

    def _id(self, key: tuple[int, int, int]) -> int:
        if key not in self._known:
            self._known[key] = self._new()
        return self._known[key]

    def _new(self) -> int:
        self._count += 1
        return self._count - 1
