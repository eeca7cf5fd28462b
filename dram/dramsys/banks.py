"""Bank queues and what each bank proposes: scheduler and page policy.

Every bank has its own queue, whatever the scheduler; a proposal depends only on the queue and the open row, so it is
computed once per change and kept.
"""

from numba import njit

from tiergarten.dram.dramsys.design import PagePolicy, Scheduler, SchedulerBuffer
from tiergarten.dram.dramsys.state import NEVER, NONE, Command, Scalar

_ACT, _PRE = int(Command.ACT), int(Command.PRE)
_RD, _RDA, _WR, _WRA = int(Command.RD), int(Command.RDA), int(Command.WR), int(Command.WRA)
_OPEN_ADAPTIVE = int(PagePolicy.OPEN_ADAPTIVE)
_CLOSED, _CLOSED_ADAPTIVE = int(PagePolicy.CLOSED), int(PagePolicy.CLOSED_ADAPTIVE)
_FIFO, _FR_FCFS_GRP = int(Scheduler.FIFO), int(Scheduler.FR_FCFS_GRP)
_BANKWISE, _READ_WRITE = int(SchedulerBuffer.BANKWISE), int(SchedulerBuffer.READ_WRITE)
_QUEUED, _QUEUED_WRITES = int(Scalar.QUEUED), int(Scalar.QUEUED_WRITES)
_LAST_BANK, _LAST_IS_WRITE = int(Scalar.LAST_BANK), int(Scalar.LAST_IS_WRITE)

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
        return state.length[state.scalars[_LAST_BANK]] < size
    if policy.scheduler_buffer == _READ_WRITE:
        writes = state.scalars[_QUEUED_WRITES]
        return writes < size and state.scalars[_QUEUED] - writes < size
    return state.scalars[_QUEUED] < size


@njit(cache=True)
def store(policy, requests, state, request):
    """Append a request to the queue of its bank."""
    bank = requests.bank[request]
    tail = state.tail[bank]
    state.link_previous[request] = tail
    state.link_next[request] = NONE
    if tail == NONE:
        state.head[bank] = request
    else:
        state.link_next[tail] = request
    state.tail[bank] = request
    state.length[bank] += 1
    state.scalars[_QUEUED] += 1
    if requests.is_write[request]:
        state.scalars[_QUEUED_WRITES] += 1
    state.scalars[_LAST_BANK] = bank
    if requests.row[request] == state.open_row[bank]:
        state.num_row_hits[bank] += 1
        if state.num_row_hits[bank] == 1:
            state.first_row_hit[bank] = request
    propose(policy, requests, state, bank)


@njit(cache=True)
def remove(requests, state, request):
    """Take a request that hits the open row out of the queue of its bank; the caller lets the bank propose again."""
    bank = requests.bank[request]
    older, younger = state.link_previous[request], state.link_next[request]
    if older == NONE:
        state.head[bank] = younger
    else:
        state.link_next[older] = younger
    if younger == NONE:
        state.tail[bank] = older
    else:
        state.link_previous[younger] = older
    state.length[bank] -= 1
    state.scalars[_QUEUED] -= 1
    if requests.is_write[request]:
        state.scalars[_QUEUED_WRITES] -= 1
    state.num_row_hits[bank] -= 1
    if state.first_row_hit[bank] == request:
        row, entry = state.open_row[bank], younger
        if state.num_row_hits[bank] == 0:
            entry = NONE
        while entry != NONE and requests.row[entry] != row:
            entry = state.link_next[entry]
        state.first_row_hit[bank] = entry


@njit(cache=True)
def open_row(requests, state, bank, row):
    """Open a row and count the queued requests that hit it."""
    state.open_row[bank] = row
    state.row_used[bank] = 0
    hits, first = 0, NONE
    entry = state.head[bank]
    while entry != NONE:
        if requests.row[entry] == row:
            hits += 1
            if first == NONE:
                first = entry
        entry = state.link_next[entry]
    state.num_row_hits[bank] = hits
    state.first_row_hit[bank] = first


@njit(cache=True)
def close_row(state, bank):
    """Mark the bank precharged."""
    state.open_row[bank] = NONE
    state.num_row_hits[bank] = 0
    state.first_row_hit[bank] = NONE


@njit(cache=True)
def _same_kind_hit(requests, state, bank):
    """Oldest row hit of the kind of the last column command that passes no older access to its burst; else the oldest."""
    first = state.first_row_hit[bank]
    row, wants_write = state.open_row[bank], state.scalars[_LAST_IS_WRITE] == 1
    entry = first
    while entry != NONE:
        if requests.row[entry] == row and requests.is_write[entry] == wants_write:
            older = first
            while older != entry and requests.burst[older] != requests.burst[entry]:
                older = state.link_next[older]
            if older == entry:
                return entry
        entry = state.link_next[entry]
    return first


@njit(cache=True)
def _has_further_hit(policy, requests, state, bank):
    """Whether another request than the one served next hits the open row, as far as the scheduler looks."""
    if policy.scheduler == _FIFO:
        second = state.link_next[state.head[bank]]
        return second != NONE and requests.row[second] == state.open_row[bank]
    return state.num_row_hits[bank] >= 2


@njit(cache=True)
def propose(policy, requests, state, bank):
    """Let a bank choose its next request and command: ACT when precharged, PRE on a miss, else a column command."""
    head = state.head[bank]
    if head == NONE:
        state.proposal[bank] = NONE
        state.proposer[bank] = NONE
        state.bank_ready[bank] = NEVER
        return
    if state.open_row[bank] == NONE:
        state.proposal[bank] = _ACT
        state.proposer[bank] = head
        state.bank_ready[bank] = state.next_act[bank]
        return
    request = head
    if policy.scheduler != _FIFO and state.num_row_hits[bank] > 0:
        if policy.scheduler == _FR_FCFS_GRP:
            request = _same_kind_hit(requests, state, bank)
        else:
            request = state.first_row_hit[bank]
    state.proposer[bank] = request
    if requests.row[request] != state.open_row[bank]:
        state.proposal[bank] = _PRE
        state.bank_ready[bank] = state.next_pre[bank]
        return
    closes = False
    if policy.page_policy == _CLOSED:
        closes = True
    elif policy.page_policy == _CLOSED_ADAPTIVE:
        closes = not _has_further_hit(policy, requests, state, bank)
    elif policy.page_policy == _OPEN_ADAPTIVE:
        closes = state.length[bank] >= 2 and not _has_further_hit(policy, requests, state, bank)
    ready = state.next_column[bank]
    if requests.is_write[request]:
        state.proposal[bank] = _WRA if closes else _WR
    elif closes:
        state.proposal[bank] = _RDA
        ready = max(ready, state.next_rda[bank])
    else:
        state.proposal[bank] = _RD
    state.bank_ready[bank] = ready
