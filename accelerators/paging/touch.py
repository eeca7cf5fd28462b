"""Kernels for the GPU's side: lanes touch pages in order, misses are parked at their uTLB and raise fault-buffer entries.

A lane is a warp: it issues `width` touches together and goes on when all of them are done. Lanes belong to uTLBs, which take
turns, one touch each, always of the oldest lane that can go on (as a greedy-then-oldest warp scheduler does). A uTLB with all its slots parked stalls (56 on Volta: Allen & Ge, SC'21). Touches cost a fixed time each, the reciprocal of
the rate at which the whole GPU touches resident pages. The GPU runs until nothing can go on; the driver then serves a batch.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging.kernel_config import EvictionKind, KernelConfig, ReplayKind
from tiergarten.accelerators.paging.kernels import kernel
from tiergarten.accelerators.paging.residency import USED_HEAD, USED_TAIL, append_chunk, unlink_chunk
from tiergarten.accelerators.paging.service import accessible
from tiergarten.accelerators.paging.state import ALL, DEVICE, DIRTY, PREFER_HOST, REMOTE, Count, Now, PagingState

LRU, LFU, TREE = (
    int(EvictionKind.LEAST_RECENTLY_USED),
    int(EvictionKind.LEAST_FREQUENTLY_USED),
    int(EvictionKind.TREE),
)
PLUGIN = int(EvictionKind.PLUGIN)
BATCH_FLUSH = int(ReplayKind.BATCH_FLUSH)


class Lanes(NamedTuple):
    """What the lanes touch and how far they are. T touches, L lanes, U uTLBs, K parked slots of a uTLB."""

    pages: NDArray[np.int32]
    """int32[T], touched pages, lane after lane."""
    is_write: NDArray[np.uint8]
    """uint8[T], or one element that holds for all."""
    ends: NDArray[np.int64]
    """int64[L], first touch behind each lane."""
    width: int
    """Touches that a lane issues together; every lane begins at a multiple of it."""
    next: NDArray[np.int64]
    """int64[L], the lane's next touch."""
    pending: NDArray[np.int32]
    """int32[L], parked touches of the lane."""
    ring: NDArray[np.int32]
    """int32[L], lanes that are ready, one ring per uTLB."""
    ring_first: NDArray[np.int64]
    """int64[U+1], the ring of uTLB u is `ring[ring_first[u]:ring_first[u+1]]`."""
    ring_head: NDArray[np.int64]
    ring_count: NDArray[np.int64]
    parked: NDArray[np.int64]
    """int64[K, U], parked touches; slot-major, so that replays raise faults uTLB by turns."""
    parked_lane: NDArray[np.int32]
    """int32[K, U], the lane of each."""
    parked_count: NDArray[np.int64]
    """int64[U]."""


@kernel
def take_lane(lanes: Lanes, utlb: int) -> int:
    """Remove and return the first ready lane of a uTLB."""
    first = lanes.ring_first[utlb]
    lane = lanes.ring[first + lanes.ring_head[utlb]]
    lanes.ring_head[utlb] += 1
    if lanes.ring_head[utlb] == lanes.ring_first[utlb + 1] - first:
        lanes.ring_head[utlb] = 0
    lanes.ring_count[utlb] -= 1
    return lane


@kernel
def add_lane(lanes: Lanes, utlb: int, lane: int) -> None:
    """Put a lane among the ready lanes of a uTLB, which stay in order of age (their index)."""
    first = lanes.ring_first[utlb]
    size = lanes.ring_first[utlb + 1] - first
    slot = lanes.ring_head[utlb] - 1
    if slot < 0:
        slot = size - 1
    lanes.ring_head[utlb] = slot
    for _ in range(lanes.ring_count[utlb]):
        behind = slot + 1 if slot + 1 < size else 0
        if lanes.ring[first + behind] > lane:
            break
        lanes.ring[first + slot] = lanes.ring[first + behind]
        slot = behind
    lanes.ring[first + slot] = lane
    lanes.ring_count[utlb] += 1


@kernel
def park(lanes: Lanes, utlb: int, lane: int, touch: int) -> None:
    """Keep a faulting touch in a free slot of its uTLB."""
    slot = lanes.parked_count[utlb]
    lanes.parked[slot, utlb] = touch
    lanes.parked_lane[slot, utlb] = lane
    lanes.parked_count[utlb] = slot + 1
    lanes.pending[lane] += 1


@kernel
def raise_fault(state: PagingState, page: int, is_write: int) -> None:
    """Write an entry into the fault buffer; a full buffer drops it (the access raises it again after the next replay)."""
    count = state.now[Now.BUFFER_COUNT]
    if count == len(state.buffer):
        state.counts[Count.DROPPED] += 1
        return
    state.buffer[(state.now[Now.BUFFER_HEAD] + count) % len(state.buffer)] = page * 2 + is_write
    state.now[Now.BUFFER_COUNT] = count + 1


