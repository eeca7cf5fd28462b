"""A channel from tick to tick, skipping those at which nothing can change.

A tick is visited when a request can be accepted, a refresh or a policy precharge is due, or a command can issue. The
choice of the next command is made once after each change and kept until the next. Ticks that are skipped would leave
everything as it is but the sums of queue lengths: write mode has been evaluated with the same lengths before.
"""

from tiergarten.dram.commands import ACT, ACT2, CAS_RD, CAS_WR, PRE, RCKSTOP, RCKSTRT, RD, REFSB, WR
from tiergarten.dram.kernels.choose import (
    best_of_active,
    head_of_priority,
    reads_blocked,
    update_champions,
    update_write_mode,
)
from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.device import apply, bank_ready, is_wide, open_same_bank, ready_tick
from tiergarten.dram.kernels.layout import (
    ACCEPT_AT,
    ACTIVATE,
    ACTIVE_DIRTY,
    ACTIVE_LIST,
    BANK,
    BANK_FIELDS,
    BANKS,
    CAS_GUARD,
    CAS_PLACE,
    CAS_SLOT,
    CLOCK,
    COLUMN,
    COLUMN_AT,
    COLUMN_BUS,
    COLUMN_COMMAND,
    COLUMN_PLACE,
    COLUMN_SLOT,
    COUNT_MAINTENANCE_SERVED,
    COUNT_STALLS,
    DEADLOCK,
    DIRTY,
    DUAL,
    FINAL,
    HALF_CLOCK,
    ID,
    IS_WRITE,
    ISSUE_AT,
    KIND,
    KIND_AT,
    KIND_DIRTY,
    KIND_SLOT,
    LAST_ACCEPT,
    LAST_ACCESS,
    LAST_DONE,
    LAST_READ_DONE,
    LIVENESS,
    MORE_REQUESTS,
    NEEDS_SYNC,
    NEVER,
    NEXT_REQUEST,
    NONE,
    NUM_ACTIVE,
    NUM_ACTIVE_READS,
    NUM_CAPPED,
    NUM_PRIORITY,
    NUM_READS,
    NUM_RECORDED,
    NUM_UNISSUED_READS,
    NUM_WRITES,
    OVERFLOW,
    PAIR_BANK,
    PAIR_EDGE,
    PAIR_SCOPE,
    PRECHARGE,
    PRIORITY_FIELDS,
    PRIORITY_HEAD,
    PRIORITY_RING,
    RCK_ALWAYS,
    RCK_IDLE,
    RCK_LAST_READ,
    RCK_MODE,
    RCK_RUNNING,
    RCK_WITH_READ,
    RCK_WITH_START,
    REACHED,
    RECORD_FULL,
    REFRESH_DUE,
    REQUEST_ADDRESS,
    REQUEST_BANK,
    REQUEST_FLAGS,
    REQUEST_TICK,
    ROW_AT,
    ROW_BUS,
    ROW_COMMAND,
    ROW_SLOT,
    RUNNING,
    SCOPE,
    SCOPES,
    SINGLE,
    SPLIT,
    SPLIT_AT,
    SPLIT_DEADLINE,
    SPLIT_SLOT,
    SUM_PRIORITY,
    SUM_READS,
    SUM_WRITES,
    SYNC_EXPIRY,
    TABLE_DONE,
    TARGET,
    WAITS,
    WRITE_MODE,
)
from tiergarten.dram.kernels.maintenance import inject_precharges, injection_due, pop_priority, refresh, with_precharge
from tiergarten.dram.kernels.plain import plain
from tiergarten.dram.kernels.requests import (
    accept,
    extend_sync,
    has_room,
    issue_access,
    issue_maintenance,
    issue_row_command,
    issue_second_half,
    record_command,
)


@inlined
def offer_tick(m, requests):
    """Clock at which the next request of the table is first offered; NEVER while it waits for reads not yet issued."""
    ident = m[NEXT_REQUEST]
    if ident >= requests.shape[0]:
        return NEVER
    tick = max(requests[ident, REQUEST_TICK], m[LAST_ACCEPT] + 1)
    if requests[ident, REQUEST_FLAGS] & WAITS:
        if m[NUM_UNISSUED_READS] > 0:
            return NEVER
        tick = max(tick, m[LAST_READ_DONE])
    return tick


