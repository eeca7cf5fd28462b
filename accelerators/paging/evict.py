"""Kernels that find device memory for a chunk: a free one, an unused one, or one that an eviction policy gives up.

Order as in the driver (NVIDIA open kernel module 545.23.06, uvm_pmm_gpu.c): free chunk, chunk of a block without resident
pages, head of the used list. The used list is in order of allocation; the LRU policy moves a chunk to its tail at every touch.
"""

import numpy as np

from tiergarten.accelerators.paging.kernel_config import EvictionKind, KernelConfig
from tiergarten.accelerators.paging.kernels import kernel
from tiergarten.accelerators.paging.residency import UNUSED_HEAD, USED_HEAD, empty_chunk, release_memory, take_memory
from tiergarten.accelerators.paging.state import NOTHING, Cause, Count, Now, PagingState
from tiergarten.accelerators.paging.tree import sparse_subtree

LFU, RANDOM, TREE, PLUGIN = (
    int(EvictionKind.LEAST_FREQUENTLY_USED),
    int(EvictionKind.RANDOM),
    int(EvictionKind.TREE),
    int(EvictionKind.PLUGIN),
)
BLOCKED = -2
"""Answer of `find_memory` when a plug-in evictor has to be asked first."""


@kernel
def may_evict(state: PagingState, config: KernelConfig, chunk: int, spare_locked: bool) -> bool:
    """Whether the chunk is in use and, when `spare_locked`, outside the VABlock in service."""
    if state.chunk_held[chunk] == 0 or state.chunk_pages[chunk] == 0:
        return False
    return not (
        spare_locked and chunk * config.pages_per_chunk // config.pages_per_block == state.now[Now.LOCKED_BLOCK]
    )


@kernel
def first_used(state: PagingState, config: KernelConfig) -> int:
    """The used chunk nearest the head of the list that is not in the VABlock in service; the head itself if all are."""
    chunk = state.now[USED_HEAD]
    while chunk != NOTHING:
        if may_evict(state, config, chunk, True):
            return chunk
        chunk = state.chunk_after[chunk]
    chunk = state.now[USED_HEAD]
    while chunk != NOTHING and state.chunk_pages[chunk] == 0:
        chunk = state.chunk_after[chunk]
    return chunk


@kernel
def least_touched(state: PagingState, config: KernelConfig) -> int:
    """The used chunk with the fewest touches since it was allocated; the older one of equals."""
    best, fewest = NOTHING, np.int64(2**62)
    chunk = state.now[USED_HEAD]
    while chunk != NOTHING:
        if state.chunk_touches[chunk] < fewest and may_evict(state, config, chunk, True):
            best, fewest = chunk, state.chunk_touches[chunk]
        chunk = state.chunk_after[chunk]
    return best if best != NOTHING else first_used(state, config)


@kernel
def drawn_chunk(state: PagingState, config: KernelConfig) -> int:
    """The used chunk at or after a position that was drawn beforehand."""
    chunks = len(state.chunk_held)
    start = state.draws[state.now[Now.DRAWN] % len(state.draws)] % chunks
    state.now[Now.DRAWN] += 1
    for step in range(chunks):
        chunk = (start + step) % chunks
        if may_evict(state, config, chunk, True):
            return chunk
    return first_used(state, config)


@kernel
def choose_victim(state: PagingState, config: KernelConfig) -> int:
    """Chunk to be emptied under the built-in policies; NOTHING if no chunk holds a page."""
    if config.eviction == LFU:
        return least_touched(state, config)
    if config.eviction == RANDOM:
        return drawn_chunk(state, config)
    return first_used(state, config)


@kernel
def log_copy(state: PagingState, cause: int, page: int, pages: int, block: int) -> None:
    """Append a row to the log while it has room."""
    row = state.now[Now.LOG_COUNT]
    if row < len(state.log):
        state.log[row, 0] = state.now[Now.TIME_PS]
        state.log[row, 1] = cause
        state.log[row, 2] = page
        state.log[row, 3] = pages
        state.log[row, 4] = block
        state.now[Now.LOG_COUNT] = row + 1


@kernel
def setup_block(state: PagingState, config: KernelConfig, block: int) -> int:
    """First copy from or to a VABlock's host pages: they are made and mapped for DMA, once. Returns picoseconds.

    Pages that the CPU filled need this when they first migrate, pages that the GPU filled when they are first evicted
    (uvm_va_block.c, block_populate_pages_cpu).
    """
    if state.block_seen[block]:
        return 0
    state.block_seen[block] = 1
    state.counts[Count.FIRST_TOUCHES] += 1
    return config.setup_ps


@kernel
def evict_chunk(state: PagingState, config: KernelConfig, chunk: int) -> int:
    """Empty one chunk and free its memory; returns driver time in ps, link time goes to `now[OUT_PS]`."""
    copied, runs = empty_chunk(state, chunk, config.pages_per_region, config.pages_per_chunk)
    release_memory(state, chunk)
    first = chunk * config.pages_per_chunk
    block = first // config.pages_per_block
    state.block_evicted_ps[block] = state.now[Now.TIME_PS]
    state.counts[Count.EVICTIONS] += 1
    state.counts[Count.D2H_COPIES] += runs
    state.counts[Count.D2H_PAGES] += copied
    log_copy(state, Cause.EVICTION, first, copied, block)
    link_ps = np.int64(np.ceil(copied * config.page_bytes * config.d2h_ps_per_byte))
    state.now[Now.OUT_PS] += link_ps
    state.counts[Count.D2H_PS] += link_ps
    setup_ps = setup_block(state, config, block) if copied else 0
    return setup_ps + config.evict_ps + runs * config.evict_copy_ps


@kernel
def evict_subtree(state: PagingState, config: KernelConfig, chunk: int) -> int:
    """Empty a chunk of one region and the rest of every sub-tree that it leaves under-filled; returns picoseconds."""
    per_block = config.pages_per_block // config.pages_per_chunk
    block_first = chunk // per_block * per_block
    left, valid = state.leaves[0], state.leaves[1]
    for leaf in range(per_block):
        left[leaf] = state.chunk_pages[block_first + leaf]
        valid[leaf] = state.region_valid[block_first + leaf]
    left[chunk - block_first] = 0
    first, size = sparse_subtree(left, valid, chunk - block_first, config.eviction_percent)
    duration = evict_chunk(state, config, chunk)
    for other in range(block_first + first, block_first + first + size):
        if may_evict(state, config, other, True):
            duration += evict_chunk(state, config, other)
    return duration


@kernel
def find_memory(state: PagingState, config: KernelConfig, chunk: int) -> int:
    """Give device memory to `chunk`, evicting if need be.

    Returns:
        Picoseconds that evictions took (0 when memory was free), or BLOCKED if a plug-in evictor has to name a victim in
        `now[GIVEN_VICTIM]` first; nothing has changed then.
    """
    duration = 0
    if state.now[Now.FREE_CHUNKS] == 0:
        state.now[Now.WAS_FULL] = 1
        if state.now[UNUSED_HEAD] != NOTHING:
            release_memory(state, state.now[UNUSED_HEAD])
        else:
            if config.eviction == PLUGIN:
                victim = state.now[Now.GIVEN_VICTIM]
                if victim == NOTHING:
                    return BLOCKED
                state.now[Now.GIVEN_VICTIM] = NOTHING
            else:
                victim = choose_victim(state, config)
            if config.eviction == TREE:
                duration = evict_subtree(state, config, victim)
            else:
                duration = evict_chunk(state, config, victim)
    take_memory(state, chunk)
    return duration
