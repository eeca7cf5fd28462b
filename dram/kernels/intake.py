"""Request tables made a part at a time, just before the channel takes them in, so that their memory stays small and near."""

from typing import Final

from tiergarten.dram.kernels.compiled import inlined, kernel
from tiergarten.dram.kernels.layout import (
    IS_WRITE,
    NEVER,
    NONE,
    REQUEST_ADDRESS,
    REQUEST_BANK,
    REQUEST_FLAGS,
    REQUEST_REPORT,
    REQUEST_ROW,
    REQUEST_TICK,
    WAITS,
)

# Columns of parts, int64[k, PART_COLUMNS]: accesses of which one channel has a share.
PART_TICK: Final = 0
PART_FIRST: Final = 1
"""First burst of the access, whichever channel it belongs to."""
PART_END: Final = 2
"""Burst behind the access."""
PART_FLAGS: Final = 3
"""IS_WRITE or 0."""
PART_COLUMNS: Final = 4


@inlined
def place_request(mapping, address, requests, row):
    """Enter an address with its bank and row into a row of the table. `mapping`: see `mapping_shifts`."""
    bank = 0
    target = 0
    for piece in range(mapping.shape[0]):
        shift = mapping[piece, 0]
        moved = address >> shift if shift >= 0 else address << -shift
        bank ^= moved & mapping[piece, 1]
        target ^= moved & mapping[piece, 2]
    requests[row, REQUEST_ADDRESS] = address
    requests[row, REQUEST_BANK] = bank
    requests[row, REQUEST_ROW] = target


@kernel
def fill_from_trace(requests, columns, mapping, first, transaction_bytes):
    """Put a trace's rows from `first` on into the table: the number of rows put, NONE if one of them cannot be served.

    `columns`: ticks, addresses, is_write and depends_on of the trace.
    """
    ticks, addresses, is_write, depends_on = columns
    count = min(requests.shape[0], ticks.shape[0] - first)
    before = ticks[first - 1] if first > 0 else 0
    is_sound = True
    for row in range(count):
        tick = ticks[first + row]
        address = addresses[first + row]
        is_sound &= before <= tick < NEVER // 2 and address >= 0 and address % transaction_bytes == 0
        before = tick
        place_request(mapping, address, requests, row)
        requests[row, REQUEST_TICK] = tick
        requests[row, REQUEST_FLAGS] = is_write[first + row] * IS_WRITE + (depends_on[first + row] >= 0) * WAITS
        requests[row, REQUEST_REPORT] = first + row
    return count if is_sound else NONE


@inlined
def own_burst(burst, place):
    """First burst from `burst` on that belongs to the channel. `place`: channel, channels, bursts a block, bytes a burst."""
    channel, num_channels, block, _ = place
    ahead = (channel - burst // block) % num_channels
    return burst if ahead == 0 else (burst // block + ahead) * block


@kernel
def fill_from_parts(requests, parts, cursor, mapping, place):
    """Put one channel's bursts of the parts into the table from `cursor` on, and move it: the number of rows put.

    `cursor`: part and next burst, NONE before the part's first; `place` as for `own_burst`.
    """
    _, num_channels, block, burst_bytes = place
    part = cursor[0]
    burst = cursor[1]
    row = 0
    while part < parts.shape[0] and row < requests.shape[0]:
        if burst == NONE:
            burst = own_burst(parts[part, PART_FIRST], place)
        end = parts[part, PART_END]
        while burst < end and row < requests.shape[0]:
            local = burst // block // num_channels * block + burst % block
            place_request(mapping, local * burst_bytes, requests, row)
            requests[row, REQUEST_TICK] = parts[part, PART_TICK]
            requests[row, REQUEST_FLAGS] = parts[part, PART_FLAGS]
            requests[row, REQUEST_REPORT] = part
            row += 1
            burst = own_burst(burst + 1, place)
        if burst >= end:
            part += 1
            burst = NONE
    cursor[0] = part
    cursor[1] = burst
    return row
