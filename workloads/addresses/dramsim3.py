"""DRAMsim3's traces: `<hexadecimal address> READ|WRITE <cycle>` (umd-memsys/DRAMsim3, trace-based CPU)."""

from tiergarten.sim.text_numbers import MAX_ADDRESS, MAX_TICK, number
from tiergarten.workloads.addresses import Request, address_formats


@address_formats.register("dramsim3")
class Dramsim3:
    """`0x1f40 READ 12`: address, kind, cycle."""

    def recognises(self, line: str) -> bool:
        """Whether the second of three words is READ or WRITE."""
        words = line.split()
        return len(words) == 3 and words[1] in ("READ", "WRITE")

    def parse(self, line: str) -> Request:
        """Three words; the address is hexadecimal with or without 0x."""
        words = line.split()
        if len(words) != 3 or words[1] not in ("READ", "WRITE"):
            raise ValueError(f"needs 'ADDRESS READ|WRITE CYCLE', got {line[:80]!r}")
        address = number(words[0], "address", MAX_ADDRESS, base=16)
        return Request(address, words[1] == "WRITE", number(words[2], "cycle", MAX_TICK))

    def line(self, request: Request) -> str:
        """As DRAMsim3's own generators write it."""
        return f"{request.address:#x} {'WRITE' if request.is_write else 'READ'} {request.tick}"
