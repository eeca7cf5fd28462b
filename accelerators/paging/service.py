"""Kernels for the driver's side of a fault: fetch a batch, service it VABlock by VABlock, add up what that costs.

Behaviour: NVIDIA open kernel module 545.23.06, uvm_gpu_replayable_faults.c; measured structure: Allen & Ge, SC'21.
Cost of a batch: `batch + entries * entry + sum over VABlocks (block + setup if first touch + copies * copy + pages * page) +
evictions * (evict + copies * evict_copy)` on one CPU thread, plus bytes / rate in each direction; one batch at a time.
"""

import numpy as np

from tiergarten.accelerators.paging.evict import BLOCKED, find_memory, log_copy, setup_block
from tiergarten.accelerators.paging.kernel_config import KernelConfig, PrefetchKind
from tiergarten.accelerators.paging.kernels import entry_kernel, kernel
from tiergarten.accelerators.paging.residency import drop_host_copy, map_on_host, place_on_device, refill_chunk
from tiergarten.accelerators.paging.state import (
    AHEAD,
    DEVICE,
    FAULTED,
    FREE,
    HOST,
    NOTHING,
    PREFER_DEVICE,
    PREFER_HOST,
    REMOTE,
    UNUSED,
    VALID,
    Cause,
    Count,
    Now,
    PagingState,
)
from tiergarten.accelerators.paging.thrashing import PINNED, THROTTLED, thrash_verdict
from tiergarten.accelerators.paging.tree import mark_dense

NO_PREFETCH, TREE, REGION = int(PrefetchKind.NONE), int(PrefetchKind.TREE), int(PrefetchKind.REGION)
RANDOM_PAGE, WHOLE_BLOCK, PLUGIN = (
    int(PrefetchKind.RANDOM_PAGE),
    int(PrefetchKind.WHOLE_BLOCK),
    int(PrefetchKind.PLUGIN),
)

DONE = 0
"""The VABlock was serviced."""
ASK_EVICTOR = 1
ASK_PREFETCHER = 2
POSTPONED = 3
"""The VABlock is throttled; nothing was done."""


@entry_kernel
def sort_entries(entries, count: int) -> None:
    """Sort entries[:count] in place (Shell sort: a batch is short and mostly in order)."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for index in range(gap, count):
            entry = entries[index]
            hole = index
            while hole >= gap and entries[hole - gap] > entry:
                entries[hole] = entries[hole - gap]
                hole -= gap
            entries[hole] = entry
        gap //= 3


@kernel
def fetch_batch(state: PagingState, config: KernelConfig) -> int:
    """Move up to `batch_entries` entries from the fault buffer to the batch, sort and count them.

    Sorted by page, then access type; equal pages are neighbours and are serviced once.

    Returns:
        Picoseconds of the fetch: the fixed cost of a batch and that of its entries.
    """
    count = min(state.now[Now.BUFFER_COUNT], config.batch_entries)
    head = state.now[Now.BUFFER_HEAD]
    for index in range(count):
        state.batch[index] = state.buffer[(head + index) % len(state.buffer)]
    state.now[Now.BUFFER_HEAD] = (head + count) % len(state.buffer)
    state.now[Now.BUFFER_COUNT] -= count
    sort_entries(state.batch, count)
    state.now[Now.BATCH_COUNT] = count
    state.now[Now.BATCH_NEXT] = 0
    state.now[Now.SERVICED] = 0
    state.counts[Count.BATCHES] += 1
    state.counts[Count.FAULT_ENTRIES] += count
    return config.batch_ps + count * config.entry_ps


@kernel
def accessible(flags: int, is_write: int) -> bool:
    """Whether the GPU can complete an access to a page without a fault (a write needs the only copy)."""
    if flags & DEVICE:
        return not (is_write and flags & HOST)
    return flags & REMOTE != 0


@kernel
def plan_page(state: PagingState, config: KernelConfig, block: int, page: int, why: int) -> None:
    """Mark one host page of the VABlock for fetching, unless it is planned already."""
    index = page - block * config.pages_per_block
    if state.plan[index] == 0:
        state.plan[index] = why
        state.wanted[index // config.pages_per_region] = 1


@kernel
def plan_region(state: PagingState, config: KernelConfig, block: int, region: int) -> None:
    """Mark what a region of the VABlock lacks as prefetched. `region` counts from the VABlock's first."""
    base = block * config.pages_per_block + region * config.pages_per_region
    for page in range(base, base + config.pages_per_region):
        flags = state.pages[page]
        if flags & VALID and not flags & DEVICE and not flags & PREFER_HOST:
            plan_page(state, config, block, page, AHEAD)


