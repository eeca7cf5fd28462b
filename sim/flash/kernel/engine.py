"""The event loop, and what happens when a command, an array operation or a page's data has ended."""

from enum import IntEnum

from numba import njit

from tiergarten.sim.flash.kernel.blocks import erase_block
from tiergarten.sim.flash.kernel.cache import keep_read_page, next_dram_access, write_back_evicted, written_back
from tiergarten.sim.flash.kernel.channel import pages_ready, send_waiting_page, start_array
from tiergarten.sim.flash.kernel.events import CODE_BITS, Event, drop_first_event
from tiergarten.sim.flash.kernel.garbage import RESERVED_BLOCKS, collect_if_needed, place_moved_page, start_postponed
from tiergarten.sim.flash.kernel.host import (
    deliver,
    next_trace_arrival,
    part_done,
    serve,
    start_closed_loop,
    submit_or_wait,
)
from tiergarten.sim.flash.kernel.journal import put_block, put_map_page, undo
from tiergarten.sim.flash.kernel.layout import (
    NONE,
    After,
    Block,
    Chan,
    Glob,
    Link,
    Lpn,
    MapPage,
    Op,
    Param,
    Plane,
    Slot,
    Source,
    Txn,
    Unit,
)
from tiergarten.sim.flash.kernel.mapping import enqueue_placed, map_page_arrived, translate, unlock, wait_behind_lock
from tiergarten.sim.flash.kernel.queues import free_txn, full_plane_row, take_first
from tiergarten.sim.flash.kernel.scheduler import close_batch, open_batch, visit_units
from tiergarten.sim.flash.kernel.suspension import IN_ARRAY, giving_way_ns, resume_if_quiet


class Status(IntEnum):
    """Why `run` returned."""

    REACHED = 0  # no event up to the time asked for is left
    COMPLETION = 1
    NEEDS_TXNS = 2
    NEEDS_JOURNAL = 3
    OUT_OF_BLOCKS = 4


@njit(cache=True)
def serve_full_plane(s, plane):
    """A block came free: place the writes that waited for it."""
    row = full_plane_row(s, plane)
    least = RESERVED_BLOCKS if s.glob[Glob.WORN_OUT_AT] == NONE else 1
    open_batch(s)
    while s.queue[row, Link.COUNT] and s.plane[plane, Plane.FREE_BLOCKS] >= least:
        t = take_first(s, row)
        if s.lpn[s.txn[t, Txn.LPN], Lpn.LOCKED]:
            wait_behind_lock(s, t)
        elif translate(s, t):
            enqueue_placed(s, t)
    close_batch(s)


@njit(cache=True)
def notice_wear(s, plane):
    """The drive is worn out once a plane has too few good blocks left for its share of the data."""
    if s.glob[Glob.WORN_OUT_AT] == NONE and s.plane[plane, Plane.GOOD_BLOCKS] < s.param[Param.LEAST_GOOD_BLOCKS]:
        s.glob[Glob.WORN_OUT_AT] = s.glob[Glob.NOW]
        for other in range(s.param[Param.PLANES]):
            serve_full_plane(s, other)


@njit(cache=True)
def erased(s, t):
    """A victim is erased: its block is free again."""
    plane = s.txn[t, Txn.PLANE]
    block = s.txn[t, Txn.BLOCK]
    s.plane[plane, Plane.GC_RUNNING] -= 1
    put_block(s, block, Block.IN_GC, 0)
    erase_block(s, block)
    notice_wear(s, plane)
    serve_full_plane(s, plane)
    if s.plane[plane, Plane.FREE_BLOCKS] < RESERVED_BLOCKS:
        collect_if_needed(s, plane, s.txn[t, Txn.PAGE])


