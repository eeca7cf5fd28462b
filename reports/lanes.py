"""Overlapping intervals laid out on tracks, so that no two on one track overlap."""

import heapq

import numpy as np
from numpy.typing import NDArray


def lay_out(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[N]: the lowest free track for each interval [start, end), taken in order of starts.

    The number of tracks used is the largest number of intervals that overlap, which is the least possible.
    """
    tracks = np.zeros(len(starts), np.int64)
    free: list[int] = []
    running: list[tuple[int, int]] = []
    opened = 0
    for index in np.lexsort((ends, starts)):
        start, end = int(starts[index]), int(ends[index])
        while running and running[0][0] <= start:
            heapq.heappush(free, heapq.heappop(running)[1])
        if free:
            track = heapq.heappop(free)
        else:
            track, opened = opened, opened + 1
        tracks[index] = track
        heapq.heappush(running, (max(end, start + 1), track))
    return tracks
