"""A request's way through the controller: accepted, issued step by step, told that it is done; and the command record."""

from tiergarten.dram.commands import ACT, ACT2, PRE, PREA, RD, WR
from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.device import access_ready, add_active, apply, is_wide
from tiergarten.dram.kernels.layout import (
    ACCEPT_AT,
    ACTIVATE_WINDOW,
    ACTIVE_AT,
    ACTIVE_COMMAND,
    ACTIVE_DIRTY,
    ACTIVE_LIST,
    ACTIVE_PLACE,
    ARRIVE,
    ARRIVE_TICK,
    BANK,
    BANK_FIELDS,
    BANKS,
    BANKS_PER_SCOPE,
    CAP,
    CLASSIFIED,
    CLOSED,
    COMPATIBLE,
    COUNT_COALESCED,
    COUNT_FORWARDED,
    COUNT_ROW,
    COUNT_WRITES,
    DEPART_TICK,
    DONE_TICK,
    FIRST_BANK,
    FIRST_REQUEST,
    FLAGS,
    HALF_CLOCK,
    ID,
    IS_WRITE,
    KIND,
    LAST_ACCESS,
    LAST_DONE,
    LAST_READ_DONE,
    MAX_ACTIVE,
    MAX_READS,
    NONE,
    NUM_ACTIVE,
    NUM_ACTIVE_READS,
    NUM_READS,
    NUM_RECORDED,
    NUM_UNISSUED_READS,
    NUMBER,
    RCK_MODE,
    RCK_WITH_START,
    READ_LATENCY,
    RECORD_COMMAND,
    RECORD_REQUEST,
    RECORD_TARGET,
    RECORD_TICK,
    REPORT,
    REQUEST_ADDRESS,
    REQUEST_BANK,
    REQUEST_FLAGS,
    REQUEST_REPORT,
    REQUEST_ROW,
    ROW,
    SCOPE_FIELDS,
    SCOPES,
    SPLIT,
    SPLIT_DEADLINE,
    SPLIT_SLOT,
    SUM_READ_LATENCY,
    SYNC_EXPIRY,
    SYNC_READ,
    SYNC_WRITE,
    TARGET_ROW,
)
from tiergarten.dram.kernels.maintenance import count_access, forget_accesses
from tiergarten.dram.kernels.queues import dequeue, enqueue, forget_champions, is_write_queued, release


@inlined
def has_room(m, bank, address, queue):
    """True if the controller would accept this request now: queue 0 is reads, 1 writes."""
    return m[NUM_READS + queue] < m[MAX_READS + queue] or is_write_queued(m, bank, address)


@inlined
def accept(m, requests, outcomes, row, tick):
    """Take in the request in `row` of the table at `tick`, for which `has_room` holds: forward, coalesce or queue it."""
    bank = m[BANKS] + requests[row, REQUEST_BANK] * BANK_FIELDS
    address = requests[row, REQUEST_ADDRESS]
    queue = requests[row, REQUEST_FLAGS] & IS_WRITE
    report = requests[row, REQUEST_REPORT]
    if outcomes.shape[0] > 0:
        outcomes[report, ARRIVE_TICK] = tick
    m[COUNT_WRITES] += queue
    if is_write_queued(m, bank, address):
        if queue == 1:
            m[COUNT_COALESCED] += 1
            tell_write(m, outcomes, report, tick)
        else:
            m[COUNT_FORWARDED] += 1
            tell_read(m, outcomes, report, tick, tick + 1)
        return
    enqueue(m, queue, m[FIRST_REQUEST] + row, bank, requests[row, REQUEST_ROW], address, tick, report)
    if queue == 0:
        m[NUM_UNISSUED_READS] += 1


@inlined
def tell_read(m, outcomes, report, arrive, depart):
    """Note when a read's data are complete. The reference tells requesters in order of issue only (a defect)."""
    done = max(depart, m[LAST_READ_DONE]) if m[COMPATIBLE] else depart
    note_outcome(outcomes, report, depart, done)
    m[SUM_READ_LATENCY] += depart - arrive
    m[LAST_READ_DONE] = max(m[LAST_READ_DONE], done)
    m[LAST_DONE] = max(m[LAST_DONE], done)


@inlined
def tell_write(m, outcomes, report, tick):
    """Note that a write is done."""
    note_outcome(outcomes, report, tick, tick)
    m[LAST_DONE] = max(m[LAST_DONE], tick)


@inlined
def note_outcome(outcomes, report, depart, done):
    """Enter a request's ticks into the outcome table, if there is one."""
    if outcomes.shape[0] > 0:
        outcomes[report, DEPART_TICK] = max(outcomes[report, DEPART_TICK], depart)
        outcomes[report, DONE_TICK] = max(outcomes[report, DONE_TICK], done)


@inlined
def classify(m, slot):
    """Count the request's row hit, miss or conflict by the state its first command finds."""
    if m[slot + FLAGS] & CLASSIFIED == 0:
        row = m[m[slot + BANK] + ROW]
        outcome = 0 if row == m[slot + TARGET_ROW] else (2 if row > CLOSED else 1)
        m[COUNT_ROW + 3 * (m[slot + FLAGS] & IS_WRITE) + outcome] += 1
        m[slot + FLAGS] |= CLASSIFIED


