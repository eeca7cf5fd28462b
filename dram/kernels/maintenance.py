"""What a channel does to itself: refresh managers and the row policy. Both act by putting commands in the priority queue."""

from tiergarten.dram.commands import PRE, RD, RDA, REFAB, REFPB, REFSB, WRA
from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.device import bank_ready
from tiergarten.dram.kernels.layout import (
    ACCESSES,
    ACTIVE,
    ALL_BANK,
    BANK_FIELDS,
    BANKS,
    BANKS_PER_GROUP,
    BANKS_PER_SCOPE,
    CAP,
    COMPATIBLE,
    COUNT_MAINTENANCE,
    COUNT_REFRESHES,
    FINAL,
    FIRST_BANK,
    INJECTED,
    LEVEL_DONE,
    LEVEL_FREE,
    MAX_PRIORITY,
    NEVER,
    NUM_BANKS,
    NUM_CAPPED,
    NUM_PRIORITY,
    NUM_SCOPES,
    PER_BANK,
    PRIORITY_FIELDS,
    PRIORITY_HEAD,
    PRIORITY_RING,
    REFRESH_BANK,
    REFRESH_BLOCK,
    REFRESH_CURSOR,
    REFRESH_DUE,
    REFRESH_INTERVAL,
    REFRESH_KIND,
    REFRESH_PENDING,
    REFRESH_REGULAR,
    ROW_BUS,
    SAME_BANK,
    SCOPE_DUE,
    SCOPE_FIELDS,
    SCOPES,
    STACK_LEVELS,
    TARGET,
)


@kernel
def push_priority(m, final, target):
    """Append a command to the priority queue; False if it is full."""
    if m[NUM_PRIORITY] >= m[MAX_PRIORITY]:
        return False
    place = (m[PRIORITY_HEAD] + m[NUM_PRIORITY]) % m[MAX_PRIORITY]
    element = m[PRIORITY_RING] + place * PRIORITY_FIELDS
    m[element + FINAL] = final
    m[element + TARGET] = target
    m[NUM_PRIORITY] += 1
    m[COUNT_MAINTENANCE] += 1
    return True


@inlined
def pop_priority(m):
    """Remove the head of the priority queue."""
    m[PRIORITY_HEAD] = (m[PRIORITY_HEAD] + 1) % m[MAX_PRIORITY]
    m[NUM_PRIORITY] -= 1


@kernel
def refresh(m, tick):
    """The refresh manager's part of a tick at which something is due. False if the priority queue overflows."""
    kind = m[REFRESH_KIND]
    if kind == ALL_BANK:
        return refresh_all_banks(m, tick)
    if kind == PER_BANK:
        return refresh_next_bank(m, tick)
    if kind == SAME_BANK:
        return refresh_same_bank(m, tick)
    return refresh_rotating(m, tick)


@kernel
def refresh_all_banks(m, tick):
    """REFab to each scope whose time has come, in order of scopes."""
    due = NEVER
    end = m[SCOPES] + m[NUM_SCOPES] * SCOPE_FIELDS
    for scope in range(m[SCOPES], end, SCOPE_FIELDS):
        if m[scope + SCOPE_DUE] == tick:
            if not push_priority(m, REFAB, scope):
                return False
            m[COUNT_REFRESHES] += 1
            m[scope + SCOPE_DUE] += m[REFRESH_INTERVAL]
        due = min(due, m[scope + SCOPE_DUE])
    m[REFRESH_DUE] = due
    return True


@kernel
def refresh_next_bank(m, tick):
    """REFpb to one bank after the other, through all scopes in one rotation."""
    if not push_priority(m, REFPB, m[BANKS] + m[REFRESH_CURSOR] * BANK_FIELDS):
        return False
    m[COUNT_REFRESHES] += 1
    m[REFRESH_CURSOR] = (m[REFRESH_CURSOR] + 1) % m[NUM_BANKS]
    m[REFRESH_DUE] = tick + m[REFRESH_INTERVAL]
    return True


@kernel
def refresh_same_bank(m, tick):
    """REFsb (one bank number in every bank group) to one number after the other, through all ranks in one rotation."""
    groups = m[BANKS_PER_GROUP]
    cursor = m[REFRESH_CURSOR]
    first = cursor // groups * m[BANKS_PER_SCOPE] + cursor % groups
    if not push_priority(m, REFSB, m[BANKS] + first * BANK_FIELDS):
        return False
    m[COUNT_REFRESHES] += 1
    m[REFRESH_CURSOR] = (cursor + 1) % (groups * m[NUM_SCOPES])
    m[REFRESH_DUE] = tick + m[REFRESH_INTERVAL]
    return True


