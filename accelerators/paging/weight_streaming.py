"""Weights streamed from a slower tier layer by layer, with a ring of buffers so that loading runs beside computing.

Load i may begin when load i - 1 is done and the layer that used its buffer has been computed; layer i is computed when it is
loaded and layer i - 1 is done. With two buffers this is double buffering; with one, nothing overlaps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.copy_cost import CopyCost
from tiergarten.sim.errors import InputError, Problem


@dataclass(frozen=True)
class StreamTimes:
    """When each layer was loaded and computed, int64[layers] picoseconds."""

    load_start_ps: NDArray[np.int64]
    load_end_ps: NDArray[np.int64]
    compute_start_ps: NDArray[np.int64]
    compute_end_ps: NDArray[np.int64]

    @property
    def total_ps(self) -> int:
        return int(self.compute_end_ps[-1])

    @property
    def stall_ps(self) -> int:
        """Time in which nothing was computed."""
        return self.total_ps - int((self.compute_end_ps - self.compute_start_ps).sum())


def chunked_load_ps(num_bytes: int, chunk_bytes: int, cost: CopyCost) -> int:
    """Time to load `num_bytes` in copies of `chunk_bytes`, one after another; the last may be shorter."""
    if num_bytes <= 0 or chunk_bytes <= 0:
        raise InputError(
            Problem(f"needs bytes and a chunk above zero, got {num_bytes} and {chunk_bytes}", path="weights")
        )
    whole, rest = divmod(num_bytes, chunk_bytes)
    return whole * cost.duration_ps(chunk_bytes) + (cost.duration_ps(rest) if rest else 0)


def stream_weights(load_ps: list[int], compute_ps: list[int], buffers: int = 2) -> StreamTimes:
    """Schedule of a pass over all layers.

    Raises InputError when the lists differ in length, are empty or hold negative times, or when there is no buffer.
    """
    problems = []
    if not load_ps or len(load_ps) != len(compute_ps):
        problems.append(Problem(f"{len(load_ps)} loads for {len(compute_ps)} layers", path="weights.layers"))
    if min([*load_ps, *compute_ps, 0]) < 0:
        problems.append(Problem("a time is negative", path="weights.times"))
    if buffers <= 0:
        problems.append(Problem(f"needs at least one buffer, got {buffers}", path="weights.buffers"))
    if problems:
        raise InputError(problems)
    count = len(load_ps)
    load_start, load_end, start, end = (np.zeros(count, np.int64) for _ in range(4))
    for layer in range(count):
        buffer_free = end[layer - buffers] if layer >= buffers else 0
        load_start[layer] = max(load_end[layer - 1] if layer else 0, buffer_free)
        load_end[layer] = load_start[layer] + load_ps[layer]
        start[layer] = max(end[layer - 1] if layer else 0, load_end[layer])
        end[layer] = start[layer] + compute_ps[layer]
    return StreamTimes(load_start, load_end, start, end)
