"""A binary heap of (time, number, code): the number makes events at equal times run in the order of insertion."""

from enum import IntEnum

from numba import njit

from tiergarten.sim.flash.kernel.layout import Glob

CODE_BITS = 4


class Event(IntEnum):
    """Low bits of an event's code; what it is about stands above them."""

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
def push_event(s, time, kind, about):
    """Insert an event; returns its number, by which it can be recognised when it comes up."""
    heap = s.heap
    number = s.glob[Glob.EVENT_NUMBER]
    s.glob[Glob.EVENT_NUMBER] = number + 1
    hole = s.glob[Glob.HEAP_SIZE]
    s.glob[Glob.HEAP_SIZE] = hole + 1
    while hole > 0:
        parent = (hole - 1) >> 1
        if heap[parent, 0] <= time:
            break
        heap[hole, 0] = heap[parent, 0]
        heap[hole, 1] = heap[parent, 1]
        heap[hole, 2] = heap[parent, 2]
        hole = parent
    heap[hole, 0] = time
    heap[hole, 1] = number
    heap[hole, 2] = kind | (about << CODE_BITS)
    return number


@njit(cache=True)
def drop_first_event(s):
    """Remove the event in row 0."""
    heap = s.heap
    last = s.glob[Glob.HEAP_SIZE] - 1
    s.glob[Glob.HEAP_SIZE] = last
    time, number, code = heap[last, 0], heap[last, 1], heap[last, 2]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= last:
            break
        right = child + 1
        if right < last and (
            heap[right, 0] < heap[child, 0] or (heap[right, 0] == heap[child, 0] and heap[right, 1] < heap[child, 1])
        ):
            child = right
        if time < heap[child, 0] or (time == heap[child, 0] and number < heap[child, 1]):
            break
        heap[hole, 0] = heap[child, 0]
        heap[hole, 1] = heap[child, 1]
        heap[hole, 2] = heap[child, 2]
        hole = child
    heap[hole, 0] = time
    heap[hole, 1] = number
    heap[hole, 2] = code
