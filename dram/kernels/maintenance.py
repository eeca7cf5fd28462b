"""What a channel does to itself: refresh managers and the row policy. Both act by putting commands in the priority queue."""

from numba import njit

from tiergarten.dram.commands import PRE, RD, RDA, REFAB, REFPB, REFSB, WRA
from tiergarten.dram.kernels.device import bank_ready, bus_free
from tiergarten.dram.kernels.layout import (
    ACCESSES,
    ACTIVE,
    ALL_BANK,
    BANKS_PER_GROUP,
    BANKS_PER_SCOPE,
    CAP,
    COMPATIBLE,
    COUNT_MAINTENANCE,
    FINAL,
    INJECTED,
    MAX_PRIORITY,
    NEVER,
    NUM_CAPPED,
    NUM_PENDING_REFRESH,
    NUM_PRIORITY,
    NUM_REFRESHES,
    PER_BANK,
    PRIORITY_HEAD,
    REFRESH_BLOCK,
    REFRESH_CURSOR,
    REFRESH_DUE,
    REFRESH_INTERVAL,
    REFRESH_KIND,
    SAME_BANK,
    STACK_LEVELS,
    TARGET,
)


@njit(cache=True)
def push_priority(tables, state, final, target):
    """Append a command to the priority queue; False if it is full."""
    scalar = state.scalar
    if scalar[NUM_PRIORITY] >= tables.parameter[MAX_PRIORITY]:
        return False
    place = (scalar[PRIORITY_HEAD] + scalar[NUM_PRIORITY]) % state.priority.shape[0]
    state.priority[place, FINAL] = final
    state.priority[place, TARGET] = target
    scalar[NUM_PRIORITY] += 1
    scalar[COUNT_MAINTENANCE] += 1
    return True


@njit(cache=True)
def pop_priority(state):
    """Remove the head of the priority queue."""
    scalar = state.scalar
    scalar[PRIORITY_HEAD] = (scalar[PRIORITY_HEAD] + 1) % state.priority.shape[0]
    scalar[NUM_PRIORITY] -= 1


@njit(cache=True)
def refresh(tables, state, tick):
    """The refresh manager's part of a tick at which something is due. False if the priority queue overflows."""
    kind = tables.parameter[REFRESH_KIND]
    if kind == ALL_BANK:
        return refresh_all_banks(tables, state, tick)
    if kind == PER_BANK:
        return refresh_next_bank(tables, state, tick)
    if kind == SAME_BANK:
        return refresh_same_bank(tables, state, tick)
    return refresh_rotating(tables, state, tick)


@njit(cache=True)
def refresh_all_banks(tables, state, tick):
    """REFab to each scope whose time has come, in order of scopes; `refresh[s, 0]` is its next tick."""
    due = NEVER
    for scope in range(state.scope.shape[0]):
        if state.refresh[scope, 0] == tick:
            if not push_priority(tables, state, REFAB, scope):
                return False
            state.scalar[NUM_REFRESHES] += 1
            state.refresh[scope, 0] += tables.parameter[REFRESH_INTERVAL]
        due = min(due, state.refresh[scope, 0])
    state.scalar[REFRESH_DUE] = due
    return True


@njit(cache=True)
def refresh_next_bank(tables, state, tick):
    """REFpb to one bank after the other, through all scopes in one rotation."""
    scalar = state.scalar
    if not push_priority(tables, state, REFPB, scalar[REFRESH_CURSOR]):
        return False
    scalar[NUM_REFRESHES] += 1
    scalar[REFRESH_CURSOR] = (scalar[REFRESH_CURSOR] + 1) % state.bank.shape[0]
    scalar[REFRESH_DUE] = tick + tables.parameter[REFRESH_INTERVAL]
    return True


@njit(cache=True)
def refresh_same_bank(tables, state, tick):
    """REFsb (one bank number in every bank group) to one bank number after the other, through all ranks in one rotation."""
    scalar = state.scalar
    groups = tables.parameter[BANKS_PER_GROUP]
    cursor = scalar[REFRESH_CURSOR]
    target = cursor // groups * tables.parameter[BANKS_PER_SCOPE] + cursor % groups
    if not push_priority(tables, state, REFSB, target):
        return False
    scalar[NUM_REFRESHES] += 1
    scalar[REFRESH_CURSOR] = (cursor + 1) % (groups * state.scope.shape[0])
    scalar[REFRESH_DUE] = tick + tables.parameter[REFRESH_INTERVAL]
    return True


