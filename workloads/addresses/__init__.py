"""Address traces: readers and writers of the formats in use, one file each, and seeded synthetic patterns."""

from typing import NamedTuple, Protocol

from tiergarten.sim.registry import Registry
from tiergarten.sim.trace import AddressTrace


class Request(NamedTuple):
    """One line of an address file."""

    address: int
    is_write: bool
    tick: int = 0
    num_bytes: int = 0
    """Length where the format states one, 0 = one burst."""


class AddressFormat(Protocol):
    """One file format, line by line."""

    def recognises(self, line: str) -> bool:
        """Whether a file whose first request is this line is of this format."""
        ...

    def parse(self, line: str) -> Request:
        """The request in a line. Raises ValueError saying what is wrong."""
        ...

    def line(self, request: Request) -> str:
        """The request as a line, without its end."""
        ...


class AddressPattern(Protocol):
    """A synthetic pattern: a frozen dataclass of its parameters. The docstring states its statistics."""

    def generate(self, seed: int) -> AddressTrace:
        """The same seed gives the same trace."""
        ...


address_formats: Registry[type[AddressFormat]] = Registry("address format", "tiergarten.workloads.addresses")
address_patterns: Registry[type[AddressPattern]] = Registry("address pattern", "tiergarten.workloads.addresses")
