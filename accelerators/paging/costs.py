"""What the UVM driver's work costs, in terms that can be measured: per batch, VABlock, copy, page, byte and eviction.

Presets name the measurement that each number comes from. Times of one preset are not to be mixed with those of another: they
count the same work differently.
"""

import math
from dataclasses import dataclass
from typing import Final

from tiergarten.sim.copy_cost import pcie_copy_cost
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import PS_PER_S, PS_PER_US


@dataclass(frozen=True)
class UvmCosts:
    """Driver time of a batch, see `service.py` for the sum."""

    batch_ps: int
    """Fixed: interrupt, fetch, sort, replay."""
    block_ps: int
    """Each VABlock in a batch: lock, residency masks, page-table batch, membar."""
    copy_ps: int
    """Each contiguous copy to the device."""
    h2d_bytes_per_s: float
    d2h_bytes_per_s: float
    setup_ps: int = 0
    """First copy from or to a VABlock's host pages: they are made, where the CPU has not, and mapped for DMA."""
    unmap_ps: int = 0
    """Taking a VABlock that the CPU has filled from the CPU's page tables, at its first copy."""
    page_ps: int = 0
    """Each page beside its bytes: zeroing, page-table entry."""
    entry_ps: int = 0
    """Each fault-buffer entry, duplicates too."""
    evict_ps: int = 0
    """Each evicted chunk beside its bytes."""
    evict_copy_ps: int = 0
    """Each contiguous copy back to the host."""
    pipelined: bool = False
    """Whether the driver pushes a batch's copies and waits for them at its end (both directions at once), or after each VABlock."""
    remote_read_ps: int = 200_000
    """A read over the link that is not hidden; UVMSmart uses 200 core cycles (0.135 us), rounded up here for PCIe: an estimate."""
    remote_write_ps: int = 200_000
    remote_bytes: int = 32
    """What a touch over the link moves: a sector."""

    def __post_init__(self) -> None:
        problems = []
        for name, value in vars(self).items():
            if name.endswith("_ps") and value < 0:
                problems.append(Problem(f"must not be negative, got {value}", path=f"costs.{name}"))
            if name.endswith("_per_s") and not (math.isfinite(value) and value > 0):
                problems.append(
                    Problem(f"a bandwidth must be finite and above zero, got {value}", path=f"costs.{name}")
                )
        if problems:
            raise InputError(problems)

    def group_ps(self, groups: int, h2d_copies: int, h2d_bytes: int, d2h_bytes: int) -> int:
        """Time of fault groups from their totals, as profilers report them (VABlocks, set-up and evictions not told apart)."""
        per_byte = PS_PER_S / self.h2d_bytes_per_s, PS_PER_S / self.d2h_bytes_per_s
        return math.ceil(
            groups * self.batch_ps + h2d_copies * self.copy_ps + h2d_bytes * per_byte[0] + d2h_bytes * per_byte[1]
        )


MIB: Final = 1 << 20

GTX_1080_TI: Final = UvmCosts(
    batch_ps=round(49.989 * PS_PER_US),
    block_ps=0,
    copy_ps=round(4.054 * PS_PER_US),
    h2d_bytes_per_s=MIB / 213.451e-6,
    d2h_bytes_per_s=MIB / 22.43e-6,
)
"""Whole handler on a GTX 1080 Ti: 50 us per group, 4.05 us per copy, 213 us per MiB in, 22 us per MiB out.

Least squares over 18 open nvprof profiles of gpgpu-sim_UVMSmart bafab5d (reference `our_fits.group_us`; mean error 10 %). The 213 us
hold page zeroing, mapping and transfer together; VABlocks cannot be told apart in those profiles.
"""

TITAN_V: Final = UvmCosts(
    batch_ps=40 * PS_PER_US,
    block_ps=round(11.8 * PS_PER_US),
    copy_ps=0,
    page_ps=1 * PS_PER_US,
    h2d_bytes_per_s=12.3e9,
    d2h_bytes_per_s=13.2e9,
    setup_ps=380 * PS_PER_US,
    unmap_ps=140 * PS_PER_US,
    evict_ps=40 * PS_PER_US,
)
"""Titan V, EPYC 7551P, driver 460.27.04 (Allen & Ge, SC'21).

Batch: intercept of the paper's fit of "regular", 40 us. Eviction: 0.2 ms for 2 MiB, of which 0.16 ms are bytes. VABlock, page and
set-up were calibrated together on Fig. 1 (first touch without prefetch). They can be checked on figures that they were not made from:
the paper's slope of "regular" is 0.68 us/KB, these give 0.79; 1 MiB over 60 VABlocks takes 1.0 ms, these give 1.1; 13 us for each
further VABlock, here 11.8. Of the 520 us of a first touch, 140 are unmapping: batches of "stream" with it take 0.24 ms, others 0.10.
"""

RTX_5090: Final = UvmCosts(
    batch_ps=40 * PS_PER_US,
    block_ps=round(11.8 * PS_PER_US),
    copy_ps=0,
    h2d_bytes_per_s=pcie_copy_cost(5, 16).bytes_per_s,
    d2h_bytes_per_s=pcie_copy_cost(5, 16).bytes_per_s,
    setup_ps=380 * PS_PER_US,
    unmap_ps=140 * PS_PER_US,
    pipelined=True,
)
"""RTX 5090 on PCIe 5 x16. Nothing here is fitted to that card: batch, VABlock and set-up are CPU time, kept from the Titan V; the
link is `pcie_copy_cost(5, 16)`, 46.8 GB/s. Pages cost nothing of their own, because whole regions are mapped by big pages, and
copies are pushed ahead (the driver waits on its trackers before the replay)."""

DRIVERS: Final = {"gtx-1080-ti": GTX_1080_TI, "titan-v": TITAN_V, "rtx-5090": RTX_5090}
"""Presets by the names that scenarios and the command line use."""
