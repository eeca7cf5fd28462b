"""The log of transfers: every byte that moved, as columns of integers."""

from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

LogRow: TypeAlias = "tuple[int, int, int, int, int, int, int, int, int]"
"""One transfer, in the order of `Column`."""


class Column(IntEnum):
    """Columns of the log. `started - requested` is time spent in queues: started is when the last hop began."""

    ID = 0
    ROUTE = 1
    """Row of `System.routes`."""
    BYTES = 2
    CAUSE = 3
    ROLE = 4
    REQUESTED_PS = 5
    STARTED_PS = 6
    FINISHED_PS = 7
    OWNER = 8
    """The request or operation that caused the transfer, -1 = none."""


_FIRST_CAPACITY: Final = 1024


class TransferLog:
    """Transfers whose end is known. Single ones are appended as rows; bursts fill columns that were reserved for them."""

    def __init__(self) -> None:
        self._columns: Int = np.empty((len(Column), _FIRST_CAPACITY), np.int64)
        self._filled = 0
        self._rows: list[LogRow] = []
        self.append = self._rows.append
        """Takes a LogRow."""

    def __len__(self) -> int:
        return self._filled + len(self._rows)

    def reserve(self, count: int) -> tuple[Int, int]:
        """Room for `count` transfers: (int64[9, capacity], first of the columns that the caller has to fill)."""
        self._take_rows()
        first = self._grow(count)
        return self._columns, first

    def columns(self) -> Int:
        """int64[9, N]: all transfers by `Column`, in order of their ids. To be read only."""
        self._take_rows()
        filled = self._columns[:, : self._filled]
        ids = filled[Column.ID]
        if np.all(ids[1:] > ids[:-1]):
            return filled
        return filled[:, np.argsort(ids)]

    def _take_rows(self) -> None:
        if self._rows:
            rows = np.array(self._rows, np.int64)
            first = self._grow(len(rows))
            self._columns[:, first : self._filled] = rows.T
            self._rows.clear()

    def _grow(self, count: int) -> int:
        first, self._filled = self._filled, self._filled + count
        if self._filled > self._columns.shape[1]:
            larger = np.empty((len(Column), 2 * self._filled), np.int64)
            larger[:, :first] = self._columns[:, :first]
            self._columns = larger
        return first
