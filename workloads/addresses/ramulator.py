"""Ramulator's load-store traces: `LD <address>` or `ST <address>`, decimal or 0x; no times (Ramulator 2, LoadStoreTrace)."""

from tiergarten.sim.text_numbers import MAX_ADDRESS, number
from tiergarten.workloads.addresses import Request, address_formats


@address_formats.register("ramulator")
class Ramulator:
    """`LD 0x1f40` and `ST 8000`: loads and stores without times."""

    def recognises(self, line: str) -> bool:
        """Whether the first word is LD or ST."""
        return line.split()[:1] in (["LD"], ["ST"])

    def parse(self, line: str) -> Request:
        """Two words."""
        words = line.split()
        if len(words) != 2 or words[0] not in ("LD", "ST"):
            raise ValueError(f"needs 'LD ADDRESS' or 'ST ADDRESS', got {line[:80]!r}")
        return Request(number(words[1], "address", MAX_ADDRESS), words[0] == "ST")

    def line(self, request: Request) -> str:
        """Hexadecimal; the time is lost."""
        return f"{'ST' if request.is_write else 'LD'} {request.address:#x}"
