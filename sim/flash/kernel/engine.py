"""The event loop, and what happens when a command, an array operation or a page's data has ended."""

from enum import IntEnum

from tiergarten.sim.flash.kernel.blocks import erase_block, ppn_of_lpn
from tiergarten.sim.flash.kernel.borrow import borrowed
from tiergarten.sim.flash.kernel.cache import keep_read_page, next_dram_access, write_back_evicted, written_back
from tiergarten.sim.flash.kernel.channel import pages_ready, send_waiting_page, start_array
from tiergarten.sim.flash.kernel.events import CODE_BITS, LANE_BITS, NO_EVENT, Event, take_next
from tiergarten.sim.flash.kernel.garbage import (
    RESERVED_BLOCKS,
    collect_if_needed,
    collect_if_stuck,
    place_moved_page,
    start_if_quiet,
)
from tiergarten.sim.flash.kernel.host import (
    deliver,
    next_trace_arrival,
    part_done,
    serve,
    start_closed_loop,
    submit_or_wait,
)
from tiergarten.sim.flash.kernel.journal import add, put
from tiergarten.sim.flash.kernel.layout import (
    NONE,
    After,
    Block,
    Channel,
    Glob,
    List,
    Lpn,
    MapPage,
    Op,
    Param,
    Plane,
    Source,
    Txn,
    Unit,
)
from tiergarten.sim.flash.kernel.mapping import enqueue_placed, map_page_arrived, translate_or_wait, unlock
from tiergarten.sim.flash.kernel.pcie import TO_DEVICE, TO_HOST
from tiergarten.sim.flash.kernel.records import free_txn, lpn_at, map_page_at, note_readiness, plane_at, take_first
from tiergarten.sim.flash.kernel.scheduler import close_batch, open_batch, visit_units
from tiergarten.sim.flash.kernel.suspension import IN_ARRAY, giving_way_ns, resume_if_quiet
from tiergarten.sim.jit import njit


class Status(IntEnum):
    """Why `run` returned."""

    REACHED = 0  # no event up to the time asked for is left
    COMPLETION = 1
    OUT_OF_TXNS = 2
    OUT_OF_JOURNAL = 3
    OUT_OF_BLOCKS = 4


@njit(cache=True)
def serve_full_plane(m, plane):
    """A block came free: place the writes that waited for it."""
    waiting = plane + Plane.WAITING_WRITES
    least = RESERVED_BLOCKS if m[Glob.WORN_OUT_AT] == NONE else 1
    open_batch(m)
    while m[waiting + List.COUNT] and m[plane + Plane.FREE_BLOCKS] >= least:
        t = take_first(m, waiting)
        if translate_or_wait(m, t):  # its page may be locked by now, its mapping entry may have left the cached table
            enqueue_placed(m, t)
    close_batch(m)


@njit(cache=True)
def turn_read_only(m):
    """From now on no new write is taken; those in the drive may use the blocks in reserve."""
    if m[Glob.WORN_OUT_AT] == NONE:
        m[Glob.WORN_OUT_AT] = m[Glob.NOW]
        for number in range(m[Param.PLANES]):
            serve_full_plane(m, plane_at(m, number))


@njit(cache=True)
def notice_wear(m, plane):
    """The drive is worn out once a plane has too few good blocks left for its share of the data."""
    if m[plane + Plane.GOOD_BLOCKS] < m[Param.LEAST_GOOD_BLOCKS]:
        turn_read_only(m)


@njit(cache=True)
def erased(m, t):
    """A victim is erased: its block is free again."""
    plane = m[t + Txn.PLANE]
    block = m[t + Txn.BLOCK]
    m[plane + Plane.GC_RUNNING] -= 1
    put(m, block + Block.IN_GC, 0)
    erase_block(m, block)
    notice_wear(m, plane)
    serve_full_plane(m, plane)
    if m[plane + Plane.FREE_BLOCKS] < RESERVED_BLOCKS:
        collect_if_needed(m, plane, m[t + Txn.PAGE])


