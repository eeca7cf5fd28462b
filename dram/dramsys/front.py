"""Initiator, arbiter and response path.

One initiator has one request under way to the arbiter at a time. Because each stage is first in, first out, the cycle at
which a request reaches the controller and the cycle at which its response reaches the initiator follow from recurrences;
no event queue is needed.
"""

from numba import njit

from tiergarten.dram.dramsys.design import Arbiter, ResponseQueue
from tiergarten.dram.dramsys.state import NEVER, Scalar

_SIMPLE, _REORDER = int(Arbiter.SIMPLE), int(Arbiter.REORDER)
_IN_ORDER = int(ResponseQueue.REORDER)
_NEXT_REQUEST, _ARRIVAL = int(Scalar.NEXT_REQUEST), int(Scalar.ARRIVAL)
_FREED, _END_REQUEST = int(Scalar.FREED), int(Scalar.END_REQUEST)
_NUM_RESPONDED, _NEXT_IN_ORDER = int(Scalar.NUM_RESPONDED), int(Scalar.NEXT_IN_ORDER)
_LAST_FROM_CONTROLLER, _LAST_RESPONSE = int(Scalar.LAST_FROM_CONTROLLER), int(Scalar.LAST_RESPONSE)
_NEXT_TO_INITIATOR = int(Scalar.NEXT_TO_INITIATOR)


@njit(cache=True)
def schedule_arrival(policy, requests, state):
    """Set the cycle at which the next request reaches the controller, NEVER while it must wait for a transaction slot.

    The request is sent when its time has come and its predecessor was accepted. A simple arbiter accepts when the
    controller does. A queueing arbiter accepts when a slot is free and hands requests on one cycle apart at least.
    """
    s = state.scalars
    request = s[_NEXT_REQUEST]
    if request >= len(requests.sendable):
        s[_ARRIVAL] = NEVER
        return
    gap = policy.player_gap if request > 0 else 0
    if policy.arbiter == _SIMPLE:
        freed = max(s[_END_REQUEST], 0)
        sent = max(requests.sendable[request], freed + gap)
        s[_ARRIVAL] = sent + policy.request_delay
    else:
        freed = s[_FREED]
        sent = max(requests.sendable[request], freed + gap)
        accepted = sent
        answered = request - policy.max_active_transactions
        if answered >= 0:
            if answered >= s[_NUM_RESPONDED]:
                s[_ARRIVAL] = NEVER
                return
            accepted = max(sent, state.response_order[answered] + policy.slot_delay)
        s[_FREED] = accepted
        s[_ARRIVAL] = max(accepted, s[_END_REQUEST] + 1) + policy.request_delay
    state.freed[request] = freed


@njit(cache=True)
def _to_initiator(policy, state, request, gap):
    """Record the response of a request whose turn has come at the arbiter."""
    s = state.scalars
    cycle = max(state.from_controller[request], s[_LAST_RESPONSE] + gap)
    s[_LAST_RESPONSE] = cycle
    state.response[request] = cycle
    state.response_order[s[_NUM_RESPONDED]] = cycle
    s[_NUM_RESPONDED] += 1


@njit(cache=True)
def _from_controller(policy, state, request):
    """Record that a request's response leaves the controller and pass it through the arbiter."""
    s = state.scalars
    gap = 1 if policy.arbiter == _SIMPLE else policy.queue_gap
    cycle = max(state.data_end[request], s[_LAST_FROM_CONTROLLER] + gap)
    s[_LAST_FROM_CONTROLLER] = cycle
    state.from_controller[request] = cycle
    if policy.arbiter == _SIMPLE:
        _to_initiator(policy, state, request, 1)
        return
    if policy.arbiter != _REORDER:
        _to_initiator(policy, state, request, policy.response_gap)
        return
    request = s[_NEXT_TO_INITIATOR]
    while request < len(state.response) and state.from_controller[request] != NEVER:
        _to_initiator(policy, state, request, policy.response_gap)
        request += 1
    s[_NEXT_TO_INITIATOR] = request


@njit(cache=True)
def respond(policy, state, request, data_end):
    """A column command was issued whose data ends at `data_end`: fix every response that has become known."""
    s = state.scalars
    state.data_end[request] = data_end
    if policy.response_queue != _IN_ORDER:
        _from_controller(policy, state, request)
        return
    request = s[_NEXT_IN_ORDER]
    while request < len(state.data_end) and state.data_end[request] != NEVER:
        _from_controller(policy, state, request)
        request += 1
    s[_NEXT_IN_ORDER] = request
