"""The choice of the next command: which request's next command issues, and at which tick.

One pass finds the champion of the column commands and the champion of the row commands among banks with waiting
requests. A champion is the request whose command is ready first; of several ready at the same tick, the oldest.
"""

from tiergarten.dram.commands import ACT, ACT2, PRE, PREA, RD, REFAB, REFPB, REFSB, RFMAB, RFMPB, WR
from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.device import (
    access_ready,
    bank_ready,
    is_wide,
    open_same_bank,
    same_bank_ready,
    scope_ready,
)
from tiergarten.dram.kernels.layout import (
    ACTIVATE,
    ACTIVATING,
    ACTIVE,
    ACTIVE_AT,
    ACTIVE_BANKS,
    ACTIVE_COMMAND,
    ACTIVE_DIRTY,
    ACTIVE_LIST,
    ACTIVE_PLACE,
    ARRIVE,
    BANK,
    BANK_LISTS,
    CHOSEN_QUEUE,
    CLOSED,
    COLUMN,
    COMPATIBLE,
    ENTER_WRITE_ABOVE,
    FINAL,
    FLAGS,
    HALF_CLOCK,
    HIT,
    ID,
    IS_WRITE,
    KIND_AT,
    KIND_DIRTY,
    KIND_SECOND,
    KIND_SLOT,
    LEAVE_WRITE_BELOW,
    LIST_LENGTH,
    MISS,
    MISS_KIND,
    NEVER,
    NONE,
    NUM_ACTIVE,
    NUM_BANKS,
    NUM_KINDS,
    NUM_READS,
    NUM_TOUCHED,
    NUM_WRITES,
    OPEN_BANKS,
    PAIR_BANK,
    PAIR_EDGE,
    PAIR_SCOPE,
    PRECHARGE,
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
    TOUCHED,
    WRITE_MODE,
)
from tiergarten.dram.kernels.queues import forget_champions


@inlined
def update_write_mode(m):
    """The evaluation of write mode, due in each tick that gets as far as the queues. Repeating it changes nothing."""
    if m[WRITE_MODE] == 0:
        if m[NUM_WRITES] > m[ENTER_WRITE_ABOVE] or m[NUM_READS] == 0:
            m[WRITE_MODE] = 1
    elif m[NUM_WRITES] < m[LEAVE_WRITE_BELOW] and m[NUM_READS] > 0:
        m[WRITE_MODE] = 0


@inlined
def precharge_edge(m, bank, tick):
    """First tick from `tick` on that the pairing rule leaves to a precharge of one bank."""
    if tick == m[PAIR_EDGE] and m[PAIR_SCOPE] == m[bank + SCOPE] and (m[PAIR_BANK] == NONE or m[PAIR_BANK] == bank):
        return tick + 1
    return tick


@inlined
def reads_blocked(m):
    """True while the read clock is stopped in the mode in which only RCKSTRT starts it."""
    return m[RCK_MODE] == RCK_WITH_START and m[RCK_RUNNING] == 0


@inlined
def column_tick(m, bank, access, first):
    """First tick from `first` on at which an access to the bank's open row may issue."""
    return max(first, access_ready(m, access, bank)) | m[HALF_CLOCK]


@inlined
def activate_tick(m, bank, first):
    """First tick from `first` on at which the closed bank may be activated."""
    return max(first, m[bank + ACT], m[m[bank + SCOPE] + ACT]) | m[HALF_CLOCK]


@inlined
def precharge_tick(m, bank, queue, first):
    """First tick from `first` on at which the bank may be closed for the oldest request to another row of a queue.

    NEVER while the active buffer needs the open row, or where row hits go first and an older one waits.
    """
    if m[bank + ACTIVE] > 0 and m[NUM_ACTIVE] > 0:
        return NEVER
    if m[ROW_HIT_FIRST]:
        part = bank + QUEUE + queue * QUEUE_FIELDS
        hit = m[part + HIT]
        if hit != NONE and m[hit + ARRIVE] <= m[m[part + MISS] + ARRIVE]:
            return NEVER
    tick = max(first, m[bank + PRE], m[m[bank + SCOPE] + PRE])
    return precharge_edge(m, bank, tick) if m[HALF_CLOCK] else tick


@inlined
def kind_tick(m, kind, queue, bank, first):
    """First tick from `first` on at which the bank's command of a kind may issue."""
    if kind == COLUMN:
        return column_tick(m, bank, WR if queue == 1 else RD, first)
    if kind == ACTIVATE:
        return activate_tick(m, bank, first)
    return precharge_tick(m, bank, queue, first)


