"""A channel from tick to tick, skipping those at which nothing can change.

A tick is visited when a request can be accepted, a refresh or a policy precharge is due, or a command can issue; the
choice of the next command is made once after each issue and kept until something changes it.
"""

from numba import njit

from tiergarten.dram.commands import ACT, PRE, RD, WR
from tiergarten.dram.kernels.choose import (
    best_of_active,
    best_of_queue,
    first_row_tick,
    head_of_priority,
    update_write_mode,
)
from tiergarten.dram.kernels.layout import (
    ABANDONED,
    BANK,
    CLOCK,
    COLUMN_AT,
    COLUMN_COMMAND,
    COLUMN_PLACE,
    COLUMN_SLOT,
    COUNT_MAINTENANCE_SERVED,
    COUNT_STALLS,
    DEADLOCK,
    DIRTY,
    IS_WRITE,
    ISSUE_AT,
    LAST_ACCEPT,
    LAST_DONE,
    LAST_ISSUE,
    LAST_READ_DONE,
    LIVENESS,
    NEVER,
    NEXT_REQUEST,
    NO_SLOT,
    NUM_ACTIVE,
    NUM_CAPPED,
    NUM_PRIORITY,
    NUM_READS,
    NUM_RECORDED,
    NUM_UNISSUED_READS,
    NUM_WRITES,
    PRIORITY_HEAD,
    REACHED,
    RECORD_FULL,
    REFRESH_DUE,
    ROW_AT,
    ROW_COMMAND,
    ROW_SLOT,
    SPLIT_SLOT,
    SUM_PRIORITY,
    SUM_READS,
    SUM_WRITES,
    WRITE_MODE,
)
from tiergarten.dram.kernels.maintenance import (
    inject_precharges,
    injection_due,
    pop_priority,
    refresh,
    with_precharge,
)
from tiergarten.dram.kernels.requests import (
    accept,
    has_room,
    issue_access,
    issue_maintenance,
    issue_row_command,
)


@njit(cache=True)
def offer_tick(tables, state, requests):
    """Clock at which the next request of the trace is first offered; NEVER while it waits for reads not yet issued."""
    scalar = state.scalar
    ident = scalar[NEXT_REQUEST]
    if ident >= requests.ticks.shape[0]:
        return NEVER
    tick = max(requests.ticks[ident], scalar[LAST_ACCEPT] + 1)
    if requests.flags[ident] & 2:
        if scalar[NUM_UNISSUED_READS] > 0:
            return NEVER
        tick = max(tick, scalar[LAST_READ_DONE])
    return tick


@njit(cache=True)
def accept_tick(tables, state, requests):
    """Clock at which the next request is accepted if nothing issues before; NEVER if it must wait for a slot."""
    tick = offer_tick(tables, state, requests)
    if tick == NEVER:
        return NEVER
    ident = state.scalar[NEXT_REQUEST]
    if not has_room(tables, state, requests.banks[ident], requests.addresses[ident], requests.flags[ident] & IS_WRITE):
        return NEVER
    return max(tick, state.scalar[CLOCK])


@njit(cache=True)
def pass_idle(tables, state, ticks):
    """Let `ticks` ticks go by in which nothing changes but the sums of queue lengths.

    Write mode needs no evaluation: it was evaluated with these lengths when the choice was made.
    """
    scalar = state.scalar
    if ticks <= 0:
        return
    scalar[SUM_READS] += ticks * scalar[NUM_READS]
    scalar[SUM_WRITES] += ticks * scalar[NUM_WRITES]
    scalar[SUM_PRIORITY] += ticks * scalar[NUM_PRIORITY]
    scalar[CLOCK] += ticks


@njit(cache=True)
def choose_from_queues(tables, state, column_from, row_from):
    """Cache the champions of the read or the write queue, after the evaluation of write mode."""
    scalar = state.scalar
    update_write_mode(tables, state)
    column_at, column_slot, row_at, row_slot, row_command = best_of_queue(
        tables, state, scalar[WRITE_MODE], column_from, row_from
    )
    scalar[COLUMN_AT] = column_at
    scalar[COLUMN_SLOT] = column_slot
    scalar[COLUMN_PLACE] = -1
    scalar[COLUMN_COMMAND] = WR if scalar[WRITE_MODE] else RD
    scalar[ROW_AT] = row_at
    scalar[ROW_SLOT] = row_slot
    scalar[ROW_COMMAND] = row_command


@njit(cache=True)
def choose_active(state, at, place, command):
    """Cache a request of the active buffer as the column champion."""
    scalar = state.scalar
    scalar[COLUMN_AT] = at
    scalar[COLUMN_PLACE] = place
    scalar[COLUMN_SLOT] = state.active[place] if place >= 0 else NO_SLOT
    scalar[COLUMN_COMMAND] = command


@njit(cache=True)
def choose_head(tables, state, row_from):
    """Cache the next step of the priority queue's head as the row champion."""
    scalar = state.scalar
    at, command, target = head_of_priority(tables, state, row_from)
    scalar[ROW_AT] = at
    scalar[ROW_SLOT] = NO_SLOT
    scalar[ROW_COMMAND] = command


@njit(cache=True)
def issue_head(tables, state, record, tick):
    """Issue the row champion, which is a step of the priority queue's head."""
    scalar = state.scalar
    command = scalar[ROW_COMMAND]
    final = state.priority[scalar[PRIORITY_HEAD], 0]
    target = state.priority[scalar[PRIORITY_HEAD], 1]
    if command == final:
        pop_priority(state)
        scalar[COUNT_MAINTENANCE_SERVED] += 1
    issue_maintenance(tables, state, record, command, target, tick)