@njit(cache=True)
def collected_page_read(m, t):
    """A page of a victim was read: it becomes a write to the collection frontier, unless it was replaced meanwhile."""
    ppn = m[m[t + Txn.BLOCK] + Block.FIRST_PPN] + m[t + Txn.PAGE]
    owner = m[m[Param.OWNER_AT] + ppn]
    if owner == 0:
        m[m[t + Txn.RELATED] + Txn.WAITS_FOR] -= 1
        m[Glob.GC_MOVED_PAGES] -= 1
        free_txn(m, t)
        return
    plane = m[t + Txn.PLANE]
    m[t + Txn.OP] = Op.PROGRAM
    open_batch(m)
    if place_moved_page(m, t, ppn, plane):
        collect_if_needed(m, plane, m[t + Txn.PAGE])
    close_batch(m)


@njit(cache=True)
def collected_page_written(m, t):
    """A page has been moved: what waited for it goes on, and the erase has one reason less to wait."""
    if m[t + Txn.LPN] > 0:
        unlock(m, m[t + Txn.LPN] - 1)
    m[m[t + Txn.RELATED] + Txn.WAITS_FOR] -= 1
    free_txn(m, t)


@njit(cache=True)
def page_read(m, t):
    """A page's data are out of the flash."""
    source = m[t + Txn.SOURCE]
    if source == Source.GC:
        collected_page_read(m, t)
        return
    block = m[t + Txn.BLOCK]
    add(m, block + Block.READS, -1)
    start_if_quiet(m, block, m[t + Txn.PAGE])
    related = m[t + Txn.RELATED]
    if related != NONE:  # the sectors that a write needs
        m[related + Txn.WAITS_FOR] = 0
        m[related + Txn.RELATED] = NONE
    if source == Source.MAPPING:
        map_page_arrived(m, m[t + Txn.LPN])
    elif related == NONE:
        if m[Param.CACHE_READS]:
            keep_read_page(m, t)
        part_done(m, m[t + Txn.REQUEST])
    free_txn(m, t)


@njit(cache=True)
def page_programmed(m, t):
    """A page is on flash."""
    source = m[t + Txn.SOURCE]
    if source == Source.GC:
        collected_page_written(m, t)
        return
    block = m[t + Txn.BLOCK]
    add(m, block + Block.PROGRAMS, -1)
    if source != Source.MAPPING and ppn_of_lpn(m, m[t + Txn.LPN]) == m[block + Block.FIRST_PPN] + m[t + Txn.PAGE]:
        put(m, lpn_at(m, m[t + Txn.LPN]) + Lpn.UNPROGRAMMED, 0)
    start_if_quiet(m, block, m[t + Txn.PAGE])
    if source == Source.MAPPING:
        put(m, map_page_at(m, m[t + Txn.LPN]) + MapPage.DEPARTING, 0)
    elif m[Param.CACHE_WRITES]:
        written_back(m, t)
    elif m[t + Txn.REQUEST] != NONE:
        part_done(m, m[t + Txn.REQUEST])
    free_txn(m, t)


@njit(cache=True)
def use_free_channel(m, channel):
    """A channel is free: waiting data first, then commands."""
    if not send_waiting_page(m, channel):
        visit_units(m, channel)


@njit(cache=True)
def command_sent(m, leader):
    """Command, address and data of a program are with the die."""
    unit = m[leader + Plane.UNIT]
    channel = m[unit + Unit.CHANNEL]
    extra = 0
    if m[m[leader + Plane.TXN] + Txn.OP] == Op.READ:
        extra = giving_way_ns(m, unit)
    else:
        m[unit + Unit.PHASE] = IN_ARRAY
    start_array(m, leader, extra)
    m[channel + Channel.BUSY] = 0
    use_free_channel(m, channel)


@njit(cache=True)
def program_or_erase_ended(m, leader):
    """Every page of the command is programmed, or every block erased; then the unit is free."""
    unit = m[leader + Plane.UNIT]
    t = m[leader + Plane.TXN]
    while t != NONE:
        after = m[t + Txn.COMMAND_NEXT]
        plane = m[t + Txn.PLANE]
        page = m[t + Txn.PAGE]
        m[plane + Plane.BUSY] = 0
        if m[t + Txn.OP] == Op.ERASE:
            erased(m, t)
            free_txn(m, t)
        else:
            page_programmed(m, t)
        collect_if_stuck(m, plane, page)
        t = after
    m[unit + Unit.BUSY] -= 1
    note_readiness(m, unit)
    m[unit + Unit.PROGRAM_PLANE] = NONE
    m[unit + Unit.PHASE] = 0


