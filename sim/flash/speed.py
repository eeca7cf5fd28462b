"""How fast the event kernel is: page transactions per second of CPU time on one core."""

import time
from dataclasses import dataclass

from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import FOREVER_NS, empty_drive, load_requests, run_until
from tiergarten.sim.flash.kernel.layout import Glob, Lpn, Memory, Param
from tiergarten.sim.flash.presets import preset
from tiergarten.sim.flash.throughput import ClosedLoad, requests_of_load

REPEATS = 3

LOADS = {
    "random 4 KiB reads, 32 in flight": ("tlc-gen4", ClosedLoad(4096, 32, num_requests=400_000)),
    "random 4 KiB reads, 256 in flight": ("tlc-gen4", ClosedLoad(4096, 256, num_requests=400_000)),
    "random 64 KiB reads, 32 in flight": ("tlc-gen4", ClosedLoad(65536, 32, num_requests=200_000)),
    "sequential 128 KiB reads, 32 in flight": (
        "tlc-gen4",
        ClosedLoad(131072, 32, is_sequential=True, num_requests=200_000),
    ),
    "random 4 KiB writes, 32 in flight": ("tlc-gen4", ClosedLoad(4096, 32, read_share=0.0, num_requests=400_000)),
    "random 16 KiB, 70 % reads, 32 in flight": (
        "tlc-gen4",
        ClosedLoad(16384, 32, read_share=0.7, num_requests=400_000),
    ),
    "sequential 1 MiB reads, 32 in flight, PCIe 5": (
        "pcie5-tlc",
        ClosedLoad(2**20, 32, is_sequential=True, num_requests=20_000),
    ),
}


@dataclass(frozen=True)
class Speed:
    """One workload's speed."""

    name: str
    requests: int
    pages: int
    cpu_s: float
    """Best of several runs, compilation and set-up apart."""
    events: int


def loaded_drive(config: DriveConfig, load: ClosedLoad) -> Memory:
    """A drive with a load's requests, whose rows of the mapping the operating system has given real memory, as to a drive in use."""
    requests = requests_of_load(config, load)
    m = empty_drive(config, len(requests), int(requests.num_sectors[0]), requests.queue_depth)
    load_requests(m, requests)
    rows = requests.first_sectors // config.geometry.sectors_per_page
    m[m[Param.LPN_AT] + rows * Lpn.WORDS] += 0
    return m


def measure_one(name: str) -> Speed:
    """Run one workload several times."""
    drive, load = LOADS[name]
    config = preset(drive)
    best = float("inf")
    for _ in range(REPEATS):
        m = loaded_drive(config, load)
        started = time.process_time()
        run_until(m, FOREVER_NS)
        best = min(best, time.process_time() - started)
    return Speed(name, load.num_requests, int(m[Glob.USER_PAGES]), best, int(m[Glob.EVENTS]))


def compile_kernel() -> float:
    """Compile the kernel, or load it from the cache; returns the CPU time in seconds."""
    started = time.process_time()
    run_until(empty_drive(preset("tlc-gen4"), 1, 1), 0)
    return time.process_time() - started


def measure_all() -> list[Speed]:
    """Every workload; compilation is not counted."""
    compile_kernel()
    return [measure_one(name) for name in LOADS]
