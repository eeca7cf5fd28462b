"""The traces that workloads produce and machines replay, as immutable tables of numpy columns.

Three levels: a `RequestTrace` (what users ask of a service), a `Trace` (objects, operations and the accesses that
operations make to objects) and an `AddressTrace` (bytes at addresses of one memory). A workload lowers one into the
next.
Letters: R requests, O objects, P operations, T accesses.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import Problem

Int = NDArray[np.int64]
MAX_PROBLEMS_OF_A_KIND = 3
"""A table of a million bad rows is described by its first rows and a count."""


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

    def __len__(self) -> int:
        return len(self.names)


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

    def __len__(self) -> int:
        return len(self.names)

    def waits_for(self, op: int) -> Int:
        """int64[n], the operations that `op` waits for."""
        return self.dependencies[self.dependency_offsets[op] : self.dependency_offsets[op + 1]]


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

    def __len__(self) -> int:
        return len(self.ops)


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

    def problems(self) -> list[str]:
        """What is wrong with the trace, in words, by name of object and operation; empty if it can be replayed.

        Lengths of columns are checked first: while they differ nothing else can be said.
        """
        found = self._length_problems()
        if found:
            return found
        for checks in (self._object_problems, self._op_problems, self._access_problems):
            found.extend(checks())
        return found

    def _length_problems(self) -> list[str]:
        objects, ops, accesses = self.objects, self.ops, self.accesses
        tables: dict[str, tuple[int, list[tuple[str, NDArray[Any]]]]] = {
            "objects": (len(objects), [("num_bytes", objects.num_bytes), ("roles", objects.roles),
                                       ("birth_ops", self.birth_ops), ("death_ops", self.death_ops)]),
            "ops": (len(ops), [("streams", ops.streams), ("flops", ops.flops)]),
            "accesses": (len(accesses), [("objects", accesses.objects), ("offsets", accesses.offsets),
                                         ("num_bytes", accesses.num_bytes), ("is_write", accesses.is_write)]),
        }  # fmt: skip
        found = [
            f"{table}: column {name} has {len(column)} rows, the table {rows}"
            for table, (rows, columns) in tables.items()
            for name, column in columns
            if len(column) != rows
        ]
        offsets = ops.dependency_offsets
        if len(offsets) != len(ops) + 1:
            found.append(f"ops: dependency_offsets has {len(offsets)} entries, {len(ops) + 1} are needed")
        elif offsets[0] != 0 or offsets[-1] != len(ops.dependencies) or (np.diff(offsets) < 0).any():
            found.append(f"ops: dependency_offsets do not rise from 0 to {len(ops.dependencies)}")
        return found

    def _object_problems(self) -> Iterator[str]:
        objects, num_ops = self.objects, len(self.ops)
        names = objects.names

        def say(what: str) -> Callable[[int], str]:
            return lambda row: f"object {names[row]!r} {what}"

        yield from _first_few(
            objects.num_bytes <= 0, lambda row: f"object {names[row]!r} has {objects.num_bytes[row]} bytes"
        )
        known_roles = np.isin(objects.roles, [int(role) for role in Role])
        yield from _first_few(
            ~known_roles, lambda row: f"object {names[row]!r} has the unknown role {objects.roles[row]}"
        )
        yield from _first_few((self.birth_ops < -1) | (self.birth_ops > num_ops), say("is born outside the program"))
        yield from _first_few((self.death_ops < -1) | (self.death_ops > num_ops), say("dies outside the program"))
        yield from _first_few(self.death_ops < self.birth_ops, say("dies before its birth"))
        seen: dict[str, int] = {}
        repeated = np.array([seen.setdefault(name, row) != row for row, name in enumerate(names)], bool)
        yield from _first_few(repeated, say("is listed twice"))

    def _op_problems(self) -> Iterator[str]:
        ops = self.ops
        bad_flops = ~(np.isfinite(ops.flops) & (ops.flops >= 0))
        yield from _first_few(bad_flops, lambda row: f"op {row} ({ops.names[row]!r}) has {ops.flops[row]} FLOPs")
        yield from _first_few(ops.streams < 0, lambda row: f"op {row} ({ops.names[row]!r}) has a negative stream")
        waiting = np.repeat(np.arange(len(ops)), np.diff(ops.dependency_offsets))
        late = (ops.dependencies < 0) | (ops.dependencies >= waiting)
        yield from _first_few(
            late,
            lambda row: (
                f"op {waiting[row]} ({ops.names[waiting[row]]!r}) waits for op {ops.dependencies[row]}, "
                "which does not come before it"
            ),
        )

    def _access_problems(self) -> Iterator[str]:
        accesses, num_ops = self.accesses, len(self.ops)
        unknown_op = (accesses.ops < 0) | (accesses.ops >= num_ops)
        unknown_object = (accesses.objects < 0) | (accesses.objects >= len(self.objects))
        yield from _first_few(unknown_op, lambda row: f"access {row} names op {accesses.ops[row]}; there are {num_ops}")
        yield from _first_few(
            unknown_object,
            lambda row: f"access {row} names object {accesses.objects[row]}; there are {len(self.objects)}",
        )
        unsorted = np.zeros(len(accesses), bool)
        unsorted[1:] = accesses.ops[1:] < accesses.ops[:-1]
        yield from _first_few(
            unsorted, lambda row: f"access {row} belongs to op {accesses.ops[row]}, the one before it to a later op"
        )
        if unknown_op.any() or unknown_object.any():
            return
        yield from self._access_place_problems()

    def _access_place_problems(self) -> Iterator[str]:
        accesses, names = self.accesses, self.objects.names
        sizes = self.objects.num_bytes[accesses.objects]

        def place(row: int) -> str:
            return f"access {row} by op {accesses.ops[row]} ({self.ops.names[accesses.ops[row]]!r})"

        def named(row: int) -> str:
            return repr(names[accesses.objects[row]])

        yield from _first_few(
            accesses.num_bytes <= 0, lambda row: f"{place(row)} touches {accesses.num_bytes[row]} bytes"
        )
        outside = (accesses.offsets < 0) | (accesses.offsets > sizes - accesses.num_bytes)
        yield from _first_few(
            outside & (accesses.num_bytes > 0),
            lambda row: (
                f"{place(row)} touches bytes {accesses.offsets[row]} to "
                f"{int(accesses.offsets[row]) + int(accesses.num_bytes[row])} of {named(row)}, which has {sizes[row]}"
            ),
        )
        births, deaths = self.birth_ops[accesses.objects], self.death_ops[accesses.objects]
        yield from _first_few(
            accesses.ops < births,
            lambda row: f"{place(row)} uses {named(row)} before its birth at op {births[row]}",
        )
        yield from _first_few(
            accesses.ops > deaths,
            lambda row: f"{place(row)} uses {named(row)} after its death at op {deaths[row]}",
        )


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

    def __len__(self) -> int:
        return len(self.ticks)

    def problems(self) -> list[str]:
        """What is wrong with the trace, row by row; empty if it can be replayed."""
        columns = {"addresses": self.addresses, "is_write": self.is_write, "depends_on": self.depends_on}
        found = [
            f"column {name} has {len(column)} rows, ticks {len(self)}"
            for name, column in columns.items()
            if len(column) != len(self)
        ]
        if self.tick_ps < 0:
            found.append(f"a tick of {self.tick_ps} ps")
        if found:
            return found
        back = np.zeros(len(self), bool)
        back[1:] = self.ticks[1:] < self.ticks[:-1]
        rows = np.arange(len(self))
        for bad, what in (
            (self.ticks < 0, "has a negative tick"),
            (back, "goes back in time"),
            (self.addresses < 0, "has a negative address"),
            ((self.depends_on < -1) | (self.depends_on >= rows), "depends on a row that does not come before it"),
        ):
            found.extend(_first_few(bad, lambda row, what=what: f"row {row} {what}"))  # type: ignore[misc]
        return found


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


def _first_few(bad: NDArray[np.bool_], describe: Callable[[int], str]) -> Iterator[str]:
    """Descriptions of the first bad rows, and how many more there are."""
    rows = np.flatnonzero(bad)
    for row in rows[:MAX_PROBLEMS_OF_A_KIND]:
        yield describe(int(row))
    if len(rows) > MAX_PROBLEMS_OF_A_KIND:
        yield f"... and {len(rows) - MAX_PROBLEMS_OF_A_KIND} more like the last"
