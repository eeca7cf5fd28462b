"""DRAMSys's `.stl` traces: `<cycle>: [(<bytes>)] read|write <hexadecimal address> [<data>]` (tukl-msd/DRAMSys, README)."""

import re

from tiergarten.workloads.addresses import Request, address_formats
from tiergarten.workloads.addresses.numbers import MAX_ADDRESS, MAX_TICK, number

_LINE = re.compile(r"\s*(\S+?)\s*:\s*(?:\(\s*(?:length\s+)?(\S+?)\s*\)\s*)?(read|write)\s+(\S+)(?:\s+(\S+))?\s*\Z")
MAX_BURST_BYTES = 1 << 20


@address_formats.register("stl")
class Stl:
    """`31: read 0x400140`: absolute cycles of the player's clock; a length in brackets, data ignored."""

    def recognises(self, line: str) -> bool:
        """Whether the line has the shape."""
        return _LINE.match(line) is not None

    def parse(self, line: str) -> Request:
        """Cycle, length, kind, address."""
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"needs 'CYCLE: read|write ADDRESS', got {line[:80]!r}")
        length = number(match[2], "length", MAX_BURST_BYTES) if match[2] else 0
        if match[2] and length == 0:
            raise ValueError("a length of 0 bytes")
        address = number(match[4], "address", MAX_ADDRESS, base=16)
        return Request(address, match[3] == "write", number(match[1], "cycle", MAX_TICK), length)

    def line(self, request: Request) -> str:
        """One burst a line, without a length."""
        return f"{request.tick}: {'write' if request.is_write else 'read'} {request.address:#x}"