@inlined
def record_command(m, record, tick, command, ident, target):
    """Append a command to the record, if there is one."""
    m[ACCEPT_AT] = NONE
    if record.shape[0] > 0:
        place = m[NUM_RECORDED]
        record[place, RECORD_TICK] = tick
        record[place, RECORD_COMMAND] = command
        record[place, RECORD_REQUEST] = ident
        if is_wide(command):
            record[place, RECORD_TARGET] = (target - m[SCOPES]) // SCOPE_FIELDS
        else:
            record[place, RECORD_TARGET] = m[target + NUMBER]
        m[NUM_RECORDED] = place + 1


@inlined
def drop_active(m, place):
    """Remove an entry of the active buffer, keeping the order of the others."""
    slot = m[m[ACTIVE_LIST] + place]
    m[NUM_ACTIVE] -= 1
    for k in range(m[ACTIVE_LIST] + place, m[ACTIVE_LIST] + m[NUM_ACTIVE]):
        m[k] = m[k + 1]
    if m[slot + FLAGS] & IS_WRITE == 0:
        m[NUM_ACTIVE_READS] -= 1
    m[ACTIVE_DIRTY] = 1
    if m[COMPATIBLE]:
        forget_champions(m)


@inlined
def append_active(m, slot):
    """Put a request whose row is open at the end of the active buffer, and compare it with the buffer's champion."""
    place = m[NUM_ACTIVE]
    m[m[ACTIVE_LIST] + place] = slot
    m[NUM_ACTIVE] = place + 1
    is_write = m[slot + FLAGS] & IS_WRITE
    if not is_write:
        m[NUM_ACTIVE_READS] += 1
    if m[COMPATIBLE]:
        forget_champions(m)
    elif m[RCK_MODE] == RCK_WITH_START:
        m[ACTIVE_DIRTY] = 1
    elif m[ACTIVE_DIRTY] == 0:
        tick = access_ready(m, WR if is_write else RD, m[slot + BANK]) | m[HALF_CLOCK]
        champion = m[m[ACTIVE_LIST] + m[ACTIVE_PLACE]]
        if tick < m[ACTIVE_AT] or (tick == m[ACTIVE_AT] and m[slot + ARRIVE] < m[champion + ARRIVE]):
            m[ACTIVE_AT] = tick
            m[ACTIVE_PLACE] = place
            m[ACTIVE_COMMAND] = WR if is_write else RD
    add_active(m, m[slot + BANK], 1)


@kernel
def issue_access(m, outcomes, record, slot, place, command, tick):
    """Issue a request's RD, WR, RDA or WRA and retire it. `place`: its place in the active buffer, NONE if in a queue."""
    bank = m[slot + BANK]
    ident = m[slot + ID]
    is_write = m[slot + FLAGS] & IS_WRITE
    classify(m, slot)
    if place == NONE:
        dequeue(m, is_write, slot)
    else:
        drop_active(m, place)
        add_active(m, bank, -1)
    m[LAST_ACCESS] = tick
    apply(m, command, bank, 0, tick)
    record_command(m, record, tick, command, ident, bank)
    if m[CAP] > 0:
        if command == RD or command == WR:
            count_access(m, bank)
        else:
            forget_accesses(m, bank)
    if is_write:
        tell_write(m, outcomes, m[slot + REPORT], tick)
    else:
        m[NUM_UNISSUED_READS] -= 1
        tell_read(m, outcomes, m[slot + REPORT], m[slot + ARRIVE], tick + m[READ_LATENCY])
    release(m, slot)


@kernel
def issue_row_command(m, record, slot, place, command, tick):
    """Issue the ACT or PRE that brings a request nearer to its row, and move the request on after an activate."""
    bank = m[slot + BANK]
    classify(m, slot)
    moves = command == ACT and (place != NONE or m[NUM_ACTIVE] < m[MAX_ACTIVE])
    if moves:
        if place == NONE:
            dequeue(m, m[slot + FLAGS] & IS_WRITE, slot)
        else:
            drop_active(m, place)
    apply(m, command, bank, m[slot + TARGET_ROW], tick)
    record_command(m, record, tick, command, m[slot + ID], bank)
    if command == PRE:
        forget_accesses(m, bank)
    elif moves:
        if m[KIND] == SPLIT:
            m[SPLIT_SLOT] = slot
            m[SPLIT_DEADLINE] = tick + m[ACTIVATE_WINDOW]
        else:
            append_active(m, slot)


@kernel
def issue_second_half(m, record, tick):
    """Issue the ACT2 of the split activate under way."""
    slot = m[SPLIT_SLOT]
    apply(m, ACT2, m[slot + BANK], m[slot + TARGET_ROW], tick)
    record_command(m, record, tick, ACT2, m[slot + ID], m[slot + BANK])
    m[SPLIT_SLOT] = NONE
    append_active(m, slot)


@kernel
def issue_maintenance(m, record, command, target, tick):
    """Issue a refresh, or the precharge that it or the row policy needs."""
    apply(m, command, target, 0, tick)
    record_command(m, record, tick, command, NONE, target)
    if command == PRE:
        forget_accesses(m, target)
    elif command == PREA:
        first = m[target + FIRST_BANK]
        for bank in range(first, first + m[BANKS_PER_SCOPE] * BANK_FIELDS, BANK_FIELDS):
            forget_accesses(m, bank)


@inlined
def extend_sync(m, command, tick):
    """Keep WCK synchronised to the end of this access."""
    span = m[SYNC_READ] if command == RD else m[SYNC_WRITE]
    m[SYNC_EXPIRY] = max(m[SYNC_EXPIRY], tick + span)
