"""One recorded layer repeated to a model's real depth: record two layers, get any number.

The two recorded layers do the same operations in the same order; so what one touches at a place corresponds to what the
other touches there. Objects that both touch at the same place are shared (rotary tables, masks). The second layer's
input is the first one's output, and so on down the chain. Everything else is the layer's own: its weights, its part of a
KV cache, its intermediate results. What comes out is what a recording of the whole depth gives, but for the order in
which objects are listed and the names of those that have none of their own (a cache).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.trace import Accesses, Int, Objects, Ops, Trace


@dataclass(frozen=True)
class Span:
    """The operations of a layer."""

    start: int
    stop: int
    """First operation after it."""

    def __contains__(self, op: int) -> bool:
        return self.start <= op < self.stop

    def __len__(self) -> int:
        return self.stop - self.start


class LayerSpans:
    """While entered, notes between which operations each of a model's layers runs. `layers`: its modules in order."""

    def __init__(self, recorder: Any, layers: Iterable[Any]):
        self._recorder, self._layers = recorder, list(layers)
        self._hooks: list[Any] = []
        self._starts: list[int] = []
        self.spans: list[Span] = []

    def __enter__(self) -> Self:
        for layer in self._layers:
            self._hooks += [layer.register_forward_pre_hook(self._begin), layer.register_forward_hook(self._end)]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *_: object) -> None:
        self._starts.append(self._recorder.num_ops)

    def _end(self, *_: object) -> None:
        self.spans.append(Span(self._starts.pop(), self._recorder.num_ops))


def deepen(trace: Trace, spans: list[Span], depth: int) -> Trace:
    """The trace with its last recorded layer repeated until there are `depth` layers.

    `spans`: the recorded layers, at least two. Raises TiergartenError where the last two are not in a row, differ in
    what they do, or where more layers are recorded than asked for.
    """
    if len(spans) < 2 or depth < len(spans):
        raise TiergartenError(f"{len(spans)} layers are recorded; at least 2 and at most {depth} are needed")
    before, last = spans[-2], spans[-1]
    if before.stop != last.start or len(before) != len(last):
        raise TiergartenError("the last two recorded layers are not in a row, or do not do the same operations")
    return _Deeper(trace, before, last, depth - len(spans) + 1, len(spans) - 1).trace()


