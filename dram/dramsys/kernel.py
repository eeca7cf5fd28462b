"""The controller and its channel, from event to event.

Semantics: at each cycle the controller stores an arrived request, lets the refresh manager and every bank propose a
command with its earliest legal cycle, and issues the proposal that is ready first, the oldest on ties. Between two such
events nothing changes, so time jumps from one to the next.
"""

from tiergarten.dram.dramsys.banks import (
    CLASS_ACT,
    CLASS_READ,
    CLASS_WRITE,
    close_row,
    has_space,
    open_row,
    propose,
    remove,
    store,
)
from tiergarten.dram.dramsys.design import RefreshPolicy, Scheduler
from tiergarten.dram.dramsys.front import release_held, respond, schedule_arrival
from tiergarten.dram.dramsys.refresh import decide_refresh, note_refresh, skip_idle_refreshes
from tiergarten.dram.dramsys.state import (
    ACTIVATES,
    COUNTS,
    NEVER,
    NONE,
    BankField,
    Command,
    Scalar,
    TraceField,
)
from tiergarten.dram.kernels.compiled import kernel, step

_ACT, _PRE, _PREAB, _REFAB = int(Command.ACT), int(Command.PRE), int(Command.PREAB), int(Command.REFAB)
_RD, _RDA, _WRA = int(Command.RD), int(Command.RDA), int(Command.WRA)
_FR_FCFS_GRP = int(Scheduler.FR_FCFS_GRP)
_NO_REFRESH = int(RefreshPolicy.NO_REFRESH)
_NOW, _NEXT_REQUEST, _ARRIVAL = int(Scalar.NOW), int(Scalar.NEXT_REQUEST), int(Scalar.ARRIVAL)
_FREED, _END_REQUEST, _QUEUED = int(Scalar.FREED), int(Scalar.END_REQUEST), int(Scalar.QUEUED)
_LAST_IS_WRITE, _LAST_RESPONSE = int(Scalar.LAST_IS_WRITE), int(Scalar.LAST_RESPONSE)
_REFRESH_DUE, _REFRESH_COMMAND, _BLOCKED = int(Scalar.REFRESH_DUE), int(Scalar.REFRESH_COMMAND), int(Scalar.BLOCKED)
_NUM_OPEN, _NEXT_PREAB, _NEXT_REFAB = int(Scalar.NUM_OPEN), int(Scalar.NEXT_PREAB), int(Scalar.NEXT_REFAB)
_ACTIVE_SINCE, _ACTIVE_UNTIL = int(Scalar.ACTIVE_SINCE), int(Scalar.ACTIVE_UNTIL)
_ACTIVE_CYCLES, _NUM_PRECHARGES = int(Scalar.ACTIVE_CYCLES), int(Scalar.NUM_PRECHARGES)
_NUM_LOGGED, _NUM_HITS, _OLDEST_ACTIVATE = int(Scalar.NUM_LOGGED), int(Scalar.NUM_HITS), int(Scalar.OLDEST_ACTIVATE)

_NUM_RESPONDED, _REFRESHED_UNTIL = int(Scalar.NUM_RESPONDED), int(Scalar.REFRESHED_UNTIL)
_LAST_COMMAND = int(Scalar.LAST_COMMAND)
_BANK, _ROW, _IS_WRITE = int(TraceField.BANK), int(TraceField.ROW), int(TraceField.IS_WRITE)
_OPEN_ROW, _ROW_USED = int(BankField.OPEN_ROW), int(BankField.ROW_USED)
_PROPOSAL, _PROPOSER, _BANK_READY = int(BankField.PROPOSAL), int(BankField.PROPOSER), int(BankField.BANK_READY)
_NEXT_ACT, _NEXT_PRE = int(BankField.NEXT_ACT), int(BankField.NEXT_PRE)
_NEXT_COLUMN, _NEXT_RDA = int(BankField.NEXT_COLUMN), int(BankField.NEXT_RDA)
_OPENED_AT, _CLOSED_AT = int(BankField.OPENED_AT), int(BankField.CLOSED_AT)
_OPEN_CYCLES = int(BankField.OPEN_CYCLES)
_CLASS, _GROUP = int(BankField.CLASS), int(BankField.GROUP)

RANK: int = -2
"""Stands for the refresh manager where a bank number is expected."""


