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
from tiergarten.accelerators.paging.touch import Lanes
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine, UvmResult
from tiergarten.sim.errors import InputError, Problem

REPORTED_BYTES: Final = 32_109 << 20
"""Memory that cudaMemGetInfo reports on the RTX 5090 of the measurement; working sets are multiples of it."""
RESERVED_BYTES: Final = 1 << 30
"""What context, driver and display keep of it. An estimate: measured passes at 1.0 x take 100 times one that fits, so not all pages
fit, and about this much must be missing for them to take 81 to 137 ms."""
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


@dataclass(frozen=True)
class Program:
    """What a pattern allocates and touches."""

    allocations_bytes: tuple[int, ...]
    pattern: str
    threads: Threads
    seed: int

    @property
    def warm_up(self) -> tuple[str, ...]:
        """Names of passes that come before the program itself."""
        return ("fill",) if self.pattern == "pointer_chase" else ()

    def warm_up_lanes(self, memory: UvmMachine) -> Lanes:
        """The kernel that fills the array of a pointer chase: eight times the threads, pages in order."""
        fill = strided(memory.num_pages[0], self.threads.count * 8, self.seed)
        return make_lanes(fill, memory.config.hardware, self.threads.per_block, True)

    def pass_lanes(self, memory: UvmMachine) -> Lanes:
        """One pass."""
        hardware, per_block = memory.config.hardware, self.threads.per_block
        reads = PATTERNS.get(self.pattern)(memory.num_pages[0], self.threads.count, self.seed)
        if len(memory.num_pages) == 1:
            return make_lanes(reads, hardware, per_block)
        touches = interleave(reads, reads + np.int32(memory.first_pages[1]))
        return make_lanes(touches, hardware, per_block, np.tile(np.array([0, 1], np.uint8), touches.size // 2))


def program(pattern: str, working_set_bytes: int, threads: Threads, seed: int = 0) -> Program:
    """The program of a pattern over a working set: an input and an output array, or one array to chase pointers in.

    Raises UnknownNameError for an unknown pattern.
    """
    PATTERNS.get(pattern)
    if pattern == "pointer_chase":
        return Program((max(1, int(working_set_bytes * 0.9)),), pattern, threads, seed)
    return Program((max(1, working_set_bytes // 2),) * 2, pattern, threads, seed)


def run_point(pattern: str, factor: float, machine: SweepMachine | None = None, passes: int = 3) -> SweepPoint:
    """Time the last of `passes` passes over a working set of `factor` times the memory.

    Raises InputError for a factor that is not above zero, UnknownNameError for an unknown pattern.
    """
    machine = machine or SweepMachine()
    if not factor > 0 or passes <= 0:
        raise InputError(Problem(f"factor and passes must be above zero, got {factor} and {passes}", path="sweep"))
    working_set = int(machine.reported_bytes * factor)
    made = program(pattern, working_set, machine.threads, machine.config.seed)
    memory = UvmMachine(machine.config, list(made.allocations_bytes))
    for _ in made.warm_up:
        memory.touch(made.warm_up_lanes(memory))
    for _ in range(passes):
        result = memory.touch(made.pass_lanes(memory))
    memory.check()
    return SweepPoint(pattern, factor, working_set, result.time_ps, result)


PREFETCHING: Final = {"on": TreePrefetch(), "off": NoPrefetch()}
"""The two settings that a sweep compares."""
