"""Which transactions a unit serves next: reads before writes before erases, in the order of MQSim's PRIORITY_OUT_OF_ORDER scheduler.

With preemption off, or when free blocks run short, the work of garbage collection goes before the user's, after that of the mapping.
"""

from tiergarten.sim.flash.kernel.channel import send_command
from tiergarten.sim.flash.kernel.layout import NONE, Channel, Glob, List, Op, Param, Plane, Txn, Unit
from tiergarten.sim.flash.kernel.records import channel_at, note_readiness, plane_at
from tiergarten.sim.flash.kernel.suspension import make_room_for_reads, resume, writes_are_overdue
from tiergarten.sim.jit import njit


@njit(cache=True)
def collection_is_urgent(m, unit):
    """Collection goes before user work: not preemptible, or a plane below the hard threshold."""
    if not m[Param.GC_PREEMPTIBLE]:
        return True
    first = (unit - m[Param.UNIT_AT]) // Unit.WORDS * m[Param.PLANES_PER_UNIT]
    for number in range(first, first + m[Param.PLANES_PER_UNIT]):
        plane = plane_at(m, number)
        if m[plane + Plane.FREE_BLOCKS] < m[Param.GC_HARD_THRESHOLD]:
            return True
    return False


@njit(cache=True)
def collect(m, unit, queue, die, page, taken):
    """Move into the command what `queue` has for it: same die, same page number, one transaction per plane.

    `taken` is the bit set of planes in the command already; the first transaction may have any page number. Returns the new set.
    """
    all_planes = (1 << m[Param.PLANES_PER_DIE]) - 1
    if m[queue + List.COUNT] == 0:
        return taken
    before = NONE
    t = m[queue + List.HEAD]
    one_plane = m[Param.INDEPENDENT_PLANES] and m[t + Txn.OP] == Op.READ
    while t != NONE and taken != all_planes:
        after = m[t + Txn.NEXT]
        plane = m[t + Txn.PLANE]
        bit = m[plane + Plane.BIT]
        if (
            not m[t + Txn.WAITS_FOR]
            and not taken & bit
            and m[plane + Plane.DIE] == die
            and (taken == 0 or m[t + Txn.PAGE] == page)
            and not (one_plane and m[plane + Plane.BUSY])
        ):
            taken |= bit
            if before == NONE:
                m[queue + List.HEAD] = after
            else:
                m[before + Txn.NEXT] = after
            if after == NONE:
                m[queue + List.TAIL] = before
            m[queue + List.COUNT] -= 1
            m[unit + Unit.QUEUED] -= 1
            m[t + Txn.COMMAND_NEXT] = NONE
            if m[Glob.COMMAND_COUNT] == 0:
                m[Glob.COMMAND_HEAD] = t
            else:
                m[m[Glob.COMMAND_TAIL] + Txn.COMMAND_NEXT] = t
            m[Glob.COMMAND_TAIL] = t
            m[Glob.COMMAND_COUNT] += 1
            if one_plane:
                break
        else:
            before = t
        t = after
    return taken


@njit(cache=True)
def issue(m, unit, first, second):
    """Send the command headed by queue `first` (a field of the unit), filled from queue `second` (NONE for no other)."""
    head = m[unit + first + List.HEAD]
    die = m[m[head + Txn.PLANE] + Plane.DIE]
    page = m[head + Txn.PAGE]
    m[Glob.COMMAND_COUNT] = 0
    taken = collect(m, unit, unit + first, die, page, 0)
    if second != NONE and not (m[Param.INDEPENDENT_PLANES] and taken and m[head + Txn.OP] == Op.READ):
        collect(m, unit, unit + second, die, page, taken)
    if m[Glob.COMMAND_COUNT]:
        send_command(m, unit)
        note_readiness(m, unit)


@njit(cache=True)
def has(m, unit, queue):
    """Whether a queue of the unit holds anything."""
    return m[unit + queue + List.COUNT] > 0


