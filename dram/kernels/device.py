"""Device timing and bank state: when a command may issue, and what issuing it does. Constraints arrive as operations.

The target of a command is the offset of a bank, or of a scope for commands to all banks (`is_wide`).
"""

from tiergarten.dram.commands import (
    ACT,
    ACT2,
    PRE,
    PREA,
    RCKSTOP,
    RCKSTRT,
    RD,
    RDA,
    REFAB,
    REFPB,
    REFSB,
    RFMAB,
    WR,
    WRA,
)
from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.layout import (
    ACT_RING,
    ACTIVATING,
    ACTIVE,
    ACTIVE_BANKS,
    ACTIVE_DIRTY,
    BANK_FIELDS,
    BANKS_PER_GROUP,
    BANKS_PER_SCOPE,
    CLOSED,
    COMMAND_BUS,
    COMMAND_DEEP,
    COMMAND_REACH,
    COMMAND_TICKS,
    EFFECT,
    FIRST_BANK,
    FIRST_OPERATION,
    HELD,
    KIND,
    KIND_DIRTY,
    NONE,
    NUM_KINDS,
    NUM_SCOPES,
    NUMBER,
    OPEN_BANKS,
    OPERATION_FIELDS,
    OPERATIONS,
    PARENT,
    REACHES_ACCESS,
    REF_RING,
    ROW,
    SCOPE,
    SCOPE_FIELDS,
    SCOPES,
    SIZE,
    SPLIT,
    STACK,
    STACK_FIELDS,
    STACK_LEVELS,
    STACKS,
    TICKS,
    TO_ALL_SCOPES,
    TO_BANK,
    TO_NODE,
    TO_OTHER_SCOPES,
    TO_OTHER_STACKS,
    TO_SCOPE,
    TO_SIBLINGS,
    TO_STACK,
    WINDOW,
)
from tiergarten.dram.kernels.queues import forget_champions, sort_by_row, touch


@inlined
def is_wide(command):
    """True for commands that address every bank of a scope."""
    return command in (PREA, REFAB, RFMAB, RCKSTRT, RCKSTOP)


@inlined
def without_precharge(command):
    """RD for RDA and WR for WRA: the command whose earliest ticks it shares."""
    if command == RDA:
        return RD
    if command == WRA:
        return WR
    return command


@inlined
def access_ready(m, command, bank):
    """First tick at which the device takes RD or WR for one bank, the bus apart."""
    return max(m[bank + command], m[m[bank + SCOPE] + command], m[m[bank + STACK] + command - RD])


@inlined
def bank_ready(m, command, bank):
    """First tick at which the device takes `command` for one bank, the bus apart."""
    if command == RD or command == WR:
        return access_ready(m, command, bank)
    return max(m[bank + command], m[m[bank + SCOPE] + command])


@kernel
def scope_ready(m, command, scope):
    """First tick at which the device takes `command` for all banks of a scope, the bus apart."""
    ready = m[scope + command]
    if m[COMMAND_DEEP + command]:
        first = m[scope + FIRST_BANK]
        for bank in range(first, first + m[BANKS_PER_SCOPE] * BANK_FIELDS, BANK_FIELDS):
            ready = max(ready, m[bank + command])
    return ready


@kernel
def same_bank_ready(m, command, first):
    """First tick at which the device takes `command` for one bank number in every bank group of a scope."""
    scope = m[first + SCOPE]
    ready = m[scope + command]
    end = m[scope + FIRST_BANK] + m[BANKS_PER_SCOPE] * BANK_FIELDS
    for bank in range(first, end, m[BANKS_PER_GROUP] * BANK_FIELDS):
        ready = max(ready, m[bank + command])
    return ready


@kernel
def open_same_bank(m, first):
    """First open bank of those that a same-bank command addresses; NONE if all are closed."""
    end = m[m[first + SCOPE] + FIRST_BANK] + m[BANKS_PER_SCOPE] * BANK_FIELDS
    for bank in range(first, end, m[BANKS_PER_GROUP] * BANK_FIELDS):
        if m[bank + ROW] != CLOSED:
            return bank
    return NONE


@kernel
def ready_tick(m, command, target):
    """First tick at which the device and the bus take `command`."""
    command = without_precharge(command)
    if is_wide(command):
        ready = scope_ready(m, command, target)
    elif command == REFSB:
        ready = same_bank_ready(m, command, target)
    else:
        ready = bank_ready(m, command, target)
    return max(ready, m[m[COMMAND_BUS + command]])


@inlined
def raise_to(m, place, tick):
    """Let the earliest tick kept at `place` be no less than `tick`."""
    if m[place] < tick:
        m[place] = tick


