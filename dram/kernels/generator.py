"""The traffic generator of the bandwidth-latency measurement: ticks alternate between a stream turn and a chase turn.

One loop a controller family, as for `run`; all that differs is which family's ticks they drive.
"""

from typing import Final

from tiergarten.dram.kernels.channel import run_dual, run_single, run_split
from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.layout import (
    ARRIVE_TICK,
    BANK_FIELDS,
    BANKS,
    CLOCK,
    DEPART_TICK,
    DIRTY,
    DUAL,
    ISSUE_AT,
    NONE,
    REACHED,
    REQUEST_ADDRESS,
    REQUEST_BANK,
    REQUEST_FLAGS,
    REQUEST_REPORT,
    REQUEST_ROW,
    SINGLE,
    SPLIT,
)
from tiergarten.dram.kernels.requests import accept, has_room

# Elements of the generator's own memory `g`.
PAUSE: Final = 0
"""One stream turn in so many issues."""
PER_TURN: Final = 1
"""Requests that a stream turn may issue."""
ACCEPTED: Final = 2
"""Requests accepted, stream and chase; also the next free row of the request table."""
SENT: Final = 3
"""Requests of the stream accepted."""
PROBES: Final = 4
"""Reads of the chase accepted."""
PROBE: Final = 5
"""Row of the chase's outstanding read, NONE if there is none."""
WAITED: Final = 6
"""Stream turns since the last one that issued."""
LATENCY: Final = 7
"""Sum over the chase's reads of the ticks from acceptance to the last data."""
GENERATOR_FIELDS: Final = 8

GOING: Final = 100
FULL: Final = 101
"""The request table is used up."""


@inlined
def offer(m, g, requests, outcomes, bank, row, is_write):
    """Offer a request now; True if it is accepted. Its address is unique, so nothing is forwarded or coalesced."""
    ident = g[ACCEPTED]
    address = ident << 10
    if not has_room(m, m[BANKS] + bank * BANK_FIELDS, address, is_write):
        return False
    requests[ident, REQUEST_BANK] = bank
    requests[ident, REQUEST_ROW] = row
    requests[ident, REQUEST_FLAGS] = is_write
    requests[ident, REQUEST_ADDRESS] = address
    requests[ident, REQUEST_REPORT] = ident
    outcomes[ident, DEPART_TICK] = NONE
    accept(m, requests, outcomes, ident, m[CLOCK])
    g[ACCEPTED] = ident + 1
    m[DIRTY] = 1
    m[ISSUE_AT] = m[CLOCK] + 1
    return True


@kernel
def take_turn(m, g, requests, outcomes, traffic, chase):
    """The generator's part of a tick, before the controller's: GOING, REACHED when the chase is done, or FULL."""
    probe = g[PROBE]
    if probe != NONE and outcomes[probe, DEPART_TICK] != NONE:
        # done with the issue of its RD, not with its data: successive probes overlap by the read latency
        g[LATENCY] += outcomes[probe, DEPART_TICK] - outcomes[probe, ARRIVE_TICK]
        g[PROBE] = NONE
        if g[PROBES] == chase.shape[0]:
            return REACHED
    if g[ACCEPTED] + g[PER_TURN] > requests.shape[0]:
        return FULL
    if m[CLOCK] & 1:
        if g[PROBE] == NONE and offer(m, g, requests, outcomes, chase[g[PROBES], 0], chase[g[PROBES], 1], 0):
            g[PROBE] = g[ACCEPTED] - 1
            g[PROBES] += 1
        return GOING
    g[WAITED] += 1
    if g[WAITED] >= g[PAUSE]:
        for _ in range(g[PER_TURN]):
            place = g[SENT] % traffic.shape[0]
            if not offer(m, g, requests, outcomes, traffic[place, 0], traffic[place, 1], traffic[place, 2]):
                break
            g[SENT] += 1
            g[WAITED] = 0
    return GOING


@kernel
def drive_single(m, g, requests, outcomes, record, traffic, chase):
    """Drive the generic controller until the chase is done. Returns REACHED, FULL or the status that ended a tick."""
    status = take_turn(m, g, requests, outcomes, traffic, chase)
    while status == GOING:
        status = run_single(m, requests, outcomes, record, m[CLOCK] + 1, False)
        if status == REACHED:
            status = take_turn(m, g, requests, outcomes, traffic, chase)
        else:
            return status
    return status


@kernel
def drive_dual(m, g, requests, outcomes, record, traffic, chase):
    """The same for the HBM and GDDR7 controllers."""
    status = take_turn(m, g, requests, outcomes, traffic, chase)
    while status == GOING:
        status = run_dual(m, requests, outcomes, record, m[CLOCK] + 1, False)
        if status == REACHED:
            status = take_turn(m, g, requests, outcomes, traffic, chase)
        else:
            return status
    return status


@kernel
def drive_split(m, g, requests, outcomes, record, traffic, chase):
    """The same for the LPDDR controllers."""
    status = take_turn(m, g, requests, outcomes, traffic, chase)
    while status == GOING:
        status = run_split(m, requests, outcomes, record, m[CLOCK] + 1, False)
        if status == REACHED:
            status = take_turn(m, g, requests, outcomes, traffic, chase)
        else:
            return status
    return status


DRIVES = {SINGLE: drive_single, DUAL: drive_dual, SPLIT: drive_split}
