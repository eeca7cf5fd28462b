"""How much of a layer's activations to send to the host: the published rules of MEMO and ByteScale as functions.

MEMO (arXiv 2407.12117): input and attention output always go; of the rest a fraction α of the tokens goes, the others
are recomputed. ByteScale (arXiv 2502.21231): first and last layers stay, a ratio r of each other layer goes, nothing is
recomputed. Both choose the most that hides behind a layer's compute time.
"""

import math
from dataclasses import dataclass

UNITS_ALWAYS, UNITS_REST = 2, 14
"""Kept activations per token in units of the hidden size: always offloaded, and the rest (MEMO: 16·b·s·h in all)."""


@dataclass(frozen=True)
class SwapProblem:
    """One training step on one device."""

    tokens: int
    hidden: int
    layers: int
    layer_s: float
    """Forward compute time of a layer."""
    link_bytes_per_s: float
    """Device to host."""
    host_bytes: int
    value_bytes: int = 2


def swap_fraction(problem: SwapProblem) -> float | None:
    """MEMO's α, 0 to 1: the largest fraction whose transfer hides behind a layer and whose total fits the host.

    (S_always + α·S_rest)/BW ≤ T_layer and (n - 2)·(S_always + α·S_rest) ≤ host; the last two layers never leave. None
    when not even the input and attention output satisfy both.
    """
    unit = problem.tokens * problem.hidden * problem.value_bytes
    hidden_bytes = problem.layer_s * problem.link_bytes_per_s
    leaving = max(problem.layers - 2, 0)
    most = min(hidden_bytes, problem.host_bytes / leaving if leaving else math.inf)
    alpha = (most / unit - UNITS_ALWAYS) / UNITS_REST
    return min(alpha, 1.0) if alpha >= 0 else None


def overlap_threshold_tokens(hidden: int, value_bytes: int, link_bytes_per_s: float, flops: float) -> float:
    """Length beyond which a whole layer's offload hides: 16·h·P·s/BW = (24·h²·s + 4·h·s²)/FLOPs, solved for s.

    `flops` is the rate at which the layer runs. 0 where even short texts hide it.
    """
    need_s_per_token = (UNITS_ALWAYS + UNITS_REST) * hidden * value_bytes / link_bytes_per_s
    return max(0.0, (need_s_per_token * flops - 24 * hidden**2) / (4 * hidden))


@dataclass(frozen=True)
class ByteScaleProblem:
    """One sequence under ByteScale's cost model; times in s, Act(s) = α2·s + β2 bytes, T(s) = α1·s² + β1·s + γ."""

    tokens: int
    layers: int
    act_bytes_per_token: float
    act_bytes_fixed: float
    time_quadratic: float
    time_linear: float
    time_fixed: float
    link_bytes_per_s: float
    """The slower direction."""
    rank_tokens: int
    """Tokens that one rank holds without offloading (C)."""

    def activation_bytes(self, tokens: int) -> float:
        """Act(s), of one layer."""
        return self.act_bytes_per_token * tokens + self.act_bytes_fixed

    def layer_s(self) -> float:
        """T(s)."""
        return self.time_quadratic * self.tokens**2 + self.time_linear * self.tokens + self.time_fixed

    def ranks(self, ratio: float) -> int:
        """D(s): ranks for the sequence when `ratio` of every middle layer is offloaded."""
        act = self.activation_bytes(self.tokens)
        held = 2 * act + (1 - ratio) * (self.layers - 2) * act
        return math.ceil(held / (self.layers * self.activation_bytes(self.rank_tokens)) - 1e-12)


def selective_offload(problem: ByteScaleProblem) -> tuple[float, int]:
    """(r, D): the fewest ranks, and the least ratio that reaches them, with r·Act/BW ≤ T."""
    act = problem.activation_bytes(problem.tokens)
    most = min(1.0, problem.layer_s() * problem.link_bytes_per_s / act)
    ranks = problem.ranks(most)
    capacity = ranks * problem.layers * problem.activation_bytes(problem.rank_tokens)
    if problem.layers <= 2:
        return 0.0, ranks
    least = 1 - (capacity - 2 * act) / ((problem.layers - 2) * act)
    return min(max(least, 0.0), most), ranks