@step
def _begin_activity(s, now):
    """Some bank becomes active: start a new active period unless one is still running."""
    if s[_ACTIVE_SINCE] == NONE:
        s[_ACTIVE_SINCE] = now
    elif s[_NUM_OPEN] == 0 and s[_ACTIVE_UNTIL] < now:
        s[_ACTIVE_CYCLES] += s[_ACTIVE_UNTIL] - s[_ACTIVE_SINCE]
        s[_ACTIVE_SINCE] = now


@step
def _end_activity(s, banks, bank, cycle):
    """A bank is precharged at `cycle`, which may lie ahead (auto-precharge)."""
    banks[bank, _OPEN_CYCLES] += cycle - banks[bank, _OPENED_AT]
    banks[bank, _CLOSED_AT] = cycle
    s[_ACTIVE_UNTIL] = max(s[_ACTIVE_UNTIL], cycle)
    s[_NUM_OPEN] -= 1
    s[_NUM_PRECHARGES] += 1
    close_row(banks, bank)


@step
def _issue_activate(timing, requests, s, banks, flights, ready, bank, now):
    _begin_activity(s, now)
    s[_NUM_OPEN] += 1
    banks[bank, _OPENED_AT] = now
    open_row(requests, banks, flights, bank, requests[banks[bank, _PROPOSER], _ROW])
    banks[bank, _NEXT_ACT] = max(banks[bank, _NEXT_ACT], now + timing.act_to_act_same_bank)
    banks[bank, _NEXT_PRE] = max(banks[bank, _NEXT_PRE], now + timing.act_to_pre)
    banks[bank, _NEXT_COLUMN] = max(banks[bank, _NEXT_COLUMN], now + timing.act_to_column)
    oldest = s[_OLDEST_ACTIVATE]
    s[ACTIVATES + oldest] = now
    oldest = (oldest + 1) & 3
    s[_OLDEST_ACTIVATE] = oldest
    limit = max(now + timing.act_to_act, s[ACTIVATES + oldest] + timing.four_activates)
    for group in range(timing.num_bank_groups):
        ready[CLASS_ACT, group] = max(ready[CLASS_ACT, group], limit)
    group = banks[bank, _GROUP]
    ready[CLASS_ACT, group] = max(ready[CLASS_ACT, group], now + timing.act_to_act_same_group)
    s[_NEXT_PREAB] = max(s[_NEXT_PREAB], now + timing.act_to_pre)
    s[_NEXT_REFAB] = max(s[_NEXT_REFAB], now + timing.act_to_refresh)


@step
def _issue_column(timing, policy, requests, s, banks, flights, ready, bank, command, now):
    """Issue RD, RDA, WR or WRA for the request that the bank proposes."""
    request = banks[bank, _PROPOSER]
    is_write = requests[request, _IS_WRITE]
    s[_NUM_HITS] += banks[bank, _ROW_USED]
    banks[bank, _ROW_USED] = 1
    own = banks[bank, _GROUP]
    if is_write:
        for group in range(timing.num_bank_groups):
            ready[CLASS_WRITE, group] = max(ready[CLASS_WRITE, group], now + timing.column_to_column)
            ready[CLASS_READ, group] = max(ready[CLASS_READ, group], now + timing.write_to_read)
        ready[CLASS_WRITE, own] = max(ready[CLASS_WRITE, own], now + timing.column_to_column_same_group)
        ready[CLASS_READ, own] = max(ready[CLASS_READ, own], now + timing.write_to_read_same_group)
        banks[bank, _NEXT_RDA] = max(banks[bank, _NEXT_RDA], now + timing.write_to_pre - timing.read_to_pre)
        precharge = now + timing.write_to_pre
        data_end = now + timing.write_to_data_end
    else:
        for group in range(timing.num_bank_groups):
            ready[CLASS_READ, group] = max(ready[CLASS_READ, group], now + timing.column_to_column)
            ready[CLASS_WRITE, group] = max(ready[CLASS_WRITE, group], now + timing.read_to_write)
        ready[CLASS_READ, own] = max(ready[CLASS_READ, own], now + timing.column_to_column_same_group)
        precharge = now + timing.read_to_pre
        data_end = now + timing.read_to_data_end
    s[_NEXT_PREAB] = max(s[_NEXT_PREAB], precharge)
    remove(requests, s, banks, flights, request)
    if command == _RDA or command == _WRA:
        banks[bank, _NEXT_ACT] = max(banks[bank, _NEXT_ACT], precharge + timing.pre_to_act)
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], precharge + timing.pre_to_act)
        _end_activity(s, banks, bank, max(precharge, banks[bank, _OPENED_AT] + timing.act_to_pre))
    else:
        banks[bank, _NEXT_PRE] = max(banks[bank, _NEXT_PRE], precharge)
    kind_changes = s[_LAST_IS_WRITE] != int(is_write)
    s[_LAST_IS_WRITE] = int(is_write)
    propose(policy, requests, s, banks, flights, bank)
    if kind_changes and policy.scheduler == _FR_FCFS_GRP:
        for other in range(len(banks)):
            propose(policy, requests, s, banks, flights, other)
    respond(policy, s, flights, request, data_end)


