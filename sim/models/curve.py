"""Latency as a function of load and read share: a family of bandwidth-latency curves, measured, published or made by us.

The method is that of the Mess benchmark and simulator (Esmaili-Dokht et al., MICRO 2024): the traffic of a recent window gives
the used bandwidth and the read share, and the family of curves gives the latency at that point. Above the largest
bandwidth of the curve accesses queue.
"""

import csv
from dataclasses import dataclass
from math import ceil, exp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.memory import DeterminateModel, memory_models
from tiergarten.sim.params import InputFile, PositivePs, StrictModel, open_text
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import PS_PER_NS, PS_PER_S

MAX_ROWS = 1_000_000


@dataclass(frozen=True, eq=False)
class CurveFamily:
    """Bandwidth-latency curves at several read shares, each on its rising branch (up to its largest bandwidth)."""

    read_percents: NDArray[np.float64]
    """float64[S], rising."""
    bandwidths_bytes_per_s: tuple[NDArray[np.float64], ...]
    """S arrays, each rising."""
    latencies_ps: tuple[NDArray[np.float64], ...]
    """S arrays, not falling: the lower envelope of noisy measurements from the light end."""

    def latency_ps(self, read_percent: float, bytes_per_s: float) -> float:
        """Latency at a load, linear between points and between read shares; flat outside the measured range."""
        low, high, share = self._neighbours(read_percent)
        return (1 - share) * self._at(low, bytes_per_s) + share * self._at(high, bytes_per_s)

    def max_bytes_per_s(self, read_percent: float) -> float:
        """Largest bandwidth at a read share, linear between the shares."""
        low, high, share = self._neighbours(read_percent)
        return float((1 - share) * self.bandwidths_bytes_per_s[low][-1] + share * self.bandwidths_bytes_per_s[high][-1])

    def _at(self, index: int, bytes_per_s: float) -> float:
        return float(np.interp(bytes_per_s, self.bandwidths_bytes_per_s[index], self.latencies_ps[index]))

    def _neighbours(self, read_percent: float) -> tuple[int, int, float]:
        shares = self.read_percents
        high = int(np.searchsorted(shares, read_percent))
        if high == 0:
            return 0, 0, 0.0
        if high == len(shares):
            return high - 1, high - 1, 0.0
        return high - 1, high, float((read_percent - shares[high - 1]) / (shares[high] - shares[high - 1]))


def read_curves(path: Path) -> CurveFamily:
    """Read a CSV with the columns read_percent, bandwidth_GBps (10^9 bytes/s) and latency_ns; others are ignored.

    Where a curve bends back (less bandwidth under more pressure) only the branch up to the largest bandwidth is kept.
    Raises InputError with the row for values that cannot be used, all at once (the first 20).
    """
    points: dict[float, list[tuple[float, float]]] = {}
    problems: list[Problem] = []
    needed = ("read_percent", "bandwidth_GBps", "latency_ns")
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    Problem(f"column {', '.join(missing)} is missing; needed are {', '.join(needed)}", str(path), 1)
                )
            for row in reader:
                if reader.line_num > MAX_ROWS:
                    raise InputError(Problem(f"more than {MAX_ROWS} rows", str(path), reader.line_num))
                try:
                    share, bandwidth, latency = (float(row[name]) for name in needed)
                except (TypeError, ValueError):
                    problems.append(Problem("is not three numbers", str(path), reader.line_num))
                else:
                    if not (0 <= share <= 100 and 0 <= bandwidth < 1e9 and 0 < latency < 1e12):
                        problems.append(
                            Problem(
                                "is out of range (read_percent 0..100, bandwidth >= 0, latency > 0)",
                                str(path),
                                reader.line_num,
                            )
                        )
                    points.setdefault(share, []).append((bandwidth, latency))
                if len(problems) >= 20:
                    break
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(path))) from error
    if not points and not problems:
        problems.append(Problem("has no rows", str(path)))
    if problems:
        raise InputError(problems)
    shares = sorted(points)
    branches = [_rising_branch(points[share]) for share in shares]
    return CurveFamily(np.array(shares), tuple(b for b, _ in branches), tuple(latency for _, latency in branches))


def _rising_branch(points: list[tuple[float, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(bytes/s, ps) up to the largest bandwidth; what is slower than that point is the over-saturated branch and is left out.

    Latencies are made monotone from the heavy end down, so that noise at light load does not make waves.
    """
    ordered = np.array(sorted(points))
    ordered = ordered[ordered[:, 1] <= ordered[ordered[:, 0] == ordered[-1, 0], 1].min()]
    bandwidths, first = np.unique(
        ordered[:, 0], return_index=True
    )  # of equal bandwidths the lower latency: sorted first
    latencies = np.minimum.accumulate(ordered[first, 1][::-1])[::-1]
    return bandwidths * 1e9, latencies * PS_PER_NS


@memory_models.register("curve")
class CurveModel(DeterminateModel):
    """Latency read off a bandwidth-latency family at the load and read share of a recent window.

    Accesses are served at the largest bandwidth of the present read share; the latency is added. The load is an
    exponentially weighted mean over `window`.
    """

    class Params(StrictModel):
        """Where the curves come from."""

        table: InputFile = Field(description="CSV with read_percent, bandwidth_GBps, latency_ns.")
        scale: float = Field(
            1.0, gt=0, description="Multiplies the bandwidths: number of identical memories side by side."
        )
        window: PositivePs = Field(10_000_000, description="Time over which the load is averaged.")

    def __init__(self, curves: CurveFamily, scale: float = 1.0, window_ps: int = 10_000_000):
        super().__init__()
        self._curves = curves
        self._scale = scale
        self._window_ps = window_ps
        self._free_ps = 0
        self._last_ps = 0
        self._read_bytes = 0.0
        self._written_bytes = 0.0

    @classmethod
    def build(cls, tier: TierSpec, params: "CurveModel.Params", seed: int) -> "CurveModel":
        return cls(read_curves(params.table), params.scale, params.window)

    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        self._decay(now_ps)
        if is_write:
            self._written_bytes += num_bytes
        else:
            self._read_bytes += num_bytes
        in_window = self._read_bytes + self._written_bytes
        read_percent = 100 * self._read_bytes / in_window
        max_bytes_per_s = self._curves.max_bytes_per_s(read_percent) * self._scale
        start_ps = max(now_ps, self._free_ps)
        service_ps = ceil(num_bytes * PS_PER_S / max_bytes_per_s)
        self._busy_ps += service_ps
        self._free_ps = start_ps + service_ps
        # the access itself is not load yet, or a lone large one would see its own pressure
        load = (in_window - num_bytes) * PS_PER_S / self._window_ps
        latency_ps = self._curves.latency_ps(read_percent, min(load, max_bytes_per_s) / self._scale)
        return start_ps, self._free_ps + round(latency_ps)

    def _decay(self, now_ps: int) -> None:
        if now_ps > self._last_ps:
            factor = exp((self._last_ps - now_ps) / self._window_ps)
            self._read_bytes *= factor
            self._written_bytes *= factor
            self._last_ps = now_ps
