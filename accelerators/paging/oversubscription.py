"""The over-subscription curve: time of a pass over a working set against its size, as the gpu_ext micro-benchmark measures it.

Two arrays of half the working set, read and written page by page by 65 536 threads; or a pointer chase in one array of 90 %,
which the GPU fills in order beforehand. Two passes warm up, three are timed; the middle one of these is reported here.
Source of the program: eunomia-bpf/gpu_ext 3f4cc2d, microbench/memory/kernels/synthetic.cuh.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging.costs import RTX_5090
from tiergarten.accelerators.paging.patterns import (
    HOPS,
    PAGE_BYTES,
    PATTERNS,
    Threads,
    chase_bytes,
    interleave,
    make_lanes,
    strided,
)
from tiergarten.accelerators.paging.prefetch import NoPrefetch, TreePrefetch
from tiergarten.accelerators.paging.touch import Lanes
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine, UvmResult
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import PS_PER_US

REPORTED_BYTES: Final = 32_109 << 20
"""Memory that cudaMemGetInfo reports on the RTX 5090 of the measurement; working sets are multiples of it."""
RESERVED_BYTES: Final = 512 << 20
"""What context, driver and display keep of it. An estimate: measured passes at 1.0 x take 100 times one that fits, so not all pages
fit, and about this much must be missing for them to take 81 to 137 ms."""
TIMED_PASS: Final = 4
RTX_5090_HARDWARE: Final = FaultHardware(
    utlbs=85, buffer_entries=8192, touch_ps=137, l2_bytes=96 << 20, l2_touch_ps=5, launch_ps=5 * PS_PER_US
)
"""170 SMs, two to a uTLB as on Volta; 0.568 ms for 4.11 M touches in device memory (`rtx5090_oversub.device_0_5`), 5 us of it launch.

L2: 96 MiB (NVIDIA, RTX Blackwell GPU architecture); a sector of 32 B at the 6.9 TB/s that gpu-benches (1c36d50) measured on the L2 of an
H100 PCIe, no measurement of this card's being at hand. Launch: small kernels take 5 to 10 us at least (NeuSight, aiconfigurator)."""


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
    filled: tuple[bool, ...]
    """Which allocations the CPU fills beforehand; the GPU is the first to touch the others."""
    pattern: str
    threads: Threads
    seed: int

    def machine(self, config: UvmConfig) -> UvmMachine:
        """A machine that holds the program's allocations."""
        return UvmMachine(config, list(self.allocations_bytes), self.filled)

    @property
    def warm_up(self) -> tuple[str, ...]:
        """Names of passes that come before the program itself."""
        return ("fill",) if self.pattern == "pointer_chase" else ()

    def warm_up_lanes(self, memory: UvmMachine) -> Lanes:
        """The kernel that fills the array of a pointer chase: eight times the threads, pages in order."""
        fill = strided(memory.num_pages[0], self.threads.count * 8, self.seed)
        return make_lanes(fill, memory.config.hardware, self.threads.per_block, True)

    def pass_lanes(self, memory: UvmMachine) -> Lanes:
        """One pass: each thread reads a page of the input and writes the same of the output; a chase writes one sum at its end."""
        touches, is_write = self._touches
        pages = touches + np.where(is_write, np.int32(memory.first_pages[1]), np.int32(0))
        writes = np.tile(is_write.astype(np.uint8), len(touches))
        return make_lanes(pages, memory.config.hardware, self.threads.per_block, writes)

    @cached_property
    def _touches(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """int32[threads, touches], pages inside their allocation, and bool[touches]: a write to the second allocation."""
        num_pages = -(-self.allocations_bytes[0] // PAGE_BYTES)
        reads = PATTERNS.get(self.pattern)(num_pages, self.threads.count, self.seed)
        if self.pattern == "pointer_chase":
            sums = (np.arange(len(reads)) * SUM_BYTES // PAGE_BYTES).astype(np.int32)
            return np.column_stack([reads, sums]), np.arange(HOPS + 1) == HOPS
        return interleave(reads, reads), np.arange(2 * reads.shape[1]) % 2 == 1


SUM_BYTES: Final = 4
"""What a thread of the pointer chase writes."""


def program(pattern: str, working_set_bytes: int, threads: Threads, seed: int = 0) -> Program:
    """The program of a pattern over a working set: an input and an output array, or nodes to chase pointers in and their sums.

    Raises UnknownNameError for an unknown pattern.
    """
    PATTERNS.get(pattern)
    if pattern == "pointer_chase":
        nodes = chase_bytes(working_set_bytes, threads.count)
        return Program((nodes, threads.count * SUM_BYTES), (False, False), pattern, threads, seed)
    return Program((max(1, working_set_bytes // 2),) * 2, (True, False), pattern, threads, seed)


def run_point(pattern: str, factor: float, machine: SweepMachine | None = None, passes: int = TIMED_PASS) -> SweepPoint:
    """Time the last of `passes` passes over a working set of `factor` times the memory.

    Raises InputError for a factor that is not above zero, UnknownNameError for an unknown pattern.
    """
    machine = machine or SweepMachine()
    if not factor > 0 or passes <= 0:
        raise InputError(Problem(f"factor and passes must be above zero, got {factor} and {passes}", path="sweep"))
    working_set = int(machine.reported_bytes * factor)
    made = program(pattern, working_set, machine.threads, machine.config.seed)
    memory = made.machine(machine.config)
    for _ in made.warm_up:
        memory.touch(made.warm_up_lanes(memory))
    for number in range(passes):
        result = memory.touch(made.pass_lanes(memory), is_repeat=number > 0)
    memory.check()
    return SweepPoint(pattern, factor, working_set, result.time_ps, result)


PREFETCHING: Final = {"on": TreePrefetch(), "off": NoPrefetch()}
"""The two settings that a sweep compares."""
