"""What happens next. Events at equal times run in the order of insertion, which their numbers tell.

Each direction of the link has one event at most. Most others are pushed in the order in which they come up, because their delays are
equal: they stand in lanes, first in first out, and the next one is the earliest of the lanes' heads. What does not fit there goes into a
binary heap of (time, number, code). The drive's next event is kept at hand, since most events are the link's.
"""

from enum import IntEnum
from typing import Final

from tiergarten.sim.flash.kernel.layout import Glob, Param
from tiergarten.sim.jit import njit

CODE_BITS = 4
EVENT_WORDS = 3
NUM_LANES: Final = 6
"""One for each of the first kinds of events, the last of them with the rest of the lanes."""
LANE_EVENTS: Final = 64
"""Places in a lane; a full lane sends events into the heap."""
LANE_BITS: Final = 4
IN_HEAP: Final = 15
"""Stands for a lane in the key of an event at the top of the heap."""
NO_EVENT: Final = 2**62
"""Time and key of an event that there is not."""


class Lane(IntEnum):
    """Fields of the lanes' table: for each lane the time and key of its head, and how many events went in and out; then the events."""

    TIME = 0
    KEY = 8  # number of the event, above the lane's own
    FIRST = 16
    LAST = 24
    EVENTS = 32


LANE_WORDS: Final = Lane.EVENTS + NUM_LANES * LANE_EVENTS * EVENT_WORDS


class Event(IntEnum):
    """Low bits of an event's code; the handle or number that it is about stands above them."""

    COMMAND_SENT = 0
    DATA_SENT = 1
    ARRAY_READY = 2
    ARRIVAL = 3
    START = 4
    DRAM_DONE = 5
    CONTROLLER_DONE = 6
    HOST_READY = 7


@njit(cache=True)
def no_events(m):
    """Set up a table without events."""
    lanes = m[Param.LANE_AT]
    for lane in range(NUM_LANES):
        m[lanes + Lane.TIME + lane] = NO_EVENT
        m[lanes + Lane.KEY + lane] = NO_EVENT
    for direction in range(2):
        m[Glob.LINK_TIME + direction] = NO_EVENT
    m[Glob.NEXT_TIME] = NO_EVENT
    m[Glob.NEXT_KEY] = NO_EVENT


@njit(cache=True)
def push_delivery(m, time, direction):
    """The message on the wire of a direction will arrive."""
    m[Glob.LINK_TIME + direction] = time
    m[Glob.LINK_NUMBER + direction] = m[Glob.EVENT_NUMBER]
    m[Glob.EVENT_NUMBER] += 1


@njit(cache=True)
def event_in_lane(m, lane, place):
    """Address of the event that went into a lane as number `place`."""
    return m[Param.LANE_AT] + Lane.EVENTS + (lane * LANE_EVENTS + (place & (LANE_EVENTS - 1))) * EVENT_WORDS


@njit(cache=True)
def enter_lane(m, lane, time, number, code):
    """Put an event at the end of a lane; False if the lane is full or ends with a later one."""
    lanes = m[Param.LANE_AT] + lane
    first = m[lanes + Lane.FIRST]
    last = m[lanes + Lane.LAST]
    if first == last:
        m[lanes + Lane.TIME] = time
        m[lanes + Lane.KEY] = number << LANE_BITS | lane
    elif last - first == LANE_EVENTS or m[event_in_lane(m, lane, last - 1)] > time:
        return False
    here = event_in_lane(m, lane, last)
    m[here] = time
    m[here + 1] = number
    m[here + 2] = code
    m[lanes + Lane.LAST] = last + 1
    return True


@njit(cache=True)
def leave_lane(m, lane):
    """Remove the head of a lane; returns its code."""
    lanes = m[Param.LANE_AT] + lane
    first = m[lanes + Lane.FIRST]
    code = m[event_in_lane(m, lane, first) + 2]
    first += 1
    m[lanes + Lane.FIRST] = first
    if first == m[lanes + Lane.LAST]:
        m[lanes + Lane.TIME] = NO_EVENT
        m[lanes + Lane.KEY] = NO_EVENT
    else:
        following = event_in_lane(m, lane, first)
        m[lanes + Lane.TIME] = m[following]
        m[lanes + Lane.KEY] = m[following + 1] << LANE_BITS | lane
    return code


@njit(cache=True)
def lane_for(m, time, number, kind, code):
    """Put an event into a lane; returns the lane, IN_HEAP if none takes it."""
    if kind < Event.ARRAY_READY:
        if enter_lane(m, kind, time, number, code):
            return kind
    elif kind == Event.ARRAY_READY:
        for lane in range(Event.ARRAY_READY, NUM_LANES):
            if enter_lane(m, lane, time, number, code):
                return lane
    return IN_HEAP


@njit(cache=True)
def push_event(m, time, kind, about):
    """Insert an event; returns its number, by which it can be recognised when it comes up."""
    number = m[Glob.EVENT_NUMBER]
    m[Glob.EVENT_NUMBER] = number + 1
    code = kind | (about << CODE_BITS)
    lane = lane_for(m, time, number, kind, code)
    if lane == IN_HEAP:
        push_into_heap(m, time, number, code)
    if time < m[Glob.NEXT_TIME]:
        m[Glob.NEXT_TIME] = time
        m[Glob.NEXT_KEY] = number << LANE_BITS | lane
    return number


@njit(cache=True)
def find_next(m):
    """Note the drive's next event: the earliest of the lanes' heads and the top of the heap."""
    lanes = m[Param.LANE_AT]
    time = m[lanes + Lane.TIME]
    for lane in range(1, NUM_LANES):
        time = min(time, m[lanes + Lane.TIME + lane])
    key = NO_EVENT
    for lane in range(NUM_LANES):
        key = min(key, m[lanes + Lane.KEY + lane] if m[lanes + Lane.TIME + lane] == time else NO_EVENT)
    if m[Glob.HEAP_SIZE]:
        heap = m[Param.HEAP_AT]
        top = m[heap + 1] << LANE_BITS | IN_HEAP
        if m[heap] < time or (m[heap] == time and top < key):
            time = m[heap]
            key = top
    m[Glob.NEXT_TIME] = time
    m[Glob.NEXT_KEY] = key


@njit(cache=True)
def take_next(m):
    """Remove the drive's next event; returns its code."""
    lane = m[Glob.NEXT_KEY] & ((1 << LANE_BITS) - 1)
    if lane == IN_HEAP:
        code = m[m[Param.HEAP_AT] + 2]
        drop_top_of_heap(m)
    else:
        code = leave_lane(m, lane)
    find_next(m)
    return code


@njit(cache=True)
def push_into_heap(m, time, number, code):
    """Insert an event into the heap."""
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
    m[here + 2] = code


@njit(cache=True)
def is_earlier(m, event, other):
    """Whether the event at address `event` comes before the one at `other`."""
    return m[event] < m[other] or (m[event] == m[other] and m[event + 1] < m[other + 1])


@njit(cache=True)
def drop_top_of_heap(m):
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
