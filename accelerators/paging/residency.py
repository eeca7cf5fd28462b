"""Kernels that move pages between host and device and keep the lists of chunks; nothing here decides which.

Device memory is handed out in chunks. A chunk that gets memory goes to the tail of the used list; one whose last page left the
device while it keeps its memory goes to the unused list (NVIDIA open kernel module 545.23.06, uvm_pmm_gpu.c: root chunk lists).
"""

from tiergarten.accelerators.paging.kernels import entry_kernel, kernel
from tiergarten.accelerators.paging.state import (
    ALL,
    DEVICE,
    DIRTY,
    FREE,
    HOST,
    NOTHING,
    READ_MOSTLY,
    REMOTE,
    UNUSED,
    USED,
    Count,
    Now,
    PagingState,
)

# Plain integers: numba compiles member look-ups of an IntEnum, but reads of these names are shorter below.
FREE_CHUNKS, USED_HEAD, USED_TAIL = int(Now.FREE_CHUNKS), int(Now.USED_HEAD), int(Now.USED_TAIL)
UNUSED_HEAD, UNUSED_TAIL = int(Now.UNUSED_HEAD), int(Now.UNUSED_TAIL)
DEVICE_PAGES, HOST_PAGES, POPULATED_PAGES = int(Now.DEVICE_PAGES), int(Now.HOST_PAGES), int(Now.POPULATED_PAGES)


@kernel
def append_chunk(state: PagingState, chunk: int, head: int, tail: int) -> None:
    """Put `chunk` at the tail of the list whose ends are `now[head]` and `now[tail]`."""
    last = state.now[tail]
    state.chunk_before[chunk] = last
    state.chunk_after[chunk] = NOTHING
    if last == NOTHING:
        state.now[head] = chunk
    else:
        state.chunk_after[last] = chunk
    state.now[tail] = chunk


@kernel
def unlink_chunk(state: PagingState, chunk: int, head: int, tail: int) -> None:
    """Take `chunk` out of the list whose ends are `now[head]` and `now[tail]`."""
    before, after = state.chunk_before[chunk], state.chunk_after[chunk]
    if before == NOTHING:
        state.now[head] = after
    else:
        state.chunk_after[before] = after
    if after == NOTHING:
        state.now[tail] = before
    else:
        state.chunk_before[after] = before


@kernel
def take_memory(state: PagingState, chunk: int) -> None:
    """Give one free chunk of device memory to `chunk`; the caller made sure that one is free."""
    state.now[FREE_CHUNKS] -= 1
    state.chunk_held[chunk] = USED
    state.chunk_touches[chunk] = 0
    append_chunk(state, chunk, USED_HEAD, USED_TAIL)


@kernel
def release_memory(state: PagingState, chunk: int) -> None:
    """Return the device memory of a chunk without pages; it must be linked in the unused list."""
    unlink_chunk(state, chunk, UNUSED_HEAD, UNUSED_TAIL)
    state.chunk_held[chunk] = FREE
    state.now[FREE_CHUNKS] += 1


@kernel
def place_on_device(state: PagingState, page: int, pages_per_region: int, pages_per_chunk: int) -> int:
    """Move a page to the device; a read-mostly page keeps its host copy. Returns 1 if it has to be copied, 0 if it is new."""
    flags = state.pages[page]
    copied = 0
    if flags & HOST:
        copied = 1
        if not flags & READ_MOSTLY:
            flags &= ALL ^ HOST
            state.now[HOST_PAGES] -= 1
    else:
        state.now[POPULATED_PAGES] += 1
        state.counts[Count.ZEROED_PAGES] += 1
    state.now[DEVICE_PAGES] += 1
    state.pages[page] = (flags | DEVICE) & (ALL ^ REMOTE)
    state.region_pages[page // pages_per_region] += 1
    state.chunk_pages[page // pages_per_chunk] += 1
    return copied


@kernel
def map_on_host(state: PagingState, page: int) -> None:
    """Map a page for the GPU where it is on the host; a new page begins there."""
    if not state.pages[page] & HOST:
        state.now[POPULATED_PAGES] += 1
        state.now[HOST_PAGES] += 1
    state.pages[page] |= HOST | REMOTE


@kernel
def empty_chunk(state: PagingState, chunk: int, pages_per_region: int, pages_per_chunk: int) -> tuple[int, int]:
    """Send the chunk's pages back to the host and move it from the used to the unused list.

    Pages with a host copy are dropped, the others copied; the driver keeps no clean pages apart, so an untouched page is
    copied as well.

    Returns:
        (pages copied to the host, contiguous runs that they form).
    """
    first = chunk * pages_per_chunk
    copied, runs, left = 0, 0, 0
    previous = NOTHING
    for page in range(first, first + pages_per_chunk):
        flags = state.pages[page]
        if flags & DEVICE:
            left += 1
            if not flags & HOST:
                copied += 1
                if previous != page - 1:
                    runs += 1
                previous = page
            state.pages[page] = (flags | HOST) & (ALL ^ (DEVICE | DIRTY))
            state.region_pages[page // pages_per_region] -= 1
    state.chunk_pages[chunk] = 0
    unlink_chunk(state, chunk, USED_HEAD, USED_TAIL)
    append_chunk(state, chunk, UNUSED_HEAD, UNUSED_TAIL)
    state.chunk_held[chunk] = UNUSED
    state.counts[Count.EVICTED_PAGES] += left
    state.now[DEVICE_PAGES] -= left
    state.now[HOST_PAGES] += copied
    return copied, runs


@kernel
def drop_host_copy(state: PagingState, page: int) -> None:
    """A write to a page on both sides makes the device's copy the only one."""
    if state.pages[page] & HOST:
        state.pages[page] &= ALL ^ HOST
        state.now[HOST_PAGES] -= 1
        state.counts[Count.INVALIDATED_PAGES] += 1


@entry_kernel
def take_from_device(state: PagingState, page: int, pages_per_region: int, pages_per_chunk: int) -> None:
    """Move one device page to the host (a CPU fault); its chunk keeps its memory, on the unused list once it is empty."""
    if not state.pages[page] & HOST:
        state.now[HOST_PAGES] += 1
    state.now[DEVICE_PAGES] -= 1
    state.pages[page] = (state.pages[page] | HOST) & (ALL ^ (DEVICE | DIRTY))
    state.region_pages[page // pages_per_region] -= 1
    chunk = page // pages_per_chunk
    state.chunk_pages[chunk] -= 1
    if state.chunk_pages[chunk] == 0:
        unlink_chunk(state, chunk, USED_HEAD, USED_TAIL)
        append_chunk(state, chunk, UNUSED_HEAD, UNUSED_TAIL)
        state.chunk_held[chunk] = UNUSED


@kernel
def refill_chunk(state: PagingState, chunk: int) -> None:
    """An unused chunk gets pages again: back to the tail of the used list."""
    unlink_chunk(state, chunk, UNUSED_HEAD, UNUSED_TAIL)
    append_chunk(state, chunk, USED_HEAD, USED_TAIL)
    state.chunk_held[chunk] = USED
