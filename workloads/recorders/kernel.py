"""Records our numpy kernels: operands are declared once, and what is read or written through them becomes the trace.

A `Recorder` hands out `RecordedArray`s: indexing one gives plain numpy data and notes the bytes touched, in order, as
runs. A `NullRecorder` hands out the plain arrays themselves, so a kernel that is not recorded pays nothing. Compiled
(numba) inner loops take `plain(array)` and declare their ranges with `reads` and `writes`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.trace import Int, Role, Trace
from tiergarten.workloads.recorders.builder import TraceBuilder

Array = NDArray[Any]


class RecordedArray:
    """A numpy array that lives in simulated memory. `a[i]` and `a[i] = x` work as numpy's and are recorded.

    Any numpy index is allowed. An index whose result is a view, or that begins with integer arrays, costs time in
    proportion to the runs it touches; any other in proportion to the array.
    """

    def __init__(self, recorder: "Recorder", ident: int, data: Array):
        self.plain = data
        self.shape = data.shape
        self.dtype = data.dtype
        self._recorder = recorder
        self._ident = ident

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, index: Any) -> Any:
        self._recorder._touch(self._ident, self.plain, index, False)
        return self.plain[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._recorder._touch(self._ident, self.plain, index, True)
        self.plain[index] = value


class NullRecorder:
    """Records nothing: its arrays are plain numpy arrays."""

    def array(self, name: str, data: Array, role: Role = Role.OTHER) -> Array:
        """`data` itself."""
        return np.ascontiguousarray(data)

    def free(self, array: Array) -> None:
        """Nothing to note."""

    @contextmanager
    def op(self, name: str, flops: float = 0.0, stream: int = 0, after: Sequence[int] = ()) -> Iterator[int]:
        """An operation that is not noted; its number is -1."""
        yield -1

    def reads(self, array: Array, index: Any) -> None:
        """Nothing to note."""

    def writes(self, array: Array, index: Any) -> None:
        """Nothing to note."""


class Recorder:
    """Collects objects, operations and accesses while a kernel runs; `trace()` gives them as a Trace.

    Its rules for lives and dependencies are those of TraceBuilder.
    """

    def __init__(self) -> None:
        self._builder = TraceBuilder()

    def array(self, name: str, data: Array, role: Role = Role.OTHER) -> RecordedArray:
        """Declare an object of the simulated memory that holds `data` (made contiguous)."""
        data = np.ascontiguousarray(data)
        return RecordedArray(self, self._builder.add_object(name, data.nbytes, role), data)

    def free(self, array: RecordedArray) -> None:
        """The object is needed no longer, once the operation under way (or the last one) is done."""
        self._builder.free(array._ident)

    @contextmanager
    def op(self, name: str, flops: float = 0.0, stream: int = 0, after: Sequence[int] = ()) -> Iterator[int]:
        """One operation; everything touched inside belongs to it. Gives its number, for `after` of a later one."""
        number = self._builder.begin_op(name, flops, stream, after)
        try:
            yield number
        finally:
            self._builder.end_op()

    def reads(self, array: RecordedArray, index: Any) -> None:
        """Declare that `array[index]` is read, where compiled code reads it."""
        self._touch(array._ident, array.plain, index, False)

    def writes(self, array: RecordedArray, index: Any) -> None:
        """Declare that `array[index]` is written, where compiled code writes it."""
        self._touch(array._ident, array.plain, index, True)

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self._builder.trace()

    def _touch(self, ident: int, data: Array, index: Any, is_write: bool) -> None:
        self._builder.touch(ident, is_write, *byte_runs(data, index))


class AnyRecorder(Protocol):
    """What a kernel sees of either recorder. Operands are recorded or plain arrays, and index alike."""

    def array(self, name: str, data: Array, role: Role = Role.OTHER) -> Any:
        """Declare an operand."""
        ...

    def free(self, array: Any) -> None:
        """The operand is needed no longer."""
        ...

    def op(
        self, name: str, flops: float = 0.0, stream: int = 0, after: Sequence[int] = ()
    ) -> AbstractContextManager[int]:
        """An operation."""
        ...

    def reads(self, array: Any, index: Any) -> None:
        """Compiled code reads `array[index]`."""
        ...

    def writes(self, array: Any, index: Any) -> None:
        """Compiled code writes `array[index]`."""
        ...


def plain(array: RecordedArray | Array) -> Array:
    """The numpy data of an operand, for compiled code and for references; nothing is recorded."""
    return array.plain if isinstance(array, RecordedArray) else array


def byte_runs(data: Array, index: Any) -> tuple[Int, int]:
    """Where the bytes of `data[index]` lie: (int64[n] first byte of each run, bytes of a run), in order of the index.

    `data` must be C-contiguous. Raises IndexError as numpy does.
    """
    head, rest = _leading_integer_arrays(data, index)
    if not head:
        part = data[index]
        if not isinstance(part, np.ndarray):
            part = data[(*_as_tuple(index), ...)]
        if part.size and not np.may_share_memory(part, data):
            return _element_starts(data, index), data.itemsize
        return _view_runs(data, part)
    rows = np.ravel_multi_index(np.broadcast_arrays(*head), data.shape[: len(head)], mode="raise").ravel()
    inner_shape = data.shape[len(head) :]
    inner_bytes = math.prod(inner_shape) * data.itemsize
    inner = np.lib.stride_tricks.as_strided(data, inner_shape, data.strides[len(head) :])
    inner_starts, run_bytes = _view_runs(data, inner[(*rest, ...)])
    starts = (rows[:, None] * inner_bytes + inner_starts[None, :]).ravel().astype(np.int64)
    return starts, run_bytes


def _as_tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _leading_integer_arrays(data: Array, index: Any) -> tuple[list[Array], tuple[Any, ...]]:
    """The integer arrays at the front of the index, made non-negative, and what follows if that is all basic."""
    parts = [np.asarray(part) if isinstance(part, list) else part for part in _as_tuple(index)]
    head: list[Array] = []
    while parts and isinstance(parts[0], np.ndarray) and parts[0].dtype.kind in "iu" and parts[0].ndim > 0:
        ids, size = parts.pop(0), data.shape[len(head)]
        if ids.size and (ids.min() < -size or ids.max() >= size):
            raise IndexError(f"index out of bounds for an axis of size {size}")
        head.append(np.where(ids < 0, ids + size, ids))
    basic = all(isinstance(part, int | np.integer | slice) for part in parts)
    return (head, tuple(parts)) if basic else ([], ())


def _view_runs(data: Array, view: Any) -> tuple[Int, int]:
    if not isinstance(view, np.ndarray) or view.size == 0:
        return np.zeros(0, np.int64), data.itemsize
    offset = view.__array_interface__["data"][0] - data.__array_interface__["data"][0]
    run_bytes, axis = data.itemsize, view.ndim
    while axis > 0 and (view.shape[axis - 1] == 1 or view.strides[axis - 1] == run_bytes):
        run_bytes *= view.shape[axis - 1]
        axis -= 1
    starts = np.array([offset], np.int64)
    for size, stride in zip(view.shape[:axis], view.strides[:axis], strict=True):
        starts = (starts[:, None] + np.arange(size, dtype=np.int64) * stride).ravel()
    return starts, run_bytes


def _element_starts(data: Array, index: Any) -> Int:
    """First byte of every element of a general index: slow, and right for whatever numpy accepts."""
    elements = np.arange(data.size, dtype=np.int64).reshape(data.shape)[index]
    return np.asarray(elements * data.itemsize, np.int64).ravel()
