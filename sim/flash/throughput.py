"""A drive under a constant number of requests: throughput against request size, queue depth, threads and mix."""

from dataclasses import dataclass, replace

import numpy as np

from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import Requests, run_requests
from tiergarten.sim.flash.geometry import SECTOR_BYTES

WARM_UP_SHARE = 0.1
"""Requests at the start that are not counted."""


@dataclass(frozen=True)
class ClosedLoad:
    """`threads` threads that each keep `queue_depth` requests outstanding."""

    num_bytes: int
    queue_depth: int
    threads: int = 1
    read_share: float = 1.0
    is_sequential: bool = False
    num_requests: int = 4000
    seed: int = 1
    footprint_share: float = 0.5
    """Share of the drive that the requests fall on."""

    @property
    def outstanding(self) -> int:
        return self.queue_depth * self.threads


@dataclass(frozen=True)
class Measured:
    """What a load got. Latencies as an application sees them, host time included."""

    iops: float
    bytes_per_s: float
    mean_ns: float
    p99_ns: float
    read_p99_ns: float
    """NaN without reads."""


def requests_of_load(config: DriveConfig, load: ClosedLoad) -> Requests:
    """Aligned requests of one size, random over the footprint or one after the other."""
    draws = np.random.default_rng(load.seed)
    num_sectors = -(-load.num_bytes // SECTOR_BYTES)
    slots = max(1, int(config.logical_sectors * load.footprint_share) // num_sectors)
    number = np.arange(load.num_requests)
    slot = number % slots if load.is_sequential else draws.integers(0, slots, load.num_requests)
    return Requests(
        is_write=draws.random(load.num_requests) >= load.read_share,
        first_sectors=slot * num_sectors,
        num_sectors=np.full(load.num_requests, num_sectors),
        arrivals_ns=np.empty(0, np.int64),
        queue_depth=load.outstanding,
    )


def measure(config: DriveConfig, load: ClosedLoad) -> Measured:
    """Run a load on a fresh drive and take its steady part."""
    threads = min(load.threads, load.num_requests)
    config = replace(config, host=replace(config.host, threads=threads))
    requests = requests_of_load(config, load)
    result = run_requests(config, requests)
    ends = np.sort(result.completions_ns)
    skip = int(WARM_UP_SHARE * len(ends))
    per_ns = (len(ends) - 1 - skip) / (ends[-1] - ends[skip])
    latencies = (result.completions_ns - result.arrivals_ns)[skip:]
    reads = latencies[~requests.is_write[skip:]]
    return Measured(
        iops=per_ns * 1e9,
        bytes_per_s=per_ns * 1e9 * load.num_bytes,
        mean_ns=float(latencies.mean()),
        p99_ns=float(np.percentile(latencies, 99)),
        read_p99_ns=float(np.percentile(reads, 99)) if len(reads) else float("nan"),
    )
