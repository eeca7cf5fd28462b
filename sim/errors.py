"""Our error types. Each names the place, what is wrong and what to do; the command line prints them without a traceback."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class TiergartenError(Exception):
    """Base of every error that a user's input can cause. The command line exits with code 2 on it."""


@dataclass(frozen=True)
class Problem:
    """One fault in one place of an input file."""

    message: str
    file: str = ""
    line: int | None = None
    path: str = ""
    """Dotted key (`tiers.hbm.capacity`) or row (`row 17`) inside the file."""

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.line is not None else "")
        return ": ".join(part for part in (place, self.path, self.message) if part)


class InputError(TiergartenError):
    """One or more problems in an input file, all reported at once."""

    def __init__(self, problems: Problem | Sequence[Problem]):
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ScenarioError(InputError):
    """A scenario file cannot be used."""


class TraceError(InputError):
    """A trace file cannot be used."""


class UnknownNameError(TiergartenError, KeyError):
    """A name is not registered; the message lists the nearest ones."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class DeadlockError(TiergartenError):
    """Work is queued that can never be served; the message holds the state that shows why."""


class UnreachableError(TiergartenError):
    """Transfers wait for links that stay down or tiers that stay read-only; the message names them."""


class WornOutError(TiergartenError):
    """A write to a memory that has turned read-only."""


class ConservationError(TiergartenError):
    """A run broke one of its own laws. This is a bug of ours, never of the input."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known names, or lists all of them when none is near."""
    choices = sorted(known)
    near = get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(choice) for choice in near) + "?"
    return "Known: " + ", ".join(choices) + "." if choices else "None is known."
