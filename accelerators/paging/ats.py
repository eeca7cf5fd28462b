"""Address translation services, as in Grace-Hopper: the GPU walks the CPU's page table and loads over NVLink-C2C, without faults.

A GPU touch of a host page moves cache lines over the link; pages migrate only when an access counter says that a granule is busy.
Rates: CPU memory read by the GPU at 375 GB/s, written at 297 GB/s, of 450 per direction (Schieffer et al. 2024, arXiv 2407.07850,
by a summary page); system pages of 4 or 64 KiB, GPU pages of 2 MiB.
"""

from dataclasses import replace

from tiergarten.accelerators.paging.costs import UvmCosts
from tiergarten.accelerators.paging.hints import ACCESSED_BY_HINT
from tiergarten.accelerators.paging.uvm import UvmConfig, UvmMachine
from tiergarten.sim.copy_cost import C2C_D2H, C2C_H2D
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import transfer_ps

CACHE_LINE_BYTES = 128
"""Line that the GPU moves over the link."""
COUNTER_THRESHOLD = 256
"""Accesses of a 2 MiB granule that raise a notification (driver default)."""


def gh200_link(costs: UvmCosts) -> UvmCosts:
    """`costs` with the measured rates of GH200's NVLink-C2C."""
    return replace(costs, h2d_bytes_per_s=C2C_H2D.bytes_per_s, d2h_bytes_per_s=C2C_D2H.bytes_per_s)


def ats_config(
    base: UvmConfig, bytes_per_touch: int = CACHE_LINE_BYTES, counter_threshold: int = COUNTER_THRESHOLD
) -> UvmConfig:
    """A machine like `base`, whose link rates it keeps, that loads over the link and has access counters.

    Args:
        base: memory, hardware, driver costs and link, see `gh200_link`.
        bytes_per_touch: what a touch of a page reads over the link, whole cache lines.
        counter_threshold: 0 never migrates.
    """
    if bytes_per_touch <= 0 or bytes_per_touch % CACHE_LINE_BYTES:
        message = f"must be a multiple of the {CACHE_LINE_BYTES}-byte line, got {bytes_per_touch}"
        raise InputError(Problem(message, path="bytes_per_touch"))
    costs: UvmCosts = replace(
        base.costs,
        remote_read_ps=transfer_ps(bytes_per_touch, base.costs.h2d_bytes_per_s),
        remote_write_ps=transfer_ps(bytes_per_touch, base.costs.d2h_bytes_per_s),
        remote_bytes=bytes_per_touch,
        setup_ps=0,
        unmap_ps=0,
    )
    return replace(base, costs=costs, counter_threshold=counter_threshold)


def ats_machine(config: UvmConfig, allocations_bytes: list[int]) -> UvmMachine:
    """A machine on which every page can be touched over the link from the start."""
    machine = UvmMachine(config, allocations_bytes)
    for allocation in range(len(allocations_bytes)):
        machine.advise(allocation, ACCESSED_BY_HINT)
    return machine