@step
def _issue_for_rank(timing, policy, requests, s, banks, flights, now):
    """Issue the refresh manager's PREAB or REFAB."""
    if s[_REFRESH_COMMAND] == _PREAB:
        for bank in range(len(banks)):
            if banks[bank, _OPEN_ROW] != NONE:
                _end_activity(s, banks, bank, now)
        limit = now + timing.pre_to_act
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], limit)
    else:
        _begin_activity(s, now)
        limit = now + timing.refresh_to_act
        s[_ACTIVE_UNTIL] = max(s[_ACTIVE_UNTIL], limit)
        s[_REFRESHED_UNTIL] = limit
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], limit)
        note_refresh(timing, policy, s)
    for bank in range(len(banks)):
        banks[bank, _NEXT_ACT] = max(banks[bank, _NEXT_ACT], limit)
        propose(policy, requests, s, banks, flights, bank)


@step
def _prefer(banks, ready, earliest, best_cycle, best, bank):
    """The better of the best proposal so far and a bank's: the one ready first, the older request on ties."""
    limit = ready[banks[bank, _CLASS], banks[bank, _GROUP]]
    cycle = max(max(banks[bank, _BANK_READY], limit), earliest)
    if cycle < best_cycle:
        return cycle, bank
    if cycle == best_cycle and best != RANK and (best == NONE or banks[bank, _PROPOSER] < banks[best, _PROPOSER]):
        return cycle, bank
    return best_cycle, best


@step
def _select(s, banks, ready, earliest, with_banks):
    """The proposal that is ready first, not before `earliest`; ties go to the rank, then to the oldest request.

    Returns (cycle, bank or RANK or NONE).
    """
    best_cycle, best = NEVER, NONE
    if s[_REFRESH_COMMAND] != NONE:
        limit = s[_NEXT_PREAB] if s[_REFRESH_COMMAND] == _PREAB else s[_NEXT_REFAB]
        best_cycle, best = max(earliest, limit), RANK
    if with_banks:
        for bank in range(len(banks)):
            if banks[bank, _BANK_READY] <= best_cycle and banks[bank, _PROPOSAL] != NONE:
                best_cycle, best = _prefer(banks, ready, earliest, best_cycle, best, bank)
    return best_cycle, best


@step
def _accept(policy, requests, s, banks, flights, now, known_at):
    """Store the request that waits at the controller and schedule its successor."""
    request = s[_NEXT_REQUEST]
    store(policy, requests, s, banks, flights, request)
    s[_NEXT_REQUEST] = request + 1
    s[_END_REQUEST] = known_at
    schedule_arrival(policy, requests, s, flights)


@step
def _log(s, log, command, bank, request, now):
    """Record the command if there is room."""
    place = s[_NUM_LOGGED]
    if place < len(log):
        log[place, 0] = now
        log[place, 1] = command
        log[place, 2] = bank
        log[place, 3] = request
        s[_NUM_LOGGED] = place + 1


@step
def _issue(timing, policy, requests, s, banks, flights, ready, best, now):
    """Issue the selected command at `now`; a column command may at once admit a request that was waiting for space."""
    s[_LAST_COMMAND] = now
    if best == RANK:
        command = s[_REFRESH_COMMAND]
        s[COUNTS + command] += 1
        _issue_for_rank(timing, policy, requests, s, banks, flights, now)
        return
    command = banks[best, _PROPOSAL]
    s[COUNTS + command] += 1
    if command == _ACT:
        _issue_activate(timing, requests, s, banks, flights, ready, best, now)
        propose(policy, requests, s, banks, flights, best)
    elif command == _PRE:
        _end_activity(s, banks, best, now)
        banks[best, _NEXT_ACT] = max(banks[best, _NEXT_ACT], now + timing.pre_to_act)
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], now + timing.pre_to_act)
        propose(policy, requests, s, banks, flights, best)
    else:
        _issue_column(timing, policy, requests, s, banks, flights, ready, best, command, now)
        if s[_NEXT_REQUEST] < len(requests):
            if s[_ARRIVAL] == NEVER:
                schedule_arrival(policy, requests, s, flights)
            if s[_ARRIVAL] <= now and has_space(policy, s, banks):
                _accept(policy, requests, s, banks, flights, now, now + policy.request_delay)


