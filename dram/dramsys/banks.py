"""Bank queues and what each bank proposes: scheduler and page policy.

Every bank has its own queue, whatever the scheduler; a proposal depends only on the queue and the open row, so it is
computed once per change and kept.
"""

from numba import njit

from tiergarten.dram.dramsys.design import PagePolicy, Scheduler, SchedulerBuffer
from tiergarten.dram.dramsys.state import NEVER, NONE, BankField, Command, FlightField, Scalar, TraceField

_ACT, _PRE = int(Command.ACT), int(Command.PRE)
_RD, _RDA, _WR, _WRA = int(Command.RD), int(Command.RDA), int(Command.WR), int(Command.WRA)
_OPEN_ADAPTIVE = int(PagePolicy.OPEN_ADAPTIVE)
_CLOSED, _CLOSED_ADAPTIVE = int(PagePolicy.CLOSED), int(PagePolicy.CLOSED_ADAPTIVE)
_FIFO, _FR_FCFS_GRP = int(Scheduler.FIFO), int(Scheduler.FR_FCFS_GRP)
_BANKWISE, _READ_WRITE = int(SchedulerBuffer.BANKWISE), int(SchedulerBuffer.READ_WRITE)
_QUEUED, _QUEUED_WRITES = int(Scalar.QUEUED), int(Scalar.QUEUED_WRITES)
_LAST_BANK, _LAST_IS_WRITE = int(Scalar.LAST_BANK), int(Scalar.LAST_IS_WRITE)
_HEAD, _TAIL, _LENGTH = int(BankField.HEAD), int(BankField.TAIL), int(BankField.LENGTH)
_OPEN_ROW, _ROW_USED = int(BankField.OPEN_ROW), int(BankField.ROW_USED)
_NUM_ROW_HITS, _FIRST_ROW_HIT = int(BankField.NUM_ROW_HITS), int(BankField.FIRST_ROW_HIT)
_PROPOSAL, _PROPOSER, _BANK_READY = int(BankField.PROPOSAL), int(BankField.PROPOSER), int(BankField.BANK_READY)
_NEXT_ACT, _NEXT_PRE = int(BankField.NEXT_ACT), int(BankField.NEXT_PRE)
_NEXT_COLUMN, _NEXT_RDA = int(BankField.NEXT_COLUMN), int(BankField.NEXT_RDA)
_LINK_NEXT, _LINK_PREVIOUS = int(FlightField.LINK_NEXT), int(FlightField.LINK_PREVIOUS)
_BANK, _ROW, _BURST = int(TraceField.BANK), int(TraceField.ROW), int(TraceField.BURST)
_IS_WRITE = int(TraceField.IS_WRITE)

CLASS_ACT, CLASS_READ, CLASS_WRITE, CLASS_PRE = 0, 1, 2, 3


@njit(cache=True)
def command_class(command):
    """Row of State.class_ready that limits a bank command."""
    if command == _ACT:
        return CLASS_ACT
    if command == _PRE:
        return CLASS_PRE
    return CLASS_READ if command <= _RDA else CLASS_WRITE


@njit(cache=True)
def has_space(policy, state):
    """Whether the scheduler buffer admits one more request.

    The bankwise test looks at the bank of the request stored last, so a bank may hold one more than the size; the
    read-write test wants room for a read and for a write, whichever comes.
    """
    size = policy.request_buffer_size
    if policy.scheduler_buffer == _BANKWISE:
        return state.banks[state.scalars[_LAST_BANK], _LENGTH] < size
    if policy.scheduler_buffer == _READ_WRITE:
        writes = state.scalars[_QUEUED_WRITES]
        return writes < size and state.scalars[_QUEUED] - writes < size
    return state.scalars[_QUEUED] < size


@njit(cache=True)
def store(policy, requests, state, request):
    """Append a request to the queue of its bank."""
    bank = requests[request, _BANK]
    tail = state.banks[bank, _TAIL]
    state.flights[request, _LINK_PREVIOUS] = tail
    state.flights[request, _LINK_NEXT] = NONE
    if tail == NONE:
        state.banks[bank, _HEAD] = request
    else:
        state.flights[tail, _LINK_NEXT] = request
    state.banks[bank, _TAIL] = request
    state.banks[bank, _LENGTH] += 1
    state.scalars[_QUEUED] += 1
    if requests[request, _IS_WRITE]:
        state.scalars[_QUEUED_WRITES] += 1
    state.scalars[_LAST_BANK] = bank
    if requests[request, _ROW] == state.banks[bank, _OPEN_ROW]:
        state.banks[bank, _NUM_ROW_HITS] += 1
        if state.banks[bank, _NUM_ROW_HITS] == 1:
            state.banks[bank, _FIRST_ROW_HIT] = request
    propose(policy, requests, state, bank)


