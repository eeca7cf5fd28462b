"""Modern mode: reads that interrupt a program or erase, and reads of single planes beside each other.

A read may start when no program or erase holds the die. A program or erase in the array gives way, if that is enabled, when enough of it is
left and it has not given way too often; it goes on when the die's reads are served. After `WRITE_PATIENCE_NS` a waiting write
closes the die to further reads, so reads cannot starve it.
"""

from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import NONE, Glob, List, Op, Param, Plane, Txn, Unit
from tiergarten.sim.jit import njit

IN_ARRAY = 1
SUSPENDED = 2


@njit(cache=True)
def writes_are_overdue(m, unit):
    """A write has waited so long in this unit that reads stand back."""
    since = m[unit + Unit.WRITE_SINCE]
    return since != NONE and m[Glob.NOW] - since > m[Param.WRITE_PATIENCE_NS] and m[unit + Unit.PROGRAM_PLANE] == NONE


@njit(cache=True)
def suspend(m, unit):
    """Take the program or erase out of the array and keep what is left of it."""
    leader = m[unit + Unit.PROGRAM_PLANE]
    m[leader + Plane.LEFT] = m[leader + Plane.END] - m[Glob.NOW]
    m[leader + Plane.EVENT] = NONE
    m[unit + Unit.PHASE] = SUSPENDED
    m[unit + Unit.SUSPENSIONS] += 1
    m[unit + Unit.SUSPENDED_AT] = m[Glob.NOW]
    m[unit + Unit.BUSY] -= 1
    t = m[leader + Plane.TXN]
    m[leader + Plane.SUSPENDED_TXN] = t
    m[leader + Plane.SUSPENDED_COUNT] = m[leader + Plane.COUNT]
    erasing = m[t + Txn.OP] == Op.ERASE
    m[Glob.ERASE_SUSPENSIONS if erasing else Glob.PROGRAM_SUSPENSIONS] += 1
    while t != NONE:
        m[m[t + Txn.PLANE] + Plane.BUSY] = 0
        t = m[t + Txn.COMMAND_NEXT]


@njit(cache=True)
def resume(m, unit):
    """Let the suspended program or erase go on for what was left of it."""
    leader = m[unit + Unit.PROGRAM_PLANE]
    end = m[Glob.NOW] + m[leader + Plane.LEFT]
    m[leader + Plane.TXN] = m[leader + Plane.SUSPENDED_TXN]
    m[leader + Plane.COUNT] = m[leader + Plane.SUSPENDED_COUNT]
    m[leader + Plane.END] = end
    m[leader + Plane.EVENT] = push_event(m, end, Event.ARRAY_READY, leader)
    m[unit + Unit.PHASE] = IN_ARRAY
    m[unit + Unit.BUSY] += 1
    t = m[leader + Plane.TXN]
    while t != NONE:
        m[m[t + Txn.PLANE] + Plane.BUSY] = 1
        t = m[t + Txn.COMMAND_NEXT]


@njit(cache=True)
def suspension_ns(m, unit):
    """How long the operation under way takes to give way; 0 where it cannot."""
    leader = m[unit + Unit.PROGRAM_PLANE]
    suspended = m[unit + Unit.PHASE] == SUSPENDED
    op = m[m[leader + (Plane.SUSPENDED_TXN if suspended else Plane.TXN)] + Txn.OP]
    return m[Param.SUSPEND_ERASE_NS if op == Op.ERASE else Param.SUSPEND_PROGRAM_NS]


@njit(cache=True)
def make_room_for_reads(m, unit):
    """True when a read command may be sent to this unit now; suspends what stands in the way if that is worth it."""
    leader = m[unit + Unit.PROGRAM_PLANE]
    if leader == NONE or m[unit + Unit.PHASE] == SUSPENDED:
        return m[Param.INDEPENDENT_PLANES] == 1 or m[unit + Unit.BUSY] == 0
    if m[unit + Unit.PHASE] != IN_ARRAY or suspension_ns(m, unit) == 0:
        return False
    if m[unit + Unit.SUSPENSIONS] >= m[Param.MAX_SUSPENSIONS]:
        return False
    if m[leader + Plane.END] - m[Glob.NOW] <= m[Param.SUSPEND_MIN_LEFT_NS]:
        return False
    suspend(m, unit)
    return True


@njit(cache=True)
def reads_wait(m, unit):
    """Reads are queued for this unit."""
    waiting = m[unit + Unit.MAPPING_READS + List.COUNT] + m[unit + Unit.USER_READS + List.COUNT]
    return waiting + m[unit + Unit.GC_READS + List.COUNT] > 0


@njit(cache=True)
def resume_if_quiet(m, unit):
    """Resume the suspended operation once the die is quiet and no read waits for it."""
    if m[unit + Unit.PHASE] == SUSPENDED and m[unit + Unit.BUSY] == 0 and not reads_wait(m, unit):
        resume(m, unit)


@njit(cache=True)
def giving_way_ns(m, unit):
    """Extra time before the first read after a suspension may start in the array."""
    if m[unit + Unit.PROGRAM_PLANE] == NONE or m[unit + Unit.PHASE] != SUSPENDED:
        return 0
    return max(0, m[unit + Unit.SUSPENDED_AT] + suspension_ns(m, unit) - m[Glob.NOW])
