"""Lowers a trace of objects to a trace of addresses: objects laid out in memory, accesses cut into blocks."""

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import AddressTrace, Int, Trace

MAX_BLOCKS = 200_000_000
"""Blocks that a lowered trace may have; beyond this take a larger block."""


def object_addresses(trace: Trace, align_bytes: int) -> Int:
    """int64[O]: a first address for every object, one after another in order, each aligned; nothing is reused."""
    padded = -(-trace.objects.num_bytes // align_bytes) * align_bytes
    return np.concatenate([[0], np.cumsum(padded)[:-1]]).astype(np.int64) if len(padded) else padded


def lower(trace: Trace, block_bytes: int) -> AddressTrace:
    """Each block that an access touches, in order, as one request of no time and no dependency.

    Raises TraceError where that would be more than MAX_BLOCKS requests.
    """
    accesses = trace.accesses
    starts = object_addresses(trace, block_bytes)[accesses.objects] + accesses.offsets
    first = starts // block_bytes
    counts = (starts + accesses.num_bytes - 1) // block_bytes - first + 1
    total = int(counts.sum())
    if total > MAX_BLOCKS:
        raise TraceError(Problem(f"{total} blocks of {block_bytes} bytes are too many; take larger blocks"))
    ends = np.cumsum(counts)
    within = np.arange(total, dtype=np.int64) - np.repeat(ends - counts, counts)
    blocks = np.repeat(first, counts) + within
    none = np.zeros(total, np.int64)
    return AddressTrace(none, blocks * block_bytes, np.repeat(accesses.is_write, counts), none - 1)
