"""Where every page is: the arrays that the paging kernels read and change, and the law that holds between them.

Letters: P base pages (4 KiB), B VABlocks (2 MiB), R big-page regions (64 KiB), C chunks (the unit in which device memory is
allocated and evicted: a VABlock, a region or a page). Pages, regions and chunks of a VABlock are numbered consecutively.
"""

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import ConservationError


class Page(IntFlag):
    """Bits of `PagingState.pages`.

    A page inside an allocation is nowhere until it is first touched, then on the host, on the device, or (read-mostly only) on both.
    """

    HOST = 1
    DEVICE = 2
    REMOTE = 4
    """Mapped by the GPU where it is on the host: touches go over the link, nothing migrates."""
    DIRTY = 8
    READ_MOSTLY = 16
    PREFER_HOST = 32
    VALID = 64
    """Inside an allocation; VABlocks are aligned, so the last one of an allocation may hold pages without this bit."""
    PREFER_DEVICE = 128


# numba folds plain integers faster than enum members
HOST: Final = int(Page.HOST)
DEVICE: Final = int(Page.DEVICE)
REMOTE: Final = int(Page.REMOTE)
DIRTY: Final = int(Page.DIRTY)
READ_MOSTLY: Final = int(Page.READ_MOSTLY)
PREFER_HOST: Final = int(Page.PREFER_HOST)
VALID: Final = int(Page.VALID)
PREFER_DEVICE: Final = int(Page.PREFER_DEVICE)

ALL: Final = 255
"""Every bit; `ALL ^ HOST` clears HOST (and works on a numpy byte, where `~HOST` would be negative)."""

NOTHING: Final = -1
"""No chunk, no page."""
LONG_AGO_PS: Final = -(2**62)
"""Time of an event that has not happened."""


class Now(IntEnum):
    """Index into `PagingState.now`: the machine's scalar state."""

    TIME_PS = 0
    FREE_CHUNKS = 1
    USED_HEAD = 2
    USED_TAIL = 3
    UNUSED_HEAD = 4
    UNUSED_TAIL = 5
    BATCH_COUNT = 6
    """Entries of the batch in service; 0 = none."""
    BATCH_NEXT = 7
    BUFFER_HEAD = 8
    BUFFER_COUNT = 9
    STEP = 10
    """Where a batch stands, see `Step`."""
    GIVEN_VICTIM = 11
    """Chunk named by a plug-in evictor, NOTHING if none was asked."""
    PLANNED = 12
    """1 when `plan` already holds the faults of the VABlock in service (a plug-in was asked in between)."""
    DRAWN = 13
    """How many numbers of `draws` were used."""
    LOCKED_BLOCK = 14
    """VABlock in service: its chunks are not evicted while others exist."""
    LOG_COUNT = 15
    SERVICED = 16
    """VABlocks serviced in this batch (the others are throttled)."""
    EPOCH = 17
    SPENT_PS = 18
    """Driver time spent on evictions for the VABlock in service."""
    NOTICES = 19
    """Access-counter notifications that wait."""
    WAS_FULL = 20
    """1 once device memory has been full: a second prefetcher may then take over."""
    IN_PS = 21
    """Link time of copies to the device that the driver has pushed and not yet waited for."""
    OUT_PS = 22
    """The same for copies to the host."""
    BATCH_CPU_PS = 23
    """Driver time spent on the batch in service."""
    DEVICE_PAGES = 24
    """Pages on the device."""
    HOST_PAGES = 25
    """Pages on the host; read-mostly pages may count on both sides."""
    MARKS = 26
    """Rows of `history` in use."""
    MARKS_STRIDE = 27
    """Batches between two rows."""
    MARKS_SKIPPED = 28
    GPU_AHEAD_PS = 30
    """Time that the GPU has touched since the driver could have begun its next batch."""
    GPU_SINCE_PS = 31
    """`counts[GPU_PS]` at the end of the last batch."""
    POPULATED_PAGES = 29
    """Pages that have been touched or filled once; none of them is ever lost."""
    SIZE = 32


