"""Initiator, arbiter and response path.

One initiator has one request under way to the arbiter at a time. Because each stage is first in, first out, the cycle at
which a request reaches the controller and the cycle at which its response reaches the initiator follow from recurrences;
no event queue is needed.
"""

from tiergarten.dram.dramsys.design import Arbiter, ResponseQueue
from tiergarten.dram.dramsys.state import NEVER, FlightField, Scalar, TraceField
from tiergarten.dram.kernels.compiled import step

_SIMPLE, _REORDER = int(Arbiter.SIMPLE), int(Arbiter.REORDER)
_IN_ORDER = int(ResponseQueue.REORDER)
_NOW, _NEXT_REQUEST, _ARRIVAL = int(Scalar.NOW), int(Scalar.NEXT_REQUEST), int(Scalar.ARRIVAL)
_FREED, _END_REQUEST = int(Scalar.FREED), int(Scalar.END_REQUEST)
_NUM_RESPONDED, _NEXT_IN_ORDER = int(Scalar.NUM_RESPONDED), int(Scalar.NEXT_IN_ORDER)
_LAST_FROM_CONTROLLER, _LAST_RESPONSE = int(Scalar.LAST_FROM_CONTROLLER), int(Scalar.LAST_RESPONSE)
_NEXT_TO_INITIATOR = int(Scalar.NEXT_TO_INITIATOR)

_SENDABLE = int(TraceField.SENDABLE)
_DATA_END, _FROM_CONTROLLER = int(FlightField.DATA_END), int(FlightField.FROM_CONTROLLER)
_RESPONSE, _RESPONSE_ORDER = int(FlightField.RESPONSE), int(FlightField.RESPONSE_ORDER)
_INITIATOR_FREE = int(FlightField.INITIATOR_FREE)


@step
def schedule_arrival(policy, requests, s, flights):
    """Set the cycle at which the next request reaches the controller, NEVER while it must wait for a transaction slot.

    The request is sent when its time has come and its predecessor was accepted. A simple arbiter accepts when the
    controller does. A queueing arbiter accepts when a slot is free and hands requests on one cycle apart at least.
    """
    request = s[_NEXT_REQUEST]
    if request >= len(requests):
        s[_ARRIVAL] = NEVER
        return
    gap = policy.player_gap if request > 0 else 0
    if policy.arbiter == _SIMPLE:
        freed = max(s[_END_REQUEST], 0)
        s[_FREED] = freed
        sent = max(requests[request, _SENDABLE], freed + gap)
        s[_ARRIVAL] = sent + policy.request_delay
    else:
        freed = s[_FREED]
        sent = max(requests[request, _SENDABLE], freed + gap)
        accepted = sent
        answered = request - policy.max_active_transactions
        if answered >= 0:
            if answered >= s[_NUM_RESPONDED]:
                s[_ARRIVAL] = NEVER
                return
            accepted = max(sent, flights[answered, _RESPONSE_ORDER] + policy.slot_delay)
        s[_FREED] = accepted
        s[_ARRIVAL] = max(accepted, s[_END_REQUEST] + 1) + policy.request_delay
    flights[request, _INITIATOR_FREE] = freed


@step
def _to_initiator(policy, s, flights, request, gap):
    """Record the response of a request whose turn has come at the arbiter."""
    cycle = max(flights[request, _FROM_CONTROLLER], s[_LAST_RESPONSE] + gap)
    s[_LAST_RESPONSE] = cycle
    flights[request, _RESPONSE] = cycle
    flights[s[_NUM_RESPONDED], _RESPONSE_ORDER] = cycle
    s[_NUM_RESPONDED] += 1


@step
def _from_controller(policy, s, flights, request):
    """Record that a request's response leaves the controller and pass it through the arbiter."""
    gap = 1 if policy.arbiter == _SIMPLE else policy.queue_gap
    cycle = max(flights[request, _DATA_END], s[_LAST_FROM_CONTROLLER] + gap)
    s[_LAST_FROM_CONTROLLER] = cycle
    flights[request, _FROM_CONTROLLER] = cycle
    if policy.arbiter == _SIMPLE:
        _to_initiator(policy, s, flights, request, 1)
        return
    if policy.arbiter != _REORDER:
        _to_initiator(policy, s, flights, request, policy.response_gap)
        return
    request = s[_NEXT_TO_INITIATOR]
    while request < len(flights) and flights[request, _FROM_CONTROLLER] != NEVER:
        if flights[request, _RESPONSE] == NEVER:
            _to_initiator(policy, s, flights, request, policy.response_gap)
        request += 1
    s[_NEXT_TO_INITIATOR] = request


@step
def respond(policy, s, flights, request, data_end):
    """A column command was issued whose data ends at `data_end`: fix every response that has become known."""
    flights[request, _DATA_END] = data_end
    if policy.response_queue != _IN_ORDER:
        _from_controller(policy, s, flights, request)
        return
    request = s[_NEXT_IN_ORDER]
    while request < len(flights) and flights[request, _DATA_END] != NEVER:
        if flights[request, _FROM_CONTROLLER] == NEVER:
            _from_controller(policy, s, flights, request)
        request += 1
    s[_NEXT_IN_ORDER] = request


@step
def release_held(policy, s, flights):
    """Let go of responses that an earlier, in-order policy held back and this one does not."""
    request = s[_NEXT_IN_ORDER]
    while request < s[_NEXT_REQUEST] and flights[request, _FROM_CONTROLLER] != NEVER:
        request += 1
    s[_NEXT_IN_ORDER] = request
    if policy.response_queue != _IN_ORDER:
        for request in range(s[_NEXT_IN_ORDER], s[_NEXT_REQUEST]):
            if flights[request, _DATA_END] != NEVER and flights[request, _FROM_CONTROLLER] == NEVER:
                s[_LAST_FROM_CONTROLLER] = max(s[_LAST_FROM_CONTROLLER], s[_NOW])
                _from_controller(policy, s, flights, request)
    request = s[_NEXT_TO_INITIATOR]
    while request < s[_NEXT_REQUEST] and flights[request, _RESPONSE] != NEVER:
        request += 1
    s[_NEXT_TO_INITIATOR] = request
    if policy.arbiter != _REORDER:
        for request in range(s[_NEXT_TO_INITIATOR], s[_NEXT_REQUEST]):
            if flights[request, _FROM_CONTROLLER] != NEVER and flights[request, _RESPONSE] == NEVER:
                s[_LAST_RESPONSE] = max(s[_LAST_RESPONSE], s[_NOW])
                _to_initiator(policy, s, flights, request, 1)
