"""The traces that workloads produce and machines replay, as immutable tables of numpy columns.

Three levels: a `RequestTrace` (what users ask of a service), a `Trace` (objects, operations and the accesses that operations
make to objects) and an `AddressTrace` (bytes at addresses of one memory). A workload lowers one into the next.
Letters: R requests, O objects, P operations, T accesses.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import Problem

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

    def blocks(self, request: int) -> Int:
        """int64[...], prefix block ids of one request."""
        return self.block_ids[self.block_offsets[request] : self.block_offsets[request + 1]]

    def with_arrivals(self, arrivals_ps: Int) -> "RequestTrace":
        """The same requests at other times: int64[R], not decreasing."""
        return replace(self, arrivals_ps=np.asarray(arrivals_ps, np.int64))

    def first(self, num_requests: int) -> "RequestTrace":
        """The first requests of the trace."""
        end = self.block_offsets[min(num_requests, len(self))]
        return replace(
            self,
            arrivals_ps=self.arrivals_ps[:num_requests],
            input_tokens=self.input_tokens[:num_requests],
            output_tokens=self.output_tokens[:num_requests],
            block_offsets=self.block_offsets[: num_requests + 1],
            block_ids=self.block_ids[:end],
        )

    def digest(self) -> str:
        """SHA-256 over all columns: names the trace in a manifest. The trace's own name does not count."""
        digest = hashlib.sha256(str(self.block_tokens).encode())
        for column in (self.arrivals_ps, self.input_tokens, self.output_tokens, self.block_offsets, self.block_ids):
            digest.update(len(column).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(column, "<i8").tobytes())
        return digest.hexdigest()

    def problems(self) -> list[Problem]:
        """What breaks the rules stated at the columns; empty for a sound trace. Rows count from 0."""
        return [Problem(message, file=self.name) for message in self._shape_faults() or self._value_faults()]

    def _shape_faults(self) -> list[str]:
        faults = [
            f"{name} must be a one-dimensional array of integers"
            for name in ("arrivals_ps", "input_tokens", "output_tokens", "block_offsets", "block_ids")
            if (column := np.asarray(getattr(self, name))).ndim != 1 or not np.issubdtype(column.dtype, np.integer)
        ]
        if faults:
            return faults
        if (
            not len(self.arrivals_ps)
            == len(self.input_tokens)
            == len(self.output_tokens)
            == len(self.block_offsets) - 1
        ):
            return ["columns have different lengths; block_offsets must be one longer than the others"]
        if self.block_offsets[0] != 0 or self.block_offsets[-1] != len(self.block_ids):
            return ["block_offsets must begin at 0 and end at the number of block ids"]
        return []

    def _value_faults(self) -> list[str]:
        faults = []
        if len(self.block_ids) and self.block_tokens < 1:
            faults.append(f"block_tokens must be at least 1 where there are block ids, got {self.block_tokens}")
        rows = (
            ("arrives before the row above", np.flatnonzero(np.diff(self.arrivals_ps) < 0) + 1),
            ("arrives before time 0", np.flatnonzero(self.arrivals_ps < 0)),
            ("asks for no input tokens", np.flatnonzero(self.input_tokens < 1)),
            ("asks for no output tokens", np.flatnonzero(self.output_tokens < 1)),
            ("has a negative number of blocks", np.flatnonzero(np.diff(self.block_offsets) < 0)),
        )
        faults += [f"row {row[0]} {what} ({len(row)} such rows)" for what, row in rows if len(row)]
        if not faults and self.block_tokens > 0:
            too_many = np.flatnonzero(np.diff(self.block_offsets) > -(-self.input_tokens // self.block_tokens))
            if len(too_many):
                faults.append(f"row {too_many[0]} has more blocks than its tokens fill ({len(too_many)} such rows)")
        return faults