class _Deeper:
    """The last layer runs `times` times; repetition 0 is the recorded one.

    An object is named by its row in the recorded trace and the repetition that it belongs to: (row, 0) for all but the
    last layer's own.
    """

    def __init__(self, trace: Trace, before: Span, last: Span, times: int, number: int):
        self._trace, self._before, self._last = trace, before, last
        self._times, self._number = times, number
        self._shift = len(last) * (times - 1)
        self._next = _partners(trace, before, last)
        """Object of the layer before -> what is to the last layer what that is to the layer before."""
        self._previous = {late: early for early, late in self._next.items()}
        rows = range(len(trace.objects))
        self._own = [row for row in rows if self._is_own(row)]
        self._new_row = {(row, 0): row for row in rows}
        for repetition in range(1, times):
            for row in self._own:
                self._new_row[row, repetition] = len(self._new_row)

    def trace(self) -> Trace:
        copies = list(self._new_row)
        sizes, roles = self._trace.objects.num_bytes, self._trace.objects.roles
        rows = [row for row, _ in copies]
        return Trace(
            Objects(tuple(self._name(*copy) for copy in copies), sizes[rows], roles[rows]),
            self._ops(),
            self._accesses(),
            np.array([self._birth(*copy) for copy in copies], np.int64),
            np.array([self._death(*copy) for copy in copies], np.int64),
        )

    def _is_own(self, row: int) -> bool:
        """Touched in the last layer alone of the two, or made there and touched by nothing."""
        if row in self._previous:
            return row not in self._next
        return int(self._trace.birth_ops[row]) in self._last and row not in self._next

    def _resolve(self, row: int, repetition: int) -> int:
        """New row of what the last layer's operations, or those after it, name in a repetition."""
        while repetition > 0 and row in self._previous and row in self._next:
            if self._next[row] == row:
                return row
            row, repetition = self._next[row], repetition - 1
        return self._new_row.get((row, repetition), row)

    def _name(self, row: int, repetition: int) -> str:
        name, birth = self._trace.objects.names[row], int(self._trace.birth_ops[row])
        moved = self._shift if birth >= self._last.stop else len(self._last) * repetition
        if birth >= 0:
            return _renumbered(name, moved)
        if repetition == 0:
            return name
        other = name.replace(f".{self._number}.", f".{self._number + repetition}.", 1)
        return other if other != name else f"{name}/layer {self._number + repetition}"

    def _birth(self, row: int, repetition: int) -> int:
        return self._moved(int(self._trace.birth_ops[row]), repetition)

    def _death(self, row: int, repetition: int) -> int:
        death = int(self._trace.death_ops[row])
        if self._next.get(row) == row and death >= self._last.start:
            return death + self._shift  # shared: the last repetition is done with it
        early = self._previous.get(row)
        if repetition == self._times - 1 or row not in self._own or early is None:
            return self._moved(death, repetition)
        # another layer follows: it lives as long as its counterpart of the layer before, which another layer follows too
        death = int(self._trace.death_ops[early])
        if death in self._last:
            return self._moved(death, repetition + 1)
        return self._moved(death + len(self._last) if death in self._before else death, repetition)

    def _moved(self, op: int, repetition: int) -> int:
        """Where an operation of the recording stands in a repetition."""
        if op in self._last:
            return op + len(self._last) * repetition
        return op + self._shift if op >= self._last.stop else op

    def _ops(self) -> Ops:
        ops, last = self._trace.ops, self._last
        order = [(op, 0) for op in range(last.start)]
        order += [(op, repetition) for repetition in range(self._times) for op in range(last.start, last.stop)]
        order += [(op, self._times - 1) for op in range(last.stop, len(ops))]
        waits = [[self._dependency(op, other, repetition) for other in ops.waits_for(op).tolist()]
                 for op, repetition in order]  # fmt: skip
        rows = [op for op, _ in order]
        return Ops(
            tuple(_renumbered(ops.names[op], place - op) for place, op in enumerate(rows)),
            ops.streams[rows],
            ops.flops[rows],
            np.concatenate([[0], np.cumsum([len(row) for row in waits])]).astype(np.int64),
            np.array([other for row in waits for other in row], np.int64),
        )

    def _dependency(self, op: int, other: int, repetition: int) -> int:
        if op in self._last and other in self._before and repetition > 0:
            return self._moved(other + len(self._last), repetition - 1)
        return self._moved(other, repetition)

    def _accesses(self) -> Accesses:
        accesses = self._trace.accesses
        start, stop = np.searchsorted(accesses.ops, [self._last.start, self._last.stop]).tolist()
        parts = [(slice(0, start), 0, 0)]
        parts += [(slice(start, stop), repetition, len(self._last) * repetition) for repetition in range(self._times)]
        parts += [(slice(stop, None), self._times - 1, self._shift)]
        order = [np.arange(len(accesses))[part] for part, _, _ in parts]
        ops = [accesses.ops[part] + moved for part, _, moved in parts]
        objects = [self._new_objects(repetition)[accesses.objects[part]] for part, repetition, _ in parts]
        rows = np.concatenate(order)
        return Accesses(
            np.concatenate(ops),
            np.concatenate(objects),
            accesses.offsets[rows],
            accesses.num_bytes[rows],
            accesses.is_write[rows],
        )

    def _new_objects(self, repetition: int) -> Int:
        return np.array([self._resolve(row, repetition) for row in range(len(self._trace.objects))], np.int64)


def _partners(trace: Trace, before: Span, last: Span) -> dict[int, int]:
    """For each object that the layer before touches, the one that the last layer touches at the same places."""
    accesses = trace.accesses
    early, late = (slice(*np.searchsorted(accesses.ops, [span.start, span.stop]).tolist()) for span in (before, last))
    same = early.stop - early.start == late.stop - late.start and (
        np.array_equal(accesses.ops[early] + len(last), accesses.ops[late])
        and np.array_equal(accesses.offsets[early], accesses.offsets[late])
        and np.array_equal(accesses.num_bytes[early], accesses.num_bytes[late])
        and np.array_equal(accesses.is_write[early], accesses.is_write[late])
    )
    if not same:
        raise TiergartenError("the last two recorded layers do not touch the same bytes: they cannot be repeated")
    pairs = np.unique(np.stack([accesses.objects[early], accesses.objects[late]], axis=1), axis=0)
    found = {int(one): int(other) for one, other in pairs}
    if not len(found) == len(set(found.values())) == len(pairs):
        raise TiergartenError("what one layer touches is two objects to the next: they cannot be repeated")
    return found


def _renumbered(name: str, moved: int) -> str:
    """A name that ends in the operation's number, `aten.mm#23` or `aten.mm#23/2`, for an operation later on."""
    return re.sub(r"#(\d+)(?=(/\d+)?$)", lambda match: f"#{int(match[1]) + moved}", name) if moved else name
