"""The grid of a curve file: request sizes, queue depths, threads, reads and writes."""

from collections.abc import Iterator
from dataclasses import replace

from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.levels import NO_HOST_THREADS
from tiergarten.sim.flash.throughput import ClosedLoad, Measured, measure

SIZES_BYTES = (4096, 16384, 65536, 262144, 1048576)
QUEUE_DEPTHS = (1, 4, 16, 64, 256)
THREADS = (NO_HOST_THREADS, 1, 4)
PAGES_PER_POINT = 40_000
"""Large requests are fewer, so that points cost about the same."""


def grid_points(num_requests: int) -> Iterator[ClosedLoad]:
    """The loads of a curve file. A depth is measured over at least eight times as many requests."""
    for share in (1.0, 0.0):
        for size in SIZES_BYTES:
            for threads in THREADS:
                for depth in QUEUE_DEPTHS:
                    outstanding = depth * max(1, threads)
                    fewer = min(num_requests, PAGES_PER_POINT * 16384 // size)
                    yield ClosedLoad(size, depth, threads, share, num_requests=max(fewer, 8 * outstanding))


def measure_point(config: DriveConfig, load: ClosedLoad) -> Measured:
    """One point; without threads the host takes no time."""
    if load.threads == NO_HOST_THREADS:
        return measure(replace(config, host=replace(config.host, cpu_ns_per_io=0)), replace(load, threads=1))
    return measure(config, load)