class Step(IntEnum):
    """What the machine does next."""

    TOUCH = 0
    FETCH = 1
    SERVICE = 2
    REPLAY = 3


class Count(IntEnum):
    """Index into `PagingState.counts`."""

    TOUCHES = 0
    REMOTE_TOUCHES = 1
    FAULT_ENTRIES = 2
    """Entries fetched from the fault buffer."""
    DUPLICATES = 3
    """Fetched entries whose page another entry or an earlier service had covered."""
    FAULTED_PAGES = 4
    PREFETCHED_PAGES = 5
    BATCHES = 6
    BLOCK_SERVICES = 7
    FIRST_TOUCHES = 8
    """VABlocks unmapped from the CPU and DMA-mapped, once each."""
    H2D_COPIES = 9
    H2D_PAGES = 10
    D2H_COPIES = 11
    D2H_PAGES = 12
    EVICTIONS = 13
    EVICTED_PAGES = 14
    REPLAYS = 15
    FLUSHED = 16
    """Entries thrown away by a buffer flush."""
    DROPPED = 17
    """Entries that found the buffer full."""
    THROTTLED = 18
    PINNED_PAGES = 19
    COUNTER_MIGRATIONS = 20
    DRIVER_PS = 21
    GPU_PS = 22
    REMOTE_PS = 23
    HINTED_PAGES = 24
    INVALIDATED_PAGES = 25
    """Host copies of read-mostly pages given up on a write."""
    REMOTE_WRITES = 26
    """Those of the remote touches that write."""
    H2D_PS = 27
    """Link time of copies to the device."""
    D2H_PS = 28
    ZEROED_PAGES = 29
    """Pages that began on the device, filled with zeros: nothing to copy."""
    COPIED_AHEAD_PAGES = 30
    """Those of the H2D pages that were prefetched."""
    HIDDEN_PS = 31
    """Driver time beside which the GPU touched."""
    SIZE = 32


class Mark(IntEnum):
    """Columns of `PagingState.history`: the clock and running totals."""

    TIME_PS = 0
    H2D_PAGES = 1
    COPIED_AHEAD_PAGES = 2
    D2H_PAGES = 3
    H2D_PS = 4
    D2H_PS = 5
    DEVICE_PAGES = 6
    HOST_PAGES = 7
    REMOTE_TOUCHES = 8
    REMOTE_WRITES = 9
    SIZE = 10


class PagingState(NamedTuple):
    """Mutable state of one GPU's managed memory. Only the kernels of this package write to it."""

    pages: NDArray[np.uint8]
    """uint8[P], bits of `Page`."""
    region_pages: NDArray[np.int32]
    """int32[R], pages on the device."""
    region_valid: NDArray[np.int32]
    """int32[R], pages inside an allocation."""
    chunk_pages: NDArray[np.int32]
    """int32[C], pages on the device."""
    chunk_held: NDArray[np.uint8]
    """uint8[C], FREE, or the list that it is in while device memory is allocated to it: USED or UNUSED."""
    chunk_before: NDArray[np.int32]
    """int32[C], neighbour towards the head of its list (used or unused), NOTHING at the end."""
    chunk_after: NDArray[np.int32]
    chunk_touches: NDArray[np.int64]
    """int64[C], touches since it was allocated (kept for the LFU evictor only)."""
    block_seen: NDArray[np.uint8]
    """uint8[B], 1 = unmapped from the CPU and DMA-mapped once."""
    block_evicted_ps: NDArray[np.int64]
    """int64[B], last eviction from it."""
    block_thrash: NDArray[np.int32]
    """int32[B], evict-then-fault events that followed each other within a lapse."""
    block_nap_until_ps: NDArray[np.int64]
    block_pinned_until_ps: NDArray[np.int64]
    block_resets: NDArray[np.int32]
    block_remote: NDArray[np.int32]
    """int32[B], remote touches since the last notification (access counter)."""
    notices: NDArray[np.int64]
    """int64[N], VABlocks whose counter passed its threshold."""
    batch: NDArray[np.int64]
    """int64[batch size], `page * 2 + is_write`, sorted while in service."""
    buffer: NDArray[np.int64]
    """int64[entries], the fault buffer, a ring of `page * 2 + is_write`."""
    plan: NDArray[np.uint8]
    """uint8[pages of a VABlock]: FAULTED or AHEAD where a page is to be fetched."""
    wanted: NDArray[np.uint8]
    """uint8[regions of a VABlock]: 1 = `plan` holds something there."""
    leaves: NDArray[np.int64]
    """int64[4, regions of a VABlock], scratch of the tree kernels: device pages, valid pages, faulted, dense."""
    turns: NDArray[np.int64]
    """int64[2, utlbs], scratch of the GPU kernels."""
    draws: NDArray[np.int64]
    """int64[D], random numbers drawn beforehand, used in turn."""
    log: NDArray[np.int64]
    """int64[L, 5]: time_ps, cause, first page, pages, VABlock of each copy; L = 0 keeps none."""
    history: NDArray[np.int64]
    """int64[H, Mark.SIZE]: running totals after each batch, see `history.py`; H even, 0 keeps none."""
    now: NDArray[np.int64]
    """int64[Now.SIZE]."""
    counts: NDArray[np.int64]
    """int64[Count.SIZE]."""


