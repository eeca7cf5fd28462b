"""Commands on their way to a die, the time that the array takes, and pages on their way out over the channel.

Command times are those of ONFI NV-DDR2 as MQSim composes them from tCS 20, tWC 25, tWB 100, tRR 20, tDBSY 500, tADL 70, tWPST 6,
tWPSTH 15 and tCALS 15 ns; each further plane adds its own command and address cycles and a dummy busy time.
"""

from tiergarten.sim.flash.geometry import CellType
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import NONE, Channel, Glob, List, Op, Param, Plane, Source, Txn, Unit
from tiergarten.sim.flash.kernel.records import append, take_first
from tiergarten.sim.jit import njit

READ_COMMAND_NS = (290, 650)
"""First plane, each further plane: tCS + 6 tWC + tWB + tRR, then tDBSY + 6 tWC."""
PROGRAM_COMMAND_NS = (361, 816)
"""tCS + 6 tWC + tADL + tWPST + tWPSTH + tWB, then 5 tWC + tADL + tWPST + tCALS + tWB + tDBSY."""
ERASE_COMMAND_NS = (220, 700)
"""tCS + 4 tWC + tWB, then tDBSY + 4 tWC + tWB."""


@njit(cache=True)
def data_ns(m, num_bytes):
    """Time of a page's data on the channel, in either direction."""
    if num_bytes != m[Param.DATA_BYTES_SEEN]:
        m[Param.DATA_BYTES_SEEN] = num_bytes
        m[Param.DATA_NS_SEEN] = (
            num_bytes // m[Param.DATA_GRAIN_BYTES] * m[Param.DATA_NS_NUMERATOR] >> m[Param.DATA_NS_SHIFT]
        )
    return m[Param.DATA_NS_SEEN]


@njit(cache=True)
def page_type(cell, page):
    """0 LSB, 1 CSB (MSB of MLC), 2 MSB. TLC after Yaakobi et al., ICNC 2012, as in MQSim; QLC by page % 4, an assumption."""
    if cell == CellType.TLC:
        if page <= 5:
            return 0
        return 1 if page <= 7 else ((page - 8) >> 1) % 3
    return page % cell


@njit(cache=True)
def array_ns(m, op, page):
    """Time in the array, from the end of the command to ready."""
    kind = page_type(m[Param.CELL], page)
    if op == Op.READ:
        return m[Param.READ_NS + kind] + m[Param.READY_NS]
    if op == Op.PROGRAM:
        return m[Param.PROGRAM_NS + kind]
    if op == Op.COPYBACK:
        return m[Param.READ_NS + kind] + m[Param.PROGRAM_NS + kind]
    return m[Param.ERASE_NS]


@njit(cache=True)
def command_ns(m, first, count):
    """Time on the channel of a command over `count` planes, with the data of a program."""
    op = m[first + Txn.OP]
    more = count - 1
    if op == Op.READ:
        return READ_COMMAND_NS[0] + more * READ_COMMAND_NS[1]
    if op == Op.ERASE:
        return ERASE_COMMAND_NS[0] + more * ERASE_COMMAND_NS[1]
    time = PROGRAM_COMMAND_NS[0] + more * PROGRAM_COMMAND_NS[1]
    if op == Op.PROGRAM:
        t = first
        while t != NONE:
            time += data_ns(m, m[t + Txn.BYTES])
            t = m[t + Txn.COMMAND_NEXT]
    return time


@njit(cache=True)
def count_command(m, op, count):
    """Keep the drive's counters of commands and pages."""
    if op == Op.READ:
        m[Glob.MULTIPLANE_READS if count > 1 else Glob.READ_COMMANDS] += 1
        m[Glob.PAGES_READ] += count
    elif op == Op.ERASE:
        m[Glob.ERASE_COMMANDS] += 1
        m[Glob.BLOCKS_ERASED] += count
    else:
        m[Glob.MULTIPLANE_PROGRAMS if count > 1 else Glob.PROGRAM_COMMANDS] += 1
        m[Glob.PAGES_PROGRAMMED] += count


@njit(cache=True)
def send_command(m, unit):
    """Send the command just collected (Glob.COMMAND_*) to its die; the channel must be free."""
    first = m[Glob.COMMAND_HEAD]
    count = m[Glob.COMMAND_COUNT]
    op = m[first + Txn.OP]
    leader = m[first + Txn.PLANE]
    count_command(m, op, count)
    m[leader + Plane.TXN] = first
    m[leader + Plane.COUNT] = count
    t = first
    while t != NONE:
        m[m[t + Txn.PLANE] + Plane.BUSY] = 1
        t = m[t + Txn.COMMAND_NEXT]
    m[unit + Unit.BUSY] += 1
    if op != Op.READ:
        m[unit + Unit.PROGRAM_PLANE] = leader
        m[unit + Unit.PHASE] = 0
        m[unit + Unit.SUSPENSIONS] = 0
    m[m[unit + Unit.CHANNEL] + Channel.BUSY] = 1
    push_event(m, m[Glob.NOW] + command_ns(m, first, count), Event.COMMAND_SENT, leader)


@njit(cache=True)
def start_array(m, leader, extra_ns):
    """The command has arrived: the array starts, `extra_ns` late where a suspended operation has to give way first."""
    first = m[leader + Plane.TXN]
    end = m[Glob.NOW] + extra_ns + array_ns(m, m[first + Txn.OP], m[first + Txn.PAGE])
    m[leader + Plane.END] = end
    m[leader + Plane.EVENT] = push_event(m, end, Event.ARRAY_READY, leader)


@njit(cache=True)
def send_page(m, channel, t):
    """Start sending a page out; the channel must be free."""
    m[channel + Channel.BUSY] = 1
    m[channel + Channel.SENDING] = t
    push_event(m, m[Glob.NOW] + data_ns(m, m[t + Txn.BYTES]), Event.DATA_SENT, channel)


@njit(cache=True)
def data_queue_of(source):
    """The field of a channel in which pages of such transactions wait."""
    if source == Source.MAPPING:
        return Channel.MAPPING_DATA
    return Channel.GC_DATA if source == Source.GC else Channel.USER_DATA


@njit(cache=True)
def pages_ready(m, leader, channel):
    """A read has ended: its pages go out at once or wait, in the list that belongs to the first of them."""
    t = m[leader + Plane.TXN]
    waiting = channel + data_queue_of(m[t + Txn.SOURCE])
    m[m[leader + Plane.UNIT] + Unit.BUSY] += m[leader + Plane.COUNT] - 1
    while t != NONE:
        after = m[t + Txn.COMMAND_NEXT]
        if m[channel + Channel.BUSY]:
            append(m, waiting, t)
        else:
            send_page(m, channel, t)
        t = after


@njit(cache=True)
def send_waiting_page(m, channel):
    """Start the next page that waits for the channel (mapping, then user, then GC); False if there is none."""
    if m[channel + Channel.MAPPING_DATA + List.COUNT]:
        queue = channel + Channel.MAPPING_DATA
    elif m[channel + Channel.USER_DATA + List.COUNT]:
        queue = channel + Channel.USER_DATA
    elif m[channel + Channel.GC_DATA + List.COUNT]:
        queue = channel + Channel.GC_DATA
    else:
        return False
    send_page(m, channel, take_first(m, queue))
    return True
