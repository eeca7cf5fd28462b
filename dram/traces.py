"""Address traces from files: CSV with a header (`t_min,op,addr,dep`), Ramulator's `LD`/`ST` and DRAMsim3's lines.

Each may be gzip-compressed. Every fault is reported with the file and the row, all at once.
"""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tiergarten.sim.errors import Problem, TraceError, did_you_mean
from tiergarten.sim.trace import AddressTrace

CSV_COLUMNS = ("t_min", "op", "addr", "dep")
OPERATIONS = {"R": False, "W": True, "LD": False, "ST": True, "READ": False, "WRITE": True}
NUMBER = r"\d{1,18}|0[xX][0-9a-fA-F]{1,15}"
MOST_PROBLEMS = 20


def read_text(path: Path) -> str:
    """Text of a file, gzip-compressed or not. TraceError if it cannot be read, is damaged or is no text."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("ascii")
    except OSError as error:
        raise TraceError(Problem(error.strerror or str(error), file=str(path))) from error
    except (EOFError, zlib.error) as error:
        raise TraceError(Problem("the compressed file is cut off or damaged", file=str(path))) from error
    except UnicodeDecodeError as error:
        raise TraceError(Problem(f"not a text file (byte {error.start})", file=str(path))) from error


def read_address_trace(path: str | Path) -> AddressTrace:
    """The trace of a file, its form told from the first line. Times are controller ticks.

    A request with `dep` 1 waits until no earlier read is outstanding. Raises TraceError naming file and row.
    """
    path = Path(path)
    text = read_text(path)
    first = text.split("\n", 1)[0].strip()
    if not first:
        raise TraceError(Problem("the file is empty", file=str(path)))
    if "," in first:
        return _read_csv(path, text)
    words = first.split()
    if len(words) == 2 and words[0] in ("LD", "ST"):
        return _read_words(path, text, operation=0, address=1, tick=None)
    if len(words) == 3 and words[1] in ("READ", "WRITE"):
        return _read_words(path, text, operation=1, address=0, tick=2)
    message = "unknown form; expected a header t_min,op,addr,dep, lines `LD <addr>`, or `<addr> READ <cycle>`"
    raise TraceError(Problem(message, file=str(path), line=1))


def _read_csv(path: Path, text: str) -> AddressTrace:
    header = [name.strip() for name in text.split("\n", 1)[0].split(",")]
    problems = [
        Problem(f"unknown column {name!r}. {did_you_mean(name, CSV_COLUMNS)}", file=str(path), line=1)
        for name in header
        if name not in CSV_COLUMNS
    ]
    problems += [
        Problem(f"column {name!r} is missing", file=str(path), line=1) for name in ("op", "addr") if name not in header
    ]
    if problems or len(set(header)) != len(header):
        raise TraceError(problems or Problem("a column is given twice", file=str(path), line=1))
    wrong = [number for number, line in enumerate(text.split("\n"), 1) if line and line.count(",") != len(header) - 1]
    if wrong:
        message = f"wrong number of columns, expected {len(header)}"
        raise TraceError(Problem(message, str(path), wrong[0], f"row {wrong[0] - 1}"))
    try:
        table = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, header=0, names=header, index_col=False
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TraceError(Problem(f"wrong number of columns ({error})", file=str(path))) from error
    zero = pd.Series("0", index=table.index)
    return _assemble(path, 2, table["op"], table["addr"], table.get("t_min", zero), table.get("dep", zero))


def _read_words(path: Path, text: str, operation: int, address: int, tick: int | None) -> AddressTrace:
    rows = [line.split() for line in text.splitlines()]
    width = 2 if tick is None else 3
    wrong = [number for number, row in enumerate(rows) if len(row) != width]
    if wrong:
        message = f"expected {width} words, found {len(rows[wrong[0]])}"
        raise TraceError(Problem(message, file=str(path), line=wrong[0] + 1))
    table = pd.DataFrame(rows, dtype=str)
    zero = pd.Series("0", index=table.index)
    return _assemble(path, 1, table[operation], table[address], zero if tick is None else table[tick], zero)


def _assemble(path: Path, first_line: int, ops, addresses, ticks, deps) -> AddressTrace:
    problems: list[Problem] = []

    def check(good: pd.Series, column: pd.Series, what: str) -> None:
        for row in np.flatnonzero(~good.to_numpy(bool))[:MOST_PROBLEMS]:
            place = f"row {row + 1}"
            problems.append(Problem(f"{what}, got {column.iloc[row]!r}", str(path), int(row) + first_line, place))

    check(ops.isin(list(OPERATIONS)), ops, "operation must be R or W")
    for column, what in ((addresses, "address"), (ticks, "time")):
        check(column.str.fullmatch(NUMBER), column, f"{what} must be a whole number, not negative")
    check(deps.isin(["0", "1"]), deps, "dep must be 0 or 1")
    if problems:
        raise TraceError(problems[:MOST_PROBLEMS])
    if not len(ops):
        raise TraceError(Problem("holds no request", file=str(path)))
    return AddressTrace(
        ticks=_numbers(ticks),
        addresses=_numbers(addresses),
        is_write=ops.map(OPERATIONS).to_numpy(bool),
        depends_on=np.where(deps.to_numpy() == "1", np.arange(len(deps)) - 1, -1).clip(-1).astype(np.int64),
    )


def _numbers(column: pd.Series) -> NDArray[np.int64]:
    if column.str.startswith(("0x", "0X")).any():
        return np.array([int(text, 16 if text[:2] in ("0x", "0X") else 10) for text in column], np.int64)
    return column.to_numpy().astype(np.int64)
