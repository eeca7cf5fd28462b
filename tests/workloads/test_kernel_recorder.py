"""The recorder notes exactly the bytes that numpy touches, in order, and nothing when it is off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiergarten.sim.trace import Role
from tiergarten.workloads.recorders.kernel import NullRecorder, RecordedArray, Recorder, byte_runs, plain
from tiergarten.workloads.traffic import Traffic, traffic


def touched_bytes(data: np.ndarray, index) -> list[int]:
    """The oracle: numpy itself indexes the numbers of the bytes."""
    numbers = np.arange(data.nbytes).reshape(*data.shape, data.itemsize)
    expanded = index if isinstance(index, tuple) else (index,)
    return numbers[(*expanded, slice(None)) if Ellipsis in [type(i) for i in expanded] else expanded].ravel().tolist()


def recorded_bytes(data: np.ndarray, index) -> list[int]:
    starts, run = byte_runs(data, index)
    return [byte for start in starts.tolist() for byte in range(start, start + run)]


shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


@settings(deadline=None)
@given(st.data())
def test_basic_indices_touch_what_numpy_touches(data):
    shape = data.draw(shapes)
    array = np.zeros(shape, np.float32)
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=False, allow_ellipsis=False))
    assert recorded_bytes(array, index) == touched_bytes(array, index)


@settings(deadline=None)
@given(st.data())
def test_integer_arrays_touch_what_numpy_touches(data):
    shape = data.draw(shapes)
    array = np.zeros(shape, np.float16)
    count = data.draw(st.integers(1, len(shape)))
    ids = tuple(
        data.draw(hnp.arrays(np.int64, 3, elements=st.integers(-shape[axis], shape[axis] - 1))) for axis in range(count)
    )
    rest = (
        data.draw(hnp.basic_indices(shape[count:], allow_newaxis=False, allow_ellipsis=False))
        if count < len(shape)
        else ()
    )
    rest = rest if isinstance(rest, tuple) else (rest,)
    if any(isinstance(part, int) for part in rest) and any(isinstance(part, slice) for part in rest):
        return  # numpy moves axes then; the bytes are the same, their order is not promised
    assert recorded_bytes(array, (*ids, *rest)) == touched_bytes(array, (*ids, *rest))


@pytest.mark.parametrize(
    "index",
    [
        np.array([True, False, True]),
        (slice(None), np.array([0, 3, 1])),
        (slice(None), [1, 2]),
        (np.array([0, 2]), slice(None), np.array([1, 0])),
        np.int64(2),
        (Ellipsis, 0),
        (slice(None, None, -1), slice(1, 3)),
    ],
)
def test_any_other_index_touches_what_numpy_touches(index):
    array = np.zeros((3, 4, 2), np.float64)
    oracle = np.arange(array.size).reshape(array.shape)[index].ravel() * 8
    starts, run = byte_runs(array, index)
    assert [byte for start in starts for byte in range(start, start + run)] == [
        b for o in oracle for b in range(o, o + 8)
    ]


def test_adjacent_touches_of_one_op_become_one_run():
    recorder = Recorder()
    a = recorder.array("a", np.zeros((4, 8), np.float32))
    with recorder.op("walk"):
        a[0], a[1], a[3]
        a[2] = 1.0
    with recorder.op("again"):
        a[0]
    accesses = recorder.trace().accesses
    assert list(zip(accesses.ops, accesses.offsets, accesses.num_bytes, accesses.is_write, strict=True)) == [
        (0, 0, 64, False), (0, 96, 32, False), (0, 64, 32, True), (1, 0, 32, False),
    ]  # fmt: skip


def test_update_in_place_is_a_read_and_a_write():
    recorder = Recorder()
    a = recorder.array("a", np.zeros(8, np.float32))
    with recorder.op("add"):
        a[2:4] += 1
    assert traffic(recorder.trace()) == {"a": Traffic(8, 8)}
    assert plain(a).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_reader_waits_for_the_last_writer():
    recorder = Recorder()
    a, b = (recorder.array(name, np.zeros(4)) for name in "ab")
    with recorder.op("write a") as first:
        a[:] = 1
    with recorder.op("other", stream=1):
        b[0]
    with recorder.op("read a", after=[1]):
        a[0]
    ops = recorder.trace().ops
    assert [ops.waits_for(op).tolist() for op in range(3)] == [[], [], [first, 1]]


def test_lives_of_arrays():
    recorder = Recorder()
    weights = recorder.array("w", np.ones(4), Role.WEIGHT)
    with recorder.op("make"):
        hidden = recorder.array("h", np.zeros(4))
        hidden[:] = weights[:]
    with recorder.op("use"):
        hidden[:]
    recorder.free(hidden)
    late = recorder.array("late", np.zeros(1))
    with recorder.op("end"):
        late[0] = 1
    trace = recorder.trace()
    assert trace.problems() == []
    assert list(zip(trace.birth_ops, trace.death_ops, strict=True)) == [(-1, 3), (0, 1), (2, 3)]


def test_use_after_free_is_named():
    recorder = Recorder()
    a = recorder.array("a", np.zeros(4))
    with recorder.op("one"):
        a[0]
    recorder.free(a)
    with recorder.op("two"):
        a[0]
    (problem,) = recorder.trace().problems()
    assert "'a' after its death" in problem


def test_misuse_is_refused():
    recorder = Recorder()
    a = recorder.array("a", np.zeros(4))
    with pytest.raises(RuntimeError, match="'a' is touched outside"):
        a[0]
    with pytest.raises(ValueError, match="declared twice"):
        recorder.array("a", np.zeros(4))
    with pytest.raises(RuntimeError, match="'in' begins inside op 'out'"), recorder.op("out"), recorder.op("in"):
        pass


def test_off_hands_out_the_arrays_themselves():
    data = np.zeros((2, 2))
    recorder = NullRecorder()
    assert recorder.array("a", data) is data
    assert plain(data) is data
    assert not isinstance(recorder.array("b", data.T), RecordedArray)