@inlined
def accept_tick(m, requests):
    """Clock at which the next request is accepted if nothing issues before; NEVER if it must wait for room."""
    tick = offer_tick(m, requests)
    if tick >= NEVER:
        return NEVER
    ident = m[NEXT_REQUEST]
    bank = m[BANKS] + requests[ident, REQUEST_BANK] * BANK_FIELDS
    if not has_room(m, bank, requests[ident, REQUEST_ADDRESS], requests[ident, REQUEST_FLAGS] & IS_WRITE):
        return NEVER
    return max(tick, m[CLOCK])


@inlined
def pass_ticks(m, ticks):
    """Let ticks go by with the queues as they are."""
    m[SUM_READS] += ticks * m[NUM_READS]
    m[SUM_WRITES] += ticks * m[NUM_WRITES]
    m[SUM_PRIORITY] += ticks * m[NUM_PRIORITY]
    m[CLOCK] += ticks


@inlined
def choose_queued(m, column_from, row_from):
    """Evaluate write mode and keep the champions of the read or the write queue."""
    update_write_mode(m)
    queue = m[WRITE_MODE]
    update_champions(m, queue, column_from, row_from)
    m[COLUMN_AT] = m[KIND_AT + COLUMN]
    m[COLUMN_SLOT] = m[KIND_SLOT + COLUMN]
    m[COLUMN_PLACE] = NONE
    m[COLUMN_COMMAND] = WR if queue == 1 else RD
    if queue == 0 and reads_blocked(m):
        m[COLUMN_AT] = NEVER
    activate_at = NEVER if m[SPLIT_SLOT] != NONE else m[KIND_AT + ACTIVATE]
    precharge_at = m[KIND_AT + PRECHARGE]
    kind = ACTIVATE if activate_at < precharge_at else PRECHARGE
    if activate_at == precharge_at and activate_at < NEVER:
        kind = ACTIVATE if m[m[KIND_SLOT + ACTIVATE] + ID] < m[m[KIND_SLOT + PRECHARGE] + ID] else PRECHARGE
    m[ROW_AT] = activate_at if kind == ACTIVATE else precharge_at
    m[ROW_SLOT] = m[KIND_SLOT + kind]
    m[ROW_COMMAND] = ACT if kind == ACTIVATE else PRE


@inlined
def choose_active(m, at, place, command):
    """Keep a request of the active buffer as the column champion."""
    m[COLUMN_AT] = at
    m[COLUMN_PLACE] = place
    m[COLUMN_SLOT] = m[m[ACTIVE_LIST] + place] if place != NONE else NONE
    m[COLUMN_COMMAND] = command


@kernel
def choose_head(m, row_from):
    """Keep the next step of the priority queue's head as the row champion."""
    at, command = head_of_priority(m, row_from)
    m[ROW_AT] = at
    m[ROW_SLOT] = NONE
    m[ROW_COMMAND] = command


@inlined
def issue_column(m, outcomes, record, tick):
    """Issue the column champion, with auto-precharge where the row policy wants it."""
    slot = m[COLUMN_SLOT]
    place = m[COLUMN_PLACE]
    command = with_precharge(m, m[COLUMN_COMMAND], m[slot + BANK], 0 if place == NONE else 1)
    if m[COLUMN_COMMAND] == RD and m[RCK_MODE] != RCK_ALWAYS:
        m[RCK_LAST_READ] = tick
        if m[RCK_MODE] == RCK_WITH_READ:
            m[RCK_RUNNING] = 1
    issue_access(m, outcomes, record, slot, place, command, tick)


@inlined
def issue_row(m, record, tick):
    """Issue the row champion: a step of the priority queue's head, or of a waiting request."""
    if m[ROW_SLOT] == NONE:
        issue_head(m, record, tick)
    else:
        issue_row_command(m, record, m[ROW_SLOT], NONE, m[ROW_COMMAND], tick)


@kernel
def issue_head(m, record, tick):
    """Issue the next step of the priority queue's head."""
    command = m[ROW_COMMAND]
    head = m[PRIORITY_RING] + m[PRIORITY_HEAD] * PRIORITY_FIELDS
    final = m[head + FINAL]
    target = m[head + TARGET]
    if command == final:
        pop_priority(m)
        m[COUNT_MAINTENANCE_SERVED] += 1
    elif final == REFSB:
        target = open_same_bank(m, target)
    issue_maintenance(m, record, command, target, tick)
    if m[HALF_CLOCK]:
        note_pair(m, tick, command, target)


@inlined
def note_pair(m, tick, command, target):
    """Remember a row command on a rising edge: it restricts precharges on the falling edge it is paired with."""
    if tick & 1:
        wide = is_wide(command)
        m[PAIR_EDGE] = tick + 3 if command == ACT else tick + 1
        m[PAIR_SCOPE] = target if wide else m[target + SCOPE]
        m[PAIR_BANK] = NONE if wide else target
        m[KIND_DIRTY + PRECHARGE] = 1


