"""What the suite consists of: an item is one table, made by one process, from one compiled program or one Python function."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

NEEDS: Final = {
    "gpu": "an NVIDIA GPU",
    "cc": "a C compiler (cc or gcc)",
    "nvcc": "the CUDA compiler (nvcc)",
    "torch": "PyTorch",
    "triton": "Triton",
}
"""What an item may need of a machine, in words."""


@dataclass(frozen=True)
class Request:
    """How an item shall be run; handed to its process."""

    is_quick: bool
    """Few points, a few seconds."""
    is_stand_in: bool
    """A walk over tiny sizes on the host, which shows that the item works and measures nothing."""
    seed: int
    """Of the random data; a new one for every run."""
    oversubscribe: float
    """Managed memory to touch as a share of the free device memory, where it is above 1; 0 = never more than is free."""
    folder: Path
    """Where an item may leave files beside its table, and scratch files that it removes."""

    def arguments(self) -> list[str]:
        """The same on the command line of a compiled program."""
        named = ["--seed", str(self.seed), "--oversubscribe", str(self.oversubscribe)]
        return named + ["--quick"] * self.is_quick + ["--stand-in"] * self.is_stand_in


@dataclass(frozen=True)
class Program:
    """A source file in `c/` or `cuda/` that prints its table, compiled when it is run."""

    source: str

    @property
    def is_cuda(self) -> bool:
        """Compiled by nvcc; in a dry run by the host's C++ compiler against `cuda/stand_in.hpp`."""
        return self.source.endswith(".cu")


Row: TypeAlias = dict[str, str | int | float]
Body: TypeAlias = Callable[[Request], Iterator[Row]]
"""A Python item: yields the rows of its table, all with the same columns, as soon as they are measured."""


@dataclass(frozen=True)
class Item:
    """One table of the suite."""

    name: str
    group: str
    summary: str
    needs: tuple[str, ...]
    """Keys of NEEDS."""
    how: Program | Body
    limit_s: int
    """The process is ended after this time; what it has measured by then is kept."""
    quick_limit_s: int
    figure: str
    """Column that the closing table shows, at its best row."""
    is_smaller_better: bool = False

    def timeout_s(self, request: Request) -> int:
        """The time limit that applies."""
        return self.quick_limit_s if request.is_quick and not request.is_stand_in else self.limit_s
