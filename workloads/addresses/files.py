"""Reads and writes address traces in any registered format, plain or gzip, line by line.

Every faulty line is reported (the first 20); a line that goes back in time, an address that is negative or not a
multiple of the alignment, a damaged archive or a file of no known format raise TraceError and give no trace.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import AddressTrace
from tiergarten.sim.trace_io import load_address_trace, save_address_trace, write_atomically
from tiergarten.workloads.addresses import AddressFormat, Request, address_formats

MAX_PROBLEMS: Final = 20
"""Faulty lines reported before reading is given up."""
MAX_LINE: Final = 4096
"""Characters of a line; a longer one is no address trace."""
MAX_REQUESTS: Final = 500_000_000
ALIGN_BYTES: Final = 32
"""Default alignment: the shortest DRAM burst in use (HBM3, LPDDR5, GDDR6)."""
NATIVE_SUFFIX: Final = ".trace"


def read_addresses(
    path: str | Path, format_name: str | None = None, align_bytes: int = ALIGN_BYTES, tick_ps: int = 0
) -> AddressTrace:
    """The address trace in a file.

    Args:
        path: `.trace` (Tiergarten's own), or text, plain or gzip.
        format_name: a registered format; by default told from the first request.
        align_bytes: addresses must be multiples of this; a request of more bytes becomes several.
        tick_ps: picoseconds of the file's clock, 0 if unknown.

    Raises TraceError with file and line, UnknownNameError for the format.
    """
    if str(path).endswith(NATIVE_SUFFIX) and format_name is None:
        return load_address_trace(path)
    chosen = address_formats.get(format_name)() if format_name else None
    reader = _Reader(str(path), chosen, align_bytes)
    number = 0
    try:
        with _open_text(path) as stream:
            for number, line in enumerate(_lines(stream), start=1):
                reader.take(number, line)
    except (OSError, EOFError, zlib.error) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        if _is_gzip(path):
            size = Path(path).stat().st_size
            reason = f"the gzip data is damaged or cut short after {number} lines ({size} bytes are there)"
        raise TraceError([*reader.problems, Problem(reason, str(path))]) from error
    except _LongLineError as error:
        problem = Problem(f"is not text: a line of more than {MAX_LINE} characters", str(path), line=number + 1)
        raise TraceError([*reader.problems, problem]) from error
    except UnicodeDecodeError as error:
        reason = f"is not text: byte {error.object[error.start]:#04x}, at most {error.start} bytes after line {number}"
        raise TraceError([*reader.problems, Problem(reason, str(path))]) from error
    return reader.trace(tick_ps)


def write_addresses(trace: AddressTrace, path: str | Path, format_name: str | None = None) -> None:
    """Write a trace, as gzip if the name ends in .gz; `.trace` is our own format, others need `format_name`.

    Dependencies are kept only by `.trace`. Raises TraceError for a bad trace or an unwritable file.
    """
    if str(path).endswith(NATIVE_SUFFIX) and format_name is None:
        save_address_trace(trace, path)
        return
    if format_name is None:
        raise TraceError(Problem("name the format to write, or end the name in .trace", str(path)))
    problems = trace.problems()
    if problems:
        raise TraceError([Problem(problem, str(path)) for problem in problems])
    chosen = address_formats.get(format_name)()
    columns = (trace.addresses.tolist(), trace.is_write.tolist(), trace.ticks.tolist())
    lines = [chosen.line(Request(*row)) for row in zip(*columns, strict=True)]
    content = "".join(line + "\n" for line in lines).encode()
    write_atomically(path, gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


class _LongLineError(Exception):
    """A line that no address trace has."""


class _Reader:
    """Collects requests and problems."""

    def __init__(self, file: str, chosen: AddressFormat | None, align_bytes: int):
        if align_bytes < 1:
            raise TraceError(Problem(f"an alignment of {align_bytes} bytes", file))
        self._file, self._format, self._align = file, chosen, align_bytes
        self._rows: list[tuple[int, bool, int]] = []
        self._last_tick = 0
        self.problems: list[Problem] = []

    def take(self, number: int, line: str) -> None:
        """Note the request in a line; empty lines and comments are nothing."""
        line = line.split("#", 1)[0].strip()
        if not line:
            return
        try:
            if self._format is None:
                self._format = _recognise(line)
            self._add(self._format.parse(line))
        except ValueError as error:
            self.problems.append(Problem(str(error), self._file, line=number))
            if len(self.problems) == MAX_PROBLEMS or self._format is None:
                raise TraceError(self.problems) from error

    def _add(self, request: Request) -> None:
        if request.tick < self._last_tick:
            raise ValueError(f"cycle {request.tick} lies before the previous one, {self._last_tick}")
        if request.address % self._align or request.num_bytes % self._align:
            raise ValueError(f"address {request.address:#x} or length is not a multiple of {self._align} bytes")
        if len(self._rows) >= MAX_REQUESTS:
            raise TraceError(Problem(f"holds more than {MAX_REQUESTS} requests", self._file))
        self._last_tick = request.tick
        for offset in range(0, max(request.num_bytes, 1), self._align):
            self._rows.append((request.address + offset, request.is_write, request.tick))

    def trace(self, tick_ps: int) -> AddressTrace:
        """What was read. Raises TraceError for problems, or where nothing was read."""
        if not self._rows and not self.problems:
            self.problems.append(Problem("holds no request", self._file))
        if self.problems:
            raise TraceError(self.problems)
        addresses, is_write, ticks = zip(*self._rows, strict=True)
        none = np.full(len(ticks), -1, np.int64)
        return AddressTrace(
            np.array(ticks, np.int64), np.array(addresses, np.int64), np.array(is_write, np.bool_), none, tick_ps
        )


def _recognise(line: str) -> AddressFormat:
    for _, kind in address_formats.items():
        if kind().recognises(line):
            return kind()
    known = ", ".join(address_formats.names())
    raise ValueError(f"is of no known address format ({known}): {line[:80]!r}")


def _is_gzip(path: str | Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(2) == b"\x1f\x8b"
    except OSError:
        return False


def _open_text(path: str | Path) -> TextIO:
    binary = gzip.open(path, "rb") if _is_gzip(path) else open(path, "rb")
    return io.TextIOWrapper(binary, encoding="ascii", errors="strict", newline=None)


def _lines(stream: TextIO) -> Iterator[str]:
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise _LongLineError
        yield line