@inlined
def choose_one(m, tick):
    """Make the choice for controllers with one command a tick: active buffer, else priority queue, else queues."""
    first = max(tick, m[ROW_BUS])
    active_at, place, command = best_of_active(m, first, False)
    if m[NUM_PRIORITY] > 0:
        choose_head(m, first)
        choose_active(m, active_at, place, command)
    elif active_at > tick:
        choose_queued(m, first, first)
        if active_at <= m[COLUMN_AT]:
            choose_active(m, active_at, place, command)
    else:
        choose_active(m, active_at, place, command)
        m[ROW_AT] = NEVER


@inlined
def is_row_turn(m, tick):
    """True if, of the champions ready at `tick`, the row champion goes first: the older one, but active requests before all."""
    if m[ROW_AT] != tick or m[COLUMN_AT] != tick:
        return m[ROW_AT] == tick
    return m[COLUMN_PLACE] == NONE and m[m[ROW_SLOT] + ID] < m[m[COLUMN_SLOT] + ID]


@inlined
def is_access(command):
    """True for RD and WR."""
    return command == RD or command == WR


@inlined
def visit_single(m, outcomes, record, tick):
    """A tick of the generic controller: one command of whichever kind."""
    if m[DIRTY]:
        choose_one(m, tick)
        m[DIRTY] = 0
    if m[COLUMN_AT] != tick and m[ROW_AT] != tick:
        m[ISSUE_AT] = min(m[COLUMN_AT], m[ROW_AT])
        return
    if is_row_turn(m, tick):
        issue_row(m, record, tick)
    elif is_access(m[COLUMN_COMMAND]):
        issue_column(m, outcomes, record, tick)
    else:
        issue_row_command(m, record, m[COLUMN_SLOT], m[COLUMN_PLACE], m[COLUMN_COMMAND], tick)
    m[DIRTY] = 1
    m[ISSUE_AT] = tick + 1


@inlined
def choose_both(m, tick, column_first):
    """Make both choices for controllers with two slots; `column_first`: first tick that is left to the column slot."""
    column_from = max(column_first, m[COLUMN_BUS])
    row_from = max(tick, m[ROW_BUS])
    active_at, place, command = best_of_active(m, column_from, True)
    if m[NUM_PRIORITY] > 0:
        choose_head(m, row_from)
        choose_active(m, active_at, place, command)
        return
    if active_at > tick:
        choose_queued(m, column_from, row_from)
    if active_at == tick or active_at <= m[COLUMN_AT]:
        choose_active(m, active_at, place, command)


@inlined
def rck_step(m):
    """The next start or stop of the read clock: (tick, command)."""
    if m[RCK_MODE] == RCK_ALWAYS:
        return NEVER, RCKSTRT
    waiting = m[NUM_READS] > 0 or m[NUM_ACTIVE_READS] > 0
    if m[RCK_MODE] == RCK_WITH_START and m[RCK_RUNNING] == 0 and waiting:
        return ready_tick(m, RCKSTRT, m[SCOPES]), RCKSTRT
    if m[RCK_RUNNING] and m[RCK_LAST_READ] != NONE and not waiting:
        return max(m[RCK_LAST_READ] + m[RCK_IDLE], ready_tick(m, RCKSTOP, m[SCOPES])), RCKSTOP
    return NEVER, RCKSTRT


@kernel
def visit_dual(m, outcomes, record, tick):
    """A tick of the HBM and GDDR7 controllers: a column slot, then a row slot that sees what the first has done.

    The row slot never looks at the active buffer. On falling edges (HBM3/4) only precharges can be due.
    """
    column_first = tick
    rck_at, rck_command = rck_step(m)
    if rck_at <= tick:
        apply(m, rck_command, m[SCOPES], 0, tick)
        record_command(m, record, tick, rck_command, NONE, m[SCOPES])
        m[RCK_RUNNING] = 1 if rck_command == RCKSTRT else 0
        m[ACTIVE_DIRTY] = 1
        column_first = tick + 1
        m[DIRTY] = 1
    else:
        if m[DIRTY]:
            choose_both(m, tick, tick)
            m[DIRTY] = 0
        if m[COLUMN_AT] == tick:
            issue_column(m, outcomes, record, tick)
            column_first = tick + 1
            m[DIRTY] = 1
    if m[DIRTY]:
        choose_both(m, tick, column_first)
        m[DIRTY] = 0
    if m[ROW_AT] == tick:
        slot = m[ROW_SLOT]
        command = m[ROW_COMMAND]
        issue_row(m, record, tick)
        if m[HALF_CLOCK] and slot != NONE:
            note_pair(m, tick, command, m[slot + BANK])
        m[DIRTY] = 1
        m[ISSUE_AT] = tick + 1
    else:
        m[ISSUE_AT] = min(m[COLUMN_AT], m[ROW_AT])
    if m[RCK_MODE] != RCK_ALWAYS:
        m[ISSUE_AT] = min(m[ISSUE_AT], max(tick + 1, rck_step(m)[0]))


