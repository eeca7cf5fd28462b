"""The choice of the next command: which request's next command issues, and at which tick.

One pass finds the champion of the column commands and the champion of the row commands among banks with waiting
requests. A champion is the request whose command is ready first; of several ready at the same tick, the oldest.
"""

from numba import njit

from tiergarten.dram.commands import ACT, ACT2, PRE, PREA, RD, REFAB, REFPB, RFMAB, RFMPB, WR
from tiergarten.dram.kernels.device import bank_ready, bus_free, is_wide, scope_ready
from tiergarten.dram.kernels.layout import (
    ACTIVATING,
    ACTIVE,
    ACTIVE_BANKS,
    ARRIVE,
    BANK,
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
    NO_SLOT,
    NUM_ACTIVE,
    NUM_READS,
    NUM_WRITES,
    OPEN_BANKS,
    PAIR_BANK,
    PAIR_EDGE,
    PAIR_SCOPE,
    PRIORITY_HEAD,
    QUEUE,
    QUEUE_STRIDE,
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


@njit(cache=True)
def update_write_mode(tables, state):
    """The evaluation of write mode; called at most once for each tick that gets as far as the queues."""
    scalar, parameter = state.scalar, tables.parameter
    if scalar[WRITE_MODE] == 0:
        if scalar[NUM_WRITES] > parameter[ENTER_WRITE_ABOVE] or scalar[NUM_READS] == 0:
            scalar[WRITE_MODE] = 1
            return True
    elif scalar[NUM_WRITES] < parameter[LEAVE_WRITE_BELOW] and scalar[NUM_READS] > 0:
        scalar[WRITE_MODE] = 0
        return True
    return False


@njit(cache=True)
def on_edge(tables, tick):
    """First tick from `tick` on at which column commands and activates may start."""
    return tick | tables.parameter[HALF_CLOCK]


@njit(cache=True)
def precharge_edge(state, number, tick):
    """First tick from `tick` on that the pairing rule leaves to a precharge of one bank."""
    scalar = state.scalar
    if tick == scalar[PAIR_EDGE] and scalar[PAIR_SCOPE] == state.bank[number, SCOPE]:
        paired = scalar[PAIR_BANK]
        if paired < 0 or paired == number:
            return tick + 1
    return tick


@njit(cache=True)
def reads_blocked(tables, state):
    """True while the read clock is stopped in the mode in which only RCKSTRT starts it."""
    return tables.parameter[RCK_MODE] == RCK_WITH_START and state.scalar[RCK_RUNNING] == 0


@njit(cache=True)
def best_of_queue(tables, state, queue, column_from, row_from):
    """Champions of one queue: (tick, slot) of column commands and (tick, slot, command) of row commands.

    `column_from`, `row_from`: first ticks at which the two kinds may issue, the buses included.
    """
    scalar, bank, scope, slot = state.scalar, state.bank, state.scope, state.slot
    at = QUEUE + queue * QUEUE_STRIDE
    access = WR if queue == 1 else RD
    half = tables.parameter[HALF_CLOCK]
    row_hit_first = tables.parameter[ROW_HIT_FIRST]
    any_active = scalar[NUM_ACTIVE] > 0
    split = scalar[SPLIT_SLOT]
    column_at = NEVER
    column_slot = NO_SLOT
    column_id = NEVER
    row_at = NEVER
    row_slot = NO_SLOT
    row_id = NEVER
    row_command = 0
    if queue == 0 and reads_blocked(tables, state):
        column_from = NEVER
    for k in range(scalar[BUSY_READS + queue]):
        number = state.busy[queue, k]
        own = bank[number, SCOPE]
        x = bank[number, at + HIT]
        if x != NO_SLOT:
            tick = max(column_from, bank[number, access], scope[own, access]) | half
            if tick <= column_at:
                ident = slot[x, ID]
                if tick < column_at or ident < column_id:
                    column_at = tick
                    column_slot = x
                    column_id = ident
        y = bank[number, at + MISS]
        if y != NO_SLOT:
            row = bank[number, ROW]
            if row == CLOSED:
                if split != NO_SLOT:
                    continue
                tick = max(row_from, bank[number, ACT], scope[own, ACT]) | half
                command = ACT
            else:
                if row == ACTIVATING or (any_active and bank[number, ACTIVE] > 0):
                    continue
                if row_hit_first and x != NO_SLOT and slot[x, ARRIVE] <= slot[y, ARRIVE]:
                    continue
                tick = max(row_from, bank[number, PRE], scope[own, PRE])
                if half:
                    tick = precharge_edge(state, number, tick)
                command = PRE
            if tick <= row_at:
                ident = slot[y, ID]
                if tick < row_at or ident < row_id:
                    row_at = tick
                    row_slot = y
                    row_id = ident
                    row_command = command
    return column_at, column_slot, row_at, row_slot, row_command


@njit(cache=True)
def next_command(state, x, access):
    """The command that advances the request in slot `x`, whose own command is `access`."""
    row = state.bank[state.slot[x, BANK], ROW]
    if row == state.slot[x, TARGET_ROW]:
        return access
    if row == CLOSED:
        return ACT
    if row == ACTIVATING:
        return ACT2
    return PRE


@njit(cache=True)
def best_of_active(tables, state, column_from, columns_only):
    """Champion of the active buffer: (tick, place, command).

    Only a defect of the reference lets a request in the active buffer need anything but its access.
    """
    scalar, slot = state.scalar, state.slot
    best_at = NEVER
    best_place = -1
    best_arrive = NEVER
    best_command = 0
    blocked = reads_blocked(tables, state)
    for place in range(scalar[NUM_ACTIVE]):
        x = state.active[place]
        number = slot[x, BANK]
        access = WR if slot[x, FLAGS] & IS_WRITE else RD
        command = next_command(state, x, access)
        if command == access:
            if blocked and access == RD:
                continue
        elif (
            columns_only or not is_split_allowed(state, command, number) or hides_behind_hit(tables, state, x, command)
        ):
            continue
        tick = on_edge(tables, max(column_from, bank_ready(tables, state, command, number)))
        if tick < best_at or (tick == best_at and slot[x, ARRIVE] < best_arrive):
            best_at = tick
            best_place = place
            best_arrive = slot[x, ARRIVE]
            best_command = command
    return best_at, best_place, best_command


@njit(cache=True)
def hides_behind_hit(tables, state, x, command):
    """True if row hits go first and an active request that is no younger hits the open row of the bank."""
    if command != PRE or tables.parameter[ROW_HIT_FIRST] == 0:
        return False
    slot = state.slot
    number = slot[x, BANK]
    for place in range(state.scalar[NUM_ACTIVE]):
        y = state.active[place]
        if (
            slot[y, BANK] == number
            and slot[y, TARGET_ROW] == state.bank[number, ROW]
            and slot[y, ARRIVE] <= slot[x, ARRIVE]
        ):
            return True
    return False


@njit(cache=True)
def is_split_allowed(state, command, number):
    """False if an activate under way forbids a row command to bank `number`."""
    split = state.scalar[SPLIT_SLOT]
    if split == NO_SLOT:
        return command != ACT2
    if command in (ACT, ACT2):
        return False
    return state.slot[split, BANK] != number


@njit(cache=True)
def head_of_priority(tables, state, row_from):
    """Next step of the oldest refresh or policy precharge: (tick, command, target)."""
    scalar, bank, scope = state.scalar, state.bank, state.scope
    final = state.priority[scalar[PRIORITY_HEAD], FINAL]
    target = state.priority[scalar[PRIORITY_HEAD], TARGET]
    command = final
    split = scalar[SPLIT_SLOT]
    if is_wide(final):
        if final in (REFAB, RFMAB) and scope[target, OPEN_BANKS] > 0:
            command = PREA
        if command == PREA and scalar[NUM_ACTIVE] > 0 and scope[target, ACTIVE_BANKS] > 0:
            return NEVER, command, target
        if split != NO_SLOT and bank[state.slot[split, BANK], SCOPE] == target:
            return NEVER, command, target
        tick = max(row_from, scope_ready(tables, state, command, target))
    else:
        if final in (REFPB, RFMPB) and bank[target, ROW] != CLOSED:
            command = PRE
        if command == PRE and scalar[NUM_ACTIVE] > 0 and bank[target, ACTIVE] > 0:
            return NEVER, command, target
        if split != NO_SLOT and state.slot[split, BANK] == target:
            return NEVER, command, target
        tick = max(row_from, bank_ready(tables, state, command, target))
    if tables.parameter[HALF_CLOCK] == 0:
        return tick, command, target
    if command not in (PRE, PREA):
        return tick | 1, command, target
    if command == PRE:
        return precharge_edge(state, target, tick), command, target
    if tick == scalar[PAIR_EDGE] and scalar[PAIR_SCOPE] == target:
        tick += 1
    return tick, command, target


@njit(cache=True)
def first_row_tick(tables, state, now):
    """`now`, or the tick at which the row bus is free if that is later."""
    return max(now, bus_free(tables, state, PRE))


@njit(cache=True)
def first_column_tick(tables, state, now):
    """`now`, or the tick at which the column bus is free if that is later."""
    return max(now, bus_free(tables, state, RD))