@inlined
def push_times(m, command, bank, clock):
    """Raise earliest ticks after `command` issued at `clock` to `bank` (the first of the scope for wide commands)."""
    scope = m[bank + SCOPE]
    first_operation = m[OPERATIONS] + m[FIRST_OPERATION + command] * OPERATION_FIELDS
    end = m[OPERATIONS] + m[FIRST_OPERATION + command + 1] * OPERATION_FIELDS
    for operation in range(first_operation, end, OPERATION_FIELDS):
        effect = m[operation + EFFECT]
        held = m[operation + HELD]
        tick = clock + m[operation + TICKS]
        if effect == TO_BANK:
            raise_to(m, bank + held, tick)
        elif effect == TO_SCOPE:
            raise_to(m, scope + held, tick)
        elif effect == TO_NODE:
            size = m[operation + SIZE]
            first = bank - (m[bank + NUMBER] & (size - 1)) * BANK_FIELDS
            for place in range(first + held, first + held + size * BANK_FIELDS, BANK_FIELDS):
                raise_to(m, place, tick)
        elif effect == TO_ALL_SCOPES or effect == TO_OTHER_SCOPES:
            end_scopes = m[SCOPES] + m[NUM_SCOPES] * SCOPE_FIELDS
            for other in range(m[SCOPES], end_scopes, SCOPE_FIELDS):
                if effect == TO_ALL_SCOPES or other != scope:
                    raise_to(m, other + held, tick)
        elif effect == TO_STACK:
            raise_to(m, m[bank + STACK] + held - RD, tick)
        elif effect == TO_OTHER_STACKS:
            for stack in range(scope + STACKS, scope + STACKS + m[STACK_LEVELS] * STACK_FIELDS, STACK_FIELDS):
                if stack != m[bank + STACK]:
                    raise_to(m, stack + held - RD, tick)
        elif effect == TO_SIBLINGS:
            number = m[bank + NUMBER]
            parent = m[operation + PARENT]
            first = bank - (number & (parent - 1)) * BANK_FIELDS
            own = bank - (number & (m[operation + SIZE] - 1)) * BANK_FIELDS
            own_end = own + m[operation + SIZE] * BANK_FIELDS
            for other in range(first, first + parent * BANK_FIELDS, BANK_FIELDS):
                if other < own or other >= own_end:
                    raise_to(m, other + held, tick)
        else:
            ring = scope + (ACT_RING if command == ACT else REF_RING)
            oldest = m[ring + m[ring + WINDOW]]
            raise_to(m, scope + held, oldest + m[operation + TICKS])


@inlined
def note_issue(m, ring, clock):
    """Enter `clock` into a ring of newest issues."""
    place = m[ring + WINDOW]
    m[ring + place] = clock
    m[ring + WINDOW] = (place + 1) % WINDOW


@kernel
def set_row(m, bank, row):
    """Open, close or begin to open a bank."""
    before = m[bank + ROW]
    if before == row:
        return
    if before == CLOSED:
        m[m[bank + SCOPE] + OPEN_BANKS] += 1
    elif row == CLOSED:
        m[m[bank + SCOPE] + OPEN_BANKS] -= 1
    sort_by_row(m, bank, row)


@inlined
def row_after(m, command, bank, row):
    """Row of the bank after `command`, which may open it for `row`."""
    if command == ACT:
        return ACTIVATING if m[KIND] == SPLIT else row
    if command == ACT2:
        return row
    if command == PRE or command == RDA or command == WRA:
        return CLOSED
    return m[bank + ROW]


@kernel
def apply(m, command, target, row, clock):
    """Issue `command` at `clock`: bank state, command bus, earliest ticks."""
    bank = m[target + FIRST_BANK] if is_wide(command) else target
    if command == ACT:
        note_issue(m, m[bank + SCOPE] + ACT_RING, clock)
    elif command == REFPB:
        note_issue(m, m[bank + SCOPE] + REF_RING, clock)
    if command == PREA:
        for other in range(bank, bank + m[BANKS_PER_SCOPE] * BANK_FIELDS, BANK_FIELDS):
            set_row(m, other, CLOSED)
    else:
        set_row(m, bank, row_after(m, command, bank, row))
    if command == REFSB:
        end = m[m[bank + SCOPE] + FIRST_BANK] + m[BANKS_PER_SCOPE] * BANK_FIELDS
        for other in range(bank, end, m[BANKS_PER_GROUP] * BANK_FIELDS):
            push_times(m, command, other, clock)
    else:
        push_times(m, command, bank, clock)
    m[m[COMMAND_BUS + command]] = clock + m[COMMAND_TICKS + command]
    if is_wide(command) or command == REFSB:
        forget_champions(m)
    else:
        touch(m, bank)
        reach = m[COMMAND_REACH + command]
        for kind in range(NUM_KINDS):
            m[KIND_DIRTY + kind] |= (reach >> kind) & 1
        if reach & REACHES_ACCESS:
            m[ACTIVE_DIRTY] = 1


@inlined
def add_active(m, bank, change):
    """Count a request of a bank into (+1) or out of (-1) the active buffer."""
    before = m[bank + ACTIVE]
    m[bank + ACTIVE] = before + change
    if before == 0:
        m[m[bank + SCOPE] + ACTIVE_BANKS] += 1
    elif before + change == 0:
        m[m[bank + SCOPE] + ACTIVE_BANKS] -= 1
