"""Read and write queues as one linked list per bank, with the oldest row hit and the oldest other request at hand."""

from numba import njit

from tiergarten.dram.kernels.layout import (
    ADDRESS,
    ARRIVE,
    BANK,
    BUSY_READS,
    CLOSED,
    FLAGS,
    HEAD,
    HIT,
    ID,
    IS_WRITE,
    MISS,
    NEXT,
    NO_SLOT,
    NUM_FREE,
    NUM_READS,
    PLACE,
    PREVIOUS,
    QUEUE,
    QUEUE_STRIDE,
    ROW,
    TAIL,
    TARGET_ROW,
    WADDRESSES,
)


@njit(cache=True)
def address_hash(address):
    """Element of `write_addresses` that counts this byte address."""
    return ((address >> 5) ^ (address >> 15) ^ (address >> 25)) & (WADDRESSES - 1)


@njit(cache=True)
def is_write_queued(bank, slot, write_addresses, number, address):
    """True if the write queue holds a write to this very byte address, which maps to bank `number`."""
    if write_addresses[address_hash(address)] == 0:
        return False
    x = bank[number, QUEUE + QUEUE_STRIDE + HEAD]
    while x != NO_SLOT:
        if slot[x, ADDRESS] == address:
            return True
        x = slot[x, NEXT]
    return False


@njit(cache=True)
def first_match(slot, x, row):
    """First request to `row` in the list from `x` on."""
    while x != NO_SLOT and slot[x, TARGET_ROW] != row:
        x = slot[x, NEXT]
    return x


@njit(cache=True)
def first_other(slot, x, row):
    """First request to another row than `row` in the list from `x` on."""
    while x != NO_SLOT and slot[x, TARGET_ROW] == row:
        x = slot[x, NEXT]
    return x


@njit(cache=True)
def enqueue(state, queue, ident, number, row, address, tick):
    """Put a request at the end of queue 0 (reads) or 1 (writes) and return its slot; the caller has checked for room."""
    scalar, bank, slot = state.scalar, state.bank, state.slot
    scalar[NUM_FREE] -= 1
    x = state.free[scalar[NUM_FREE]]
    at = QUEUE + queue * QUEUE_STRIDE
    tail = bank[number, at + TAIL]
    slot[x, ID] = ident
    slot[x, BANK] = number
    slot[x, TARGET_ROW] = row
    slot[x, ADDRESS] = address
    slot[x, ARRIVE] = tick
    slot[x, NEXT] = NO_SLOT
    slot[x, PREVIOUS] = tail
    slot[x, FLAGS] = queue * IS_WRITE
    if tail == NO_SLOT:
        bank[number, at + HEAD] = x
        place = scalar[BUSY_READS + queue]
        state.busy[queue, place] = number
        bank[number, at + PLACE] = place
        scalar[BUSY_READS + queue] = place + 1
    else:
        slot[tail, NEXT] = x
    bank[number, at + TAIL] = x
    if bank[number, ROW] == row:
        if bank[number, at + HIT] == NO_SLOT:
            bank[number, at + HIT] = x
    elif bank[number, at + MISS] == NO_SLOT:
        bank[number, at + MISS] = x
    if queue == 1:
        state.write_addresses[address_hash(address)] += 1
    scalar[NUM_READS + queue] += 1
    return x


@njit(cache=True)
def dequeue(state, queue, x):
    """Take slot `x` out of its queue. The slot itself stays with the caller."""
    scalar, bank, slot = state.scalar, state.bank, state.slot
    number = slot[x, BANK]
    at = QUEUE + queue * QUEUE_STRIDE
    before = slot[x, PREVIOUS]
    after = slot[x, NEXT]
    if before == NO_SLOT:
        bank[number, at + HEAD] = after
    else:
        slot[before, NEXT] = after
    if after == NO_SLOT:
        bank[number, at + TAIL] = before
    else:
        slot[after, PREVIOUS] = before
    if bank[number, at + HIT] == x:
        bank[number, at + HIT] = first_match(slot, after, bank[number, ROW])
    if bank[number, at + MISS] == x:
        bank[number, at + MISS] = first_other(slot, after, bank[number, ROW])
    if bank[number, at + HEAD] == NO_SLOT:
        place = bank[number, at + PLACE]
        last = scalar[BUSY_READS + queue] - 1
        moved = state.busy[queue, last]
        state.busy[queue, place] = moved
        bank[moved, at + PLACE] = place
        scalar[BUSY_READS + queue] = last
    if queue == 1:
        state.write_addresses[address_hash(slot[x, ADDRESS])] -= 1
    scalar[NUM_READS + queue] -= 1


@njit(cache=True)
def release(state, x):
    """Give slot `x` back."""
    state.free[state.scalar[NUM_FREE]] = x
    state.scalar[NUM_FREE] += 1


@njit(cache=True)
def sort_by_row(state, number, row):
    """Find the oldest hit and the oldest other request of both queues after the bank's row has become `row`."""
    bank, slot = state.bank, state.slot
    bank[number, ROW] = row
    for queue in range(2):
        at = QUEUE + queue * QUEUE_STRIDE
        head = bank[number, at + HEAD]
        if row <= CLOSED:
            bank[number, at + HIT] = NO_SLOT
            bank[number, at + MISS] = head
        else:
            bank[number, at + HIT] = first_match(slot, head, row)
            bank[number, at + MISS] = first_other(slot, head, row)
