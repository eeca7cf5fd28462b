"""Read and write queues as one linked list per bank, with the oldest row hit and the oldest other request at hand."""

from tiergarten.dram.kernels.compiled import kernel
from tiergarten.dram.kernels.layout import (
    ADDRESS,
    ADDRESS_COUNTERS,
    ARRIVE,
    BANK,
    BUSY_LIST,
    BUSY_READS,
    CLOSED,
    FLAGS,
    FREE_SLOT,
    HEAD,
    HIT,
    ID,
    IS_WRITE,
    MISS,
    NEXT,
    NONE,
    NUM_BANKS,
    NUM_READS,
    PLACE,
    PREVIOUS,
    QUEUE,
    QUEUE_FIELDS,
    ROW,
    TAIL,
    TARGET_ROW,
    WRITE_ADDRESSES,
)


@kernel
def address_counter(m, address):
    """Offset of the counter of queued writes whose byte address hashes like this one."""
    return m[WRITE_ADDRESSES] + (((address >> 5) ^ (address >> 15) ^ (address >> 25)) & (ADDRESS_COUNTERS - 1))


@kernel
def is_write_queued(m, bank, address):
    """True if the write queue holds a write to this very byte address, which maps to `bank`."""
    if m[address_counter(m, address)] == 0:
        return False
    slot = m[bank + QUEUE + QUEUE_FIELDS + HEAD]
    while slot != NONE:
        if m[slot + ADDRESS] == address:
            return True
        slot = m[slot + NEXT]
    return False


@kernel
def first_match(m, slot, row):
    """First request to `row` in the list from `slot` on."""
    while slot != NONE and m[slot + TARGET_ROW] != row:
        slot = m[slot + NEXT]
    return slot


@kernel
def first_other(m, slot, row):
    """First request to another row than `row` in the list from `slot` on."""
    while slot != NONE and m[slot + TARGET_ROW] == row:
        slot = m[slot + NEXT]
    return slot


@kernel
def enqueue(m, queue, ident, bank, row, address, tick):
    """Put a request at the end of queue 0 (reads) or 1 (writes); the caller has checked that there is room."""
    slot = m[FREE_SLOT]
    m[FREE_SLOT] = m[slot + NEXT]
    part = bank + QUEUE + queue * QUEUE_FIELDS
    tail = m[part + TAIL]
    m[slot + ID] = ident
    m[slot + BANK] = bank
    m[slot + TARGET_ROW] = row
    m[slot + ADDRESS] = address
    m[slot + ARRIVE] = tick
    m[slot + NEXT] = NONE
    m[slot + PREVIOUS] = tail
    m[slot + FLAGS] = queue * IS_WRITE
    if tail == NONE:
        m[part + HEAD] = slot
        place = m[BUSY_READS + queue]
        m[m[BUSY_LIST] + queue * m[NUM_BANKS] + place] = bank
        m[part + PLACE] = place
        m[BUSY_READS + queue] = place + 1
    else:
        m[tail + NEXT] = slot
    m[part + TAIL] = slot
    if m[bank + ROW] == row:
        if m[part + HIT] == NONE:
            m[part + HIT] = slot
    elif m[part + MISS] == NONE:
        m[part + MISS] = slot
    if queue == 1:
        m[address_counter(m, address)] += 1
    m[NUM_READS + queue] += 1


@kernel
def dequeue(m, queue, slot):
    """Take a slot out of its queue. The slot itself stays with the caller."""
    bank = m[slot + BANK]
    part = bank + QUEUE + queue * QUEUE_FIELDS
    before = m[slot + PREVIOUS]
    after = m[slot + NEXT]
    if before == NONE:
        m[part + HEAD] = after
    else:
        m[before + NEXT] = after
    if after == NONE:
        m[part + TAIL] = before
    else:
        m[after + PREVIOUS] = before
    if m[part + HIT] == slot:
        m[part + HIT] = first_match(m, after, m[bank + ROW])
    if m[part + MISS] == slot:
        m[part + MISS] = first_other(m, after, m[bank + ROW])
    if m[part + HEAD] == NONE:
        place = m[part + PLACE]
        last = m[BUSY_READS + queue] - 1
        busy = m[BUSY_LIST] + queue * m[NUM_BANKS]
        moved = m[busy + last]
        m[busy + place] = moved
        m[moved + QUEUE + queue * QUEUE_FIELDS + PLACE] = place
        m[BUSY_READS + queue] = last
    if queue == 1:
        m[address_counter(m, m[slot + ADDRESS])] -= 1
    m[NUM_READS + queue] -= 1


@kernel
def release(m, slot):
    """Give a slot back."""
    m[slot + NEXT] = m[FREE_SLOT]
    m[FREE_SLOT] = slot


@kernel
def sort_by_row(m, bank, row):
    """Find the oldest hit and the oldest other request of both queues after the bank's row has become `row`."""
    m[bank + ROW] = row
    for queue in range(2):
        part = bank + QUEUE + queue * QUEUE_FIELDS
        head = m[part + HEAD]
        if row <= CLOSED:
            m[part + HIT] = NONE
            m[part + MISS] = head
        else:
            m[part + HIT] = first_match(m, head, row)
            m[part + MISS] = first_other(m, head, row)
