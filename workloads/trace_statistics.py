"""What an address trace looks like: reuse distances, working sets, runs, read share, footprint.

Reuse distance = different blocks touched since the last touch of the same block (Mattson et al. 1970): an LRU cache of
C blocks hits exactly the accesses with a distance below C. Counted in O(n log n) with a Fenwick tree. Working set curve =
mean number of different blocks in a window of w accesses, over all windows (Denning 1968), exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.jit import njit
from tiergarten.sim.trace import AddressTrace

FIRST_TOUCH = -1
"""Reuse distance of a block's first access."""


@dataclass(frozen=True, eq=False)
class TraceStatistics:
    """Statistics of one trace at one block size."""

    accesses: int
    block_bytes: int
    footprint_bytes: int
    read_share: float
    reuse_bins: NDArray[np.int64]
    """int64[n]: lower edges 0, 1, 2, 4, 8, ... of the histogram, in blocks."""
    reuse_counts: NDArray[np.int64]
    """int64[n]: accesses with a distance from an edge up to the next."""
    first_touches: int
    windows: NDArray[np.int64]
    """int64[m]: window lengths, in accesses."""
    working_set_bytes: NDArray[np.float64]
    """float64[m]: mean bytes touched in a window."""
    run_bins: NDArray[np.int64]
    """int64[k]: lower edges 1, 2, 4, ... of run lengths, in blocks."""
    run_counts: NDArray[np.int64]
    """int64[k]: runs of consecutive blocks."""

    def lru_hit_rate(self, capacity_blocks: int) -> float:
        """Hits of an LRU cache whose capacity is one of the histogram's edges. Else ValueError."""
        place = np.flatnonzero(self.reuse_bins == capacity_blocks)
        if len(place) == 0:
            raise ValueError(f"{capacity_blocks} blocks is not an edge of the histogram")
        return float(self.reuse_counts[: place[0]].sum() / self.accesses)


def statistics(trace: AddressTrace, block_bytes: int = 64) -> TraceStatistics:
    """All statistics of a trace with at least one access; ValueError for an empty one."""
    if len(trace) == 0:
        raise ValueError("the trace is empty")
    blocks = trace.addresses // block_bytes
    _, dense = np.unique(blocks, return_inverse=True)
    dense = dense.astype(np.int64)
    distinct = int(dense.max()) + 1
    distances = reuse_distances(dense, distinct)
    known = distances[distances != FIRST_TOUCH]
    reuse_bins = np.concatenate([[0], _powers(distinct)])
    windows = _powers(len(blocks))
    runs = run_lengths(blocks)
    return TraceStatistics(
        len(trace),
        block_bytes,
        distinct * block_bytes,
        float(1 - trace.is_write.mean()),
        reuse_bins,
        _histogram(known, reuse_bins),
        len(distances) - len(known),
        windows,
        working_sets(dense, distinct, windows) * block_bytes,
        _powers(int(runs.max())),
        _histogram(runs, _powers(int(runs.max()))),
    )


@njit(cache=True)
def reuse_distances(blocks, distinct):
    """int64[T]: different blocks since the last access to the same block, FIRST_TOUCH (-1) if there was none.

    Args:
        blocks: int64[T], block numbers 0 ... distinct-1.
        distinct: how many there are.
    """
    n = len(blocks)
    tree = np.zeros(n + 1, np.int64)  # Fenwick tree over positions that are the latest access to their block
    last = np.full(distinct, -1, np.int64)
    out = np.empty(n, np.int64)
    marked = 0
    for now in range(n):
        before = last[blocks[now]]
        if before < 0:
            out[now] = -1
            marked += 1
        else:
            upto = 0
            at = before + 1
            while at > 0:
                upto += tree[at]
                at -= at & -at
            out[now] = marked - upto
            at = before + 1
            while at <= n:
                tree[at] -= 1
                at += at & -at
        at = now + 1
        while at <= n:
            tree[at] += 1
            at += at & -at
        last[blocks[now]] = now
    return out


def working_sets(blocks: NDArray[np.int64], distinct: int, windows: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[m]: mean number of different blocks in a window of w accesses, over the T - w + 1 windows.

    A block misses a window that lies wholly between two of its accesses: a gap of g accesses holds g - w + 1 such windows.
    """
    n = len(blocks)
    order = np.argsort(blocks, kind="stable")
    sorted_blocks = blocks[order]
    is_first = np.append(True, sorted_blocks[1:] != sorted_blocks[:-1])
    is_last = np.append(is_first[1:], True)
    inner = (np.diff(order) - 1)[~is_first[1:]]
    gaps = np.sort(np.concatenate([inner, order[is_first], n - 1 - order[is_last]]))
    sums = np.concatenate([[0], np.cumsum(gaps[::-1])])[::-1]
    found = np.empty(len(windows))
    for place, w in enumerate(windows.tolist()):
        first = int(np.searchsorted(gaps, w))
        missing = int(sums[first]) - (len(gaps) - first) * (w - 1)
        found[place] = distinct - missing / (n - w + 1)
    return found


def run_lengths(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[R]: lengths of runs in which each access touches the block after the last one's (or the same block)."""
    step = np.diff(blocks)
    breaks = np.flatnonzero((step < 0) | (step > 1)) + 1
    edges = np.concatenate([[0], breaks, [len(blocks)]])
    return blocks[edges[1:] - 1] - blocks[edges[:-1]] + 1


def _powers(most: int) -> NDArray[np.int64]:
    """1, 2, 4, ... up to `most`."""
    return 1 << np.arange(max(most, 1).bit_length(), dtype=np.int64)


def _histogram(values: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    places = np.searchsorted(edges, values, side="right") - 1
    return np.bincount(places, minlength=len(edges)).astype(np.int64)
