"""The PCIe link: two directions, each a first-in-first-out list of messages that are sent one at a time.

A payload is cut into packets (TLPs); every packet carries header, data-link and physical overhead. A read request is one bare packet.
"""

from enum import IntEnum

from numba import njit

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import Glob, Param, Req

TO_DEVICE = 0
TO_HOST = 1
KIND_BITS = 3


class Message(IntEnum):
    SUBMISSION_DOORBELL = 0
    ENTRY_REQUEST = 1
    ENTRY = 2
    DATA_REQUEST = 3
    WRITE_DATA = 4
    READ_DATA = 5
    COMPLETION = 6
    COMPLETION_DOORBELL = 7


@njit(cache=True)
def payload_ns(s, num_bytes):
    """Time that a payload takes on the link, in whole ns as a lane-parallel transfer rounded up to lanes."""
    payload = s.param[Param.PCIE_PAYLOAD]
    overhead = s.param[Param.PCIE_OVERHEAD]
    lanes = s.param[Param.PCIE_LANES]
    wire = num_bytes // payload * (payload + overhead)
    if num_bytes % payload:
        wire += num_bytes % payload + overhead
    return int((wire + lanes - 1) // lanes / s.real[0])


@njit(cache=True)
def message_ns(s, message):
    """Time on the link of a message (kind in the low bits, request above)."""
    kind = message & ((1 << KIND_BITS) - 1)
    if kind == Message.SUBMISSION_DOORBELL or kind == Message.COMPLETION_DOORBELL:
        return s.param[Param.T_DOORBELL]
    if kind == Message.ENTRY_REQUEST or kind == Message.DATA_REQUEST:
        return s.param[Param.T_READ_REQUEST]
    if kind == Message.ENTRY:
        return s.param[Param.T_SQE]
    if kind == Message.COMPLETION:
        return s.param[Param.T_CQE]
    return payload_ns(s, s.req[message >> KIND_BITS, Req.SECTORS] * SECTOR_BYTES)


@njit(cache=True)
def start_message(s, direction):
    """Put the first waiting message on the wire."""
    ends = s.link_ends
    message = s.link[direction, ends[direction, 0] % s.link.shape[1]]
    push_event(s, s.glob[Glob.NOW] + message_ns(s, message), Event.TO_DEVICE + direction, 0)


@njit(cache=True)
def send(s, direction, kind, request):
    """Queue a message; it starts at once if its direction is free."""
    ends = s.link_ends
    if ends[direction, 0] == ends[direction, 1]:  # empty: stay in the same few cache lines
        ends[direction, 0] = 0
        ends[direction, 1] = 0
    s.link[direction, ends[direction, 1] % s.link.shape[1]] = kind | (request << KIND_BITS)
    ends[direction, 1] += 1
    if ends[direction, 1] - ends[direction, 0] == 1:
        start_message(s, direction)