@njit(cache=True)
def read_queues(m, unit, urgent):
    """(first, second) queue to read from, NONE where there is none."""
    user = Unit.USER_READS if has(m, unit, Unit.USER_READS) else NONE
    collection = Unit.GC_READS if has(m, unit, Unit.GC_READS) else NONE
    if has(m, unit, Unit.MAPPING_READS):
        return Unit.MAPPING_READS, (collection if urgent and collection != NONE else user)
    if urgent:
        if collection != NONE:
            return collection, user
        if has(m, unit, Unit.GC_WRITES) or has(m, unit, Unit.ERASES):
            return NONE, NONE
        return user, NONE
    if user != NONE:
        return user, collection
    if has(m, unit, Unit.USER_WRITES) or has(m, unit, Unit.URGENT_WRITES):
        return NONE, NONE
    return collection, NONE


@njit(cache=True)
def write_queues(m, unit, urgent):
    """(first, second) queue to program from, NONE where there is none."""
    user = NONE
    if has(m, unit, Unit.URGENT_WRITES):
        user = Unit.URGENT_WRITES
    elif has(m, unit, Unit.USER_WRITES):
        user = Unit.USER_WRITES
    collection = Unit.GC_WRITES if has(m, unit, Unit.GC_WRITES) else NONE
    if has(m, unit, Unit.MAPPING_WRITES):
        return Unit.MAPPING_WRITES, NONE
    if urgent:
        if collection != NONE:
            return collection, user
        return (NONE if has(m, unit, Unit.ERASES) else user), NONE
    if user != NONE:
        return user, collection
    return collection, NONE


@njit(cache=True)
def serve_unit(m, unit):
    """Give a unit of its channel's READY_UNITS its next command, if it can take one."""
    modern = m[Param.MODERN]
    if not modern and m[unit + Unit.QUEUED] == m[unit + Unit.USER_READS + List.COUNT]:
        issue(m, unit, Unit.USER_READS, NONE)
        return
    urgent = collection_is_urgent(m, unit)
    if not (modern and writes_are_overdue(m, unit)):
        first, second = read_queues(m, unit, urgent)
        if first != NONE:
            if not modern or make_room_for_reads(m, unit):
                issue(m, unit, first, second)
            return
    if m[unit + Unit.BUSY]:
        return
    if m[unit + Unit.PROGRAM_PLANE] != NONE:
        resume(m, unit)
        return
    first, second = write_queues(m, unit, urgent)
    if first == NONE and has(m, unit, Unit.ERASES):
        first = Unit.ERASES
    if first != NONE:
        m[unit + Unit.WRITE_SINCE] = NONE
        issue(m, unit, first, second)


@njit(cache=True)
def visit_units(m, channel):
    """Offer a free channel to its units in turn until one has taken it."""
    if not m[channel + Channel.READY_UNITS]:
        return
    units = m[Param.UNITS_PER_CHANNEL]
    first = m[channel + Channel.FIRST_UNIT]
    turn = m[channel + Channel.TURN]
    for _ in range(units):
        if m[channel + Channel.READY_UNITS] >> turn & 1:
            serve_unit(m, first + turn * Unit.WORDS)
        turn += 1
        if turn == units:
            turn = 0
        if m[channel + Channel.BUSY]:
            break
    m[channel + Channel.TURN] = turn


@njit(cache=True)
def open_batch(m):
    """Work queued from here on is scheduled together, when the outermost batch is closed."""
    m[Glob.OPEN_BATCHES] += 1


@njit(cache=True)
def close_batch(m):
    """Close a batch; the outermost one offers every free channel to its units if anything was queued."""
    m[Glob.OPEN_BATCHES] -= 1
    if m[Glob.OPEN_BATCHES] or not m[Glob.HAS_NEW_WORK]:
        return
    m[Glob.HAS_NEW_WORK] = 0
    for number in range(m[Param.CHANNELS]):
        channel = channel_at(m, number)
        if not m[channel + Channel.BUSY]:
            visit_units(m, channel)
