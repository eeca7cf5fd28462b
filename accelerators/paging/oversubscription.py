"""The over-subscription curve: time of a pass over a working set against its size, as the gpu_ext micro-benchmark measures it.

Two arrays of half the working set, read and written page by page by 65 536 threads; or a pointer chase in one array of 90 %.
Two passes warm up (a first one for the chase fills memory in order), the next is reported.
Source of the program: eunomia-bpf/gpu_ext 3f4cc2d, microbench/memory/kernels/synthetic.cuh.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tiergarten.accelerators.paging.costs import RTX_5090
from tiergarten.accelerators.paging.patterns import PATTERNS, Threads, interleave, make_lanes, strided
from tiergarten.accelerators.paging.prefetch import NoPrefetch, TreePrefetch
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine, UvmResult
from tiergarten.sim.errors import InputError, Problem

REPORTED_BYTES: Final = 32_109 << 20
"""Memory that cudaMemGetInfo reports on the RTX 5090 of the measurement; working sets are multiples of it."""
RESERVED_BYTES: Final = 800 << 20
"""What context, driver and display keep of it. An estimate: the measured pass at 1.0 x is 160 times one that fits, so pages do not
all fit there."""
RTX_5090_HARDWARE: Final = FaultHardware(utlbs=85, buffer_entries=8192, touch_ps=138)
"""170 SMs, two to a uTLB as on Volta; 0.568 ms for 4.11 M touches in device memory (`rtx5090_oversub.device_0_5`)."""


@dataclass(frozen=True)
class SweepMachine:
    """The machine of a sweep."""

    config: UvmConfig = field(
        default_factory=lambda: UvmConfig(
            device_bytes=REPORTED_BYTES - RESERVED_BYTES, costs=RTX_5090, hardware=RTX_5090_HARDWARE
        )
    )
    reported_bytes: int = REPORTED_BYTES
    threads: Threads = field(default_factory=Threads)


@dataclass(frozen=True)
class SweepPoint:
    """One pass in the steady state."""

    pattern: str
    factor: float
    """Working set over reported memory."""
    working_set_bytes: int
    pass_ps: int
    result: UvmResult

    @property
    def bytes_per_s(self) -> float:
        """Working set per second."""
        return self.working_set_bytes * 1e12 / self.pass_ps


def run_point(pattern: str, factor: float, machine: SweepMachine | None = None, passes: int = 3) -> SweepPoint:
    """Time the last of `passes` passes over a working set of `factor` times the memory.

    Raises InputError for a factor that is not above zero, UnknownNameError for an unknown pattern.
    """
    machine = machine or SweepMachine()
    if not factor > 0 or passes <= 0:
        raise InputError(Problem(f"factor and passes must be above zero, got {factor} and {passes}", path="sweep"))
    make = PATTERNS.get(pattern)
    working_set = int(machine.reported_bytes * factor)
    threads, hardware = machine.threads, machine.config.hardware
    writes: np.ndarray | bool = False
    if pattern == "pointer_chase":
        memory = UvmMachine(machine.config, [int(working_set * 0.9)])
        touches = make(memory.num_pages[0], threads.count, machine.config.seed)
        memory.touch(make_lanes(strided(memory.num_pages[0], threads.count * 8, 0), hardware, threads.per_block, True))
    else:
        memory = UvmMachine(machine.config, [working_set // 2, working_set // 2])
        reads = make(memory.num_pages[0], threads.count, machine.config.seed)
        touches = interleave(reads, reads + np.int32(memory.first_pages[1]))
        writes = np.tile(np.array([0, 1], np.uint8), touches.size // 2)
    for _ in range(passes):
        result = memory.touch(make_lanes(touches, hardware, threads.per_block, writes))
    memory.check()
    return SweepPoint(pattern, factor, working_set, result.time_ps, result)


PREFETCHING: Final = {"on": TreePrefetch(), "off": NoPrefetch()}