@kernel
def visit_split(m, outcomes, record, tick):
    """A tick of the LPDDR controllers: ACT1 and ACT2 with a deadline, CAS where WCK is not synchronised."""
    first = max(tick, m[ROW_BUS])
    if m[CAS_SLOT] != NONE:
        finish_cas(m, outcomes, record, first, tick)
        return
    split = m[SPLIT_SLOT]
    if m[DIRTY]:
        m[SPLIT_AT] = max(first, bank_ready(m, ACT2, m[split + BANK])) if split != NONE else NEVER
    if split != NONE and m[SPLIT_AT] <= tick and m[SPLIT_DEADLINE] <= tick:
        issue_second_half(m, record, tick)
        m[DIRTY] = 1
        m[ISSUE_AT] = tick + 1
        return
    if m[DIRTY]:
        choose_one(m, tick)
        m[DIRTY] = 0
    if m[COLUMN_AT] == tick or m[ROW_AT] == tick:
        if is_row_turn(m, tick):
            issue_row(m, record, tick)
        else:
            advance_column(m, outcomes, record, tick)
    elif split != NONE and m[SPLIT_AT] <= tick:
        issue_second_half(m, record, tick)
    else:
        m[ISSUE_AT] = min(m[COLUMN_AT], m[ROW_AT], m[SPLIT_AT])
        return
    m[DIRTY] = 1
    m[ISSUE_AT] = tick + 1


@kernel
def advance_column(m, outcomes, record, tick):
    """The column champion of an LPDDR controller is ready: issue it, or the CAS or ACT2 that goes before it."""
    slot = m[COLUMN_SLOT]
    command = m[COLUMN_COMMAND]
    if not is_access(command):
        issue_row_command(m, record, slot, m[COLUMN_PLACE], command, tick)
        return
    if m[NEEDS_SYNC] and tick >= m[SYNC_EXPIRY]:
        if m[SPLIT_SLOT] != NONE and m[SPLIT_DEADLINE] <= tick + m[CAS_GUARD]:
            if m[SPLIT_AT] <= tick:
                issue_second_half(m, record, tick)
            return
        cas = CAS_RD if command == RD else CAS_WR
        bank = m[slot + BANK]
        if bank_ready(m, cas, bank) <= tick:
            apply(m, cas, bank, 0, tick)
            record_command(m, record, tick, cas, m[slot + ID], bank)
            m[CAS_SLOT] = slot
            m[CAS_PLACE] = m[COLUMN_PLACE]
        return
    if m[NEEDS_SYNC]:
        extend_sync(m, command, tick)
    issue_column(m, outcomes, record, tick)


@kernel
def finish_cas(m, outcomes, record, first, tick):
    """Issue the access whose CAS went before, as soon as it is ready; nothing else issues until then."""
    slot = m[CAS_SLOT]
    command = m[COLUMN_COMMAND]
    at = max(first, bank_ready(m, command, m[slot + BANK]))
    if at > tick:
        m[ISSUE_AT] = at
        return
    extend_sync(m, command, tick)
    issue_access(m, outcomes, record, slot, m[CAS_PLACE], command, tick)
    m[CAS_SLOT] = NONE
    m[DIRTY] = 1
    m[ISSUE_AT] = tick + 1


@inlined
def has_work(m):
    """True while a request waits for its data command."""
    return m[NUM_READS] + m[NUM_WRITES] + m[NUM_ACTIVE] > 0 or m[SPLIT_SLOT] != NONE


@kernel
def hand_in_maintenance(m, tick):
    """Refresh manager and row policy of a tick. False if the priority queue overflows."""
    before = m[NUM_PRIORITY]
    if m[REFRESH_DUE] == tick and not refresh(m, tick):
        return False
    if m[NUM_CAPPED] > 0:
        inject_precharges(m, tick)
    if m[NUM_PRIORITY] != before:
        m[DIRTY] = 1
    return True


