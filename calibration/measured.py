"""Measured times against sizes, read from a tidy CSV."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.params import open_text

SIZE_COLUMNS: Final = {"bytes": 1.0, "size_bytes": 1.0, "kib": 2.0**10, "mib": 2.0**20}
TIME_COLUMNS: Final = {"time_s": 1e12, "time_ms": 1e9, "time_us": 1e6, "time_ns": 1e3, "time_ps": 1.0}
MAX_ROWS: Final = 1_000_000


@dataclass(frozen=True, eq=False)
class Measured:
    """N measured transfers or accesses."""

    num_bytes: NDArray[np.float64]
    """float64[N], > 0."""
    times_ps: NDArray[np.float64]
    """float64[N], > 0."""
    file: str
    sha256: str

    def __len__(self) -> int:
        return len(self.num_bytes)

    def rows(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> "Measured":
        """Some of the rows."""
        return Measured(self.num_bytes[chosen], self.times_ps[chosen], self.file, self.sha256)


def read_measured(path: Path, where: Mapping[str, str] | None = None) -> Measured:
    """Read a CSV with a size column (bytes, kib or mib) and a time column (time_s, time_ms, time_us, time_ns or time_ps).

    Args:
        path: the file.
        where: column -> value; rows that hold another value are passed over.

    Raises InputError naming file and row of what cannot be used: the first 20 problems at once.
    """
    wanted = dict(where or {})
    problems: list[Problem] = []
    pairs: list[tuple[float, float]] = []
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            size, size_factor = _column(reader.fieldnames, SIZE_COLUMNS, path)
            time, time_factor = _column(reader.fieldnames, TIME_COLUMNS, path)
            unknown = sorted(set(wanted) - set(reader.fieldnames or ()))
            if unknown:
                raise InputError(Problem(f"has no column {', '.join(unknown)}", str(path), 1))
            for row in reader:
                if any(row[column] != value for column, value in wanted.items()):
                    continue
                try:
                    pair = (float(row[size]) * size_factor, float(row[time]) * time_factor)
                except (TypeError, ValueError):
                    problems.append(Problem(f"{size} and {time} must be numbers", str(path), reader.line_num))
                else:
                    if all(np.isfinite(value) and value > 0 for value in pair):
                        pairs.append(pair)
                    else:
                        problems.append(
                            Problem(f"{size} and {time} must be greater than zero", str(path), reader.line_num)
                        )
                if len(problems) >= 20 or reader.line_num > MAX_ROWS:
                    break
            if reader.line_num > MAX_ROWS:
                problems.append(Problem(f"has more than {MAX_ROWS} rows", str(path)))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(path))) from error
    if not problems and len(pairs) < 4:
        problems.append(Problem(f"has {len(pairs)} rows; a fit with an error needs at least 4", str(path)))
    if problems:
        raise InputError(problems)
    table = np.array(pairs)
    return Measured(table[:, 0], table[:, 1], path.name, digest)


def _column(names: object, known: dict[str, float], path: Path) -> tuple[str, float]:
    """(name as written, factor to bytes or picoseconds) of the one known column."""
    present = [name for name in (names if isinstance(names, list) else []) if name and name.strip().lower() in known]
    if len(present) != 1:
        found = ", ".join(present) if present else "none"
        raise InputError(Problem(f"needs exactly one of the columns {', '.join(known)}; found {found}", str(path), 1))
    return present[0], known[present[0].strip().lower()]
