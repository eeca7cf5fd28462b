"""A line of DRAMSys's `.stl` traces: `<tick>: [(<bytes>)] read|write <hexadecimal address> [<data>]` (tukl-msd/DRAMSys, README).

Ticks are absolute and in periods of the player's clock; data is ignored. Comments and empty lines are the reader's.
"""

import re
from typing import Final, NamedTuple

from tiergarten.sim.text_numbers import MAX_ADDRESS, MAX_TICK, number

_LINE: Final = re.compile(r"\s*(\S+?)\s*:\s*(?:\(\s*(?:length\s+)?(\S+?)\s*\)\s*)?(\S+)\s+(\S+)(?:\s+(\S+))?\s*\Z")
MAX_BURST_BYTES: Final = 1 << 20


class StlRequest(NamedTuple):
    """What a line asks for."""

    tick: int
    num_bytes: int
    """0 = one burst, whatever its length."""
    is_write: bool
    address: int


def looks_like_stl(line: str) -> bool:
    """Whether the line has the shape."""
    match = _LINE.match(line)
    return match is not None and match[3] in ("read", "write")


def parse_stl(line: str) -> StlRequest:
    """The request in a line. ValueError says what is wrong with it."""
    match = _LINE.match(line)
    if match is None:
        raise ValueError(f"needs 'TICK: read|write ADDRESS', got {line[:80]!r}")
    tick = number(match[1], "tick", MAX_TICK)
    if match[3] not in ("read", "write"):
        raise ValueError(f"{match[3][:40]!r} is neither 'read' nor 'write'")
    num_bytes = number(match[2], "length", MAX_BURST_BYTES) if match[2] else 0
    if match[2] and num_bytes == 0:
        raise ValueError("a length of 0 bytes")
    return StlRequest(tick, num_bytes, match[3] == "write", number(match[4], "address", MAX_ADDRESS, base=16))