@kernel
def plan_tree(state: PagingState, config: KernelConfig, block: int, grows: bool) -> None:
    """Extend the plan by the tree prefetcher, see `tree.dense_leaves`."""
    leaves = len(state.wanted)
    first = block * leaves
    soon, valid, faulted, dense = state.leaves[0], state.leaves[1], state.leaves[2], state.leaves[3]
    for leaf in range(leaves):
        valid[leaf] = state.region_valid[first + leaf]
        soon[leaf] = state.region_pages[first + leaf]
        faulted[leaf] = state.wanted[leaf]
        if faulted[leaf]:
            if grows:
                soon[leaf] = valid[leaf]
            else:
                base = leaf * config.pages_per_region
                for index in range(base, base + config.pages_per_region):
                    if state.plan[index]:
                        soon[leaf] += 1
    mark_dense(soon, valid, faulted, config.prefetch_percent, dense)
    for leaf in range(leaves):
        if dense[leaf] or (grows and faulted[leaf]):
            plan_region(state, config, block, leaf)


@kernel
def plan_drawn_page(state: PagingState, config: KernelConfig, block: int) -> None:
    """Mark one page of the VABlock, drawn beforehand, if it is missing."""
    index = state.draws[state.now[Now.DRAWN] % len(state.draws)] % config.pages_per_block
    state.now[Now.DRAWN] += 1
    flags = state.pages[block * config.pages_per_block + index]
    if flags & VALID and not flags & DEVICE:
        plan_page(state, config, block, block * config.pages_per_block + index, AHEAD)


@kernel
def plan_prefetch(state: PagingState, config: KernelConfig, block: int, faults: int) -> None:
    """Extend a plan that holds the faulted pages by what the prefetcher in force adds."""
    kind = config.prefetch_when_full if state.now[Now.WAS_FULL] else config.prefetch
    if kind == TREE:
        thrashing = state.block_thrash[block] > 0
        plan_tree(state, config, block, config.prefetch_grows == 1 and not thrashing)
    elif kind == REGION:
        for region in range(len(state.wanted)):
            if state.wanted[region]:
                plan_region(state, config, block, region)
    elif kind == RANDOM_PAGE:
        for _ in range(faults):
            plan_drawn_page(state, config, block)
    elif kind == WHOLE_BLOCK:
        for region in range(len(state.wanted)):
            plan_region(state, config, block, region)


@kernel
def plan_faults(state: PagingState, config: KernelConfig, block: int, begin: int, end: int) -> int:
    """Plan the faulted pages of batch entries [begin, end), map those remotely that stay on the host.

    A write to a read-mostly page that is on both sides gives up the host copy. Returns the pages to be fetched.
    """
    faults = 0
    keep_on_host = config.remote_when_full == 1 and state.now[Now.WAS_FULL] == 1
    for entry in range(begin, end):
        page, is_write = state.batch[entry] >> 1, state.batch[entry] & 1
        flags = state.pages[page]
        if accessible(flags, is_write):
            state.counts[Count.DUPLICATES] += 1
        elif flags & DEVICE:
            drop_host_copy(state, page)
        elif flags & PREFER_HOST or keep_on_host:
            map_on_host(state, page)
        else:
            index = page - block * config.pages_per_block
            if state.plan[index]:
                state.counts[Count.DUPLICATES] += 1
            else:
                faults += 1
                plan_page(state, config, block, page, FAULTED)
    return faults


@kernel
def hold_memory(state: PagingState, config: KernelConfig, block: int) -> bool:
    """Make sure that every chunk with a planned page holds memory; evictions add to `now[SPENT_PS]`.

    Returns:
        False when a plug-in evictor must be asked first; chunks found so far stay held.
    """
    base = block * config.pages_per_block
    previous = NOTHING
    for region in range(len(state.wanted)):
        if state.wanted[region]:
            for index in range(region * config.pages_per_region, (region + 1) * config.pages_per_region):
                chunk = (base + index) // config.pages_per_chunk
                if state.plan[index] and chunk != previous:
                    previous = chunk
                    if state.chunk_held[chunk] == FREE:
                        spent = find_memory(state, config, chunk)
                        if spent == BLOCKED:
                            return False
                        state.now[Now.SPENT_PS] += spent
                    elif state.chunk_held[chunk] == UNUSED:
                        refill_chunk(state, chunk)
    return True


