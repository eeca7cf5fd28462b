"""The traces that workloads produce and machines replay, as immutable tables of numpy columns.

Three levels: a `RequestTrace` (what users ask of a service), a `Trace` (objects, operations and the accesses that operations
make to objects) and an `AddressTrace` (bytes at addresses of one memory). A workload lowers one into the next.
Letters: R requests, O objects, P operations, T accesses.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


class Role(IntEnum):
    """What an object is for; placement policies and occupancy figures go by it."""

    WEIGHT = 0
    KV = 1
    ACTIVATION = 2
    GRADIENT = 3
    OPTIMIZER = 4
    CODE = 5
    INPUT = 6
    OTHER = 7


@dataclass(frozen=True, eq=False)
class Objects:
    """Things that live in memory. Row number = object id."""

    names: tuple[str, ...]
    num_bytes: Int
    """int64[O]."""
    roles: NDArray[np.int8]
    """int8[O], values of Role."""


@dataclass(frozen=True, eq=False)
class Ops:
    """Operations in program order. Row number = operation id."""

    names: tuple[str, ...]
    streams: NDArray[np.int32]
    """int32[P], the queue that the operation runs in."""
    flops: NDArray[np.float64]
    """float64[P]."""
    dependency_offsets: Int
    """int64[P+1]: operation p waits for `dependencies[dependency_offsets[p]:dependency_offsets[p+1]]`."""
    dependencies: Int
    """int64[D], operation ids, each smaller than the operation that waits."""


@dataclass(frozen=True, eq=False)
class Accesses:
    """Byte ranges of objects that operations read and write, in order of issue."""

    ops: Int
    """int64[T], operation id, not decreasing."""
    objects: Int
    """int64[T], object id."""
    offsets: Int
    """int64[T], first byte inside the object."""
    num_bytes: Int
    """int64[T], > 0."""
    is_write: NDArray[np.bool_]
    """bool[T]."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A recorded program: its objects, its operations, and which bytes each operation touches."""

    objects: Objects
    ops: Ops
    accesses: Accesses
    birth_ops: Int
    """int64[O], first operation before which the object exists; -1 = before the program."""
    death_ops: Int
    """int64[O], last operation that needs the object; P = outlives the program."""


@dataclass(frozen=True, eq=False)
class AddressTrace:
    """Accesses to one memory by address. Source formats: Ramulator, DRAMsim3, DRAMSys `.stl`."""

    ticks: Int
    """int64[T], earliest issue in clock ticks of the memory (or of `tick_ps`), not decreasing."""
    addresses: Int
    """int64[T], byte address."""
    is_write: NDArray[np.bool_]
    """bool[T]."""
    depends_on: Int
    """int64[T], row that must have completed first, -1 = none."""
    tick_ps: int = 0
    """Picoseconds of a tick; 0 = the memory's own clock."""


@dataclass(frozen=True, eq=False)
class RequestTrace:
    """Requests to a language-model service, in order of arrival."""

    arrivals_ps: Int
    """int64[R], not decreasing."""
    input_tokens: Int
    """int64[R], > 0."""
    output_tokens: Int
    """int64[R], > 0."""
    block_offsets: Int
    """int64[R+1]: request r's prefix blocks are `block_ids[block_offsets[r]:block_offsets[r+1]]`."""
    block_ids: Int
    """int64[...]; equal id = same tokens and same prefix before them. Empty where the source has none."""
    block_tokens: int
    """Tokens in a full block; 0 where the source has no blocks. A request's last block may be partly filled."""
    name: str = ""
    """Where the trace comes from, for reports."""

    def __len__(self) -> int:
        return len(self.arrivals_ps)
