"""Speed of the DRAM channels: requests and cycles per second of CPU time by standard and pattern, compilation apart.

    python benchmarks/dram.py [STANDARD ...] [--requests N]

Prints the ratio to Ramulator 2.1 where its figure is known, the geometric mean of the ratios by standard, and the cost
against queue depth and idle time.
"""

import argparse
import time
from collections import defaultdict
from math import prod

import numpy as np

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, empty_record, make_requests
from tiergarten.dram.speed import measure_speed, pattern_trace, speed_cases
from tiergarten.dram.tables import build_channel
from tiergarten.sim.trace import AddressTrace


def seconds(config: DramConfig, trace: AddressTrace) -> float:
    """Best CPU time of three runs of a trace, compilation and address mapping apart."""
    best = float("inf")
    for _ in range(3):
        m = build_channel(config.device, config.controller)
        requests, _ = make_requests(trace, config)
        start = time.process_time()
        run(m, requests, empty_record(0), at.NEVER, True)
        best = min(best, time.process_time() - start)
    return best


def print_depths(count: int) -> None:
    """Cost of a request against the depth of both queues, random traffic on DDR4."""
    device = resolve("DDR4", *default_presets("DDR4"))
    trace = pattern_trace("random", count, device.transaction_bytes)
    for depth in (8, 32, 128):
        config = DramConfig(device, ControllerConfig(read_buffer_size=depth, write_buffer_size=depth))
        print(f"queue depth {depth:4d}: {seconds(config, trace) / count * 1e9:6.0f} ns a request")


def print_idle(count: int) -> None:
    """Cost of a request against the idle time before it, refresh off."""
    device = resolve("DDR4", *default_presets("DDR4"))
    config = DramConfig(device, ControllerConfig(refresh="NoRefresh"))
    trace = pattern_trace("low", count, device.transaction_bytes)
    for gap in (50, 500, 50_000):
        spread = AddressTrace(np.arange(count, dtype=np.int64) * gap, trace.addresses, trace.is_write, trace.depends_on)
        print(f"a request every {gap:6d} clocks: {seconds(config, spread) / count * 1e9:6.0f} ns a request")


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


if __name__ == "__main__":
    main()
