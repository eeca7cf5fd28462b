"""All-bank refresh with postponing and pulling in: the refresh manager of one rank.

At each due time a rank with work postpones while its budget lasts, then forces the refresh by blocking its banks. After a
refresh an idle rank goes on refreshing, first to pay back what it postponed, then ahead of time, until its budget of
pulled-in refreshes is used.
"""

from tiergarten.dram.dramsys.state import COUNTS, NONE, Command, Scalar
from tiergarten.dram.kernels.compiled import step

_PREAB, _REFAB = int(Command.PREAB), int(Command.REFAB)
_DUE, _BALANCE, _PULLING = int(Scalar.REFRESH_DUE), int(Scalar.REFRESH_BALANCE), int(Scalar.REFRESH_PULLING)
_COMMAND, _BLOCKED = int(Scalar.REFRESH_COMMAND), int(Scalar.BLOCKED)
_QUEUED, _NUM_OPEN, _ACTIVE_CYCLES = int(Scalar.QUEUED), int(Scalar.NUM_OPEN), int(Scalar.ACTIVE_CYCLES)


@step
def decide_refresh(timing, policy, s, now):
    """Choose the rank's refresh command (PREAB, REFAB or NONE) for cycle `now`, postponing or blocking as needed."""
    s[_COMMAND] = NONE
    if now < s[_DUE]:
        return
    if now >= s[_DUE] + timing.refresh_interval:
        s[_DUE] += timing.refresh_interval
        s[_PULLING] = 0
    has_work = s[_QUEUED] > 0
    if s[_PULLING] == 1:
        if has_work:
            s[_PULLING] = 0
            s[_DUE] += timing.refresh_interval
        else:
            s[_COMMAND] = _REFAB
        return
    if s[_BALANCE] >= policy.refresh_max_postponed:
        s[_BLOCKED] = 1
    elif has_work:
        s[_BALANCE] += 1
        s[_DUE] += timing.refresh_interval
        return
    s[_COMMAND] = _PREAB if s[_NUM_OPEN] > 0 else _REFAB


@step
def note_refresh(timing, policy, s):
    """Account for a REFAB that was just issued."""
    s[_COMMAND] = NONE
    s[_BLOCKED] = 0
    if s[_PULLING] == 1:
        s[_BALANCE] -= 1
    else:
        s[_PULLING] = 1
    if s[_BALANCE] <= -policy.refresh_max_pulled_in:
        s[_PULLING] = 0
        s[_DUE] += timing.refresh_interval


@step
def skip_idle_refreshes(timing, policy, s, wake):
    """Pass over the refreshes of a long idle time before cycle `wake` at once.

    A rank that is idle, closed and has used its budget of pulled-in refreshes does one refresh in each interval and is
    otherwise as before, so whole intervals can be counted instead of simulated. The last two are left to be simulated.
    """
    is_settled = s[_PULLING] == 0 and s[_COMMAND] == NONE and s[_BALANCE] == -policy.refresh_max_pulled_in
    if s[_QUEUED] > 0 or s[_NUM_OPEN] > 0 or not is_settled:
        return
    intervals = (wake - s[_DUE]) // timing.refresh_interval - 1
    if intervals > 0:
        s[_DUE] += intervals * timing.refresh_interval
        s[COUNTS + _REFAB] += intervals
        s[_ACTIVE_CYCLES] += intervals * timing.refresh_to_act