@inlined
def prepare(m, requests, outcomes, record, until, stop_when_done):
    """Go to the next tick at which something can happen, up to the choice of its commands: (RUNNING, tick).

    Instead of RUNNING the status in which the run ends: REACHED, TABLE_DONE, RECORD_FULL, DEADLOCK or OVERFLOW.
    """
    if m[NEXT_REQUEST] >= requests.shape[0]:
        if m[MORE_REQUESTS]:
            return TABLE_DONE, m[CLOCK]
        if stop_when_done and not has_work(m):
            until = min(until, max(m[LAST_DONE], m[LAST_ACCEPT]))
    if m[ACCEPT_AT] == NONE:
        m[ACCEPT_AT] = accept_tick(m, requests)
    accepted_at = m[ACCEPT_AT]
    tick = min(accepted_at + 1, m[REFRESH_DUE], m[ISSUE_AT])
    if m[NUM_CAPPED] > 0:
        tick = min(tick, injection_due(m, m[CLOCK] + 1))
    if tick > until:
        if tick >= NEVER and until >= NEVER:
            return DEADLOCK, tick
        pass_ticks(m, until - m[CLOCK])
        return REACHED, until
    if tick - max(m[LAST_ACCESS], m[LAST_ACCEPT]) > m[LIVENESS] and has_work(m):
        return DEADLOCK, tick
    if record.shape[0] > 0 and m[NUM_RECORDED] + 2 > record.shape[0]:
        return RECORD_FULL, tick
    if tick - 1 > m[CLOCK]:
        pass_ticks(m, tick - 1 - m[CLOCK])
    if accepted_at == tick - 1:
        m[COUNT_STALLS] += accepted_at - offer_tick(m, requests)
        accept(m, requests, outcomes, m[NEXT_REQUEST], accepted_at)
        m[NEXT_REQUEST] += 1
        m[LAST_ACCEPT] = accepted_at
        m[ACCEPT_AT] = NONE
        m[DIRTY] = 1
    pass_ticks(m, 1)
    if (m[REFRESH_DUE] == tick or m[NUM_CAPPED] > 0) and not hand_in_maintenance(m, tick):
        return OVERFLOW, tick
    return RUNNING, tick


@kernel
def single_loop(m, requests, outcomes, record, until, stop_when_done):
    """From tick to tick with the generic controller."""
    m[ACCEPT_AT] = NONE
    while True:
        status, tick = prepare(m, requests, outcomes, record, until, stop_when_done)
        if status != RUNNING:
            return status
        visit_single(m, outcomes, record, tick)


@kernel
def dual_loop(m, requests, outcomes, record, until, stop_when_done):
    """From tick to tick with the HBM and GDDR7 controllers."""
    m[ACCEPT_AT] = NONE
    while True:
        status, tick = prepare(m, requests, outcomes, record, until, stop_when_done)
        if status != RUNNING:
            return status
        visit_dual(m, outcomes, record, tick)


@kernel
def split_loop(m, requests, outcomes, record, until, stop_when_done):
    """From tick to tick with the LPDDR controllers."""
    m[ACCEPT_AT] = NONE
    while True:
        status, tick = prepare(m, requests, outcomes, record, until, stop_when_done)
        if status != RUNNING:
            return status
        visit_split(m, outcomes, record, tick)


@kernel
def run_single(m, requests, outcomes, record, until, stop_when_done):
    """`run` for the generic controller."""
    return single_loop(plain(m), plain(requests), plain(outcomes), plain(record), until, stop_when_done)


@kernel
def run_dual(m, requests, outcomes, record, until, stop_when_done):
    """`run` for the HBM and GDDR7 controllers."""
    return dual_loop(plain(m), plain(requests), plain(outcomes), plain(record), until, stop_when_done)


@kernel
def run_split(m, requests, outcomes, record, until, stop_when_done):
    """`run` for the LPDDR controllers."""
    return split_loop(plain(m), plain(requests), plain(outcomes), plain(record), until, stop_when_done)


RUNS = {SINGLE: run_single, DUAL: run_dual, SPLIT: run_split}


def run(m, requests, outcomes, record, until: int, stop_when_done: bool) -> int:
    """Advance the channel to tick `until`, or to the end of the requests if that comes first and is asked for.

    Returns REACHED, TABLE_DONE (call again with the next table, see `next_table`), RECORD_FULL (call again with an empty
    record), DEADLOCK or OVERFLOW.
    """
    return RUNS[int(m[KIND])](m, requests, outcomes, record, until, stop_when_done)
