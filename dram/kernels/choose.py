"""The choice of the next command: which request's next command issues, and at which tick.

One pass finds the champion of the column commands and the champion of the row commands among banks with waiting
requests. A champion is the request whose command is ready first; of several ready at the same tick, the oldest.
"""

from tiergarten.dram.commands import ACT, ACT2, PRE, PREA, RD, REFAB, REFPB, REFSB, RFMAB, RFMPB, WR
from tiergarten.dram.kernels.compiled import kernel
from tiergarten.dram.kernels.device import bank_ready, is_wide, open_same_bank, same_bank_ready, scope_ready
from tiergarten.dram.kernels.layout import (
    ACTIVATING,
    ACTIVE,
    ACTIVE_BANKS,
    ACTIVE_LIST,
    ARRIVE,
    BANK,
    BUSY_LIST,
    BUSY_READS,
    CLOSED,
    ENTER_WRITE_ABOVE,
    FINAL,
    FLAGS,
    HALF_CLOCK,
    HIT,
    ID,
    IS_WRITE,
    LEAVE_WRITE_BELOW,
    MISS,
    NEVER,
    NONE,
    NUM_ACTIVE,
    NUM_BANKS,
    NUM_READS,
    NUM_WRITES,
    OPEN_BANKS,
    PAIR_BANK,
    PAIR_EDGE,
    PAIR_SCOPE,
    PRIORITY_FIELDS,
    PRIORITY_HEAD,
    PRIORITY_RING,
    QUEUE,
    QUEUE_FIELDS,
    RCK_MODE,
    RCK_RUNNING,
    RCK_WITH_START,
    ROW,
    ROW_HIT_FIRST,
    SCOPE,
    SPLIT_SLOT,
    TARGET,
    TARGET_ROW,
    WRITE_MODE,
)


@kernel
def update_write_mode(m):
    """The evaluation of write mode, due in each tick that gets as far as the queues. Repeating it changes nothing."""
    if m[WRITE_MODE] == 0:
        if m[NUM_WRITES] > m[ENTER_WRITE_ABOVE] or m[NUM_READS] == 0:
            m[WRITE_MODE] = 1
    elif m[NUM_WRITES] < m[LEAVE_WRITE_BELOW] and m[NUM_READS] > 0:
        m[WRITE_MODE] = 0


@kernel
def precharge_edge(m, bank, tick):
    """First tick from `tick` on that the pairing rule leaves to a precharge of one bank."""
    if tick == m[PAIR_EDGE] and m[PAIR_SCOPE] == m[bank + SCOPE] and (m[PAIR_BANK] == NONE or m[PAIR_BANK] == bank):
        return tick + 1
    return tick


@kernel
def reads_blocked(m):
    """True while the read clock is stopped in the mode in which only RCKSTRT starts it."""
    return m[RCK_MODE] == RCK_WITH_START and m[RCK_RUNNING] == 0


@kernel
def best_of_queue(m, queue, column_from, row_from):
    """Champions of one queue: (tick, slot) of column commands and (tick, slot, command) of row commands.

    `column_from`, `row_from`: first ticks at which the two kinds may issue, the buses included.
    """
    part = QUEUE + queue * QUEUE_FIELDS
    access = WR if queue == 1 else RD
    half = m[HALF_CLOCK]
    row_hit_first = m[ROW_HIT_FIRST]
    any_active = m[NUM_ACTIVE] > 0
    split = m[SPLIT_SLOT]
    column_at = NEVER
    column_slot = NONE
    column_id = NEVER
    row_at = NEVER
    row_slot = NONE
    row_id = NEVER
    row_command = 0
    if queue == 0 and reads_blocked(m):
        column_from = NEVER
    busy = m[BUSY_LIST] + queue * m[NUM_BANKS]
    for place in range(busy, busy + m[BUSY_READS + queue]):
        bank = m[place]
        scope = m[bank + SCOPE]
        hit = m[bank + part + HIT]
        miss = m[bank + part + MISS]
        if hit != NONE:
            tick = max(column_from, m[bank + access], m[scope + access]) | half
            if tick <= column_at:
                ident = m[hit + ID]
                if tick < column_at or ident < column_id:
                    column_at = tick
                    column_slot = hit
                    column_id = ident
        if miss != NONE:
            row = m[bank + ROW]
            if row == CLOSED:
                if split != NONE:
                    continue
                tick = max(row_from, m[bank + ACT], m[scope + ACT]) | half
                command = ACT
            else:
                if row == ACTIVATING or (any_active and m[bank + ACTIVE] > 0):
                    continue
                if row_hit_first and hit != NONE and m[hit + ARRIVE] <= m[miss + ARRIVE]:
                    continue
                tick = max(row_from, m[bank + PRE], m[scope + PRE])
                if half:
                    tick = precharge_edge(m, bank, tick)
                command = PRE
            if tick <= row_at:
                ident = m[miss + ID]
                if tick < row_at or ident < row_id:
                    row_at = tick
                    row_slot = miss
                    row_id = ident
                    row_command = command
    return column_at, column_slot, row_at, row_slot, row_command


