"""Read and write queues as one linked list per bank, with the oldest row hit and the oldest other request at hand."""

from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.layout import (
    ACTIVATE,
    ACTIVATING,
    ACTIVE_DIRTY,
    ADDRESS,
    ADDRESS_COUNTERS,
    ARRIVE,
    BANK,
    BANK_LISTS,
    CLOSED,
    COLUMN,
    FLAGS,
    FREE_SLOT,
    HEAD,
    HIT,
    HIT_PLACE,
    ID,
    IS_WRITE,
    KIND_DIRTY,
    LIST_LENGTH,
    MISS,
    MISS_KIND,
    MISS_PLACE,
    MOST_TOUCHED,
    NEXT,
    NO_KIND,
    NONE,
    NUM_BANKS,
    NUM_KINDS,
    NUM_READS,
    NUM_TOUCHED,
    PRECHARGE,
    PREVIOUS,
    QUEUE,
    QUEUE_FIELDS,
    REPORT,
    ROW,
    TAIL,
    TARGET_ROW,
    TOUCHED,
    WRITE_ADDRESSES,
)


@inlined
def address_counter(m, address):
    """Offset of the counter of queued writes whose byte address hashes like this one."""
    return m[WRITE_ADDRESSES] + (((address >> 5) ^ (address >> 15) ^ (address >> 25)) & (ADDRESS_COUNTERS - 1))


@inlined
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


@inlined
def first_match(m, slot, row):
    """First request to `row` in the list from `slot` on."""
    while slot != NONE and m[slot + TARGET_ROW] != row:
        slot = m[slot + NEXT]
    return slot


@inlined
def first_other(m, slot, row):
    """First request to another row than `row` in the list from `slot` on."""
    while slot != NONE and m[slot + TARGET_ROW] == row:
        slot = m[slot + NEXT]
    return slot


@inlined
def enlist(m, number, bank, field):
    """Append `bank` to list `number` and note its index in the bank's `field`."""
    place = m[LIST_LENGTH + number]
    m[m[BANK_LISTS] + number * m[NUM_BANKS] + place] = bank
    m[bank + field] = place
    m[LIST_LENGTH + number] = place + 1


@inlined
def delist(m, number, bank, field):
    """Remove `bank` from list `number`; the last entry takes its place."""
    place = m[bank + field]
    last = m[LIST_LENGTH + number] - 1
    entries = m[BANK_LISTS] + number * m[NUM_BANKS]
    moved = m[entries + last]
    m[entries + place] = moved
    m[moved + field] = place
    m[bank + field] = NONE
    m[LIST_LENGTH + number] = last


@inlined
def sort_bank(m, queue, bank):
    """Put a bank into the lists it belongs in after its row, oldest hit or oldest other request has changed."""
    part = bank + QUEUE + queue * QUEUE_FIELDS
    field = QUEUE + queue * QUEUE_FIELDS
    lists = queue * NUM_KINDS
    if (m[part + HIT] != NONE) != (m[part + HIT_PLACE] != NONE):
        if m[part + HIT] != NONE:
            enlist(m, lists + COLUMN, bank, field + HIT_PLACE)
        else:
            delist(m, lists + COLUMN, bank, field + HIT_PLACE)
    row = m[bank + ROW]
    kind = NO_KIND
    if m[part + MISS] != NONE and row != ACTIVATING:
        kind = ACTIVATE if row == CLOSED else PRECHARGE
    before = m[part + MISS_KIND]
    if kind != before:
        if before != NO_KIND:
            delist(m, lists + before, bank, field + MISS_PLACE)
        if kind != NO_KIND:
            enlist(m, lists + kind, bank, field + MISS_PLACE)
        m[part + MISS_KIND] = kind


@inlined
def touch(m, bank):
    """Note that the champions have to be compared anew with what `bank` offers."""
    count = m[NUM_TOUCHED]
    for place in range(TOUCHED, TOUCHED + count):
        if m[place] == bank:
            return
    if count == MOST_TOUCHED:
        forget_champions(m)
    else:
        m[TOUCHED + count] = bank
        m[NUM_TOUCHED] = count + 1


@kernel
def forget_champions(m):
    """Note that all champions have to be found anew."""
    for kind in range(NUM_KINDS):
        m[KIND_DIRTY + kind] = 1
    m[NUM_TOUCHED] = 0
    m[ACTIVE_DIRTY] = 1


@inlined
def enqueue(m, queue, ident, bank, row, address, tick, report):
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
    m[slot + REPORT] = report
    if tail == NONE:
        m[part + HEAD] = slot
    else:
        m[tail + NEXT] = slot
    m[part + TAIL] = slot
    field = HIT if m[bank + ROW] == row else MISS
    if m[part + field] == NONE:
        m[part + field] = slot
        sort_bank(m, queue, bank)
        touch(m, bank)
    if queue == 1:
        m[address_counter(m, address)] += 1
    m[NUM_READS + queue] += 1


@inlined
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
    sort_bank(m, queue, bank)
    if queue == 1:
        m[address_counter(m, m[slot + ADDRESS])] -= 1
    m[NUM_READS + queue] -= 1


@inlined
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
        if head != NONE:
            if row <= CLOSED:
                m[part + HIT] = NONE
                m[part + MISS] = head
            else:
                m[part + HIT] = first_match(m, head, row)
                m[part + MISS] = first_other(m, head, row)
            sort_bank(m, queue, bank)