@njit(cache=True)
def collected_page_read(s, t):
    """A page of a victim was read: it becomes a write to the collection frontier, unless it was replaced meanwhile."""
    ppn = s.txn[t, Txn.BLOCK] * s.param[Param.PAGES] + s.txn[t, Txn.PAGE]
    owner = s.owner[ppn]
    if owner == 0:
        s.txn[s.txn[t, Txn.RELATED], Txn.WAITS_FOR] -= 1
        s.glob[Glob.GC_MOVED_PAGES] -= 1
        free_txn(s, t)
        return
    plane = s.txn[t, Txn.PLANE]
    s.txn[t, Txn.OP] = Op.PROGRAM
    s.txn[t, Txn.LPN] = owner
    open_batch(s)
    if place_moved_page(s, t, ppn, plane, Plane.MAPPING_BLOCK if owner < 0 else Plane.GC_BLOCK):
        collect_if_needed(s, plane, s.txn[t, Txn.PAGE])
    close_batch(s)


@njit(cache=True)
def collected_page_written(s, t):
    """A page has been moved: what waited for it goes on, and the erase has one reason less to wait."""
    if s.txn[t, Txn.LPN] > 0:
        unlock(s, s.txn[t, Txn.LPN] - 1)
    s.txn[s.txn[t, Txn.RELATED], Txn.WAITS_FOR] -= 1
    free_txn(s, t)


@njit(cache=True)
def page_read(s, t):
    """A page's data are out of the flash."""
    source = s.txn[t, Txn.SOURCE]
    if source == Source.GC:
        collected_page_read(s, t)
        return
    block = s.txn[t, Txn.BLOCK]
    put_block(s, block, Block.READS, s.block[block, Block.READS] - 1)
    start_postponed(s, block, s.txn[t, Txn.PAGE])
    related = s.txn[t, Txn.RELATED]
    if related != NONE:  # the sectors that a write needs
        s.txn[related, Txn.WAITS_FOR] = 0
        s.txn[related, Txn.RELATED] = NONE
    elif source == Source.MAPPING:
        map_page_arrived(s, s.txn[t, Txn.LPN])
    else:
        if s.param[Param.CACHE_READS]:
            keep_read_page(s, t)
        part_done(s, s.txn[t, Txn.REQUEST])
    free_txn(s, t)


@njit(cache=True)
def page_programmed(s, t):
    """A page is on flash."""
    source = s.txn[t, Txn.SOURCE]
    if source == Source.GC:
        collected_page_written(s, t)
        return
    block = s.txn[t, Txn.BLOCK]
    put_block(s, block, Block.PROGRAMS, s.block[block, Block.PROGRAMS] - 1)
    start_postponed(s, block, s.txn[t, Txn.PAGE])
    if source == Source.MAPPING:
        put_map_page(s, s.txn[t, Txn.LPN], MapPage.DEPARTING, 0)
    elif s.param[Param.CACHE_WRITES]:
        written_back(s, t)
    elif s.txn[t, Txn.REQUEST] != NONE:
        part_done(s, s.txn[t, Txn.REQUEST])
    free_txn(s, t)


@njit(cache=True)
def use_free_channel(s, channel):
    """A channel is free: waiting data first, then commands."""
    if not send_waiting_page(s, channel):
        visit_units(s, channel)


@njit(cache=True)
def command_sent(s, leader):
    """Command, address and data of a program are with the die."""
    unit = leader // s.param[Param.PLANES_PER_UNIT]
    channel = unit // s.param[Param.UNITS_PER_CHANNEL]
    extra = 0
    if s.txn[s.slot[leader, Slot.TXN], Txn.OP] == Op.READ:
        extra = giving_way_ns(s, unit)
    else:
        s.unit[unit, Unit.PHASE] = IN_ARRAY
    start_array(s, leader, extra)
    s.chan[channel, Chan.BUSY] = 0
    use_free_channel(s, channel)


@njit(cache=True)
def program_or_erase_ended(s, leader):
    """Every page of the command is programmed, or every block erased; then the unit is free."""
    unit = leader // s.param[Param.PLANES_PER_UNIT]
    t = s.slot[leader, Slot.TXN]
    while t != NONE:
        after = s.txn[t, Txn.COMMAND_NEXT]
        s.slot[s.txn[t, Txn.PLANE], Slot.BUSY] = 0
        if s.txn[t, Txn.OP] == Op.ERASE:
            erased(s, t)
            free_txn(s, t)
        else:
            page_programmed(s, t)
        t = after
    s.unit[unit, Unit.BUSY] -= 1
    s.unit[unit, Unit.PROGRAM_SLOT] = NONE
    s.unit[unit, Unit.PHASE] = 0


