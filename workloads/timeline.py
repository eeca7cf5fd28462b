"""When each operation of a trace could run: in order on its stream, after what it waits for, for a given time.

A lower bound for machines whose tiers do not contend, and the yardstick for what a kernel's overlap is worth. The
simulator, not this file, decides what a machine does.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.trace import Trace


def finish_times(trace: Trace, durations: Sequence[float]) -> NDArray[np.float64]:
    """float64[P]: when each operation ends, if operation p takes `durations[p]` (any unit) once it may start."""
    free: dict[int, float] = {}
    ends = np.zeros(len(trace.ops))
    for op, (stream, duration) in enumerate(zip(trace.ops.streams.tolist(), durations, strict=True)):
        start = max([free.get(stream, 0.0), *ends[trace.ops.waits_for(op)]])
        ends[op] = free[stream] = start + duration
    return ends
