"""Reading and writing request files of any registered format, plain or compressed (.gz, .zst)."""

import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import RequestTrace
from tiergarten.workloads.requests import RequestFormat, request_formats
from tiergarten.workloads.requests.rows import ReadLimits, TraceBuilder

_BROKEN = (EOFError, OSError, zlib.error, pa.ArrowException)


def read_requests(
    path: str | Path,
    format_name: str | None = None,
    block_tokens: int = 0,
    num_requests: int | None = None,
    limits: ReadLimits | None = None,
) -> RequestTrace:
    """The trace in a file.

    Args:
        path: plain text or compressed, by its ending .gz or .zst.
        format_name: a name in `request_formats`; None = recognised by the first line.
        block_tokens: tokens per prefix block where the file does not say; 0 = the format's usual size.
        num_requests: read only so many from the first.
        limits: how large a file may be.

    Raises TraceError with file and line of every problem, at most 20; UnknownNameError for an unknown format.
    """
    limits = limits or ReadLimits()
    path = Path(path)
    builder = TraceBuilder(str(path), block_tokens, limits)
    form = request_formats.get(format_name)() if format_name else None
    begun = False
    for number, line in _lines(path, limits, builder):
        if not line or line.isspace():
            continue
        if form is None or not begun:
            form = form or _recognised(line, builder.file, number)
            begun = True
            if _is_header(form, line, builder.file, number):
                continue
        try:
            row = form.parse(line, builder)
            if row is not None:
                builder.add(row)
        except ValueError as error:
            builder.refuse(str(error), number)
            continue
        builder.check_limits(number)
        if num_requests is not None and len(builder) >= num_requests:
            break
    return builder.finish(form.block_tokens if form else 0, bool(form and form.chains_blocks))


def write_requests(trace: RequestTrace, path: str | Path, format_name: str = "tiergarten") -> None:
    """Write `trace`, gzipped if the path ends in .gz. The file appears complete or not at all."""
    path = Path(path)
    form = request_formats.get(format_name)()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as raw:
            if path.suffix == ".gz":
                # no name and no time in the header: same trace, same bytes
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed, io.TextIOWrapper(packed, "utf-8") as text:
                    form.write(trace, text)
            else:
                with io.TextIOWrapper(raw, "utf-8", newline="\n") as text:
                    form.write(trace, text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _is_header(form: RequestFormat, line: str, file: str, number: int) -> bool:
    try:
        return form.begin(line)
    except ValueError as error:
        raise TraceError(Problem(str(error), file=file, line=number)) from None


def _recognised(first_line: str, file: str, number: int) -> RequestFormat:
    for _, form in request_formats.items():
        made = form()
        if made.recognises(first_line):
            return made
    names = ", ".join(request_formats.names())
    raise TraceError(
        Problem(f"is in no known format ({names}); it begins with {first_line[:120]!r}", file=file, line=number)
    )


def _lines(path: Path, limits: ReadLimits, builder: TraceBuilder) -> Iterator[tuple[int, str]]:
    """(number, line) without line ends; a line that cannot be read is refused or ends the reading with TraceError."""
    number = num_bytes = 0

    def broken(message: str) -> TraceError:
        return TraceError([*builder.problems, Problem(message, file=builder.file, line=number + 1)])

    try:
        with _opened(path) as stream:
            while True:
                raw = stream.readline(limits.max_line_bytes + 1)
                if not raw:
                    return
                num_bytes += len(raw)
                if len(raw) > limits.max_line_bytes:
                    raise broken(f"line is longer than {limits.max_line_bytes} bytes")
                if num_bytes > limits.max_bytes:
                    raise broken(f"file is longer than {limits.max_bytes} bytes")
                number += 1
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    builder.refuse(f"is not UTF-8 text (byte {error.start})", number)
                    continue
                yield number, text
    except _BROKEN as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno is not None:
            raise broken(f"cannot be read: {error.strerror}") from None
        raise broken(f"compressed file is damaged or cut off: {error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.suffix == ".gz":
        with gzip.open(path, "rb") as stream:
            yield stream  # type: ignore[misc]
    elif path.suffix == ".zst":
        with io.BufferedReader(pa.input_stream(str(path), compression="zstd")) as stream:
            yield stream  # type: ignore[misc]
    else:
        with path.open("rb") as stream:
            yield stream
