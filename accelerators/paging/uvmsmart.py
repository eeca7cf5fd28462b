"""UVMSmart mode: the policies and constants of the gpgpu-sim_UVMSmart simulator, for comparison with its published logs.

Its kernel time holds no driver; every far fault is charged 45 us at the end, so that reported time = kernel + 45 us * faults in all
of its 211 logs. There are no batches: each fault is served alone, and faults on pages on their way do not count.
Source: DebashisGanguly/gpgpu-sim_UVMSmart bafab5d, source and configuration (GTX 1080 Ti: 28 SMs at 1481 MHz).
"""

from dataclasses import dataclass, field
from typing import Final

from tiergarten.accelerators.paging.costs import UvmCosts
from tiergarten.accelerators.paging.eviction import LeastFrequentlyUsed, LeastRecentlyUsed, RandomChunk, TreeEviction
from tiergarten.accelerators.paging.patterns import make_lanes
from tiergarten.accelerators.paging.prefetch import NoPrefetch, RandomPagePrefetch, RegionPrefetch, TreePrefetch
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine
from tiergarten.sim.copy_cost import ArctanCopyCost
from tiergarten.sim.errors import InputError, Problem, did_you_mean
from tiergarten.sim.units import PS_PER_US

CORE_HZ: Final = 1481e6
FAR_FAULT_PS: Final = 45 * PS_PER_US
REMOTE_TOUCH_PS: Final = round(200 / CORE_HZ * 1e12)
"""200 core cycles for a DMA access to host memory."""
PAGE_BYTES: Final = 4 << 10

PREFETCHERS: Final = {
    "none": NoPrefetch(),
    "tbn": TreePrefetch(percent=50),
    "sl": RegionPrefetch(),
    "random": RandomPagePrefetch(),
}
"""Hardware prefetchers 0 to 3. The tree takes sub-trees above half full."""
EVICTORS: Final = {
    "lru_2m": LeastRecentlyUsed(2 << 20),
    "tbn": TreeEviction(),
    "sl": LeastRecentlyUsed(64 << 10),
    "random": RandomChunk(PAGE_BYTES),
    "lfu_2m": LeastFrequentlyUsed(2 << 20),
    "lru_4k": LeastRecentlyUsed(PAGE_BYTES),
}
"""Eviction policies 0 to 5."""


@dataclass(frozen=True)
class SmartConfig:
    """One run of the simulator."""

    device_bytes: int
    prefetcher: str = "tbn"
    evictor: str = "lru_2m"
    prefetch_when_full: str | None = None
    """None = the same prefetcher."""
    remote_when_full: bool = False
    """Its DMA mode 3: host pages are accessed remotely once memory is full."""
    touch_ps: int = 1000
    seed: int = 0
    copy_cost: ArctanCopyCost = field(default_factory=lambda: ArctanCopyCost(12e9))

    def lower(self) -> UvmConfig:
        """The machine of this mode; raises InputError for an unknown policy."""
        problems = []
        for name, value, known in (
            ("prefetcher", self.prefetcher, PREFETCHERS),
            ("prefetch_when_full", self.prefetch_when_full or self.prefetcher, PREFETCHERS),
            ("evictor", self.evictor, EVICTORS),
        ):
            if value not in known:
                problems.append(
                    Problem(f"unknown policy {value!r}. {did_you_mean(value, known)}", path=f"uvmsmart.{name}")
                )
        if problems:
            raise InputError(problems)
        free_of_charge = UvmCosts(0, 0, 0, 1e18, 1e18, remote_read_ps=REMOTE_TOUCH_PS, remote_write_ps=REMOTE_TOUCH_PS)
        return UvmConfig(
            device_bytes=self.device_bytes,
            costs=free_of_charge,
            hardware=FaultHardware(utlbs=28, batch_entries=1, touch_ps=self.touch_ps),
            prefetcher=PREFETCHERS[self.prefetcher],
            prefetcher_when_full=PREFETCHERS[self.prefetch_when_full] if self.prefetch_when_full else None,
            evictor=EVICTORS[self.evictor],
            remote_when_full=self.remote_when_full,
            seed=self.seed,
        )


@dataclass(frozen=True)
class SmartReport:
    """The figures that its logs end with."""

    kernel_ps: int
    faults: int
    pages_in: int
    pages_evicted: int

    @property
    def total_ps(self) -> int:
        """What UVMSmart prints as kernel execution time with fault overhead."""
        return reported_ps(self.kernel_ps, self.faults)


def reported_ps(kernel_ps: int, faults: int) -> int:
    """Kernel time plus 45 us for each far fault, charged one after another."""
    return kernel_ps + FAR_FAULT_PS * faults


def run(config: SmartConfig, allocations_bytes: list[int], page_touches: list[int]) -> SmartReport:
    """Replay page touches (numbers of pages over all allocations, each beginning at a 2 MiB boundary) in order."""
    lowered = config.lower()
    machine = UvmMachine(lowered, allocations_bytes)
    result = machine.touch(make_lanes([page_touches], lowered.hardware))
    machine.check()
    return SmartReport(result.time_ps, result["faulted_pages"], result["h2d_pages"], result["evicted_pages"])
