"""Work of the DRAM channels without a clock: lines of kernel code executed per request, the same on every machine.

    python benchmarks/dram_work.py

The kernels run uncompiled while lines are counted, on every pattern, at three queue depths and at two idle times. What the
figures may be at most is in tests/dram/test_work.py.
"""

import json
import os
import subprocess
import sys
from types import FrameType
from typing import Any

REQUESTS = 300
DEPTHS = (8, 32, 128)
GAPS = (50, 50_000)
"""Clocks between requests."""


class LineCount:
    """Counts the lines that run in `dram/kernels`, as a trace function."""

    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if "kernels" not in frame.f_code.co_filename:
            return None
        self.lines += event == "line"
        return self


def lines_per_request(standard: str, pattern: str, gap: int = 50, **settings: Any) -> float:
    """Lines of kernel code that one request costs in the mean; numba must be switched off."""
    # imported here because the switch has to be set before
    import numpy as np

    from tiergarten.dram.config import ControllerConfig
    from tiergarten.dram.defaults import default_presets
    from tiergarten.dram.resolve import resolve
    from tiergarten.dram.simulate import DramConfig, simulate
    from tiergarten.dram.speed import pattern_trace
    from tiergarten.sim.trace import AddressTrace

    config = DramConfig(resolve(standard, *default_presets(standard)), ControllerConfig(**settings))
    trace = pattern_trace(pattern, REQUESTS, config.device.transaction_bytes)
    if pattern == "low":
        ticks = np.arange(REQUESTS, dtype=np.int64) * gap
        trace = AddressTrace(ticks, trace.addresses, trace.is_write, trace.depends_on)
    count = LineCount()
    sys.settrace(count)
    simulate(config, trace)
    sys.settrace(None)
    return count.lines / REQUESTS


def measure() -> dict[str, dict[str, float]]:
    """Lines per request by group and case."""
    from tiergarten.dram.speed import PATTERNS

    standards = ("DDR4", "HBM3", "LPDDR5")
    return {
        "patterns": {
            f"{name} {pattern}": lines_per_request(name, pattern) for name in standards for pattern in PATTERNS
        },
        "depths": {
            str(depth): lines_per_request("DDR4", "random", read_buffer_size=depth, write_buffer_size=depth)
            for depth in DEPTHS
        },
        "gaps": {str(gap): lines_per_request("DDR4", "low", gap=gap, refresh="NoRefresh") for gap in GAPS},
    }


def measured_elsewhere() -> dict[str, dict[str, float]]:
    """The same, measured in a process of its own with numba switched off."""
    command = [sys.executable, "-P", __file__, "--json"]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    if "--json" in sys.argv:
        print(json.dumps(measure()))
        return
    for group, cases in measured_elsewhere().items():
        for case, lines in cases.items():
            print(f"{group}: {case:16}{lines:8.0f} lines a request")


if __name__ == "__main__":
    main()