@kernel
def next_command(m, slot, access):
    """The command that advances the request in `slot`, whose own command is `access`."""
    row = m[m[slot + BANK] + ROW]
    if row == m[slot + TARGET_ROW]:
        return access
    if row == CLOSED:
        return ACT
    if row == ACTIVATING:
        return ACT2
    return PRE


@kernel
def best_of_active(m, first, columns_only):
    """Champion of the active buffer: (tick, place, command), `first` being the first tick with a free bus.

    Only a defect of the reference lets a request in the active buffer need anything but its access.
    """
    best_at = NEVER
    best_place = NONE
    best_arrive = NEVER
    best_command = 0
    half = m[HALF_CLOCK]
    actives = m[ACTIVE_LIST]
    for place in range(m[NUM_ACTIVE]):
        slot = m[actives + place]
        bank = m[slot + BANK]
        access = WR if m[slot + FLAGS] & IS_WRITE else RD
        command = access
        if m[bank + ROW] == m[slot + TARGET_ROW]:
            if access == RD and reads_blocked(m):
                continue
        else:
            command = next_command(m, slot, access)
            if columns_only or not is_split_allowed(m, command, bank) or hides_behind_hit(m, slot, command):
                continue
        tick = max(first, bank_ready(m, command, bank)) | half
        if tick < best_at or (tick == best_at and m[slot + ARRIVE] < best_arrive):
            best_at = tick
            best_place = place
            best_arrive = m[slot + ARRIVE]
            best_command = command
    return best_at, best_place, best_command


@kernel
def hides_behind_hit(m, slot, command):
    """True if row hits go first and an active request that is no younger hits the open row of the bank."""
    if command != PRE or m[ROW_HIT_FIRST] == 0:
        return False
    bank = m[slot + BANK]
    for place in range(m[ACTIVE_LIST], m[ACTIVE_LIST] + m[NUM_ACTIVE]):
        other = m[place]
        if m[other + BANK] == bank and m[other + TARGET_ROW] == m[bank + ROW] and m[other + ARRIVE] <= m[slot + ARRIVE]:
            return True
    return False


@kernel
def is_split_allowed(m, command, bank):
    """False if an activate under way forbids a row command to `bank`."""
    split = m[SPLIT_SLOT]
    if split == NONE:
        return command != ACT2
    return command != ACT and command != ACT2 and m[split + BANK] != bank


@kernel
def head_of_priority(m, row_from):
    """Next step of the oldest refresh or policy precharge: (tick, command)."""
    head = m[PRIORITY_RING] + m[PRIORITY_HEAD] * PRIORITY_FIELDS
    final = m[head + FINAL]
    target = m[head + TARGET]
    if is_wide(final):
        tick, command = all_bank_step(m, final, target)
    elif final == REFSB:
        tick, command = same_bank_step(m, target)
    else:
        tick, command = one_bank_step(m, final, target)
    tick = max(tick, row_from)
    if m[HALF_CLOCK] == 0 or tick >= NEVER:
        return tick, command
    if command == PRE:
        return precharge_edge(m, target, tick), command
    if command == PREA:
        return (tick + 1 if tick == m[PAIR_EDGE] and m[PAIR_SCOPE] == target else tick), command
    return tick | 1, command


@kernel
def all_bank_step(m, final, scope):
    """Tick and command of the next step of a command to all banks: PREab first where banks are open."""
    command = PREA if final in (REFAB, RFMAB) and m[scope + OPEN_BANKS] > 0 else final
    if command == PREA and m[NUM_ACTIVE] > 0 and m[scope + ACTIVE_BANKS] > 0:
        return NEVER, command
    split = m[SPLIT_SLOT]
    if split != NONE and m[m[split + BANK] + SCOPE] == scope:
        return NEVER, command
    return scope_ready(m, command, scope), command


@kernel
def one_bank_step(m, final, bank):
    """Tick and command of the next step of a command to one bank: PREpb first where a refresh finds it open."""
    command = PRE if final in (REFPB, RFMPB) and m[bank + ROW] != CLOSED else final
    if command == PRE and m[NUM_ACTIVE] > 0 and m[bank + ACTIVE] > 0:
        return NEVER, command
    if m[SPLIT_SLOT] != NONE and m[m[SPLIT_SLOT] + BANK] == bank:
        return NEVER, command
    return bank_ready(m, command, bank), command


@kernel
def same_bank_step(m, first):
    """Tick and command of the next step of REFsb: PREpb to each open bank of that number first."""
    bank = open_same_bank(m, first)
    if bank == NONE:
        return same_bank_ready(m, REFSB, first), REFSB
    if m[NUM_ACTIVE] > 0 and m[bank + ACTIVE] > 0:
        return NEVER, PRE
    return bank_ready(m, PRE, bank), PRE
