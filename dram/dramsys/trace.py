"""Reader of DRAMSys's `.stl` address traces.

One request a line, its form in `sim/stl.py`; `#` starts a comment. Burst lengths are checked and left out. Plain or gzip.
"""

import gzip
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.stl import parse_stl
from tiergarten.sim.trace import AddressTrace

MAX_PROBLEMS: Final = 20
"""Faulty lines reported before reading is given up."""
MAX_TICK: Final = 1 << 50
"""Largest accepted tick: more than a week at 1 GHz, and no later arithmetic can overflow."""


def read_stl(path: str | Path, tick_ps: int) -> AddressTrace:
    """The requests of a trace file in order, `tick_ps` picoseconds to a tick.

    Raises TraceError naming the file and every faulty line (the first 20 of them).
    """
    file = str(path)
    try:
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("ascii")
    except OSError as error:
        raise TraceError(Problem(f"cannot be read: {error.strerror or error}", file=file)) from None
    except (EOFError, zlib.error):
        raise TraceError(Problem("the gzip data is damaged or cut short", file=file)) from None
    except UnicodeDecodeError as error:
        raise TraceError(Problem(f"not a text file: byte {error.start} is not ASCII", file=file)) from None
    ticks: list[int] = []
    addresses: list[int] = []
    is_write: list[bool] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        said = line.split("#", 1)[0].strip()
        if not said:
            continue
        try:
            request = parse_stl(said)
            if request.tick > MAX_TICK:
                raise ValueError(f"tick {request.tick} is beyond {MAX_TICK}")
            if ticks and request.tick < ticks[-1]:
                raise ValueError(f"tick {request.tick} lies before the previous one, {ticks[-1]}")
        except ValueError as error:
            problems.append(Problem(str(error), file=file, line=number))
            if len(problems) == MAX_PROBLEMS:
                break
            continue
        ticks.append(request.tick)
        addresses.append(request.address)
        is_write.append(request.is_write)
    if not problems and not ticks:
        problems.append(Problem("holds no request", file=file))
    if problems:
        raise TraceError(problems)
    return AddressTrace(
        ticks=np.array(ticks, np.int64),
        addresses=np.array(addresses, np.int64),
        is_write=np.array(is_write, np.bool_),
        depends_on=np.full(len(ticks), -1, np.int64),
        tick_ps=tick_ps,
    )
