"""A request's way through the controller: accepted, issued step by step, told that it is done; and the command record."""

from numba import njit

from tiergarten.dram.commands import ACT, ACT2, PRE, PREA, RD, RDA, WR
from tiergarten.dram.kernels.device import add_active, apply
from tiergarten.dram.kernels.layout import (
    ACTIVATE_WINDOW,
    BANK,
    BANKS_PER_SCOPE,
    CAP,
    CLASSIFIED,
    CLOCK_EXPIRY,
    CLOSED,
    COMPATIBLE,
    COUNT_COALESCED,
    COUNT_FORWARDED,
    COUNT_ROW,
    FLAGS,
    ID,
    IS_WRITE,
    LAST_DONE,
    LAST_ISSUE,
    LAST_READ_DONE,
    MAX_ACTIVE,
    MAX_READS,
    NO_SLOT,
    NUM_ACTIVE,
    NUM_ACTIVE_READS,
    NUM_READS,
    NUM_RECORDED,
    NUM_UNISSUED_READS,
    READ_LATENCY,
    ROW,
    SLOTS_KIND,
    SPLIT,
    SPLIT_DEADLINE,
    SPLIT_SLOT,
    SYNC_READ,
    SYNC_WRITE,
    TARGET_ROW,
)
from tiergarten.dram.kernels.maintenance import count_access, forget_accesses
from tiergarten.dram.kernels.queues import dequeue, enqueue, is_write_queued, release

REFUSED = 0
QUEUED = 1
FORWARDED = 2
COALESCED = 3


@njit(cache=True)
def has_room(tables, state, number, address, is_write):
    """True if the controller would accept this request now."""
    queue = 1 if is_write else 0
    if state.scalar[NUM_READS + queue] < tables.parameter[MAX_READS + queue]:
        return True
    return is_write_queued(state.bank, state.slot, state.write_addresses, number, address)


@njit(cache=True)
def accept(tables, state, requests, ident, tick):
    """Take in request `ident` at `tick`, for which `has_room` holds: forward it, coalesce it or queue it."""
    scalar = state.scalar
    number = requests.banks[ident]
    address = requests.addresses[ident]
    is_write = requests.flags[ident] & IS_WRITE
    requests.arrive[ident] = tick
    if is_write_queued(state.bank, state.slot, state.write_addresses, number, address):
        if is_write:
            scalar[COUNT_COALESCED] += 1
            requests.depart[ident] = tick
            requests.done[ident] = tick
            scalar[LAST_DONE] = max(scalar[LAST_DONE], tick)
            return COALESCED
        scalar[COUNT_FORWARDED] += 1
        told_read(tables, state, requests, ident, tick + 1)
        return FORWARDED
    enqueue(state, is_write, ident, number, requests.rows[ident], address, tick)
    if not is_write:
        scalar[NUM_UNISSUED_READS] += 1
    return QUEUED


@njit(cache=True)
def told_read(tables, state, requests, ident, depart):
    """Note when a read's data are complete. The reference tells requesters in order of issue only (a defect)."""
    scalar = state.scalar
    done = depart
    if tables.parameter[COMPATIBLE] and scalar[LAST_READ_DONE] > depart:
        done = scalar[LAST_READ_DONE]
    requests.depart[ident] = depart
    requests.done[ident] = done
    scalar[LAST_READ_DONE] = max(scalar[LAST_READ_DONE], done)
    scalar[LAST_DONE] = max(scalar[LAST_DONE], done)


@njit(cache=True)
def classify(state, x):
    """Count the request's row hit, miss or conflict by the state its first command finds."""
    slot = state.slot
    if slot[x, FLAGS] & CLASSIFIED:
        return
    slot[x, FLAGS] |= CLASSIFIED
    row = state.bank[slot[x, BANK], ROW]
    outcome = 0 if row == slot[x, TARGET_ROW] else (2 if row > CLOSED else 1)
    state.scalar[COUNT_ROW + 3 * (slot[x, FLAGS] & IS_WRITE) + outcome] += 1


@njit(cache=True)
def record_command(state, record, tick, command, ident, target):
    """Append a command to the record."""
    place = state.scalar[NUM_RECORDED]
    state.scalar[LAST_ISSUE] = tick
    if record.ticks.shape[0] > 0:
        record.ticks[place] = tick
        record.commands[place] = command
        record.requests[place] = ident
        record.targets[place] = target
        state.scalar[NUM_RECORDED] = place + 1


