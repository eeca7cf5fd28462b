"""The PCIe link: two directions, each a first-in-first-out list of messages that are sent one at a time.

A payload is cut into packets (TLPs); every packet carries header, data-link and physical overhead. A read request is one bare packet.
"""

from enum import IntEnum

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.borrow import float_at
from tiergarten.sim.flash.kernel.events import push_delivery
from tiergarten.sim.flash.kernel.layout import Glob, Param, Req
from tiergarten.sim.jit import njit

TO_DEVICE = 0
TO_HOST = 1
KIND_BITS = 3


class Message(IntEnum):
    """Low bits of a message; the request (or queue tail) that it is about stands above them."""

    SUBMISSION_DOORBELL = 0
    ENTRY_REQUEST = 1
    ENTRY = 2
    DATA_REQUEST = 3
    WRITE_DATA = 4
    READ_DATA = 5
    COMPLETION = 6
    COMPLETION_DOORBELL = 7


@njit(cache=True)
def payload_ns(m, num_bytes):
    """Time that a payload takes on the link: bytes per lane, rounded up, over the lane's rate, cut to whole ns."""
    if num_bytes == m[Param.PAYLOAD_BYTES_SEEN]:
        return m[Param.PAYLOAD_NS_SEEN]
    payload = m[Param.PCIE_PAYLOAD]
    overhead = m[Param.PCIE_OVERHEAD]
    lanes = m[Param.PCIE_LANES]
    wire = num_bytes // payload * (payload + overhead)
    if num_bytes % payload:
        wire += num_bytes % payload + overhead
    rate = float_at(m, Param.LANE_BYTES_PER_NS)
    m[Param.PAYLOAD_BYTES_SEEN] = num_bytes
    m[Param.PAYLOAD_NS_SEEN] = int((wire + lanes - 1) // lanes / rate)
    return m[Param.PAYLOAD_NS_SEEN]


@njit(cache=True)
def message_ns(m, message):
    """Time on the link of a message."""
    kind = message & ((1 << KIND_BITS) - 1)
    if kind == Message.SUBMISSION_DOORBELL or kind == Message.COMPLETION_DOORBELL:
        return m[Param.T_DOORBELL]
    if kind == Message.ENTRY_REQUEST or kind == Message.DATA_REQUEST:
        return m[Param.T_READ_REQUEST]
    if kind == Message.ENTRY:
        return m[Param.T_SQE]
    if kind == Message.COMPLETION:
        return m[Param.T_CQE]
    return payload_ns(m, m[(message >> KIND_BITS) + Req.SECTORS] * SECTOR_BYTES)


@njit(cache=True)
def place_in_ring(m, direction, number):
    """Address of the number-th message of a direction."""
    mask = m[Param.LINK_MASK]
    return m[Param.LINK_AT] + direction * (mask + 1) + (number & mask)


@njit(cache=True)
def start_message(m, direction):
    """Put the first waiting message on the wire."""
    message = m[place_in_ring(m, direction, m[Glob.TO_DEVICE_FIRST + 2 * direction])]
    push_delivery(m, m[Glob.NOW] + message_ns(m, message), direction)


@njit(cache=True)
def send(m, direction, kind, about):
    """Queue a message; it starts at once if its direction is free."""
    first = Glob.TO_DEVICE_FIRST + 2 * direction
    last = first + 1
    if m[first] == m[last]:  # empty: stay in the same few cache lines
        m[first] = 0
        m[last] = 0
    m[place_in_ring(m, direction, m[last])] = kind | (about << KIND_BITS)
    m[last] += 1
    if m[last] - m[first] == 1:
        start_message(m, direction)
