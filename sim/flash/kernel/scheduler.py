"""Which transactions a unit serves next: reads before writes before erases, in the order of MQSim's PRIORITY_OUT_OF_ORDER scheduler.

With preemption off, or when free blocks run short, the work of garbage collection goes before the user's, after that of the mapping.
"""

from numba import njit

from tiergarten.sim.flash.kernel.channel import send_command
from tiergarten.sim.flash.kernel.layout import (
    NONE,
    NUM_QUEUES,
    Chan,
    Glob,
    Link,
    Op,
    Param,
    Plane,
    Queue,
    Slot,
    Txn,
    Unit,
)
from tiergarten.sim.flash.kernel.suspension import make_room_for_reads, resume, writes_are_overdue


@njit(cache=True)
def collection_is_urgent(s, unit):
    """Collection goes before user work: not preemptible, or a plane below the hard threshold."""
    p = s.param
    if not p[Param.GC_PREEMPTIBLE]:
        return True
    first = unit * p[Param.PLANES_PER_UNIT]
    for plane in range(first, first + p[Param.PLANES_PER_UNIT]):
        if s.plane[plane, Plane.FREE_BLOCKS] < p[Param.GC_HARD_THRESHOLD]:
            return True
    return False


@njit(cache=True)
def collect(s, unit, row, die, page, taken):
    """Move into the command what list `row` has for it: same die, same page number, one transaction per plane.

    `taken` is the bit set of planes in the command already; the first transaction may have any page number. Returns the new set.
    """
    txn = s.txn
    g = s.glob
    planes_per_die = s.param[Param.PLANES_PER_DIE]
    all_planes = (1 << planes_per_die) - 1
    one_plane = (
        s.param[Param.INDEPENDENT_PLANES]
        and s.queue[row, Link.COUNT]
        and txn[s.queue[row, Link.HEAD], Txn.OP] == Op.READ
    )
    before = NONE
    t = s.queue[row, Link.HEAD] if s.queue[row, Link.COUNT] else NONE
    while t != NONE and taken != all_planes:
        after = txn[t, Txn.NEXT]
        plane = txn[t, Txn.PLANE]
        bit = 1 << (plane % planes_per_die)
        if (
            not txn[t, Txn.WAITS_FOR]
            and not taken & bit
            and plane // planes_per_die == die
            and (taken == 0 or txn[t, Txn.PAGE] == page)
            and not (one_plane and s.slot[plane, Slot.BUSY])
        ):
            taken |= bit
            if before == NONE:
                s.queue[row, Link.HEAD] = after
            else:
                txn[before, Txn.NEXT] = after
            if after == NONE:
                s.queue[row, Link.TAIL] = before
            s.queue[row, Link.COUNT] -= 1
            s.unit[unit, Unit.QUEUED] -= 1
            txn[t, Txn.COMMAND_NEXT] = NONE
            if g[Glob.COMMAND_COUNT] == 0:
                g[Glob.COMMAND_HEAD] = t
            else:
                txn[g[Glob.COMMAND_TAIL], Txn.COMMAND_NEXT] = t
            g[Glob.COMMAND_TAIL] = t
            g[Glob.COMMAND_COUNT] += 1
            if one_plane:
                break
        else:
            before = t
        t = after
    return taken


@njit(cache=True)
def issue(s, unit, first, second):
    """Send the command headed by queue `first`, filled from queue `second` (NONE for no other)."""
    row = unit * NUM_QUEUES + first
    head = s.queue[row, Link.HEAD]
    die = s.txn[head, Txn.PLANE] // s.param[Param.PLANES_PER_DIE]
    page = s.txn[head, Txn.PAGE]
    s.glob[Glob.COMMAND_COUNT] = 0
    taken = collect(s, unit, row, die, page, 0)
    if second != NONE and not (s.param[Param.INDEPENDENT_PLANES] and taken and s.txn[head, Txn.OP] == Op.READ):
        collect(s, unit, unit * NUM_QUEUES + second, die, page, taken)
    if s.glob[Glob.COMMAND_COUNT]:
        send_command(s, unit)