@kernel
def move_planned(state: PagingState, config: KernelConfig, block: int, cause: int) -> int:
    """Fetch the planned pages and clear the plan.

    Contiguous pages of one kind (faulted, prefetched) are one copy; new pages are filled in place and cost no link. The first copy
    out of a VABlock needs its host pages mapped. Returns driver time in ps; link time goes to `now[IN_PS]`.
    """
    base = block * config.pages_per_block
    copies, moved, copied_before = 0, 0, state.counts[Count.H2D_PAGES]
    run_copied = 0
    run_start, run_kind = NOTHING, 0
    for region in range(len(state.wanted)):
        if state.wanted[region]:
            for index in range(region * config.pages_per_region, (region + 1) * config.pages_per_region):
                kind = state.plan[index]
                if run_kind and kind != run_kind:
                    log_copy(state, cause + run_kind - FAULTED, base + run_start, index - run_start, block)
                    run_kind = 0
                if kind:
                    if run_kind == 0:
                        run_start, run_kind, run_copied = index, kind, 0
                    copied = place_on_device(state, base + index, config.pages_per_region, config.pages_per_chunk)
                    copies += copied > run_copied
                    run_copied = max(run_copied, copied)
                    state.plan[index] = 0
                    moved += 1
                    state.counts[Count.H2D_PAGES] += copied
                    if kind == AHEAD:
                        state.counts[Count.PREFETCHED_PAGES] += 1
                        state.counts[Count.COPIED_AHEAD_PAGES] += copied
                    else:
                        state.counts[Count.FAULTED_PAGES] += 1
            state.wanted[region] = 0
            if run_kind and (region + 1 == len(state.wanted) or not state.wanted[region + 1]):
                end = (region + 1) * config.pages_per_region
                log_copy(state, cause + run_kind - FAULTED, base + run_start, end - run_start, block)
                run_kind = 0
    state.counts[Count.H2D_COPIES] += copies
    copied = state.counts[Count.H2D_PAGES] - copied_before
    link_ps = np.int64(np.ceil(copied * config.page_bytes * config.h2d_ps_per_byte))
    state.now[Now.IN_PS] += link_ps
    state.counts[Count.H2D_PS] += link_ps
    unmap_ps = config.unmap_ps if copied and state.block_seen[block] == 0 else 0
    setup_ps = setup_block(state, config, block) if copied else 0
    return unmap_ps + setup_ps + copies * config.copy_ps + moved * config.page_ps


@kernel
def plan_block(state: PagingState, config: KernelConfig, block: int, begin: int, end: int) -> int:
    """Plan the faults and the prefetch of one VABlock. Returns DONE or ASK_PREFETCHER."""
    faults = plan_faults(state, config, block, begin, end)
    if faults > 0:
        kind = config.prefetch_when_full if state.now[Now.WAS_FULL] else config.prefetch
        if state.block_seen[block] == 0 and state.pages[block * config.pages_per_block] & PREFER_DEVICE:
            for region in range(len(state.wanted)):
                plan_region(state, config, block, region)
        elif kind == PLUGIN:
            return ASK_PREFETCHER
        else:
            plan_prefetch(state, config, block, faults)
    return DONE


@kernel
def service_block(state: PagingState, config: KernelConfig, begin: int, end: int) -> tuple[int, int]:
    """Service batch entries [begin, end), all of one VABlock.

    Returns:
        (status, picoseconds): DONE; POSTPONED (throttled); ASK_PREFETCHER or ASK_EVICTOR when a plug-in has to answer first and
        this function has to be called again with the same range.
    """
    block = (state.batch[begin] >> 1) // config.pages_per_block
    state.now[Now.LOCKED_BLOCK] = block
    if state.now[Now.PLANNED] == 0:
        verdict = thrash_verdict(state, config, block)
        if verdict == THROTTLED:
            return POSTPONED, 0
        if verdict == PINNED:
            pin_faulted(state, begin, end)
            return DONE, config.block_ps
        state.now[Now.PLANNED] = 1
        if plan_block(state, config, block, begin, end) == ASK_PREFETCHER:
            return ASK_PREFETCHER, 0
    if not hold_memory(state, config, block):
        return ASK_EVICTOR, 0
    duration = config.block_ps + state.now[Now.SPENT_PS]
    state.now[Now.SPENT_PS] = 0
    state.now[Now.PLANNED] = 0
    if has_plan(state):
        duration += move_planned(state, config, block, Cause.DEMAND)
    state.counts[Count.BLOCK_SERVICES] += 1
    state.now[Now.SERVICED] += 1
    state.now[Now.LOCKED_BLOCK] = NOTHING
    return DONE, duration


@kernel
def has_plan(state: PagingState) -> bool:
    """Whether any page is planned."""
    for region in range(len(state.wanted)):
        if state.wanted[region]:
            return True
    return False


@kernel
def pin_faulted(state: PagingState, begin: int, end: int) -> None:
    """Map the faulted pages of a thrashing VABlock where they are on the host; they are touched over the link from now on."""
    for entry in range(begin, end):
        page = state.batch[entry] >> 1
        flags = state.pages[page]
        if flags & DEVICE:
            drop_host_copy(state, page)  # a write to a read-mostly page
        elif not flags & REMOTE:
            map_on_host(state, page)
            state.counts[Count.PINNED_PAGES] += 1
    state.now[Now.SERVICED] += 1