@inlined
def find_champion(m, kind, queue, first):
    """Find the champion of a kind among the banks in its list."""
    best_at = NEVER
    best_slot = NONE
    best_id = NEVER
    number = queue * NUM_KINDS + kind
    entries = m[BANK_LISTS] + number * m[NUM_BANKS]
    field = QUEUE + queue * QUEUE_FIELDS + (HIT if kind == COLUMN else MISS)
    second = NEVER
    for place in range(entries, entries + m[LIST_LENGTH + number]):
        bank = m[place]
        tick = kind_tick(m, kind, queue, bank, first)
        if tick > best_at:
            second = min(second, tick)
        else:
            slot = m[bank + field]
            if tick < best_at:
                second = best_at
            elif m[slot + ID] > best_id:
                continue
            best_at = tick
            best_slot = slot
            best_id = m[slot + ID]
    m[KIND_AT + kind] = best_at
    m[KIND_SLOT + kind] = best_slot
    m[KIND_SECOND + kind] = second
    m[KIND_DIRTY + kind] = 0


@inlined
def compare_champion(m, kind, queue, bank, first):
    """Compare the champion of a kind with what a touched bank offers."""
    slot = m[KIND_SLOT + kind]
    if slot != NONE and m[slot + BANK] == bank:
        m[KIND_DIRTY + kind] = 1
        return
    part = bank + QUEUE + queue * QUEUE_FIELDS
    if kind == COLUMN:
        offered = m[part + HIT]
    elif m[part + MISS_KIND] == kind:
        offered = m[part + MISS]
    else:
        offered = NONE
    if offered != NONE:
        tick = kind_tick(m, kind, queue, bank, first)
        at = m[KIND_AT + kind]
        if tick > at:
            m[KIND_SECOND + kind] = min(m[KIND_SECOND + kind], tick)
        elif tick < at or (slot != NONE and m[offered + ID] < m[slot + ID]):
            if tick < at:
                m[KIND_SECOND + kind] = at
            m[KIND_AT + kind] = tick
            m[KIND_SLOT + kind] = offered


@inlined
def move_champion(m, kind, queue, first):
    """Move a champion that could have issued before to `first`, or have it found anew if another may be ready by then."""
    paired = kind == PRECHARGE and m[HALF_CLOCK] and m[PAIR_EDGE] >= m[KIND_AT + kind]
    edge = first if kind == PRECHARGE else first | m[HALF_CLOCK]
    if paired or edge >= m[KIND_SECOND + kind]:
        m[KIND_DIRTY + kind] = 1
    else:
        m[KIND_AT + kind] = kind_tick(m, kind, queue, m[m[KIND_SLOT + kind] + BANK], first)


@inlined
def update_champions(m, queue, column_from, row_from):
    """Bring the champions of all kinds up to date for `queue`.

    `column_from`, `row_from`: first ticks at which column and row commands may issue, the buses included.
    """
    if queue != m[CHOSEN_QUEUE]:
        m[CHOSEN_QUEUE] = queue
        forget_champions(m)
    for kind in range(NUM_KINDS):
        first = column_from if kind == COLUMN else row_from
        if m[KIND_DIRTY + kind] == 0 and m[KIND_AT + kind] < first:
            move_champion(m, kind, queue, first)
        for place in range(TOUCHED, TOUCHED + m[NUM_TOUCHED]):
            if m[KIND_DIRTY + kind] == 0:
                compare_champion(m, kind, queue, m[place], first)
        if m[KIND_DIRTY + kind]:
            find_champion(m, kind, queue, first)
    m[NUM_TOUCHED] = 0


@inlined
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


@inlined
def best_of_active(m, first, columns_only):
    """Champion of the active buffer: (tick, place, command), `first` being the first tick with a free bus."""
    if m[ACTIVE_DIRTY] or m[ACTIVE_AT] < first or m[COMPATIBLE]:
        at, place, command = find_active(m, first, columns_only)
        m[ACTIVE_AT] = at
        m[ACTIVE_PLACE] = place
        m[ACTIVE_COMMAND] = command
        m[ACTIVE_DIRTY] = 0
    return m[ACTIVE_AT], m[ACTIVE_PLACE], m[ACTIVE_COMMAND]


@inlined
def find_active(m, first, columns_only):
    """Find the champion of the active buffer.

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
        ready = access_ready(m, access, bank)
        if m[bank + ROW] == m[slot + TARGET_ROW]:
            if access == RD and reads_blocked(m):
                continue
        else:
            command = next_command(m, slot, access)
            if columns_only or not is_split_allowed(m, command, bank) or hides_behind_hit(m, slot, command):
                continue
            ready = bank_ready(m, command, bank)
        tick = max(first, ready) | half
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


@inlined
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
