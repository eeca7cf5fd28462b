"""Bandwidth-latency curves by the method of the Mess benchmark (Esmaili-Dokht et al., MICRO 2024): a pointer chase gives the
latency, a traffic generator with a share of reads and a pause between requests gives the bandwidth.

The driver is that of the Ramulator authors' reply (arXiv 2510.15744): ticks alternate between a stream turn and a chase turn.
Streams go over all banks, eight columns of a row each; the chase reads uniformly random rows, one at a time.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.dump import describe_deadlock
from tiergarten.dram.kernels import generator
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.parallel import num_workers
from tiergarten.dram.simulate import DramConfig, empty_outcomes, empty_record
from tiergarten.dram.tables import build_channel
from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.seeds import stream

Int = NDArray[np.int64]
PAUSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 25, 30, 40, 50, 75, 100, 200, 300, 1000, 10000)
READ_PERCENTS = (100, 90, 80, 70, 60, 50)
COLUMNS_A_VISIT = 8
MOST_REQUESTS = 1_000_000
"""Length of the generator's request table."""


@dataclass(frozen=True)
class CurvePoint:
    """One setting of the generator."""

    read_percent: int
    pause: int
    bandwidth_bytes_per_s: float
    """All accepted requests over the whole time."""
    latency_ps: float
    """Mean over the chase's reads, from acceptance to the last data."""


def stream_traffic(config: DramConfig, read_percent: int, seed: int, length: int = 1 << 16) -> Int:
    """int64[length, 3]: bank, row and is_write of the stream; repeated when it ends.

    Pseudo channels, then bank groups, then banks change fastest, then ranks or stack levels; eight columns a visit of a row.
    """
    levels = config.device.standard.levels[1:-2]
    sizes = config.device.counts[1:-2]
    fastest = sorted(
        range(len(levels)), key=lambda n: ("PseudoChannel", "BankGroup", "Bank", "Sid", "Rank").index(levels[n])
    )
    index = np.arange(length, dtype=np.int64)
    parts = [np.zeros(length, np.int64)] * len(levels)
    rest = index
    for level in fastest:
        parts[level] = rest % sizes[level]
        rest = rest // sizes[level]
    banks = np.zeros(length, np.int64)
    for part, size in zip(parts, sizes, strict=True):
        banks = banks * size + part
    rows = rest // COLUMNS_A_VISIT % config.device.counts[-2]
    is_write = stream(seed, "mess stream").random(length) * 100 >= read_percent
    return np.stack([banks, rows, is_write.astype(np.int64)], axis=1)


def chase_reads(config: DramConfig, probes: int, seed: int) -> Int:
    """int64[probes, 2]: bank and row of uniformly random reads."""
    rng = stream(seed, "mess chase")
    banks = rng.integers(0, config.device.num_banks, probes)
    return np.stack([banks, rng.integers(0, config.device.counts[-2], probes)], axis=1)


def measure_point(config: DramConfig, read_percent: int, pause: int, probes: int, seed: int) -> CurvePoint:
    """One point of a curve. DeadlockError if the channel stops.

    `probes`: reads of the chase; fewer where heavy traffic would need more than MOST_REQUESTS requests.
    """
    device = config.device
    m = build_channel(device, config.controller)
    m[at.NEXT_REQUEST] = at.NEVER
    g = np.zeros(generator.GENERATOR_FIELDS, np.int64)
    g[generator.PAUSE] = g[generator.WAITED] = pause
    g[generator.PER_TURN] = max(1, ceil(2 * device.num_data_buses / device.data_ticks))
    g[generator.PROBE] = at.NONE
    requests = np.zeros((MOST_REQUESTS, at.REQUEST_COLUMNS), np.int64)
    traffic, chase = stream_traffic(config, read_percent, seed), chase_reads(config, probes, seed)
    status = generator.DRIVES[int(m[at.KIND])](
        m, g, requests, empty_outcomes(MOST_REQUESTS), empty_record(0), traffic, chase
    )
    if status not in (at.REACHED, generator.FULL):
        raise DeadlockError(describe_deadlock(device, m, status))
    finished = int(g[generator.PROBES]) - (g[generator.PROBE] != at.NONE)
    seconds = int(m[at.CLOCK]) * device.tick_ps * 1e-12
    rate = int(g[generator.ACCEPTED]) * device.transaction_bytes / seconds
    return CurvePoint(read_percent, pause, rate, int(g[generator.LATENCY]) / max(1, finished) * device.tick_ps)


def measure_curves(
    config: DramConfig,
    read_percents: Sequence[int] = READ_PERCENTS,
    pauses: Sequence[int] = PAUSES,
    probes: int = 4000,
    seed: int = 1,
) -> Iterator[CurvePoint]:
    """The points of a family, curve by curve, heaviest load first; as many at a time as there are processors."""
    settings = [(read_percent, pause) for read_percent in read_percents for pause in pauses]
    with ThreadPoolExecutor(num_workers()) as threads:
        yield from threads.map(lambda load: measure_point(config, load[0], load[1], probes, seed), settings)


def unloaded_ps(config: DramConfig) -> int:
    """Latency of a lone read to a row that is not open while another is: tRP + tRCD + read latency."""
    timing = config.device.timing
    activate = next(timing[name] for name in ("nRCD", "nRCDRD", "nRCDr") if name in timing)
    return (timing["nRP"] + activate + config.device.read_latency) * config.device.tick_ps


def refresh_limit_bytes_per_s(config: DramConfig) -> float:
    """Peak bandwidth times the share of time that all-bank refresh leaves: (tRTP + tRP + tRFC + tRCD) of tREFI are lost."""
    timing = config.device.timing
    names = (("nRTP", "nRTPL", "nRTPSB"), ("nRP",), ("nRFC", "nRFCab"), ("nRCD", "nRCDRD", "nRCDr"))
    lost = sum(next(timing[name] for name in group if name in timing) for group in names)
    return config.device.peak_bytes_per_s * (1 - lost / timing["nREFI"])
