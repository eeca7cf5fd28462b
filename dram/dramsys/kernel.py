"""The controller and its channel, from event to event.

Semantics: at each cycle the controller stores an arrived request, lets the refresh manager and every bank propose a
command with its earliest legal cycle, and issues the proposal that is ready first, the oldest on ties. Between two such
events nothing changes, so time jumps from one to the next.
"""

from numba import njit

from tiergarten.dram.dramsys.banks import (
    CLASS_ACT,
    CLASS_READ,
    CLASS_WRITE,
    close_row,
    command_class,
    has_space,
    open_row,
    propose,
    remove,
    store,
)
from tiergarten.dram.dramsys.design import RefreshPolicy, Scheduler
from tiergarten.dram.dramsys.front import respond, schedule_arrival
from tiergarten.dram.dramsys.refresh import decide_refresh, note_refresh
from tiergarten.dram.dramsys.state import NEVER, NONE, Command, Scalar

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

RANK: int = -2
"""Stands for the refresh manager where a bank number is expected."""


@njit(cache=True)
def _begin_activity(s, now):
    """Some bank becomes active: start a new active period unless one is still running."""
    if s[_ACTIVE_SINCE] == NONE:
        s[_ACTIVE_SINCE] = now
    elif s[_NUM_OPEN] == 0 and s[_ACTIVE_UNTIL] < now:
        s[_ACTIVE_CYCLES] += s[_ACTIVE_UNTIL] - s[_ACTIVE_SINCE]
        s[_ACTIVE_SINCE] = now


@njit(cache=True)
def _end_activity(state, bank, cycle):
    """A bank is precharged at `cycle`, which may lie ahead (auto-precharge)."""
    s = state.scalars
    state.open_cycles[bank] += cycle - state.opened_at[bank]
    state.closed_at[bank] = cycle
    s[_ACTIVE_UNTIL] = max(s[_ACTIVE_UNTIL], cycle)
    s[_NUM_OPEN] -= 1
    s[_NUM_PRECHARGES] += 1
    close_row(state, bank)


@njit(cache=True)
def _issue_activate(timing, requests, state, bank, now):
    s = state.scalars
    _begin_activity(s, now)
    s[_NUM_OPEN] += 1
    state.opened_at[bank] = now
    open_row(requests, state, bank, requests.row[state.proposer[bank]])
    state.next_act[bank] = max(state.next_act[bank], now + timing.act_to_act_same_bank)
    state.next_pre[bank] = max(state.next_pre[bank], now + timing.act_to_pre)
    state.next_column[bank] = max(state.next_column[bank], now + timing.act_to_column)
    oldest = s[_OLDEST_ACTIVATE]
    state.last_activates[oldest] = now
    oldest = (oldest + 1) & 3
    s[_OLDEST_ACTIVATE] = oldest
    limit = max(now + timing.act_to_act, state.last_activates[oldest] + timing.four_activates)
    ready = state.class_ready[CLASS_ACT]
    for group in range(timing.num_bank_groups):
        ready[group] = max(ready[group], limit)
    group = bank // timing.banks_per_group
    ready[group] = max(ready[group], now + timing.act_to_act_same_group)
    s[_NEXT_PREAB] = max(s[_NEXT_PREAB], now + timing.act_to_pre)
    s[_NEXT_REFAB] = max(s[_NEXT_REFAB], now + timing.act_to_refresh)


