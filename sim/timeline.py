"""A value over time in bounded memory: bins double in width whenever there would be too many."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_BINS: Final = 1024


class LastValueTimeline:
    """The last value in each bin and the largest ever seen."""

    def __init__(self, bin_ps: int = 1_000_000):
        self.bin_ps = bin_ps
        self.peak = 0
        self._values: dict[int, int] = {}

    def set(self, time_ps: int, value: int) -> None:
        """Times must not go back."""
        self._values[time_ps // self.bin_ps] = value
        if value > self.peak:
            self.peak = value
        while len(self._values) > MAX_BINS:
            self.bin_ps *= 2
            merged: dict[int, int] = {}
            for index, old in self._values.items():  # in order of time, so the later value stays
                merged[index // 2] = old
            self._values = merged

    def at_bin_ends(self, until_ps: int, num_bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The value at the ends of `num_bins` equal bins over [0, until_ps].

        Returns (int64[num_bins] times_ps, int64[num_bins] values); 0 before the first `set`.
        """
        times = np.linspace(0, until_ps, num_bins + 1, dtype=np.int64)[1:]
        starts = np.fromiter((index * self.bin_ps for index in self._values), np.int64, len(self._values))
        values = np.fromiter(self._values.values(), np.int64, len(self._values))
        last = np.searchsorted(starts, times, side="right") - 1
        return times, np.where(last >= 0, values[np.maximum(last, 0)], 0) if len(values) else np.zeros(
            num_bins, np.int64
        )
