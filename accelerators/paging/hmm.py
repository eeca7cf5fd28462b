"""Heterogeneous memory management on x86: system `malloc` memory paged to the GPU through the kernel's page tables.

The same fault handler serves it, but the pages are those of the CPU, 4 KiB each, and there is no 2 MiB first touch: unmapping and
DMA mapping happen page by page. From the driver's structure (NVIDIA open kernel module 545.23.06); no measurement was found.
"""

from dataclasses import replace

from tiergarten.accelerators.paging.prefetch import RegionPrefetch
from tiergarten.accelerators.paging.uvm import UvmConfig


def hmm_config(base: UvmConfig) -> UvmConfig:
    """`base` for system memory: the set-up of a VABlock is spread over its pages, and prefetch stops at the 64 KiB region.

    Spreading the set-up evenly is an estimate.
    """
    pages = base.geometry.block_bytes // base.geometry.page_bytes
    costs = replace(
        base.costs,
        setup_ps=0,
        unmap_ps=0,
        page_ps=base.costs.page_ps + (base.costs.setup_ps + base.costs.unmap_ps) // pages,
    )
    return replace(base, costs=costs, prefetcher=RegionPrefetch(), prefetcher_when_full=None)