@njit(cache=True)
def array_ready(s, leader, number):
    """The array has finished, unless the operation was suspended since (then this event is stale)."""
    if s.slot[leader, Slot.EVENT] != number:
        return
    channel = leader // s.param[Param.PLANES_PER_UNIT] // s.param[Param.UNITS_PER_CHANNEL]
    if s.txn[s.slot[leader, Slot.TXN], Txn.OP] == Op.READ:
        pages_ready(s, leader, channel)
    else:
        program_or_erase_ended(s, leader)
    if not s.chan[channel, Chan.BUSY]:
        visit_units(s, channel)


@njit(cache=True)
def data_sent(s, channel):
    """A page has left over the channel. It is reported while the channel still counts as busy."""
    t = s.chan[channel, Chan.SENDING]
    plane = s.txn[t, Txn.PLANE]
    unit = plane // s.param[Param.PLANES_PER_UNIT]
    page_read(s, t)
    s.slot[plane, Slot.BUSY] = 0
    s.unit[unit, Unit.BUSY] -= 1
    if s.param[Param.MODERN]:
        resume_if_quiet(s, unit)
    s.chan[channel, Chan.BUSY] = 0
    use_free_channel(s, channel)


@njit(cache=True)
def dram_done(s, access):
    """An access to the drive's DRAM is over."""
    after = s.txn[access, Txn.AFTER]
    if after == After.REQUEST:
        part_done(s, s.txn[access, Txn.REQUEST])
    elif after == After.WRITE_BACK:
        write_back_evicted(s, s.txn[access, Txn.RELATED])
    free_txn(s, access)
    next_dram_access(s)


@njit(cache=True)
def handle(s, kind, about, number):
    """Act on one event."""
    if kind == Event.DATA_SENT:
        data_sent(s, about)
    elif kind == Event.ARRAY_READY:
        array_ready(s, about, number)
    elif kind == Event.COMMAND_SENT:
        command_sent(s, about)
    elif kind == Event.TO_DEVICE:
        deliver(s, 0)
    elif kind == Event.TO_HOST:
        deliver(s, 1)
    elif kind == Event.DRAM_DONE:
        dram_done(s, about)
    elif kind == Event.ARRIVAL:
        next_trace_arrival(s)
    elif kind == Event.START:
        start_closed_loop(s)
    elif kind == Event.CONTROLLER_DONE:
        serve(s, about)
    else:
        submit_or_wait(s, about)


@njit(cache=True)
def run(s, until, stop_at_completion):
    """Process events up to and including time `until` [ns]; with `stop_at_completion`, only until a request has completed.

    Returns a Status. NEEDS_TXNS and NEEDS_JOURNAL ask the caller for a larger table and to call again; nothing is lost.
    """
    g = s.glob
    heap = s.heap
    while g[Glob.HEAP_SIZE] > 0 and heap[0, 0] <= until:
        if g[Glob.LIVE_TXN] + s.param[Param.TXN_MARGIN] > len(s.txn):
            return Status.NEEDS_TXNS
        if g[Glob.LOOKING_AHEAD] and g[Glob.JOURNAL_LENGTH] + s.param[Param.JOURNAL_MARGIN] > len(s.journal):
            return Status.NEEDS_JOURNAL
        g[Glob.NOW] = heap[0, 0]
        number = heap[0, 1]
        code = heap[0, 2]
        drop_first_event(s)
        g[Glob.EVENTS] += 1
        handle(s, code & ((1 << CODE_BITS) - 1), code >> CODE_BITS, number)
        if g[Glob.OUT_OF_BLOCKS]:
            return Status.OUT_OF_BLOCKS
        if stop_at_completion and g[Glob.DONE_HEAD] != NONE:
            return Status.COMPLETION
    return Status.REACHED


@njit(cache=True)
def go_back(s):
    """Undo what was written to the large tables since looking ahead began."""
    undo(s)