@njit(cache=True)
def issue_column(tables, state, requests, record, tick):
    """Issue the column champion, with auto-precharge where the row policy wants it."""
    scalar = state.scalar
    place = scalar[COLUMN_PLACE]
    x = scalar[COLUMN_SLOT]
    command = with_precharge(tables, state, scalar[COLUMN_COMMAND], state.slot[x, BANK], 1 if place >= 0 else 0)
    issue_access(tables, state, requests, record, x, place, command, tick)


@njit(cache=True)
def visit_single(tables, state, requests, record, tick):
    """One command a tick: active buffer, else priority queue, else read or write queue (GenericDDR)."""
    scalar = state.scalar
    if scalar[DIRTY]:
        start = first_row_tick(tables, state, tick)
        active_at, place, command = best_of_active(tables, state, start, False)
        if scalar[NUM_PRIORITY] > 0:
            choose_head(tables, state, start)
            choose_active(state, active_at, place, command)
        elif active_at > tick:
            choose_from_queues(tables, state, start, start)
            if active_at <= scalar[COLUMN_AT]:
                choose_active(state, active_at, place, command)
        else:
            choose_active(state, active_at, place, command)
            scalar[ROW_AT] = NEVER
        scalar[DIRTY] = 0
    if scalar[COLUMN_AT] != tick and scalar[ROW_AT] != tick:
        scalar[ISSUE_AT] = min(scalar[COLUMN_AT], scalar[ROW_AT])
        return
    is_row = scalar[ROW_AT] == tick
    if is_row and scalar[COLUMN_AT] == tick:
        is_row = scalar[COLUMN_PLACE] < 0 and state.slot[scalar[ROW_SLOT], 0] < state.slot[scalar[COLUMN_SLOT], 0]
    if is_row:
        if scalar[ROW_SLOT] == NO_SLOT:
            issue_head(tables, state, record, tick)
        else:
            issue_row_command(tables, state, record, scalar[ROW_SLOT], -1, scalar[ROW_COMMAND], tick)
    elif scalar[COLUMN_COMMAND] == ACT or scalar[COLUMN_COMMAND] == PRE:
        issue_row_command(
            tables, state, record, scalar[COLUMN_SLOT], scalar[COLUMN_PLACE], scalar[COLUMN_COMMAND], tick
        )
    else:
        issue_column(tables, state, requests, record, tick)
    scalar[DIRTY] = 1
    scalar[ISSUE_AT] = tick + 1


@njit(cache=True)
def run(tables, state, requests, record, until, stop_when_done):
    """Advance the channel to tick `until`, or to the end of the requests if that comes first and is asked for.

    Returns REACHED, RECORD_FULL (call again with an empty record), DEADLOCK or ABANDONED.
    """
    scalar, parameter = state.scalar, tables.parameter
    limit = until
    while True:
        waiting = scalar[NUM_READS] + scalar[NUM_WRITES] + scalar[NUM_ACTIVE] > 0 or scalar[SPLIT_SLOT] != NO_SLOT
        if stop_when_done and not waiting and scalar[NEXT_REQUEST] >= requests.ticks.shape[0]:
            limit = min(limit, max(scalar[LAST_DONE], scalar[LAST_ACCEPT]))
        accept_at = accept_tick(tables, state, requests)
        tick = min(accept_at + 1, scalar[REFRESH_DUE], scalar[ISSUE_AT])
        if scalar[NUM_CAPPED] > 0:
            tick = min(tick, injection_due(tables, state, scalar[CLOCK] + 1))
        if tick > limit:
            if tick >= NEVER and (waiting or scalar[NEXT_REQUEST] < requests.ticks.shape[0]) and limit >= NEVER:
                return DEADLOCK
            pass_idle(tables, state, limit - scalar[CLOCK])
            return REACHED
        if waiting and tick - max(scalar[LAST_ISSUE], scalar[LAST_ACCEPT]) > parameter[LIVENESS]:
            return DEADLOCK
        if record.ticks.shape[0] > 0 and scalar[NUM_RECORDED] + 2 > record.ticks.shape[0]:
            return RECORD_FULL
        pass_idle(tables, state, tick - 1 - scalar[CLOCK])
        if accept_at == tick - 1:
            scalar[COUNT_STALLS] += accept_at - offer_tick(tables, state, requests)
            accept(tables, state, requests, scalar[NEXT_REQUEST], accept_at)
            scalar[NEXT_REQUEST] += 1
            scalar[LAST_ACCEPT] = accept_at
            scalar[DIRTY] = 1
        scalar[SUM_READS] += scalar[NUM_READS]
        scalar[SUM_WRITES] += scalar[NUM_WRITES]
        scalar[SUM_PRIORITY] += scalar[NUM_PRIORITY]
        if scalar[REFRESH_DUE] == tick:
            scalar[DIRTY] = 1
            if not refresh(tables, state, tick):
                return ABANDONED
        if scalar[NUM_CAPPED] > 0:
            before = scalar[NUM_PRIORITY]
            if not inject_precharges(tables, state, tick):
                return ABANDONED
            if scalar[NUM_PRIORITY] != before:
                scalar[DIRTY] = 1
        visit_single(tables, state, requests, record, tick)
        scalar[CLOCK] = tick
