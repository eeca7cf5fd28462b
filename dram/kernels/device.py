"""Device timing and bank state: when a command may issue, and what issuing it does. Constraints arrive as operations."""

from numba import njit

from tiergarten.dram.commands import (
    ACT,
    ACT2,
    PRE,
    PREA,
    RCKSTOP,
    RCKSTRT,
    RDA,
    REFAB,
    REFPB,
    RFMAB,
    WRA,
)
from tiergarten.dram.kernels.layout import (
    ACTIVATING,
    ACTIVE,
    ACTIVE_BANKS,
    BANKS_PER_SCOPE,
    CLASS,
    CLOSED,
    KIND,
    OPEN_BANKS,
    PARENT,
    ROW,
    SCOPE,
    SIZE,
    SLOTS_KIND,
    SPLIT,
    TICKS,
    TO_ALL_SCOPES,
    TO_BANK,
    TO_NODE,
    TO_OTHER_SCOPES,
    TO_SCOPE,
    TO_SIBLINGS,
)
from tiergarten.dram.kernels.queues import sort_by_row


@njit(cache=True)
def is_wide(command):
    """True for commands that address every bank of a scope."""
    return command in (PREA, REFAB, RFMAB, RCKSTRT, RCKSTOP)


@njit(cache=True)
def bank_ready(tables, state, command, number):
    """First tick at which the device takes `command` for one bank, the bus apart."""
    c = tables.command_class[command]
    return max(state.scope[state.bank[number, SCOPE], c], state.bank[number, c])


@njit(cache=True)
def scope_ready(tables, state, command, scope):
    """First tick at which the device takes `command` for all banks of a scope, the bus apart."""
    c = tables.command_class[command]
    ready = state.scope[scope, c]
    if tables.banks_matter[c]:
        per_scope = tables.parameter[BANKS_PER_SCOPE]
        for number in range(scope * per_scope, (scope + 1) * per_scope):
            ready = max(ready, state.bank[number, c])
    return ready


@njit(cache=True)
def bus_free(tables, state, command):
    """First tick at which the command's bus is free."""
    return state.scalar[tables.command_bus[command]]


@njit(cache=True)
def push_times(tables, state, command, number, clock):
    """Raise earliest times after `command` issued at `clock` to bank `number` (the scope's first for wide commands)."""
    bank, scope, operations = state.bank, state.scope, tables.operations
    own = bank[number, SCOPE]
    for k in range(tables.first_operation[command], tables.first_operation[command + 1]):
        kind = operations[k, KIND]
        c = operations[k, CLASS]
        ready = clock + operations[k, TICKS]
        if kind == TO_BANK:
            if bank[number, c] < ready:
                bank[number, c] = ready
        elif kind == TO_SCOPE:
            if scope[own, c] < ready:
                scope[own, c] = ready
        elif kind == TO_NODE:
            size = operations[k, SIZE]
            first = number & -size
            for other in range(first, first + size):
                if bank[other, c] < ready:
                    bank[other, c] = ready
        elif kind == TO_ALL_SCOPES:
            for other in range(scope.shape[0]):
                if scope[other, c] < ready:
                    scope[other, c] = ready
        elif kind == TO_OTHER_SCOPES:
            for other in range(scope.shape[0]):
                if other != own and scope[other, c] < ready:
                    scope[other, c] = ready
        elif kind == TO_SIBLINGS:
            size = operations[k, SIZE]
            parent = operations[k, PARENT]
            first = number & -parent
            own_first = number & -size
            for other in range(first, first + parent):
                if (other < own_first or other >= own_first + size) and bank[other, c] < ready:
                    bank[other, c] = ready
        else:
            oldest = window_start(state.history, own, command, operations[k, SIZE])
            if oldest + operations[k, TICKS] > scope[own, c]:
                scope[own, c] = oldest + operations[k, TICKS]


@njit(cache=True)
def window_start(history, scope, command, size):
    """Tick of the size-th newest issue of `command` in a scope, the newest being the one just noted."""
    return history[scope, command, history[scope, command, size]]


@njit(cache=True)
def note_issue(tables, state, command, scope, clock):
    """Enter `clock` into the ring of the newest issues of a command with a windowed constraint."""
    history = state.history
    size = history.shape[2] - 1
    place = history[scope, command, size]
    history[scope, command, place] = clock
    history[scope, command, size] = (place + 1) % size


@njit(cache=True)
def set_row(state, number, row):
    """Open, close or begin to open a bank."""
    before = state.bank[number, ROW]
    if before == row:
        return
    scope = state.bank[number, SCOPE]
    if before == CLOSED:
        state.scope[scope, OPEN_BANKS] += 1
    elif row == CLOSED:
        state.scope[scope, OPEN_BANKS] -= 1
    sort_by_row(state, number, row)


@njit(cache=True)
def apply(tables, state, command, target, row, clock):
    """Issue `command` at `clock`: bank state, command bus and earliest times. `target` is a bank, or a scope if wide."""
    per_scope = tables.parameter[BANKS_PER_SCOPE]
    number = target * per_scope if is_wide(command) else target
    if command == ACT:
        note_issue(tables, state, command, state.bank[number, SCOPE], clock)
        if tables.parameter[SLOTS_KIND] == SPLIT:
            set_row(state, number, ACTIVATING)
        else:
            set_row(state, number, row)
    elif command in (PRE, RDA, WRA):
        set_row(state, number, CLOSED)
    elif command == ACT2:
        set_row(state, number, row)
    elif command == PREA:
        for other in range(number, number + per_scope):
            set_row(state, other, CLOSED)
    elif command == REFPB:
        note_issue(tables, state, command, state.bank[number, SCOPE], clock)
    push_times(tables, state, command, number, clock)
    bus = tables.command_bus[command]
    state.scalar[bus] = clock + tables.command_ticks[command]


@njit(cache=True)
def add_active(state, number, change):
    """Count a request of a bank into (+1) or out of (-1) the active buffer."""
    bank, scope = state.bank, state.scope
    before = bank[number, ACTIVE]
    bank[number, ACTIVE] = before + change
    if before == 0:
        scope[bank[number, SCOPE], ACTIVE_BANKS] += 1
    elif before + change == 0:
        scope[bank[number, SCOPE], ACTIVE_BANKS] -= 1
