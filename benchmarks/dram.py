"""Speed of the DRAM channels: requests and cycles per second of CPU time by standard and pattern, compilation apart.

    python benchmarks/dram.py [STANDARD ...] [--requests N]

Prints the ratio to Ramulator 2.1 where its figure is known, the geometric mean of the ratios by standard, the cost against
queue depth and idle time, the gain of running channels side by side, and the work per request that tests/dram/test_work.py
guards.
"""

import argparse
import time
from collections import defaultdict
from math import prod

import dram_work
import numpy as np

from tiergarten.dram import parallel
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.memory_model import CycleMemory
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, simulate
from tiergarten.dram.speed import measure_speed, pattern_trace, speed_cases
from tiergarten.sim.contracts import AccessBatch
from tiergarten.sim.trace import AddressTrace
from tiergarten.sim.units import NEVER_PS

DEPTHS = (8, 16, 32, 64, 128)
GAPS = (50, 500, 50_000)
"""Clocks between requests."""
TRANSFER_BYTES = 256 << 20


def seconds(config: DramConfig, trace: AddressTrace) -> float:
    """Best CPU time of three replays of a trace, compilation apart."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        simulate(config, trace)
        best = min(best, time.process_time() - start)
    return best


def print_depths(count: int) -> None:
    """Cost of a request against the depth of both queues, random traffic on DDR4."""
    device = resolve("DDR4", *default_presets("DDR4"))
    trace = pattern_trace("random", count, device.transaction_bytes)
    for depth in DEPTHS:
        config = DramConfig(device, ControllerConfig(read_buffer_size=depth, write_buffer_size=depth))
        print(f"queue depth {depth:4d}: {seconds(config, trace) / count * 1e9:6.0f} ns a request")


def print_idle(count: int) -> None:
    """Cost of a request against the idle time before it, refresh off."""
    device = resolve("DDR4", *default_presets("DDR4"))
    config = DramConfig(device, ControllerConfig(refresh="NoRefresh"))
    trace = pattern_trace("low", count, device.transaction_bytes)
    for gap in GAPS:
        spread = AddressTrace(np.arange(count, dtype=np.int64) * gap, trace.addresses, trace.is_write, trace.depends_on)
        print(f"a request every {gap:6d} clocks: {seconds(config, spread) / count * 1e9:6.0f} ns a request")


def print_threads() -> None:
    """Wall time of a sequential transfer over 80 HBM3 channels, one after the other and side by side."""
    config = DramConfig(
        resolve("HBM3", *default_presets("HBM3")),
        ControllerConfig(addr_mapper="MOP4CLXOR", scheduler="FRFCFS-RowHit"),
    )
    processors = parallel.num_workers()
    times = {}
    for workers in (1, processors):
        parallel.num_workers = lambda workers=workers: workers
        memory = CycleMemory(config, 80)
        start = time.perf_counter()
        memory.submit(0, AccessBatch.one(1, 0, TRANSFER_BYTES, False))
        done_ps = int(memory.advance(NEVER_PS - 1).times_ps[0])
        times[workers] = time.perf_counter() - start
        print(
            f"{TRANSFER_BYTES >> 20} MiB over 80 channels, {workers} threads: {times[workers]:.2f} s, done at {done_ps} ps"
        )
    parallel.num_workers = lambda: processors
    print(f"side by side: {times[1] / times[processors]:.2f} times as fast on {processors} processors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("standards", nargs="*")
    parser.add_argument("--requests", type=int, default=200_000)
    arguments = parser.parse_args()
    ratios = defaultdict(list)
    print(f"{'standard':9}{'pattern':9}{'requests/s':>12}{'recorded':>12}{'cycles/s':>12}{'ratio':>8}{'compile s':>11}")
    for case in speed_cases(arguments.standards):
        row = measure_speed(case, arguments.requests)
        reference = row["reference_requests_per_s"]
        ratio = f"{row['requests_per_s'] / reference:.1f}" if reference else "-"
        if reference:
            ratios[case.standard].append(row["requests_per_s"] / reference)
        print(
            f"{case.standard:9}{case.pattern:9}{row['requests_per_s']:12,.0f}{row['requests_per_s_recorded']:12,.0f}"
            f"{row['cycles_per_s']:12,.0f}{ratio:>8}{row['compile_seconds']:11.1f}"
        )
    for standard, values in ratios.items():
        print(f"{standard}: geometric mean {prod(values) ** (1 / len(values)):.1f} times Ramulator 2.1")
    print_depths(arguments.requests)
    print_idle(arguments.requests)
    print_threads()
    dram_work.main()


if __name__ == "__main__":
    main()