@step
def _adopt(policy, requests, s, banks, flights):
    """Take over what another policy may have left behind; changes nothing if the policy is the one of the last call."""
    if policy.refresh_policy == _NO_REFRESH:
        s[_REFRESH_COMMAND] = NONE
        s[_BLOCKED] = 0
    release_held(policy, s, flights)
    for bank in range(len(banks)):
        propose(policy, requests, s, banks, flights, bank)
    if s[_ARRIVAL] == NONE or s[_ARRIVAL] == NEVER:
        schedule_arrival(policy, requests, s, flights)


@step
def _advance(timing, policy, requests, state, until, num_responses):
    """The loop of `advance`."""
    s, banks, flights, ready, log = state
    total = len(requests)
    refreshes = policy.refresh_policy != _NO_REFRESH
    _adopt(policy, requests, s, banks, flights)
    earliest = s[_NOW]
    with_banks = s[_BLOCKED] == 0
    decided_at = NONE
    is_stale = True
    cycle, best = NEVER, NONE
    while True:
        if is_stale:
            cycle, best = _select(s, banks, ready, earliest, with_banks)
            is_stale = False
        pending = s[_NEXT_REQUEST] < total or s[_QUEUED] > 0
        horizon = until if pending else min(until, s[_LAST_RESPONSE])
        if refreshes and s[_QUEUED] == 0 and len(log) == 0:
            skip_idle_refreshes(timing, policy, s, min(horizon, s[_ARRIVAL]))
        admits = s[_ARRIVAL] != NEVER and has_space(policy, s, banks)
        now = min(cycle, s[_ARRIVAL]) if admits else cycle
        if refreshes and s[_REFRESH_COMMAND] == NONE:
            now = min(now, s[_REFRESH_DUE])
        now = max(now, earliest)
        if now >= horizon:
            s[_NOW] = max(earliest, horizon)
            return pending or horizon < s[_LAST_RESPONSE]
        if admits and s[_ARRIVAL] <= now:
            bank = requests[s[_NEXT_REQUEST], _BANK]
            _accept(policy, requests, s, banks, flights, now, now)
            earliest = now
            if best == bank or not with_banks:
                is_stale = True
            else:
                cycle, best = _prefer(banks, ready, earliest, cycle, best, bank)
            continue
        if refreshes and now >= s[_REFRESH_DUE] and decided_at != now:
            was_blocked = s[_BLOCKED]
            decide_refresh(timing, policy, s, now)
            with_banks = s[_BLOCKED] == 0 or (policy.blocks_late == 1 and was_blocked == 0)
            decided_at = now
            earliest = now
            is_stale = True
            continue
        earliest = now
        if cycle == now:
            if len(log) > 0:
                if best == RANK:
                    _log(s, log, s[_REFRESH_COMMAND], NONE, NONE, now)
                else:
                    _log(s, log, banks[best, _PROPOSAL], best, banks[best, _PROPOSER], now)
            _issue(timing, policy, requests, s, banks, flights, ready, best, now)
            earliest = now + 1
            is_stale = True
        if refreshes and now >= s[_REFRESH_DUE]:
            decide_refresh(timing, policy, s, now)
            is_stale = True
        with_banks = s[_BLOCKED] == 0
        if s[_NUM_RESPONDED] >= num_responses:
            s[_NOW] = earliest
            return s[_NEXT_REQUEST] < total or s[_QUEUED] > 0


@kernel
def advance(timing, policy, requests, state, until, num_responses):
    """Simulate cycles before `until`, stopping early once `num_responses` responses are known.

    May be called again with a later `until`, and with another policy, to go on from where it stopped; chopping a run into
    pieces does not change it. Refresh goes on until the last response.

    Args:
        timing: Timing. policy: Policy. requests: int64[T, 5]. state: State, changed in place.
        until: first cycle not to be simulated.
        num_responses: 1..T; more than T for no early stop.

    Returns:
        True while there is something left to do at or after `until`, False once every request was answered by then.
    """
    return _advance(timing, policy, requests, state, until, num_responses)
