"""The protocols through which the parts of Tiergarten meet. Data shapes are given with letters: T accesses, N completions."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class AccessBatch(NamedTuple):
    """A batch of accesses to one memory, issued together."""

    ids: NDArray[np.int64]
    """int64[T], the caller's names of the accesses; returned by the completions."""
    addresses: NDArray[np.int64]
    """int64[T], byte offset inside the memory."""
    num_bytes: NDArray[np.int64]
    """int64[T], > 0."""
    is_write: NDArray[np.bool_]
    """bool[T]."""

    @classmethod
    def one(cls, ident: int, address: int, num_bytes: int, is_write: bool) -> "AccessBatch":
        """A batch that holds a single access."""
        return cls(
            np.array([ident], np.int64),
            np.array([address], np.int64),
            np.array([num_bytes], np.int64),
            np.array([is_write], np.bool_),
        )


class Completions(NamedTuple):
    """Accesses that are done, in order of time; ties in order of submission."""

    ids: NDArray[np.int64]
    """int64[N]."""
    times_ps: NDArray[np.int64]
    """int64[N]: when the last byte of the access was there."""


@runtime_checkable
class MemoryModel(Protocol):
    """How long accesses take: the only place where fidelity lives.

    Law of use, held by `tiergarten.testing.check_memory_model`: times given to `submit` and `advance` never go back;
    every submitted access completes exactly once; no completion lies before its submission; `next_completion_ps` is the
    time at which the next completion falls if nothing else is submitted (NEVER_PS if none is outstanding), and
    submitting more work may move it either way; where that is far, it may be an earlier time at which to ask again; `advance(until)` returns every completion with time <= until.
    """

    def submit(self, now_ps: int, accesses: AccessBatch) -> None:
        """Hand in accesses that arrive at `now_ps`."""
        ...

    def next_completion_ps(self) -> int:
        """Time of the earliest completion still to come, or an earlier one; NEVER_PS if nothing is outstanding."""
        ...

    def advance(self, until_ps: int) -> Completions:
        """Move the model to `until_ps` and return what completed up to and including that time."""
        ...


@runtime_checkable
class Wearing(Protocol):
    """A MemoryModel that writing wears out."""

    @property
    def worn_out_ps(self) -> int:
        """Since when it is read-only, NEVER_PS while it is not."""
        ...

    def refuses_writes(self, now_ps: int) -> bool:
        """Whether the memory is read-only by now; what was started before is still taken."""
        ...

    def metrics(self, now_ps: int) -> dict[str, float]:
        """Wear by now, by name with unit."""
        ...
