"""Request traces: readers and writers of the formats in use, one file each, and generators of our own."""

from typing import Protocol, TextIO

from tiergarten.sim.registry import Registry
from tiergarten.sim.trace import RequestTrace
from tiergarten.workloads.requests.rows import Row, TraceBuilder


class RequestFormat(Protocol):
    """One file format: how to know it by its first line, how to read a row of it, how to write it."""

    block_tokens: int
    """Tokens per prefix block unless file or caller say otherwise; 0 = the format has no blocks."""
    chains_blocks: bool
    """Block ids name single blocks, not prefixes, so they are re-keyed to prefix chains after reading."""

    def recognises(self, first_line: str) -> bool:
        """Whether a file that begins with this line is of this format."""
        ...

    def begin(self, first_line: str) -> bool:
        """Look at the first line; True if it was a header, not a row. Raises ValueError if a column is missing."""
        ...

    def parse(self, line: str, builder: TraceBuilder) -> Row | None:
        """One request, or None for a row that is no request. Raises ValueError saying what is wrong."""
        ...

    def write(self, trace: RequestTrace, stream: TextIO) -> None:
        """Write the whole trace."""
        ...


request_formats: Registry[type[RequestFormat]] = Registry("request format", "tiergarten.workloads.requests")
"""mooncake, tiergarten (tidy CSV), azure, vidur, burstgpt, bailian, lengths."""
