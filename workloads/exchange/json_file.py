"""Reads a JSON file, plain or gzip, that somebody else wrote."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from tiergarten.sim.errors import Problem, TraceError

GZIP = b"\x1f\x8b"


def read_json(path: str | Path) -> Any:
    """What the file holds. Raises TraceError with the byte at which it stops being JSON, or being gzip."""
    file = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TraceError(Problem(f"cannot be read: {error.strerror or error}", file)) from error
    data = _unpacked(data, file) if data[:2] == GZIP else data
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        offset = len(error.doc[: error.pos].encode())
        raise TraceError(Problem(f"is not JSON from byte {offset} of {len(data)}: {error.msg}", file)) from error
    except UnicodeDecodeError as error:
        raise TraceError(Problem(f"is not text at byte {error.start}", file)) from error
    except (ValueError, RecursionError) as error:
        raise TraceError(Problem(f"is not JSON: {error}", file)) from error


def _unpacked(data: bytes, file: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = f"the gzip data is damaged or cut short ({len(data)} bytes are there): {error}"
        raise TraceError(Problem(reason, file)) from error