@njit(cache=True)
def refresh_rotating(tables, state, tick):
    """REFpb to the same bank of every pseudo channel, bank after bank, stack level after stack level (HBM3/4).

    `refresh[s, 0]` counts banks done in this round by stack level (from column 1 on: the first tick at which the level
    takes another round); REFRESH_CURSOR is the next bank of a scope; NUM_PENDING_REFRESH scopes still await the
    cursor's bank, one of which is served a tick. `refresh[0, last]` holds the regular due tick.
    """
    scalar, parameter = state.scalar, tables.parameter
    scopes = state.scope.shape[0]
    per_scope = parameter[BANKS_PER_SCOPE]
    levels = parameter[STACK_LEVELS]
    per_level = per_scope // levels
    last = state.refresh.shape[1] - 1
    if scalar[NUM_PENDING_REFRESH] == 0:
        level = scalar[REFRESH_CURSOR] // per_level
        allowed = 0
        for scope in range(scopes):
            allowed = max(allowed, state.refresh[scope, levels + level])
        if tick < allowed:
            state.refresh[0, last] = allowed
            scalar[REFRESH_DUE] = allowed
            return True
        scalar[NUM_PENDING_REFRESH] = scopes
        state.refresh[0, last - 1] = scalar[REFRESH_CURSOR]
        scalar[REFRESH_CURSOR] = (scalar[REFRESH_CURSOR] + 1) % per_scope
        state.refresh[0, last] += parameter[REFRESH_INTERVAL]
    scope = scopes - scalar[NUM_PENDING_REFRESH]
    in_scope = state.refresh[0, last - 1]
    level = in_scope // per_level
    if push_priority(tables, state, REFPB, scope * per_scope + in_scope):
        scalar[NUM_REFRESHES] += 1
        scalar[NUM_PENDING_REFRESH] -= 1
        state.refresh[scope, level] += 1
        if state.refresh[scope, level] == per_level:
            state.refresh[scope, level] = 0
            state.refresh[scope, levels + level] = tick + parameter[REFRESH_BLOCK]
    if scalar[NUM_PENDING_REFRESH] > 0:
        scalar[REFRESH_DUE] = tick + 1
    else:
        scalar[REFRESH_DUE] = max(tick + 1, state.refresh[0, last])
    return True


@njit(cache=True)
def count_access(tables, state, number):
    """Row policy's note of an access that leaves its row open."""
    bank = state.bank
    bank[number, ACCESSES] += 1
    if tables.parameter[CAP] > 0 and bank[number, ACCESSES] == tables.parameter[CAP]:
        state.scalar[NUM_CAPPED] += 1


@njit(cache=True)
def forget_accesses(tables, state, number):
    """Row policy's note of a closed bank."""
    bank = state.bank
    cap = tables.parameter[CAP]
    if cap > 0 and bank[number, ACCESSES] >= cap and bank[number, INJECTED] == 0:
        state.scalar[NUM_CAPPED] -= 1
    bank[number, ACCESSES] = 0
    bank[number, INJECTED] = 0


@njit(cache=True)
def with_precharge(tables, state, command, number, from_active):
    """RDA or WRA for an access to a row that has had its share, where the device takes it; else `command`.

    The reference also does so while another request of the active buffer still needs the row (a defect: the row closes
    under it); we do that only when asked to be compatible.
    """
    bank = state.bank
    if tables.parameter[CAP] == 0 or bank[number, ACCESSES] < tables.parameter[CAP]:
        return command
    if tables.parameter[COMPATIBLE] == 0 and bank[number, ACTIVE] > from_active:
        return command
    return RDA if command == RD else WRA


@njit(cache=True)
def injection_due(tables, state, tick):
    """First tick from `tick` on at which the row policy hands in a precharge."""
    due = NEVER
    for number in range(state.bank.shape[0]):
        if state.bank[number, ACCESSES] >= tables.parameter[CAP] and state.bank[number, INJECTED] == 0:
            due = min(due, bank_ready(tables, state, PRE, number))
    return max(tick, due, bus_free(tables, state, PRE))


@njit(cache=True)
def inject_precharges(tables, state, tick):
    """Hand in a precharge for each bank whose row has had its share and can be closed now. False on overflow."""
    if bus_free(tables, state, PRE) > tick:
        return True
    for number in range(state.bank.shape[0]):
        if (
            state.bank[number, ACCESSES] >= tables.parameter[CAP]
            and state.bank[number, INJECTED] == 0
            and bank_ready(tables, state, PRE, number) <= tick
        ):
            if not push_priority(tables, state, PRE, number):
                return False
            state.bank[number, INJECTED] = 1
            state.scalar[NUM_CAPPED] -= 1
    return True