FREE: Final = 0
USED: Final = 1
UNUSED: Final = 2
"""Values of `chunk_held`."""

FAULTED: Final = 1
"""In `plan`: asked for by a fault."""
AHEAD: Final = 2
"""In `plan`: prefetched."""


class Cause(IntEnum):
    """Second column of `PagingState.log`."""

    DEMAND = 0
    PREFETCH = 1
    EVICTION = 2
    HINT = 3
    COUNTER = 4


def check_conservation(state: PagingState, block_pages: int) -> None:
    """Raise ConservationError unless every page is in exactly one place and every count agrees with the page table.

    The law: a populated page has HOST or DEVICE set, both only if READ_MOSTLY; a remote mapping only on host pages; device pages
    lie in held chunks; regions, chunks and totals add up.
    """
    pages = state.pages
    valid = (pages & VALID) != 0
    host, device = (pages & HOST) != 0, (pages & DEVICE) != 0
    both = host & device & ((pages & READ_MOSTLY) == 0)
    faults = {
        "is nowhere": valid & ~host & ~device & (int(state.now[Now.POPULATED_PAGES]) == int(valid.sum())),
        "is in two places without being read-mostly": both,
        "lies outside every allocation but has a place": ~valid & (host | device),
        "is mapped remotely but not on the host": ((pages & REMOTE) != 0) & ~host,
        "is on the device in a chunk that holds no memory": device
        & (np.repeat(state.chunk_held, _per(pages, state.chunk_held)) == 0),
    }
    for what, where in faults.items():
        if where.any():
            page = int(np.flatnonzero(where)[0])
            raise ConservationError(f"page {page} (VABlock {page // block_pages}) {what}")
    totals = (("device", Now.DEVICE_PAGES, device), ("host", Now.HOST_PAGES, host))
    for name, total, place in (*totals, ("device or host", Now.POPULATED_PAGES, host | device)):
        if int(state.now[total]) != int(place.sum()):
            raise ConservationError(f"{int(place.sum())} pages are on the {name}, its total says {state.now[total]}")
    for name, counted in (("region", state.region_pages), ("chunk", state.chunk_pages)):
        actual = device.reshape(len(counted), -1).sum(axis=1)
        if not np.array_equal(actual, counted):
            worst = int(np.flatnonzero(actual != counted)[0])
            raise ConservationError(
                f"{name} {worst} counts {counted[worst]} pages on the device, {actual[worst]} are there"
            )


def _per(pages: NDArray, chunks: NDArray) -> int:
    return len(pages) // len(chunks)
