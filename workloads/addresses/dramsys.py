"""DRAMSys's `.stl` traces as an address format; the form of a line is in `sim/stl.py`."""

from tiergarten.sim.stl import looks_like_stl, parse_stl
from tiergarten.workloads.addresses import Request, address_formats


@address_formats.register("stl")
class Stl:
    """`31: read 0x400140`: absolute ticks of the player's clock; a length in brackets, data ignored."""

    def recognises(self, line: str) -> bool:
        """Whether the line has the shape."""
        return looks_like_stl(line)

    def parse(self, line: str) -> Request:
        """Tick, length, kind, address."""
        found = parse_stl(line)
        return Request(found.address, found.is_write, found.tick, found.num_bytes)

    def line(self, request: Request) -> str:
        """One burst a line, without a length."""
        return f"{request.tick}: {'write' if request.is_write else 'read'} {request.address:#x}"
