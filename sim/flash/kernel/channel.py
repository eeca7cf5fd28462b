"""Commands on their way to a die, the time that the array takes, and pages on their way out over the channel.

Command times are those of ONFI NV-DDR2 as MQSim composes them from tCS 20, tWC 25, tWB 100, tRR 20, tDBSY 500, tADL 70, tWPST 6,
tWPSTH 15 and tCALS 15 ns; each further plane adds its own command and address cycles and a dummy busy time.
"""

from numba import njit

from tiergarten.sim.flash.geometry import CellType
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import NONE, Chan, Glob, Link, Op, Param, Slot, Source, Txn, Unit
from tiergarten.sim.flash.kernel.queues import append, data_row, take_first

READ_COMMAND_NS = (290, 650)
"""First plane, each further plane: tCS + 6 tWC + tWB + tRR, then tDBSY + 6 tWC."""
PROGRAM_COMMAND_NS = (361, 816)
"""tCS + 6 tWC + tADL + tWPST + tWPSTH + tWB, then 5 tWC + tADL + tWPST + tCALS + tWB + tDBSY."""
ERASE_COMMAND_NS = (220, 700)
"""tCS + 4 tWC + tWB, then tDBSY + 4 tWC + tWB."""


@njit(cache=True)
def data_ns(s, num_bytes):
    """Time of a page's data on the channel, in either direction."""
    p = s.param
    return num_bytes // p[Param.DATA_GRAIN_BYTES] * p[Param.DATA_NS_NUMERATOR] // p[Param.DATA_NS_DENOMINATOR]


@njit(cache=True)
def page_type(cell, page):
    """0 LSB, 1 CSB (MSB of MLC), 2 MSB. TLC after Yaakobi et al., ICNC 2012, as in MQSim; QLC by page % 4, an assumption."""
    if cell == CellType.TLC:
        if page <= 5:
            return 0
        return 1 if page <= 7 else ((page - 8) >> 1) % 3
    return page % cell


@njit(cache=True)
def array_ns(s, op, page):
    """Time in the array, from the end of the command to ready."""
    kind = page_type(s.param[Param.CELL], page)
    if op == Op.READ:
        return s.param[Param.READ_NS + kind] + s.param[Param.READY_NS]
    if op == Op.PROGRAM:
        return s.param[Param.PROGRAM_NS + kind]
    if op == Op.COPYBACK:
        return s.param[Param.READ_NS + kind] + s.param[Param.PROGRAM_NS + kind]
    return s.param[Param.ERASE_NS]


@njit(cache=True)
def command_ns(s, first, count):
    """Time on the channel of a command over `count` planes, with the data of a program."""
    op = s.txn[first, Txn.OP]
    more = count - 1
    if op == Op.READ:
        return READ_COMMAND_NS[0] + more * READ_COMMAND_NS[1]
    if op == Op.ERASE:
        return ERASE_COMMAND_NS[0] + more * ERASE_COMMAND_NS[1]
    time = PROGRAM_COMMAND_NS[0] + more * PROGRAM_COMMAND_NS[1]
    if op == Op.PROGRAM:
        t = first
        while t != NONE:
            time += data_ns(s, s.txn[t, Txn.BYTES])
            t = s.txn[t, Txn.COMMAND_NEXT]
    return time


@njit(cache=True)
def count_command(s, op, count):
    """Keep the drive's counters of commands and pages."""
    g = s.glob
    if op == Op.READ:
        g[Glob.MULTIPLANE_READS if count > 1 else Glob.READ_COMMANDS] += 1
        g[Glob.PAGES_READ] += count
    elif op == Op.ERASE:
        g[Glob.ERASE_COMMANDS] += 1
        g[Glob.BLOCKS_ERASED] += count
    else:
        g[Glob.MULTIPLANE_PROGRAMS if count > 1 else Glob.PROGRAM_COMMANDS] += 1
        g[Glob.PAGES_PROGRAMMED] += count


@njit(cache=True)
def send_command(s, unit):
    """Send the command just collected (Glob.COMMAND_*) to its die; the channel must be free."""
    g = s.glob
    first = g[Glob.COMMAND_HEAD]
    count = g[Glob.COMMAND_COUNT]
    op = s.txn[first, Txn.OP]
    leader = s.txn[first, Txn.PLANE]
    count_command(s, op, count)
    s.slot[leader, Slot.TXN] = first
    s.slot[leader, Slot.COUNT] = count
    t = first
    while t != NONE:
        s.slot[s.txn[t, Txn.PLANE], Slot.BUSY] = 1
        t = s.txn[t, Txn.COMMAND_NEXT]
    s.unit[unit, Unit.BUSY] += 1
    if op != Op.READ:
        s.unit[unit, Unit.PROGRAM_SLOT] = leader
        s.unit[unit, Unit.PHASE] = 0
        s.unit[unit, Unit.SUSPENSIONS] = 0
    s.chan[unit // s.param[Param.UNITS_PER_CHANNEL], Chan.BUSY] = 1
    push_event(s, g[Glob.NOW] + command_ns(s, first, count), Event.COMMAND_SENT, leader)


@njit(cache=True)
def start_array(s, leader, extra_ns):
    """The command has arrived: the array starts, `extra_ns` late where a suspended operation has to give way first."""
    first = s.slot[leader, Slot.TXN]
    end = s.glob[Glob.NOW] + extra_ns + array_ns(s, s.txn[first, Txn.OP], s.txn[first, Txn.PAGE])
    s.slot[leader, Slot.END] = end
    s.slot[leader, Slot.EVENT] = push_event(s, end, Event.ARRAY_READY, leader)


@njit(cache=True)
def send_page(s, channel, t):
    """Start sending a page out; the channel must be free."""
    s.chan[channel, Chan.BUSY] = 1
    s.chan[channel, Chan.SENDING] = t
    push_event(s, s.glob[Glob.NOW] + data_ns(s, s.txn[t, Txn.BYTES]), Event.DATA_SENT, channel)


@njit(cache=True)
def pages_ready(s, leader, channel):
    """A read has ended: its pages go out at once or wait, in the list that belongs to the first of them."""
    t = s.slot[leader, Slot.TXN]
    row = data_row(s, channel, s.txn[t, Txn.SOURCE])
    s.unit[s.txn[t, Txn.PLANE] // s.param[Param.PLANES_PER_UNIT], Unit.BUSY] += s.slot[leader, Slot.COUNT] - 1
    while t != NONE:
        after = s.txn[t, Txn.COMMAND_NEXT]
        if s.chan[channel, Chan.BUSY]:
            append(s, row, t)
        else:
            send_page(s, channel, t)
        t = after


@njit(cache=True)
def send_waiting_page(s, channel):
    """Start the next page that waits for the channel (mapping, then user, then GC); False if there is none."""
    row = data_row(s, channel, Source.MAPPING)
    for waiting in range(row, row + 3):
        if s.queue[waiting, Link.COUNT]:
            send_page(s, channel, take_first(s, waiting))
            return True
    return False
