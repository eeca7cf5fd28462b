"""Modern mode: reads that interrupt a program or erase, and reads of single planes beside each other.

A read may start when no program or erase holds the die. A program or erase in the array gives way, if that is enabled, when enough of it is
left and it has not given way too often; it goes on when the die's reads are served. After `WRITE_PATIENCE_NS` a waiting write
closes the die to further reads, so reads cannot starve it.
"""

from numba import njit

from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import NONE, NUM_QUEUES, Glob, Link, Op, Param, Queue, Slot, Txn, Unit

IN_ARRAY = 1
SUSPENDED = 2


@njit(cache=True)
def writes_are_overdue(s, unit):
    """A write has waited so long in this unit that reads stand back."""
    since = s.unit[unit, Unit.WRITE_SINCE]
    return (
        since != NONE
        and s.glob[Glob.NOW] - since > s.param[Param.WRITE_PATIENCE_NS]
        and s.unit[unit, Unit.PROGRAM_SLOT] == NONE
    )


@njit(cache=True)
def suspend(s, unit):
    """Take the program or erase out of the array and keep what is left of it."""
    leader = s.unit[unit, Unit.PROGRAM_SLOT]
    s.slot[leader, Slot.LEFT] = s.slot[leader, Slot.END] - s.glob[Glob.NOW]
    s.slot[leader, Slot.EVENT] = NONE
    s.unit[unit, Unit.PHASE] = SUSPENDED
    s.unit[unit, Unit.SUSPENSIONS] += 1
    s.unit[unit, Unit.SUSPENDED_AT] = s.glob[Glob.NOW]
    s.unit[unit, Unit.BUSY] -= 1
    t = s.slot[leader, Slot.TXN]
    erasing = s.txn[t, Txn.OP] == Op.ERASE
    s.glob[Glob.ERASE_SUSPENSIONS if erasing else Glob.PROGRAM_SUSPENSIONS] += 1
    while t != NONE:
        s.slot[s.txn[t, Txn.PLANE], Slot.BUSY] = 0
        t = s.txn[t, Txn.COMMAND_NEXT]


@njit(cache=True)
def resume(s, unit):
    """Let the suspended program or erase go on for what was left of it."""
    leader = s.unit[unit, Unit.PROGRAM_SLOT]
    end = s.glob[Glob.NOW] + s.slot[leader, Slot.LEFT]
    s.slot[leader, Slot.END] = end
    s.slot[leader, Slot.EVENT] = push_event(s, end, Event.ARRAY_READY, leader)
    s.unit[unit, Unit.PHASE] = IN_ARRAY
    s.unit[unit, Unit.BUSY] += 1
    t = s.slot[leader, Slot.TXN]
    while t != NONE:
        s.slot[s.txn[t, Txn.PLANE], Slot.BUSY] = 1
        t = s.txn[t, Txn.COMMAND_NEXT]


@njit(cache=True)
def suspension_ns(s, unit):
    """How long the operation under way takes to give way; 0 where it cannot."""
    op = s.txn[s.slot[s.unit[unit, Unit.PROGRAM_SLOT], Slot.TXN], Txn.OP]
    return s.param[Param.SUSPEND_ERASE_NS if op == Op.ERASE else Param.SUSPEND_PROGRAM_NS]


@njit(cache=True)
def make_room_for_reads(s, unit):
    """True when a read command may be sent to this unit now; suspends what stands in the way if that is worth it."""
    leader = s.unit[unit, Unit.PROGRAM_SLOT]
    if leader == NONE or s.unit[unit, Unit.PHASE] == SUSPENDED:
        return s.param[Param.INDEPENDENT_PLANES] == 1 or s.unit[unit, Unit.BUSY] == 0
    if s.unit[unit, Unit.PHASE] != IN_ARRAY or suspension_ns(s, unit) == 0:
        return False
    if s.unit[unit, Unit.SUSPENSIONS] >= s.param[Param.MAX_SUSPENSIONS]:
        return False
    if s.slot[leader, Slot.END] - s.glob[Glob.NOW] <= s.param[Param.SUSPEND_MIN_LEFT_NS]:
        return False
    suspend(s, unit)
    return True


@njit(cache=True)
def reads_wait(s, unit):
    """Reads are queued for this unit."""
    row = unit * NUM_QUEUES
    return (
        s.queue[row + Queue.MAPPING_READ, Link.COUNT]
        + s.queue[row + Queue.USER_READ, Link.COUNT]
        + s.queue[row + Queue.GC_READ, Link.COUNT]
        > 0
    )


@njit(cache=True)
def resume_if_quiet(s, unit):
    """Resume the suspended operation once the die is quiet and no read waits for it."""
    if s.unit[unit, Unit.PHASE] == SUSPENDED and s.unit[unit, Unit.BUSY] == 0 and not reads_wait(s, unit):
        resume(s, unit)


@njit(cache=True)
def giving_way_ns(s, unit):
    """Extra time before the first read after a suspension may start in the array."""
    if s.unit[unit, Unit.PROGRAM_SLOT] == NONE or s.unit[unit, Unit.PHASE] != SUSPENDED:
        return 0
    return max(0, s.unit[unit, Unit.SUSPENDED_AT] + suspension_ns(s, unit) - s.glob[Glob.NOW])