@njit(cache=True)
def array_ready(m, leader, number):
    """The array has finished, unless the operation was suspended since (then this event is stale)."""
    if m[leader + Plane.EVENT] != number:
        return
    channel = m[m[leader + Plane.UNIT] + Unit.CHANNEL]
    if m[m[leader + Plane.TXN] + Txn.OP] == Op.READ:
        pages_ready(m, leader, channel)
    else:
        program_or_erase_ended(m, leader)
    if not m[channel + Channel.BUSY]:
        visit_units(m, channel)


@njit(cache=True)
def data_sent(m, channel):
    """A page has left over the channel. It is reported while the channel still counts as busy."""
    t = m[channel + Channel.SENDING]
    plane = m[t + Txn.PLANE]
    unit = m[plane + Plane.UNIT]
    page_read(m, t)
    m[plane + Plane.BUSY] = 0
    m[unit + Unit.BUSY] -= 1
    note_readiness(m, unit)
    if m[Param.MODERN]:
        resume_if_quiet(m, unit)
    m[channel + Channel.BUSY] = 0
    use_free_channel(m, channel)


@njit(cache=True)
def dram_done(m, access):
    """An access to the drive's DRAM is over."""
    after = m[access + Txn.AFTER]
    if after == After.REQUEST:
        part_done(m, m[access + Txn.REQUEST])
    elif after == After.WRITE_BACK:
        write_back_evicted(m, m[access + Txn.RELATED])
    free_txn(m, access)
    next_dram_access(m)


@njit(cache=True)
def handle(m, kind, about, number):
    """Act on one of the drive's events."""
    if kind == Event.DATA_SENT:
        data_sent(m, about)
    elif kind == Event.ARRAY_READY:
        array_ready(m, about, number)
    elif kind == Event.COMMAND_SENT:
        command_sent(m, about)
    elif kind == Event.DRAM_DONE:
        dram_done(m, about)
    elif kind == Event.ARRIVAL:
        next_trace_arrival(m)
    elif kind == Event.START:
        start_closed_loop(m)
    elif kind == Event.CONTROLLER_DONE:
        serve(m, about)
    else:
        submit_or_wait(m, about)


@njit(cache=True)
def process_events(m, until, stop_at_completion):
    """Process events up to and including time `until` [ns]; with `stop_at_completion`, only until a request has completed.

    Returns a Status. OUT_OF_JOURNAL asks the caller for a longer journal; the other two name what the drive has run out of.
    """
    while True:
        time = m[Glob.NEXT_TIME]
        number = m[Glob.NEXT_KEY] >> LANE_BITS
        direction = NONE
        for way in (TO_DEVICE, TO_HOST):
            link_time = m[Glob.LINK_TIME + way]
            if link_time < time or (link_time == time and m[Glob.LINK_NUMBER + way] < number):
                time = link_time
                number = m[Glob.LINK_NUMBER + way]
                direction = way
        if time > until or time == NO_EVENT:
            return Status.REACHED
        if m[Glob.LIVE_TXN] > m[Param.TXN_LIMIT]:
            return Status.OUT_OF_TXNS
        if m[Glob.JOURNAL_LENGTH] > m[Param.JOURNAL_LIMIT]:
            return Status.OUT_OF_JOURNAL
        m[Glob.NOW] = time
        m[Glob.EVENTS] += 1
        if direction != NONE:
            m[Glob.LINK_TIME + direction] = NO_EVENT
            deliver(m, direction)
        else:
            code = take_next(m)
            handle(m, code & ((1 << CODE_BITS) - 1), code >> CODE_BITS, number)
        if m[Glob.OUT_OF_BLOCKS]:
            return Status.OUT_OF_BLOCKS
        if stop_at_completion and m[Glob.DONE_HEAD] != NONE:
            return Status.COMPLETION


@njit(cache=True)
def run(memory, until, stop_at_completion):
    """`process_events` on a bare pointer to the memory."""
    return process_events(borrowed(memory), until, stop_at_completion)
