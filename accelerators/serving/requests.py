"""What happened to each request of a run, as columns: the phases of a request's life sum to its end-to-end time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.trace import RequestTrace

Int = NDArray[np.int64]
NOT_YET = -1
"""Time of something that has not happened."""


@dataclass(eq=False)
class RequestRecords:
    """Columns by request. R requests, K levels of the cache. Times in ps, NOT_YET where it did not happen.

    Phases in order: wait for admission (queue), for others' blocks to leave (evict), for its prefix to be reloaded
    (reload, by the level waited for), for its turn to compute (turn), prefill, decode.
    """

    arrival_ps: Int
    admitted_ps: Int
    evicted_ps: Int
    ready_ps: Int
    started_ps: Int
    """First prefill chunk."""
    first_token_ps: Int
    finished_ps: Int
    reload_ps: Int
    """int64[R, K]; column 0 is unused."""
    block_tokens: Int
    """Prompt tokens in the request's prefix blocks: those that can hit."""
    hit_tokens: Int
    """int64[R, K]: prompt tokens found in each level at admission."""
    computed_tokens: Int
    """Prompt tokens that the prefill computed."""
    reloaded_bytes: Int
    is_rejected: NDArray[np.bool_]
    """It could not have fitted into the device's memory even alone."""

    @classmethod
    def of(cls, trace: RequestTrace, block_tokens: Int, num_levels: int) -> "RequestRecords":
        """Nothing has happened yet."""
        count = len(trace)
        return cls(
            arrival_ps=trace.arrivals_ps.copy(),
            admitted_ps=np.full(count, NOT_YET, np.int64),
            evicted_ps=np.full(count, NOT_YET, np.int64),
            ready_ps=np.full(count, NOT_YET, np.int64),
            started_ps=np.full(count, NOT_YET, np.int64),
            first_token_ps=np.full(count, NOT_YET, np.int64),
            finished_ps=np.full(count, NOT_YET, np.int64),
            reload_ps=np.zeros((count, num_levels), np.int64),
            block_tokens=block_tokens,
            hit_tokens=np.zeros((count, num_levels), np.int64),
            computed_tokens=np.zeros(count, np.int64),
            reloaded_bytes=np.zeros(count, np.int64),
            is_rejected=np.zeros(count, np.bool_),
        )

    @property
    def is_finished(self) -> NDArray[np.bool_]:
        """bool[R]."""
        return self.finished_ps != NOT_YET
