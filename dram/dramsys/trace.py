"""Reader of DRAMSys's `.stl` address traces.

One request a line: `tick: read|write 0xADDRESS`, the tick absolute and in clock periods of the player; `#` starts a comment,
`(bytes)` after the tick is a burst length, data after the address is ignored. Plain or gzip.
"""

import gzip
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.trace import AddressTrace

MAX_PROBLEMS: Final = 20
"""Faulty lines reported before reading is given up."""
MAX_TICK: Final = 1 << 50
"""Largest accepted tick: more than a week at 1 GHz, and no later arithmetic can overflow."""
MAX_ADDRESS: Final = 1 << 56


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
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            tick, write, address = _parse(words)
            if ticks and tick < ticks[-1]:
                raise ValueError(f"tick {tick} lies before the previous one, {ticks[-1]}")
        except ValueError as error:
            problems.append(Problem(str(error), file=file, line=number))
            if len(problems) == MAX_PROBLEMS:
                break
            continue
        ticks.append(tick)
        addresses.append(address)
        is_write.append(write)
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


def _parse(words: list[str]) -> tuple[int, bool, int]:
    """(tick, is write, address) of a line; ValueError says what is wrong with it."""
    if len(words) > 1 and words[1].startswith("("):
        words = [words[0], *words[2:]]
    if len(words) < 3:
        raise ValueError(f"needs 'tick: read|write 0xADDRESS', got {' '.join(words)!r}")
    tick_word = words[0].removesuffix(":")
    if not tick_word.isdecimal() or int(tick_word) > MAX_TICK:
        raise ValueError(f"tick {tick_word!r} is not a whole number of 0..2^50")
    if words[1] not in ("read", "write"):
        raise ValueError(f"{words[1]!r} is neither 'read' nor 'write'")
    try:
        address = int(words[2], 16)
    except ValueError:
        raise ValueError(f"address {words[2]!r} is not a hexadecimal number") from None
    if not 0 <= address < MAX_ADDRESS:
        raise ValueError(f"address {words[2]!r} is not in 0..2^56")
    return int(tick_word), words[1] == "write", address
