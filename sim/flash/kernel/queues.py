"""Pool of transactions, and first-in-first-out lists of them."""

from numba import njit

from tiergarten.sim.flash.kernel.layout import (
    NONE,
    NUM_DATA_QUEUES,
    NUM_QUEUES,
    Glob,
    Link,
    Op,
    Param,
    Queue,
    Source,
    Txn,
    Unit,
)


@njit(cache=True)
def new_txn(s, op, source, lpn, num_bytes, sectors):
    """A fresh transaction that belongs to no request and has no place yet."""
    t = s.glob[Glob.FREE_TXN]
    if t != NONE:
        s.glob[Glob.FREE_TXN] = s.txn[t, Txn.NEXT]
    else:
        t = s.glob[Glob.NEXT_TXN]
        s.glob[Glob.NEXT_TXN] = t + 1
    s.glob[Glob.LIVE_TXN] += 1
    s.txn[t, Txn.OP] = op
    s.txn[t, Txn.SOURCE] = source
    s.txn[t, Txn.LPN] = lpn
    s.txn[t, Txn.PLANE] = NONE
    s.txn[t, Txn.BYTES] = num_bytes
    s.txn[t, Txn.SECTORS] = sectors
    s.txn[t, Txn.REQUEST] = NONE
    s.txn[t, Txn.NEXT] = NONE
    s.txn[t, Txn.RELATED] = NONE
    s.txn[t, Txn.STAMP] = s.glob[Glob.NOW]
    s.txn[t, Txn.WAITS_FOR] = 0
    s.txn[t, Txn.PLACED] = 0
    return t


@njit(cache=True)
def free_txn(s, t):
    """Give a finished transaction back."""
    s.txn[t, Txn.NEXT] = s.glob[Glob.FREE_TXN]
    s.glob[Glob.FREE_TXN] = t
    s.glob[Glob.LIVE_TXN] -= 1


@njit(cache=True)
def append(s, row, t):
    """Put a transaction at the end of list `row`."""
    s.txn[t, Txn.NEXT] = NONE
    if s.queue[row, Link.COUNT] == 0:
        s.queue[row, Link.HEAD] = t
    else:
        s.txn[s.queue[row, Link.TAIL], Txn.NEXT] = t
    s.queue[row, Link.TAIL] = t
    s.queue[row, Link.COUNT] += 1


@njit(cache=True)
def take_first(s, row):
    """Remove and return the first transaction of a list that is not empty."""
    t = s.queue[row, Link.HEAD]
    s.queue[row, Link.HEAD] = s.txn[t, Txn.NEXT]
    s.queue[row, Link.COUNT] -= 1
    return t


@njit(cache=True)
def data_row(s, channel, source):
    """List of pages that wait for the channel to be sent out: copyback, mapping, user, GC."""
    base = s.param[Param.CHANNELS] * s.param[Param.UNITS_PER_CHANNEL] * NUM_QUEUES + channel * NUM_DATA_QUEUES
    if source == Source.MAPPING:
        return base + 1
    if source == Source.GC:
        return base + 3
    return base + 2


@njit(cache=True)
def full_plane_row(s, plane):
    """List of writes that wait for free blocks in a plane."""
    channels = s.param[Param.CHANNELS]
    return channels * s.param[Param.UNITS_PER_CHANNEL] * NUM_QUEUES + channels * NUM_DATA_QUEUES + plane


@njit(cache=True)
def dram_row(s):
    """List of accesses to the drive's DRAM."""
    return full_plane_row(s, s.param[Param.PLANES])


@njit(cache=True)
def enqueue(s, t):
    """Put a placed transaction into its unit's queue."""
    unit = s.txn[t, Txn.PLANE] // s.param[Param.PLANES_PER_UNIT]
    op = s.txn[t, Txn.OP]
    source = s.txn[t, Txn.SOURCE]
    if op == Op.READ:
        if source == Source.MAPPING:
            queue = Queue.MAPPING_READ
        elif source == Source.GC:
            queue = Queue.GC_READ
        else:
            queue = Queue.USER_READ
    elif op == Op.ERASE:
        queue = Queue.ERASE
    elif source == Source.MAPPING:
        queue = Queue.MAPPING_WRITE
    elif source == Source.GC:
        queue = Queue.GC_WRITE
    elif source == Source.CACHE:
        queue = Queue.URGENT_WRITE
    else:
        queue = Queue.USER_WRITE
    append(s, unit * NUM_QUEUES + queue, t)
    s.unit[unit, Unit.QUEUED] += 1
    s.glob[Glob.HAS_NEW_WORK] = 1
    if op != Op.READ and s.unit[unit, Unit.WRITE_SINCE] == NONE:
        s.unit[unit, Unit.WRITE_SINCE] = s.glob[Glob.NOW]
