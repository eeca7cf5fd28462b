"""A binary heap of (time, number, code): the number makes events at equal times run in the order of insertion."""

from enum import IntEnum

from tiergarten.sim.flash.kernel.layout import Glob, Param
from tiergarten.sim.jit import njit

CODE_BITS = 4
EVENT_WORDS = 3


class Event(IntEnum):
    """Low bits of an event's code; the handle or number that it is about stands above them."""

    ARRIVAL = 0
    START = 1
    TO_DEVICE = 2
    TO_HOST = 3
    COMMAND_SENT = 4
    ARRAY_READY = 5
    DATA_SENT = 6
    DRAM_DONE = 7
    CONTROLLER_DONE = 8
    HOST_READY = 9


@njit(cache=True)
def push_event(m, time, kind, about):
    """Insert an event; returns its number, by which it can be recognised when it comes up."""
    number = m[Glob.EVENT_NUMBER]
    m[Glob.EVENT_NUMBER] = number + 1
    heap = m[Param.HEAP_AT]
    hole = m[Glob.HEAP_SIZE]
    m[Glob.HEAP_SIZE] = hole + 1
    while hole > 0:
        parent = (hole - 1) >> 1
        above = heap + parent * EVENT_WORDS
        if m[above] <= time:
            break
        below = heap + hole * EVENT_WORDS
        m[below] = m[above]
        m[below + 1] = m[above + 1]
        m[below + 2] = m[above + 2]
        hole = parent
    here = heap + hole * EVENT_WORDS
    m[here] = time
    m[here + 1] = number
    m[here + 2] = kind | (about << CODE_BITS)
    return number


@njit(cache=True)
def is_earlier(m, event, other):
    """Whether the event at address `event` comes before the one at `other`."""
    return m[event] < m[other] or (m[event] == m[other] and m[event + 1] < m[other + 1])


@njit(cache=True)
def drop_first_event(m):
    """Remove the event at the top of the heap."""
    heap = m[Param.HEAP_AT]
    size = m[Glob.HEAP_SIZE] - 1
    m[Glob.HEAP_SIZE] = size
    last = heap + size * EVENT_WORDS
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        below = heap + child * EVENT_WORDS
        if child + 1 < size and is_earlier(m, below + EVENT_WORDS, below):
            child += 1
            below += EVENT_WORDS
        if is_earlier(m, last, below):
            break
        here = heap + hole * EVENT_WORDS
        m[here] = m[below]
        m[here + 1] = m[below + 1]
        m[here + 2] = m[below + 2]
        hole = child
    here = heap + hole * EVENT_WORDS
    m[here] = m[last]
    m[here + 1] = m[last + 1]
    m[here + 2] = m[last + 2]
