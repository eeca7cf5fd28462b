"""Bytes that a trace moves, summed per object: what is held against a paper's byte formula."""

from typing import NamedTuple

import numpy as np

from tiergarten.sim.trace import Trace


class Traffic(NamedTuple):
    """Bytes read from and written to an object, or a family of objects."""

    read_bytes: int
    written_bytes: int = 0


def family(name: str) -> str:
    """Objects that differ only in a bracketed number are one family: `expert[3]` and `expert[7]` are `expert`."""
    return name.split("[", 1)[0]


def traffic(trace: Trace) -> dict[str, Traffic]:
    """Traffic of each family of objects; families that are never touched are left out."""
    accesses = trace.accesses
    size = len(trace.objects)
    reads = np.zeros(size, np.int64)
    writes = np.zeros(size, np.int64)
    np.add.at(reads, accesses.objects[~accesses.is_write], accesses.num_bytes[~accesses.is_write])
    np.add.at(writes, accesses.objects[accesses.is_write], accesses.num_bytes[accesses.is_write])
    totals: dict[str, Traffic] = {}
    for name, read, written in zip(trace.objects.names, reads.tolist(), writes.tolist(), strict=True):
        if read or written:
            so_far = totals.get(family(name), Traffic(0, 0))
            totals[family(name)] = Traffic(so_far.read_bytes + read, so_far.written_bytes + written)
    return totals
