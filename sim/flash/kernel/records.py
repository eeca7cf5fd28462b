"""From numbers to handles, the pool of transactions, and lists of them."""

from tiergarten.sim.flash.kernel.layout import (
    NONE,
    Block,
    Channel,
    Entry,
    Glob,
    List,
    Lpn,
    MapPage,
    Op,
    Param,
    Plane,
    Req,
    Slot,
    Source,
    Txn,
    Unit,
)
from tiergarten.sim.jit import njit


@njit(cache=True)
def plane_at(m, number):
    return m[Param.PLANE_AT] + number * Plane.WORDS


@njit(cache=True)
def channel_at(m, number):
    return m[Param.CHANNEL_AT] + number * Channel.WORDS


@njit(cache=True)
def lpn_at(m, number):
    return m[Param.LPN_AT] + number * Lpn.WORDS


@njit(cache=True)
def entry_at(m, number):
    return m[Param.ENTRY_AT] + number * Entry.WORDS


@njit(cache=True)
def map_page_at(m, number):
    return m[Param.MAP_PAGE_AT] + number * MapPage.WORDS


@njit(cache=True)
def slot_at(m, number):
    return m[Param.SLOT_AT] + number * Slot.WORDS


@njit(cache=True)
def request_at(m, number):
    """Row of the request table, used in a circle."""
    return m[Param.REQUEST_AT] + (number & m[Param.REQUEST_MASK]) * Req.WORDS


@njit(cache=True)
def block_of_ppn(m, ppn):
    return m[Param.BLOCK_AT] + ppn // m[Param.PAGES] * Block.WORDS


@njit(cache=True)
def new_txn(m, op, source, lpn, num_bytes, sectors):
    """A fresh transaction that belongs to no request and has no place yet."""
    t = m[Glob.FREE_TXN]
    if t != NONE:
        m[Glob.FREE_TXN] = m[t + Txn.NEXT]
    else:
        t = m[Glob.NEXT_TXN]
        m[Glob.NEXT_TXN] = t + Txn.WORDS
    m[Glob.LIVE_TXN] += 1
    m[t + Txn.OP] = op
    m[t + Txn.SOURCE] = source
    m[t + Txn.LPN] = lpn
    m[t + Txn.PLANE] = NONE
    m[t + Txn.BYTES] = num_bytes
    m[t + Txn.SECTORS] = sectors
    m[t + Txn.REQUEST] = NONE
    m[t + Txn.NEXT] = NONE
    m[t + Txn.RELATED] = NONE
    m[t + Txn.STAMP] = m[Glob.NOW]
    m[t + Txn.WAITS_FOR] = 0
    return t


@njit(cache=True)
def free_txn(m, t):
    """Give a finished transaction back."""
    m[t + Txn.NEXT] = m[Glob.FREE_TXN]
    m[Glob.FREE_TXN] = t
    m[Glob.LIVE_TXN] -= 1


@njit(cache=True)
def append(m, queue, t):
    """Put a transaction at the end of a list."""
    m[t + Txn.NEXT] = NONE
    if m[queue + List.COUNT] == 0:
        m[queue + List.HEAD] = t
    else:
        m[m[queue + List.TAIL] + Txn.NEXT] = t
    m[queue + List.TAIL] = t
    m[queue + List.COUNT] += 1


@njit(cache=True)
def insert_by_handle(m, queue, t):
    """Put a transaction into a list that is kept in order of handles."""
    after = m[queue + List.HEAD] if m[queue + List.COUNT] else NONE
    before = NONE
    while after != NONE and after < t:
        before = after
        after = m[after + Txn.NEXT]
    m[t + Txn.NEXT] = after
    if before == NONE:
        m[queue + List.HEAD] = t
    else:
        m[before + Txn.NEXT] = t
    if after == NONE:
        m[queue + List.TAIL] = t
    m[queue + List.COUNT] += 1


@njit(cache=True)
def take_first(m, queue):
    """Remove and return the first transaction of a list that is not empty."""
    t = m[queue + List.HEAD]
    m[queue + List.HEAD] = m[t + Txn.NEXT]
    m[queue + List.COUNT] -= 1
    return t


@njit(cache=True)
def queue_of(op, source):
    """The field of a unit that is the queue for such a transaction."""
    if op == Op.READ:
        if source == Source.MAPPING:
            return Unit.MAPPING_READS
        return Unit.GC_READS if source == Source.GC else Unit.USER_READS
    if op == Op.ERASE:
        return Unit.ERASES
    if source == Source.MAPPING:
        return Unit.MAPPING_WRITES
    if source == Source.GC:
        return Unit.GC_WRITES
    return Unit.URGENT_WRITES if source == Source.CACHE else Unit.USER_WRITES


@njit(cache=True)
def note_readiness(m, unit):
    """Tell the unit's channel whether the unit could take a command: it has work, and outside modern mode nothing under way."""
    channel = m[unit + Unit.CHANNEL]
    if m[unit + Unit.QUEUED] and (m[Param.MODERN] or m[unit + Unit.BUSY] == 0):
        m[channel + Channel.READY_UNITS] |= m[unit + Unit.BIT]
    else:
        m[channel + Channel.READY_UNITS] &= ~m[unit + Unit.BIT]


@njit(cache=True)
def enqueue(m, t):
    """Put a placed transaction into its unit's queue."""
    unit = m[m[t + Txn.PLANE] + Plane.UNIT]
    op = m[t + Txn.OP]
    append(m, unit + queue_of(op, m[t + Txn.SOURCE]), t)
    m[unit + Unit.QUEUED] += 1
    note_readiness(m, unit)
    m[Glob.HAS_NEW_WORK] = 1
    if op != Op.READ and m[unit + Unit.WRITE_SINCE] == NONE:
        m[unit + Unit.WRITE_SINCE] = m[Glob.NOW]