@njit(cache=True)
def remove(requests, state, request):
    """Take a request that hits the open row out of the queue of its bank; the caller lets the bank propose again."""
    bank = requests[request, _BANK]
    older, younger = state.flights[request, _LINK_PREVIOUS], state.flights[request, _LINK_NEXT]
    if older == NONE:
        state.banks[bank, _HEAD] = younger
    else:
        state.flights[older, _LINK_NEXT] = younger
    if younger == NONE:
        state.banks[bank, _TAIL] = older
    else:
        state.flights[younger, _LINK_PREVIOUS] = older
    state.banks[bank, _LENGTH] -= 1
    state.scalars[_QUEUED] -= 1
    if requests[request, _IS_WRITE]:
        state.scalars[_QUEUED_WRITES] -= 1
    state.banks[bank, _NUM_ROW_HITS] -= 1
    if state.banks[bank, _FIRST_ROW_HIT] == request:
        row, entry = state.banks[bank, _OPEN_ROW], younger
        if state.banks[bank, _NUM_ROW_HITS] == 0:
            entry = NONE
        while entry != NONE and requests[entry, _ROW] != row:
            entry = state.flights[entry, _LINK_NEXT]
        state.banks[bank, _FIRST_ROW_HIT] = entry


@njit(cache=True)
def open_row(requests, state, bank, row):
    """Open a row and count the queued requests that hit it."""
    state.banks[bank, _OPEN_ROW] = row
    state.banks[bank, _ROW_USED] = 0
    hits, first = 0, NONE
    entry = state.banks[bank, _HEAD]
    while entry != NONE:
        if requests[entry, _ROW] == row:
            hits += 1
            if first == NONE:
                first = entry
        entry = state.flights[entry, _LINK_NEXT]
    state.banks[bank, _NUM_ROW_HITS] = hits
    state.banks[bank, _FIRST_ROW_HIT] = first


@njit(cache=True)
def close_row(state, bank):
    """Mark the bank precharged."""
    state.banks[bank, _OPEN_ROW] = NONE
    state.banks[bank, _NUM_ROW_HITS] = 0
    state.banks[bank, _FIRST_ROW_HIT] = NONE


@njit(cache=True)
def _same_kind_hit(requests, state, bank):
    """Oldest row hit of the kind of the last column command that passes no older access to its burst; else the oldest."""
    first = state.banks[bank, _FIRST_ROW_HIT]
    row, wants_write = state.banks[bank, _OPEN_ROW], state.scalars[_LAST_IS_WRITE] == 1
    entry = first
    while entry != NONE:
        if requests[entry, _ROW] == row and requests[entry, _IS_WRITE] == wants_write:
            older = first
            while older != entry and requests[older, _BURST] != requests[entry, _BURST]:
                older = state.flights[older, _LINK_NEXT]
            if older == entry:
                return entry
        entry = state.flights[entry, _LINK_NEXT]
    return first


@njit(cache=True)
def _has_further_hit(policy, requests, state, bank):
    """Whether another request than the one served next hits the open row, as far as the scheduler looks."""
    if policy.scheduler == _FIFO:
        second = state.flights[state.banks[bank, _HEAD], _LINK_NEXT]
        return second != NONE and requests[second, _ROW] == state.banks[bank, _OPEN_ROW]
    return state.banks[bank, _NUM_ROW_HITS] >= 2


@njit(cache=True)
def propose(policy, requests, state, bank):
    """Let a bank choose its next request and command: ACT when precharged, PRE on a miss, else a column command."""
    head = state.banks[bank, _HEAD]
    if head == NONE:
        state.banks[bank, _PROPOSAL] = NONE
        state.banks[bank, _PROPOSER] = NONE
        state.banks[bank, _BANK_READY] = NEVER
        return
    if state.banks[bank, _OPEN_ROW] == NONE:
        state.banks[bank, _PROPOSAL] = _ACT
        state.banks[bank, _PROPOSER] = head
        state.banks[bank, _BANK_READY] = state.banks[bank, _NEXT_ACT]
        return
    request = head
    if policy.scheduler != _FIFO and state.banks[bank, _NUM_ROW_HITS] > 0:
        if policy.scheduler == _FR_FCFS_GRP:
            request = _same_kind_hit(requests, state, bank)
        else:
            request = state.banks[bank, _FIRST_ROW_HIT]
    state.banks[bank, _PROPOSER] = request
    if requests[request, _ROW] != state.banks[bank, _OPEN_ROW]:
        state.banks[bank, _PROPOSAL] = _PRE
        state.banks[bank, _BANK_READY] = state.banks[bank, _NEXT_PRE]
        return
    closes = False
    if policy.page_policy == _CLOSED:
        closes = True
    elif policy.page_policy == _CLOSED_ADAPTIVE:
        closes = not _has_further_hit(policy, requests, state, bank)
    elif policy.page_policy == _OPEN_ADAPTIVE:
        closes = state.banks[bank, _LENGTH] >= 2 and not _has_further_hit(policy, requests, state, bank)
    ready = state.banks[bank, _NEXT_COLUMN]
    if requests[request, _IS_WRITE]:
        state.banks[bank, _PROPOSAL] = _WRA if closes else _WR
    elif closes:
        state.banks[bank, _PROPOSAL] = _RDA
        ready = max(ready, state.banks[bank, _NEXT_RDA])
    else:
        state.banks[bank, _PROPOSAL] = _RD
    state.banks[bank, _BANK_READY] = ready
