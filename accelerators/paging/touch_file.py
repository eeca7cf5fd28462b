"""Page-touch traces on disk: a CSV of page, is_write and, optionally, lane; one row per touch, in order within a lane."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tiergarten.accelerators.paging.patterns import make_lanes
from tiergarten.accelerators.paging.touch import Lanes
from tiergarten.accelerators.paging.uvm import FaultHardware
from tiergarten.sim.errors import Problem, TraceError

COLUMNS = ("page", "is_write", "lane")
MAX_PAGE = 2**31 - 1


@dataclass(frozen=True, eq=False)
class TouchTrace:
    """T touches."""

    pages: NDArray[np.int64]
    is_write: NDArray[np.uint8]
    lanes: NDArray[np.int64]

    @property
    def num_pages(self) -> int:
        """Pages from 0 to the highest that is touched."""
        return int(self.pages.max()) + 1

    def as_lanes(self, hardware: FaultHardware, lanes_per_turn: int = 1) -> Lanes:
        """The trace ready for a machine."""
        order = np.argsort(self.lanes, kind="stable")
        starts = np.flatnonzero(np.diff(self.lanes[order], prepend=-1))
        parts = np.split(self.pages[order], starts[1:])
        return make_lanes(parts, hardware, lanes_per_turn, self.is_write[order])


def read_touches(path: Path) -> TouchTrace:
    """Read a trace. Raises TraceError with every bad column, or the first bad rows, of a file that cannot be used."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TraceError(Problem(f"cannot be read: {error}", str(path))) from error
    problems = [
        Problem(f"unknown column; known are {', '.join(COLUMNS)}", str(path), 1, str(name))
        for name in table.columns
        if name not in COLUMNS
    ]
    if "page" not in table:
        problems.append(Problem("the column `page` is missing", str(path), 1))
    if not problems and table.empty:
        problems.append(Problem("has no rows", str(path)))
    if problems:
        raise TraceError(problems)
    limits = {"page": MAX_PAGE, "is_write": 1, "lane": MAX_PAGE}
    columns = {}
    for name, limit in limits.items():
        text = table[name] if name in table else pd.Series(["0"] * len(table))
        whole = text.str.fullmatch(r"\s*\d{1,10}\s*").fillna(False).to_numpy(bool)
        values = np.where(whole, text.where(whole, "0"), "0").astype(np.int64)
        wrong = np.flatnonzero(~whole | (values > limit))
        problems += [
            Problem(f"{text.iloc[row]!r} is not a whole number from 0 to {limit}", str(path), int(row) + 2, name)
            for row in wrong[:10]
        ]
        columns[name] = values
    if problems:
        raise TraceError(problems)
    return TouchTrace(columns["page"], columns["is_write"].astype(np.uint8), columns["lane"])