@njit(cache=True)
def read_queues(s, unit, urgent):
    """(first, second) queue to read from, NONE where there is none."""
    row = unit * NUM_QUEUES
    count = s.queue[row : row + NUM_QUEUES, Link.COUNT]
    user = Queue.USER_READ if count[Queue.USER_READ] else NONE
    if count[Queue.MAPPING_READ]:
        return Queue.MAPPING_READ, (Queue.GC_READ if urgent and count[Queue.GC_READ] else user)
    if urgent:
        if count[Queue.GC_READ]:
            return Queue.GC_READ, user
        if count[Queue.GC_WRITE] or count[Queue.ERASE]:
            return NONE, NONE
        return user, NONE
    if user != NONE:
        return user, (Queue.GC_READ if count[Queue.GC_READ] else NONE)
    if count[Queue.USER_WRITE] or count[Queue.URGENT_WRITE]:
        return NONE, NONE
    return (Queue.GC_READ if count[Queue.GC_READ] else NONE), NONE


@njit(cache=True)
def write_queues(s, unit, urgent):
    """(first, second) queue to program from, NONE where there is none."""
    row = unit * NUM_QUEUES
    count = s.queue[row : row + NUM_QUEUES, Link.COUNT]
    user = NONE
    if count[Queue.URGENT_WRITE]:
        user = Queue.URGENT_WRITE
    elif count[Queue.USER_WRITE]:
        user = Queue.USER_WRITE
    if count[Queue.MAPPING_WRITE]:
        return Queue.MAPPING_WRITE, NONE
    if urgent:
        if count[Queue.GC_WRITE]:
            return Queue.GC_WRITE, user
        if count[Queue.ERASE]:
            return NONE, NONE
        return user, NONE
    if user != NONE:
        return user, (Queue.GC_WRITE if count[Queue.GC_WRITE] else NONE)
    return (Queue.GC_WRITE if count[Queue.GC_WRITE] else NONE), NONE


@njit(cache=True)
def serve_unit(s, unit):
    """Give an idle unit its next command, if it has one."""
    if s.unit[unit, Unit.QUEUED] == 0:
        return
    modern = s.param[Param.MODERN]
    if s.unit[unit, Unit.BUSY] and not modern:
        return
    urgent = collection_is_urgent(s, unit)
    if not (modern and writes_are_overdue(s, unit)):
        first, second = read_queues(s, unit, urgent)
        if first != NONE:
            if not modern or make_room_for_reads(s, unit):
                issue(s, unit, first, second)
            return
    if s.unit[unit, Unit.BUSY]:
        return
    if s.unit[unit, Unit.PROGRAM_SLOT] != NONE:
        resume(s, unit)
        return
    first, second = write_queues(s, unit, urgent)
    if first == NONE and s.queue[unit * NUM_QUEUES + Queue.ERASE, Link.COUNT]:
        first = Queue.ERASE
    if first != NONE:
        s.unit[unit, Unit.WRITE_SINCE] = NONE
        issue(s, unit, first, second)


@njit(cache=True)
def visit_units(s, channel):
    """Offer a free channel to its units in turn until one has taken it."""
    units = s.param[Param.UNITS_PER_CHANNEL]
    turn = s.chan[channel, Chan.TURN]
    for _ in range(units):
        serve_unit(s, channel * units + turn)
        turn += 1
        if turn == units:
            turn = 0
        if s.chan[channel, Chan.BUSY]:
            break
    s.chan[channel, Chan.TURN] = turn


@njit(cache=True)
def open_batch(s):
    """Work queued from here on is scheduled together, when the outermost batch is closed."""
    s.glob[Glob.OPEN_BATCHES] += 1


@njit(cache=True)
def close_batch(s):
    """Close a batch; the outermost one offers every free channel to its units if anything was queued."""
    s.glob[Glob.OPEN_BATCHES] -= 1
    if s.glob[Glob.OPEN_BATCHES] or not s.glob[Glob.HAS_NEW_WORK]:
        return
    s.glob[Glob.HAS_NEW_WORK] = 0
    for channel in range(s.param[Param.CHANNELS]):
        if not s.chan[channel, Chan.BUSY]:
            visit_units(s, channel)