@kernel
def record_touch(state: PagingState, config: KernelConfig, page: int) -> None:
    """Tell the eviction policy of a touch on a device page."""
    kind = config.eviction
    if kind == LRU or kind == TREE:
        chunk = page // config.pages_per_chunk
        if state.now[USED_TAIL] != chunk:
            unlink_chunk(state, chunk, USED_HEAD, USED_TAIL)
            append_chunk(state, chunk, USED_HEAD, USED_TAIL)
    elif kind == LFU or kind == PLUGIN:
        state.chunk_touches[page // config.pages_per_chunk] += 1


@kernel
def touch_remote(state: PagingState, config: KernelConfig, page: int, is_write: int) -> bool:
    """Touch a host page over the link.

    Returns False when the mapping was a thrash pin that has run out: it is taken down and the touch faults.
    """
    block = page // config.pages_per_block
    pinned_until = state.block_pinned_until_ps[block]
    if pinned_until > 0 and pinned_until <= state.now[Now.TIME_PS] and not state.pages[page] & PREFER_HOST:
        state.pages[page] &= ALL ^ REMOTE
        return False
    state.counts[Count.REMOTE_TOUCHES] += 1
    state.counts[Count.REMOTE_WRITES] += is_write
    duration = config.remote_write_ps if is_write else config.remote_read_ps
    state.counts[Count.REMOTE_PS] += duration
    state.now[Now.TIME_PS] += duration
    if config.counter_threshold > 0:
        state.block_remote[block] += 1
        if state.block_remote[block] >= config.counter_threshold and state.now[Now.NOTICES] < len(state.notices):
            state.block_remote[block] = 0
            state.notices[state.now[Now.NOTICES]] = block
            state.now[Now.NOTICES] += 1
    return True


@kernel
def touch_page(state: PagingState, config: KernelConfig, page: int, is_write: int) -> bool:
    """Touch one page now; False if that faults."""
    flags = state.pages[page]
    if not accessible(flags, is_write):
        return False
    if flags & DEVICE:
        record_touch(state, config, page)
        if is_write:
            state.pages[page] = flags | DIRTY
        return True
    return touch_remote(state, config, page, is_write)


@kernel
def run_gpu(state: PagingState, config: KernelConfig, lanes: Lanes) -> None:
    """Let the lanes touch until every uTLB has nothing ready or all its slots parked.

    uTLBs take turns of one touch; a turn that can do nothing leaves the rotation until the next replay.
    """
    turns = state.turns[0]
    active = config.utlbs
    for utlb in range(active):
        turns[utlb] = utlb
    touches = 0
    while active > 0:
        kept = 0
        for turn in range(active):
            utlb = turns[turn]
            if lanes.ring_count[utlb] == 0:
                continue
            lane = lanes.ring[lanes.ring_first[utlb] + lanes.ring_head[utlb]]
            touch = lanes.next[lane]
            page = lanes.pages[touch]
            is_write = lanes.is_write[touch] if len(lanes.is_write) > 1 else lanes.is_write[0]
            if touch_page(state, config, page, is_write):
                touches += 1
            elif lanes.parked_count[utlb] < config.parked_per_utlb:
                park(lanes, utlb, lane, touch)
                raise_fault(state, page, is_write)
            else:
                continue
            lanes.next[lane] = touch + 1
            if touch + 1 == lanes.ends[lane] or (lanes.pending[lane] > 0 and (touch + 1) % lanes.width == 0):
                take_lane(lanes, utlb)
            turns[kept] = utlb
            kept += 1
        active = kept
    state.counts[Count.TOUCHES] += touches
    state.counts[Count.GPU_PS] += touches * config.touch_ps
    state.now[Now.TIME_PS] += touches * config.touch_ps


@kernel
def replay(state: PagingState, config: KernelConfig, lanes: Lanes) -> int:
    """Try every parked access again; those that still fault raise a new entry.

    With BATCH_FLUSH the fault buffer is emptied first. Returns the accesses that remain parked.
    """
    state.counts[Count.REPLAYS] += 1
    if config.replay == BATCH_FLUSH:
        state.counts[Count.FLUSHED] += state.now[Now.BUFFER_COUNT]
        state.now[Now.BUFFER_COUNT] = 0
    deepest = 0
    for utlb in range(config.utlbs):
        deepest = max(deepest, lanes.parked_count[utlb])
    kept = state.turns[1]
    kept[:] = 0
    remain, touches = 0, 0
    for slot in range(deepest):
        for utlb in range(config.utlbs):
            if slot >= lanes.parked_count[utlb]:
                continue
            lane, touch = lanes.parked_lane[slot, utlb], lanes.parked[slot, utlb]
            page = lanes.pages[touch]
            is_write = lanes.is_write[touch] if len(lanes.is_write) > 1 else lanes.is_write[0]
            if touch_page(state, config, page, is_write):
                touches += 1
                lanes.pending[lane] -= 1
                resume = lanes.next[lane]
                if lanes.pending[lane] == 0 and resume < lanes.ends[lane] and resume % lanes.width == 0:
                    add_lane(lanes, utlb, lane)
            else:
                lanes.parked[kept[utlb], utlb] = touch
                lanes.parked_lane[kept[utlb], utlb] = lane
                kept[utlb] += 1
                remain += 1
                raise_fault(state, page, is_write)
    for utlb in range(config.utlbs):
        lanes.parked_count[utlb] = kept[utlb]
    state.counts[Count.TOUCHES] += touches
    state.counts[Count.GPU_PS] += touches * config.touch_ps
    state.now[Now.TIME_PS] += touches * config.touch_ps
    return remain
