"""Bank queues and what each bank proposes: scheduler and page policy.

Every bank has its own queue, whatever the scheduler; a proposal depends only on the queue and the open row, so it is
computed once per change and kept.
"""

from tiergarten.dram.dramsys.design import PagePolicy, Scheduler, SchedulerBuffer
from tiergarten.dram.dramsys.state import NEVER, NONE, BankField, Command, FlightField, Scalar, TraceField
from tiergarten.dram.kernels.compiled import step

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
_IS_WRITE, _CLASS = int(TraceField.IS_WRITE), int(BankField.CLASS)

CLASS_ACT, CLASS_READ, CLASS_WRITE, CLASS_PRE = 0, 1, 2, 3


@step
def has_space(policy, s, banks):
    """Whether the scheduler buffer admits one more request.

    The bankwise test looks at the bank of the request stored last, so a bank may hold one more than the size; the
    read-write test wants room for a read and for a write, whichever comes.
    """
    size = policy.request_buffer_size
    if policy.scheduler_buffer == _BANKWISE:
        return banks[s[_LAST_BANK], _LENGTH] < size
    if policy.scheduler_buffer == _READ_WRITE:
        writes = s[_QUEUED_WRITES]
        return writes < size and s[_QUEUED] - writes < size
    return s[_QUEUED] < size


@step
def store(policy, requests, s, banks, flights, request):
    """Append a request to the queue of its bank."""
    bank = requests[request, _BANK]
    tail = banks[bank, _TAIL]
    flights[request, _LINK_PREVIOUS] = tail
    flights[request, _LINK_NEXT] = NONE
    if tail == NONE:
        banks[bank, _HEAD] = request
    else:
        flights[tail, _LINK_NEXT] = request
    banks[bank, _TAIL] = request
    banks[bank, _LENGTH] += 1
    s[_QUEUED] += 1
    if requests[request, _IS_WRITE]:
        s[_QUEUED_WRITES] += 1
    s[_LAST_BANK] = bank
    if requests[request, _ROW] == banks[bank, _OPEN_ROW]:
        banks[bank, _NUM_ROW_HITS] += 1
        if banks[bank, _NUM_ROW_HITS] == 1:
            banks[bank, _FIRST_ROW_HIT] = request
    propose(policy, requests, s, banks, flights, bank)


@step
def remove(requests, s, banks, flights, request):
    """Take a request that hits the open row out of the queue of its bank; the caller lets the bank propose again."""
    bank = requests[request, _BANK]
    older, younger = flights[request, _LINK_PREVIOUS], flights[request, _LINK_NEXT]
    if older == NONE:
        banks[bank, _HEAD] = younger
    else:
        flights[older, _LINK_NEXT] = younger
    if younger == NONE:
        banks[bank, _TAIL] = older
    else:
        flights[younger, _LINK_PREVIOUS] = older
    banks[bank, _LENGTH] -= 1
    s[_QUEUED] -= 1
    if requests[request, _IS_WRITE]:
        s[_QUEUED_WRITES] -= 1
    banks[bank, _NUM_ROW_HITS] -= 1
    if banks[bank, _FIRST_ROW_HIT] == request:
        row, entry = banks[bank, _OPEN_ROW], younger
        if banks[bank, _NUM_ROW_HITS] == 0:
            entry = NONE
        while entry != NONE and requests[entry, _ROW] != row:
            entry = flights[entry, _LINK_NEXT]
        banks[bank, _FIRST_ROW_HIT] = entry


@step
def open_row(requests, banks, flights, bank, row):
    """Open a row and count the queued requests that hit it."""
    banks[bank, _OPEN_ROW] = row
    banks[bank, _ROW_USED] = 0
    hits, first = 0, NONE
    entry = banks[bank, _HEAD]
    while entry != NONE:
        if requests[entry, _ROW] == row:
            hits += 1
            if first == NONE:
                first = entry
        entry = flights[entry, _LINK_NEXT]
    banks[bank, _NUM_ROW_HITS] = hits
    banks[bank, _FIRST_ROW_HIT] = first


@step
def close_row(banks, bank):
    """Mark the bank precharged."""
    banks[bank, _OPEN_ROW] = NONE
    banks[bank, _NUM_ROW_HITS] = 0
    banks[bank, _FIRST_ROW_HIT] = NONE


@step
def _same_kind_hit(requests, s, banks, flights, bank):
    """Oldest row hit of the kind of the last column command that passes no older access to its burst; else the oldest."""
    first = banks[bank, _FIRST_ROW_HIT]
    row, wants_write = banks[bank, _OPEN_ROW], s[_LAST_IS_WRITE]
    entry = first
    while entry != NONE:
        if requests[entry, _ROW] == row and requests[entry, _IS_WRITE] == wants_write:
            older = first
            while older != entry and requests[older, _BURST] != requests[entry, _BURST]:
                older = flights[older, _LINK_NEXT]
            if older == entry:
                return entry
        entry = flights[entry, _LINK_NEXT]
    return first


@step
def _has_further_hit(policy, requests, banks, flights, bank):
    """Whether another request than the one served next hits the open row, as far as the scheduler looks."""
    if policy.scheduler == _FIFO:
        second = flights[banks[bank, _HEAD], _LINK_NEXT]
        return second != NONE and requests[second, _ROW] == banks[bank, _OPEN_ROW]
    return banks[bank, _NUM_ROW_HITS] >= 2


@step
def _closes_row(policy, requests, banks, flights, bank):
    """Whether the page policy attaches an auto-precharge to a column command that hits the open row."""
    if policy.page_policy == _CLOSED:
        return True
    if policy.page_policy == _CLOSED_ADAPTIVE:
        return not _has_further_hit(policy, requests, banks, flights, bank)
    if policy.page_policy == _OPEN_ADAPTIVE:
        return banks[bank, _LENGTH] >= 2 and not _has_further_hit(policy, requests, banks, flights, bank)
    return False


@step
def propose(policy, requests, s, banks, flights, bank):
    """Let a bank choose its next request and command: ACT when precharged, PRE on a miss, else a column command."""
    request = banks[bank, _HEAD]
    if request == NONE:
        command, ready, limits = NONE, NEVER, CLASS_PRE
    elif banks[bank, _OPEN_ROW] == NONE:
        command, ready, limits = _ACT, banks[bank, _NEXT_ACT], CLASS_ACT
    else:
        if policy.scheduler != _FIFO and banks[bank, _NUM_ROW_HITS] > 0:
            request = banks[bank, _FIRST_ROW_HIT]
            if policy.scheduler == _FR_FCFS_GRP:
                request = _same_kind_hit(requests, s, banks, flights, bank)
        if requests[request, _ROW] != banks[bank, _OPEN_ROW]:
            command, ready, limits = _PRE, banks[bank, _NEXT_PRE], CLASS_PRE
        else:
            closes = _closes_row(policy, requests, banks, flights, bank)
            ready = banks[bank, _NEXT_COLUMN]
            if requests[request, _IS_WRITE] == 1:
                command, limits = (_WRA if closes else _WR), CLASS_WRITE
            else:
                command, limits = (_RDA if closes else _RD), CLASS_READ
                if closes:
                    ready = max(ready, banks[bank, _NEXT_RDA])
    banks[bank, _PROPOSAL] = command
    banks[bank, _PROPOSER] = request
    banks[bank, _BANK_READY] = ready
    banks[bank, _CLASS] = limits
