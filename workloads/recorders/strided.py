"""Which bytes of its storage a strided tensor covers."""

from collections.abc import Sequence

import numpy as np

from tiergarten.sim.trace import Int


def strided_runs(
    shape: Sequence[int], strides: Sequence[int], offset: int, item_bytes: int, rows: tuple[int, Int] | None = None
) -> tuple[Int, int]:
    """(int64[n] first byte of each run, bytes of a run), by rising address.

    Args:
        shape: elements in each dimension.
        strides: elements from one to the next in each dimension; 0 = expanded, touched once.
        offset: first element in the storage.
        item_bytes: bytes of an element.
        rows: (dimension, indices) restricts one dimension, in the order given.
    """
    dims = [(size, stride * item_bytes) for size, stride in zip(shape, strides, strict=True)]
    picked: Int | None = None
    if rows is not None:
        picked = rows[1] * dims.pop(rows[0])[1]
    if any(size == 0 for size, _ in dims) or (picked is not None and len(picked) == 0):
        return np.zeros(0, np.int64), item_bytes
    dims = sorted((dim for dim in dims if dim[0] > 1 and dim[1] > 0), key=lambda dim: dim[1])
    run = item_bytes
    while dims and dims[0][1] == run:
        run *= dims.pop(0)[0]
    starts = np.array([offset * item_bytes], np.int64)
    for size, stride in reversed(dims):
        starts = (starts[:, None] + np.arange(size, dtype=np.int64) * stride).ravel()
    if picked is not None:
        starts = (picked[:, None] + starts[None, :]).ravel()
    return starts, run


def num_runs(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Runs that `strided_runs` gives for a whole tensor."""
    if 0 in shape:
        return 0
    run, pieces = 1, 1
    for size, stride in sorted(zip(shape, strides, strict=True), key=lambda dim: dim[1]):
        if size == 1 or stride == 0:
            continue
        if stride == run and pieces == 1:
            run *= size
        else:
            pieces *= size
    return pieces
