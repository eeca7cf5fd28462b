"""How much a run of a workload gets done, so that bytes and time can be given per token."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """So many units: tokens read or made, optimiser or denoising steps, requests."""

    amount: int
    unit: str = "token"
    """In the singular."""