@njit(cache=True)
def drop_active(state, place):
    """Remove an entry of the active buffer, keeping the order of the others."""
    for k in range(place, state.scalar[NUM_ACTIVE] - 1):
        state.active[k] = state.active[k + 1]
    state.scalar[NUM_ACTIVE] -= 1


@njit(cache=True)
def append_active(state, x):
    """Put a request whose row is open at the end of the active buffer."""
    scalar = state.scalar
    state.active[scalar[NUM_ACTIVE]] = x
    scalar[NUM_ACTIVE] += 1
    if state.slot[x, FLAGS] & IS_WRITE == 0:
        scalar[NUM_ACTIVE_READS] += 1
    add_active(state, state.slot[x, BANK], 1)


@njit(cache=True)
def issue_access(tables, state, requests, record, x, place, command, tick):
    """Issue a request's RD, WR, RDA or WRA and retire it. `place`: its place in the active buffer, -1 if in a queue."""
    scalar, slot = state.scalar, state.slot
    number = slot[x, BANK]
    ident = slot[x, ID]
    is_write = slot[x, FLAGS] & IS_WRITE
    classify(state, x)
    if place >= 0:
        drop_active(state, place)
        add_active(state, number, -1)
        if not is_write:
            scalar[NUM_ACTIVE_READS] -= 1
    else:
        dequeue(state, is_write, x)
    apply(tables, state, command, number, 0, tick)
    record_command(state, record, tick, command, ident, number)
    if tables.parameter[CAP] > 0:
        if command == RD or command == WR:
            count_access(tables, state, number)
        else:
            forget_accesses(tables, state, number)
    if is_write:
        requests.depart[ident] = tick
        requests.done[ident] = tick
        scalar[LAST_DONE] = max(scalar[LAST_DONE], tick)
    else:
        scalar[NUM_UNISSUED_READS] -= 1
        told_read(tables, state, requests, ident, tick + tables.parameter[READ_LATENCY])
    release(state, x)


@njit(cache=True)
def issue_row_command(tables, state, record, x, place, command, tick):
    """Issue the ACT, ACT2 or PRE that brings a request nearer to its row, and move the request on after an activate."""
    scalar, slot = state.scalar, state.slot
    number = slot[x, BANK]
    classify(state, x)
    moves = command == ACT and (place >= 0 or scalar[NUM_ACTIVE] < tables.parameter[MAX_ACTIVE])
    if moves:
        if place >= 0:
            drop_active(state, place)
            if slot[x, FLAGS] & IS_WRITE == 0:
                scalar[NUM_ACTIVE_READS] -= 1
        else:
            dequeue(state, slot[x, FLAGS] & IS_WRITE, x)
    apply(tables, state, command, number, slot[x, TARGET_ROW], tick)
    record_command(state, record, tick, command, slot[x, ID], number)
    if command == PRE:
        forget_accesses(tables, state, number)
    elif command == ACT2:
        scalar[SPLIT_SLOT] = NO_SLOT
        append_active(state, x)
    elif moves:
        if tables.parameter[SLOTS_KIND] == SPLIT:
            scalar[SPLIT_SLOT] = x
            scalar[SPLIT_DEADLINE] = tick + tables.parameter[ACTIVATE_WINDOW]
        else:
            append_active(state, x)


@njit(cache=True)
def issue_maintenance(tables, state, record, command, target, tick):
    """Issue a command of the priority queue's head: a refresh, or the precharge it needs first."""
    apply(tables, state, command, target, 0, tick)
    record_command(state, record, tick, command, -1, target)
    if command == PRE:
        forget_accesses(tables, state, target)
    elif command == PREA:
        per_scope = tables.parameter[BANKS_PER_SCOPE]
        for number in range(target * per_scope, (target + 1) * per_scope):
            forget_accesses(tables, state, number)


@njit(cache=True)
def extend_clock(tables, state, command, tick):
    """Keep WCK synchronised to the end of this access."""
    span = tables.parameter[SYNC_READ if command == RD or command == RDA else SYNC_WRITE]
    state.scalar[CLOCK_EXPIRY] = max(state.scalar[CLOCK_EXPIRY], tick + span)