@njit(cache=True)
def _issue_column(timing, policy, requests, state, bank, command, now):
    """Issue RD, RDA, WR or WRA; returns the request served."""
    s = state.scalars
    request = state.proposer[bank]
    is_write = requests.is_write[request]
    s[_NUM_HITS] += state.row_used[bank]
    state.row_used[bank] = 1
    reads, writes = state.class_ready[CLASS_READ], state.class_ready[CLASS_WRITE]
    own = bank // timing.banks_per_group
    if is_write:
        for group in range(timing.num_bank_groups):
            writes[group] = max(writes[group], now + timing.column_to_column)
            reads[group] = max(reads[group], now + timing.write_to_read)
        writes[own] = max(writes[own], now + timing.column_to_column_same_group)
        reads[own] = max(reads[own], now + timing.write_to_read_same_group)
        state.next_rda[bank] = max(state.next_rda[bank], now + timing.write_to_pre - timing.read_to_pre)
        precharge = now + timing.write_to_pre
        data_end = now + timing.write_to_data_end
    else:
        for group in range(timing.num_bank_groups):
            reads[group] = max(reads[group], now + timing.column_to_column)
            writes[group] = max(writes[group], now + timing.read_to_write)
        reads[own] = max(reads[own], now + timing.column_to_column_same_group)
        precharge = now + timing.read_to_pre
        data_end = now + timing.read_to_data_end
    s[_NEXT_PREAB] = max(s[_NEXT_PREAB], precharge)
    remove(requests, state, request)
    if command == _RDA or command == _WRA:
        state.next_act[bank] = max(state.next_act[bank], precharge + timing.pre_to_act)
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], precharge + timing.pre_to_act)
        _end_activity(state, bank, max(precharge, state.opened_at[bank] + timing.act_to_pre))
    else:
        state.next_pre[bank] = max(state.next_pre[bank], precharge)
    kind_changes = s[_LAST_IS_WRITE] != int(is_write)
    s[_LAST_IS_WRITE] = int(is_write)
    propose(policy, requests, state, bank)
    if kind_changes and policy.scheduler == _FR_FCFS_GRP:
        for other in range(len(state.head)):
            propose(policy, requests, state, other)
    respond(policy, state, request, data_end)
    return request


@njit(cache=True)
def _issue_for_rank(timing, policy, requests, state, now):
    """Issue the refresh manager's PREAB or REFAB."""
    s = state.scalars
    if s[_REFRESH_COMMAND] == _PREAB:
        for bank in range(len(state.head)):
            if state.open_row[bank] != NONE:
                _end_activity(state, bank, now)
        limit = now + timing.pre_to_act
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], limit)
    else:
        _begin_activity(s, now)
        limit = now + timing.refresh_to_act
        s[_ACTIVE_UNTIL] = max(s[_ACTIVE_UNTIL], limit)
        s[_REFRESHED_UNTIL] = limit
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], limit)
        note_refresh(timing, policy, state)
    for bank in range(len(state.head)):
        state.next_act[bank] = max(state.next_act[bank], limit)
        propose(policy, requests, state, bank)


