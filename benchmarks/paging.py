"""Speed of the paging kernels on one core: resident touches, serviced faults, a 100 GB working set, plug-in policies.

Run `python benchmarks/paging.py`. User CPU time, best of three; compilation apart.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tiergarten.accelerators.paging.patterns import make_lanes, random, sequential
from tiergarten.accelerators.paging.prefetch import NoPrefetch, PrefetchKind
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine, UvmResult

HARDWARE = FaultHardware()
REPEATS = 3


class AskPython:
    """A plug-in prefetcher that fetches nothing: the cost of asking."""

    kind = PrefetchKind.PLUGIN

    def fetch(self, view):
        return np.zeros(len(view.faulted), bool)


def timed(run: Callable[[], UvmResult]) -> tuple[float, UvmResult]:
    """User CPU seconds and result of one run."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def measure(name: str, num_pages: int, config: UvmConfig, pattern=sequential, resident: bool = False) -> None:
    """Print touches and faults per second of a pass over `num_pages`."""
    touches = pattern(num_pages, max(4096, num_pages // 512), 0)
    seconds, result = min(
        (_pass(num_pages, config, touches, resident) for _ in range(REPEATS)), key=lambda pair: pair[0]
    )
    faults, touched, moved = (result[key] / seconds / 1e6 for key in ("faulted_pages", "touches", "h2d_pages"))
    print(f"{name:44} {touched:9.1f} {faults:9.2f} {moved:9.1f} {seconds:9.3f}")


def _pass(num_pages: int, config: UvmConfig, touches: np.ndarray, resident: bool) -> tuple[float, UvmResult]:
    machine = UvmMachine(config, [num_pages * 4096])
    if resident:
        machine.prefetch(0)
    lanes = make_lanes(touches, HARDWARE, 256)
    return timed(lambda: machine.touch(lanes))


def main() -> None:
    pages = 1 << 20
    fits = UvmConfig(device_bytes=8 << 30)
    over = UvmConfig(device_bytes=(pages * 4096 * 4 // 5) >> 21 << 21)
    compile_s, _ = timed(lambda: _pass(1024, fits, sequential(1024, 64, 0), False)[1])
    print(f"first call, with compilation or loading of the cache: {compile_s:.1f} s\n")
    print(f"{'':44} {'M touch/s':>9} {'M fault/s':>9} {'M page/s':>9} {'CPU s':>9}")
    measure("resident, sequential", pages, fits, resident=True)
    measure("resident, random", pages, fits, random, resident=True)
    measure("first touch, tree prefetch", pages, fits)
    measure("first touch, no prefetch, sequential", pages, replace(fits, prefetcher=NoPrefetch()))
    measure("first touch, no prefetch, random", pages, replace(fits, prefetcher=NoPrefetch()), random)
    measure("1.25 x memory, tree prefetch, random", pages, over, random)
    measure("1.25 x memory, no prefetch, random", pages, replace(over, prefetcher=NoPrefetch()), random)
    measure("100 GB in 80 GB, tree prefetch", 100 * 10**9 // 4096, UvmConfig(device_bytes=80 * 10**9))
    measure("plug-in prefetcher, 1 in 64 of the pages", pages // 64, replace(fits, prefetcher=AskPython()))


if __name__ == "__main__":
    main()
