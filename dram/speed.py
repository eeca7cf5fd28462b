"""How fast the simulator is: requests per second of CPU time on four access patterns, compilation apart.

The patterns and the reference figures are those measured with Ramulator 2.1 on a 2-core AMD EPYC virtual machine
(user CPU time of its main loop, one channel, FRFCFS, open rows, all-bank refresh, one million requests).
"""

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tiergarten.dram.defaults import default_presets
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, simulate
from tiergarten.dram.standard import STANDARDS
from tiergarten.sim.trace import AddressTrace

PATTERNS = ("stream", "mix", "random", "low")
REFERENCE_REQUESTS_PER_S = {
    ("DDR4", "stream"): 404_000,
    ("DDR4", "mix"): 450_000,
    ("DDR4", "random"): 205_000,
    ("DDR4", "low"): 485_000,
    ("DDR5", "stream"): 242_000,
    ("DDR5", "random"): 128_000,
    ("LPDDR5", "stream"): 431_000,
    ("LPDDR5", "random"): 197_000,
    ("HBM2", "stream"): 554_000,
    ("HBM2", "random"): 203_000,
    ("HBM3", "stream"): 279_000,
    ("HBM3", "random"): 130_000,
}
FOOTPRINT_BYTES = 256 << 20
LOW_LOAD_TICKS = 50
"""Clocks between requests of the low-load pattern."""
REPEATS = 3


@dataclass(frozen=True)
class SpeedCase:
    """A standard and a pattern to time."""

    standard: str
    pattern: str


def speed_cases(standards: list[str] | None = None) -> list[SpeedCase]:
    """All patterns of the standards named, or of all."""
    names = list(standards) if standards else STANDARDS.names()
    for name in names:
        STANDARDS.get(name)
    return [SpeedCase(name, pattern) for name in names for pattern in PATTERNS]


def pattern_trace(pattern: str, count: int, line_bytes: int) -> AddressTrace:
    """Sequential reads; two read streams and a written one; random reads over 256 MiB, as fast as possible or rarely."""
    index = np.arange(count, dtype=np.int64)
    is_write = np.zeros(count, bool)
    ticks = np.zeros(count, np.int64)
    if pattern == "stream":
        addresses = index * line_bytes
    elif pattern == "mix":
        bases = np.array([0, (64 << 20) + 8192, (128 << 20) + 16384])
        addresses = bases[index % 3] + index // 3 * line_bytes
        is_write = index % 3 == 2
    else:
        lines = np.random.Generator(np.random.PCG64(1)).integers(0, FOOTPRINT_BYTES // line_bytes, count)
        addresses = lines * line_bytes
        ticks = index * (LOW_LOAD_TICKS if pattern == "low" else 0)
    return AddressTrace(ticks, addresses.astype(np.int64), is_write, np.full(count, -1, np.int64))


def measure_speed(case: SpeedCase, count: int) -> dict[str, Any]:
    """Best of several runs, in CPU time of this process; compilation happens in a run of its own before."""
    config = DramConfig(resolve(case.standard, *default_presets(case.standard)))
    start = time.process_time()
    _cpu_seconds(config, pattern_trace(case.pattern, 100, config.device.transaction_bytes), None)
    compile_seconds = time.process_time() - start
    trace = pattern_trace(case.pattern, count, config.device.transaction_bytes)
    seconds, ticks = min(_cpu_seconds(config, trace, None) for _ in range(REPEATS))
    recorded, _ = min(_cpu_seconds(config, trace, "commands") for _ in range(REPEATS))
    return {
        "standard": case.standard,
        "pattern": case.pattern,
        "requests_per_s": count / seconds,
        "requests_per_s_recorded": count / recorded,
        "cycles_per_s": ticks / seconds,
        "reference_requests_per_s": REFERENCE_REQUESTS_PER_S.get((case.standard, case.pattern)),
        "compile_seconds": compile_seconds,
    }


def _cpu_seconds(config: DramConfig, trace: AddressTrace, record: Literal["commands"] | None) -> tuple[float, int]:
    start = time.process_time()
    result = simulate(config, trace, record)
    return time.process_time() - start, result.total_ticks