@njit(cache=True)
def _select(timing, state, earliest, with_banks):
    """The proposal that is ready first, not before `earliest`; ties go to the rank, then to the oldest request.

    Returns (cycle, bank or RANK or NONE).
    """
    s = state.scalars
    best_cycle, best, best_request = NEVER, NONE, NEVER
    if s[_REFRESH_COMMAND] != NONE:
        limit = s[_NEXT_PREAB] if s[_REFRESH_COMMAND] == _PREAB else s[_NEXT_REFAB]
        best_cycle, best, best_request = max(earliest, limit), RANK, NONE
    if with_banks:
        for bank in range(len(state.head)):
            command = state.proposal[bank]
            if command == NONE:
                continue
            cycle = max(state.bank_ready[bank], earliest)
            if cycle > best_cycle:
                continue
            limit = state.class_ready[command_class(command), bank // timing.banks_per_group]
            cycle = max(cycle, limit)
            if cycle < best_cycle or (cycle == best_cycle and state.proposer[bank] < best_request):
                best_cycle, best, best_request = cycle, bank, state.proposer[bank]
    return best_cycle, best


@njit(cache=True)
def _accept(policy, requests, state, now, known_at):
    """Store the request that waits at the controller and schedule its successor."""
    s = state.scalars
    request = s[_NEXT_REQUEST]
    store(policy, requests, state, request)
    s[_NEXT_REQUEST] = request + 1
    s[_END_REQUEST] = known_at
    schedule_arrival(policy, requests, state)


@njit(cache=True)
def _log(state, now, command, bank, request):
    place = state.scalars[_NUM_LOGGED]
    if place < len(state.log):
        state.log[place, 0] = now
        state.log[place, 1] = command
        state.log[place, 2] = bank
        state.log[place, 3] = request
    state.scalars[_NUM_LOGGED] = place + 1


@njit(cache=True)
def _issue(timing, policy, requests, state, best, now):
    """Issue the selected command at `now`; a column command may at once admit a request that was waiting for space."""
    s = state.scalars
    s[_LAST_COMMAND] = now
    if best == RANK:
        command = s[_REFRESH_COMMAND]
        state.counts[command] += 1
        _log(state, now, command, NONE, NONE)
        _issue_for_rank(timing, policy, requests, state, now)
        return
    command, request = state.proposal[best], state.proposer[best]
    state.counts[command] += 1
    _log(state, now, command, best, request)
    if command == _ACT:
        _issue_activate(timing, requests, state, best, now)
        propose(policy, requests, state, best)
    elif command == _PRE:
        _end_activity(state, best, now)
        state.next_act[best] = max(state.next_act[best], now + timing.pre_to_act)
        s[_NEXT_REFAB] = max(s[_NEXT_REFAB], now + timing.pre_to_act)
        propose(policy, requests, state, best)
    else:
        _issue_column(timing, policy, requests, state, best, command, now)
        if s[_NEXT_REQUEST] < len(requests.sendable):
            if s[_ARRIVAL] == NEVER:
                schedule_arrival(policy, requests, state)
            if s[_ARRIVAL] <= now and has_space(policy, state):
                _accept(policy, requests, state, now, now + policy.request_delay)


@njit(cache=True, nogil=True)
def advance(timing, policy, requests, state, until, num_responses):
    """Simulate cycles before `until`, stopping early once `num_responses` responses are known.

    May be called again with a later `until`, and with another policy, to go on from where it stopped; chopping a run into
    pieces does not change it. Refresh goes on until the last response.

    Args:
        timing: Timing. policy: Policy. requests: Requests, T of them. state: State, changed in place.
        until: first cycle not to be simulated.
        num_responses: 1..T; more than T for no early stop.

    Returns:
        True while there is something left to do at or after `until`, False once every request was answered by then.
    """
    s = state.scalars
    total = len(requests.sendable)
    refreshes = policy.refresh_policy != _NO_REFRESH
    if s[_ARRIVAL] < 0:
        schedule_arrival(policy, requests, state)
    earliest = s[_NOW]
    cycle, best = _select(timing, state, earliest, s[_BLOCKED] == 0)
    while True:
        pending = s[_NEXT_REQUEST] < total or s[_QUEUED] > 0
        horizon = until if pending else min(until, s[_LAST_RESPONSE])
        now = cycle
        if s[_ARRIVAL] < now and has_space(policy, state):
            now = s[_ARRIVAL]
        if refreshes and s[_REFRESH_COMMAND] == NONE:
            now = min(now, s[_REFRESH_DUE])
        now = max(now, earliest)
        if now >= horizon:
            s[_NOW] = max(earliest, horizon)
            return pending or horizon < s[_LAST_RESPONSE]
        if s[_ARRIVAL] <= now and has_space(policy, state):
            bank = requests.bank[s[_NEXT_REQUEST]]
            _accept(policy, requests, state, now, now)
            cycle, best = _select(timing, state, now, s[_BLOCKED] == 0)
        if refreshes and now >= s[_REFRESH_DUE]:
            was_blocked = s[_BLOCKED]
            decide_refresh(timing, policy, state, now)
            with_banks = s[_BLOCKED] == 0 or (policy.blocks_late == 1 and was_blocked == 0)
            cycle, best = _select(timing, state, now, with_banks)
        if cycle == now:
            _issue(timing, policy, requests, state, best, now)
            earliest = now + 1
        else:
            earliest = now
        if refreshes and now >= s[_REFRESH_DUE]:
            decide_refresh(timing, policy, state, now)
            cycle, best = _select(timing, state, earliest, s[_BLOCKED] == 0)
        elif earliest > now:
            cycle, best = _select(timing, state, earliest, s[_BLOCKED] == 0)
        if s[_NUM_RESPONDED] >= num_responses:
            s[_NOW] = earliest
            return s[_NEXT_REQUEST] < total or s[_QUEUED] > 0