@kernel
def refresh_rotating(m, tick):
    """REFpb to the same bank of every pseudo channel, bank after bank, stack level after stack level (HBM3/4).

    One scope is served a tick. A stack level whose banks are all done is left alone for REFRESH_BLOCK ticks.
    """
    per_scope = m[BANKS_PER_SCOPE]
    per_level = per_scope // m[STACK_LEVELS]
    scopes = m[NUM_SCOPES]
    if m[REFRESH_PENDING] == 0:
        level = m[REFRESH_CURSOR] // per_level
        allowed = 0
        for number in range(scopes):
            allowed = max(allowed, m[m[SCOPES] + number * SCOPE_FIELDS + LEVEL_FREE + level])
        if tick < allowed:
            m[REFRESH_REGULAR] = allowed
            m[REFRESH_DUE] = allowed
            return True
        m[REFRESH_PENDING] = scopes
        m[REFRESH_BANK] = m[REFRESH_CURSOR]
        m[REFRESH_CURSOR] = (m[REFRESH_CURSOR] + 1) % per_scope
        m[REFRESH_REGULAR] += m[REFRESH_INTERVAL]
    scope = m[SCOPES] + (scopes - m[REFRESH_PENDING]) * SCOPE_FIELDS
    level = m[REFRESH_BANK] // per_level
    if push_priority(m, REFPB, m[scope + FIRST_BANK] + m[REFRESH_BANK] * BANK_FIELDS):
        m[COUNT_REFRESHES] += 1
        m[REFRESH_PENDING] -= 1
        m[scope + LEVEL_DONE + level] += 1
        if m[scope + LEVEL_DONE + level] == per_level:
            m[scope + LEVEL_DONE + level] = 0
            m[scope + LEVEL_FREE + level] = tick + m[REFRESH_BLOCK]
    m[REFRESH_DUE] = tick + 1 if m[REFRESH_PENDING] > 0 else max(tick + 1, m[REFRESH_REGULAR])
    return True


@inlined
def count_access(m, bank):
    """Row policy's note of an access that leaves its row open."""
    m[bank + ACCESSES] += 1
    if m[bank + ACCESSES] == m[CAP]:
        m[NUM_CAPPED] += 1


@inlined
def forget_accesses(m, bank):
    """Row policy's note of a closed bank."""
    if m[CAP] > 0:
        if m[bank + ACCESSES] >= m[CAP] and m[bank + INJECTED] == 0:
            m[NUM_CAPPED] -= 1
        m[bank + ACCESSES] = 0
        m[bank + INJECTED] = 0


@inlined
def with_precharge(m, command, bank, own_active):
    """RDA or WRA for an access to a row that has had its share; else `command`.

    The reference also does so while another request of the active buffer still needs the row (a defect: the row closes
    under it); we do that only when asked to be compatible. `own_active`: 1 if the request is in the active buffer.
    """
    if m[CAP] == 0 or m[bank + ACCESSES] < m[CAP] or (m[COMPATIBLE] == 0 and m[bank + ACTIVE] > own_active):
        return command
    return RDA if command == RD else WRA


@kernel
def awaits_precharge(m, bank):
    """True if the row has had its share and no precharge has been handed in yet."""
    return m[bank + ACCESSES] >= m[CAP] and m[bank + INJECTED] == 0


@kernel
def injection_due(m, tick):
    """First tick from `tick` on at which the row policy hands in a precharge; NEVER while there is no room for it."""
    if m[NUM_PRIORITY] >= m[MAX_PRIORITY]:
        return NEVER
    due = NEVER
    for bank in range(m[BANKS], m[BANKS] + m[NUM_BANKS] * BANK_FIELDS, BANK_FIELDS):
        if awaits_precharge(m, bank):
            due = min(due, bank_ready(m, PRE, bank))
    return max(tick, due, m[ROW_BUS])


@kernel
def inject_precharges(m, tick):
    """Hand in a precharge for each bank whose row has had its share and can be closed now, as long as there is room."""
    if m[ROW_BUS] > tick:
        return
    for bank in range(m[BANKS], m[BANKS] + m[NUM_BANKS] * BANK_FIELDS, BANK_FIELDS):
        if awaits_precharge(m, bank) and bank_ready(m, PRE, bank) <= tick:
            if not push_priority(m, PRE, bank):
                return
            m[bank + INJECTED] = 1
            m[NUM_CAPPED] -= 1
