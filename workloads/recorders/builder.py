"""Collects objects, operations and accesses in the order in which a recorder sees them, and gives them as a Trace."""

from collections.abc import Sequence

import numpy as np

from tiergarten.sim.trace import Accesses, Int, Objects, Ops, Role, Trace


class TraceBuilder:
    """A trace under way.

    An operation waits for the last writer of every object that it reads, and for what it is told to. An object added
    before the first operation exists before the program; one added later is born with the operation under way, or the
    next one. An object that is not freed outlives the program. Touches of an operation that follow one another in
    memory become one run.
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._num_bytes: list[int] = []
        self._roles: list[int] = []
        self._births: list[int] = []
        self._deaths: dict[int, int] = {}
        self._last_writer: dict[int, int] = {}
        self._op_names: list[str] = []
        self._streams: list[int] = []
        self._flops: list[float] = []
        self._waits: list[set[int]] = []
        self._open_op: int | None = None
        self._chunks: list[tuple[int, int, bool, Int, int]] = []
        """(op, object, is_write, starts, run length) of each touch, in order of issue."""

    @property
    def num_ops(self) -> int:
        """Operations so far, the one under way included."""
        return len(self._op_names)

    def add_object(self, name: str, num_bytes: int, role: Role, *, from_start: bool = False) -> int:
        """A new object's id. `from_start`: it existed before the program. ValueError for a known name or no bytes."""
        if num_bytes <= 0:
            raise ValueError(f"object {name!r} would have no bytes")
        if name in self._names:
            raise ValueError(f"object {name!r} is declared twice")
        ident = self._names[name] = len(self._num_bytes)
        self._num_bytes.append(num_bytes)
        self._roles.append(int(role))
        next_op = self.num_ops if self._open_op is None else self._open_op
        self._births.append(-1 if from_start or not self._op_names else next_op)
        return ident

    def set_role(self, ident: int, role: Role) -> None:
        """What the object turned out to be for."""
        self._roles[ident] = int(role)

    def role(self, ident: int) -> Role:
        """What the object is for."""
        return Role(self._roles[ident])

    def free(self, ident: int) -> None:
        """The object is needed no longer, once the operation under way (or the last one) is done."""
        self._deaths[ident] = self.num_ops - 1

    def begin_op(self, name: str, flops: float, stream: int = 0, after: Sequence[int] = ()) -> int:
        """Open an operation; gives its number. RuntimeError inside another one."""
        if self._open_op is not None:
            raise RuntimeError(f"op {name!r} begins inside op {self._op_names[self._open_op]!r}")
        self._open_op = self.num_ops
        self._op_names.append(name)
        self._streams.append(stream)
        self._flops.append(float(flops))
        self._waits.append(set(after))
        return self._open_op

    def add_flops(self, flops: float) -> None:
        """FLOPs that the operation under way turns out to do."""
        assert self._open_op is not None
        self._flops[self._open_op] += flops

    def end_op(self) -> None:
        """Close the operation under way."""
        self._open_op = None

    def touch(self, ident: int, is_write: bool, starts: Int, run_bytes: int) -> None:
        """The operation under way touches runs of equal length of an object. RuntimeError outside of every operation."""
        if self._open_op is None:
            name = next(name for name, other in self._names.items() if other == ident)
            raise RuntimeError(f"object {name!r} is touched outside of every operation")
        if len(starts) == 0:
            return
        if is_write:
            self._last_writer[ident] = self._open_op
        else:
            writer = self._last_writer.get(ident, self._open_op)
            if writer != self._open_op:
                self._waits[self._open_op].add(writer)
        self._chunks.append((self._open_op, ident, is_write, starts, run_bytes))

    def trace(self) -> Trace:
        """What was recorded so far."""
        counts = [len(waits) for waits in self._waits]
        deaths = [self._deaths.get(row, self.num_ops) for row in range(len(self._num_bytes))]
        return Trace(
            Objects(tuple(self._names), np.array(self._num_bytes, np.int64), np.array(self._roles, np.int8)),
            Ops(
                tuple(self._op_names),
                np.array(self._streams, np.int32),
                np.array(self._flops, np.float64),
                np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
                np.array([op for waits in self._waits for op in sorted(waits)], np.int64),
            ),
            self._accesses(),
            np.array(self._births, np.int64),
            np.array(deaths, np.int64),
        )

    def _accesses(self) -> Accesses:
        sizes = [len(starts) for _, _, _, starts, _ in self._chunks]
        if not sizes:
            none = np.zeros(0, np.int64)
            return Accesses(none, none, none, none, none.astype(np.bool_))
        heads = np.array([(op, ident, write, run) for op, ident, write, _, run in self._chunks], np.int64)
        ops, objects, is_write, num_bytes = np.repeat(heads, sizes, axis=0).T
        offsets = np.concatenate([starts for _, _, _, starts, _ in self._chunks])
        new_run = np.ones(len(ops), bool)
        new_run[1:] = (
            (ops[1:] != ops[:-1])
            | (objects[1:] != objects[:-1])
            | (is_write[1:] != is_write[:-1])
            | (offsets[1:] != offsets[:-1] + num_bytes[:-1])
        )
        first = np.flatnonzero(new_run)
        return Accesses(
            ops[first].copy(),
            objects[first].copy(),
            offsets[first],
            np.add.reduceat(num_bytes, first),
            is_write[first].astype(np.bool_),
        )
