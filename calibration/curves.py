"""Fit of a bandwidth-latency family to loaded-latency measurements: the table that `model: {name: curve, table: ...}` reads.

For each read share the latency is the isotonic (never falling) least-squares function of the bandwidth, by pooling of adjacent
violators (Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions, 1972); its interval comes
from a bootstrap over the points. A random part of the points is kept back and scored, beside an analytic model of constant
latency fitted to the same rows.
"""

import csv
import hashlib
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.calibration.measure.manifest import replace_text
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.models.curve import CurveFamily
from tiergarten.sim.params import open_text
from tiergarten.sim.seeds import stream
from tiergarten.sim.units import PS_PER_NS

Float = NDArray[np.float64]
RESAMPLES: Final = 400
COLUMNS: Final = ("read_percent", "bandwidth_GBps", "latency_ns")
MIN_POINTS: Final = 4
"""For one read share: fewer do not make a curve with an error."""
MAX_ROWS: Final = 100_000


@dataclass(frozen=True, eq=False)
class LoadedLatency:
    """N measured points of latency under load."""

    read_percents: Float
    bandwidths_GBps: Float
    latencies_ns: Float
    file: str
    sha256: str

    def __len__(self) -> int:
        return len(self.latencies_ns)

    def rows(self, chosen: NDArray[np.bool_]) -> "LoadedLatency":
        """Some of the points."""
        return LoadedLatency(
            self.read_percents[chosen], self.bandwidths_GBps[chosen], self.latencies_ns[chosen], self.file, self.sha256
        )


@dataclass(frozen=True, eq=False)
class Curve:
    """One fitted curve; float64[M] each, bandwidths rising, latencies not falling."""

    read_percent: float
    bandwidths_GBps: Float
    latencies_ns: Float
    lows_ns: Float
    highs_ns: Float


@dataclass(frozen=True)
class Score:
    """Mean and largest |predicted / measured - 1| of the latency over held-out points."""

    mean: float
    worst: float
    interval: tuple[float, float]
    """95 %, by bootstrap over the points."""


@dataclass(frozen=True, eq=False)
class CurveFit:
    """A fitted family and how far off it is."""

    curves: tuple[Curve, ...]
    num_fitted: int
    num_held_out: int
    num_over_saturated: int
    """Points left out of fit and score: less bandwidth under more pressure, which no function of the bandwidth holds."""
    fitted_error: float
    """Mean relative error on the rows of the fit."""
    curve_score: Score | None
    """None where nothing was held out."""
    analytic_score: Score | None
    """Of a constant latency, the median of the lightest point of each share in the fit."""
    analytic_latency_ns: float
    held_out: LoadedLatency
    """The points that were kept back."""

    def family(self) -> CurveFamily:
        """As the memory model holds it."""
        return CurveFamily(
            np.array([curve.read_percent for curve in self.curves]),
            tuple(curve.bandwidths_GBps * 1e9 for curve in self.curves),
            tuple(curve.latencies_ns * PS_PER_NS for curve in self.curves),
        )


def read_loaded_latency(path: Path) -> LoadedLatency:
    """Read a CSV with read_percent, bandwidth_GBps and latency_ns. InputError with every row that cannot be used (first 20)."""
    problems: list[Problem] = []
    points: list[tuple[float, ...]] = []
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(Problem(f"column {', '.join(missing)} is missing", str(path), 1))
            for row in reader:
                try:
                    point = tuple(float(row[name]) for name in COLUMNS)
                except (TypeError, ValueError):
                    problems.append(Problem(f"{', '.join(COLUMNS)} must be numbers", str(path), reader.line_num))
                else:
                    if 0 <= point[0] <= 100 and 0 <= point[1] < 1e9 and 0 < point[2] < 1e12:
                        points.append(point)
                    else:
                        problems.append(
                            Problem(
                                "is out of range (read_percent 0..100, bandwidth >= 0, latency > 0)",
                                str(path),
                                reader.line_num,
                            )
                        )
                if len(problems) >= 20 or len(points) > MAX_ROWS:
                    break
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(path))) from error
    if len(points) > MAX_ROWS:
        problems.append(Problem(f"has more than {MAX_ROWS} rows", str(path)))
    if problems:
        raise InputError(problems)
    table = np.array(points, np.float64).reshape(-1, 3)
    shares, counts = np.unique(table[:, 0], return_counts=True)
    if not len(shares) or counts.min() < MIN_POINTS:
        raise InputError(Problem(f"every read share needs at least {MIN_POINTS} points", str(path)))
    return LoadedLatency(table[:, 0], table[:, 1], table[:, 2], path.name, digest)


def isotonic(values: Float) -> Float:
    """The never falling sequence with the least sum of squared differences to `values`, float64[N]."""
    means: list[float] = []
    counts: list[int] = []
    for value in values:
        means.append(float(value))
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mean, count = means.pop(), counts.pop()
            means[-1] = (means[-1] * counts[-1] + mean * count) / (counts[-1] + count)
            counts[-1] += count
    return np.repeat(means, counts).astype(np.float64)


def over_saturated(measured: LoadedLatency) -> NDArray[np.bool_]:
    """bool[N]: points of the branch that bends back, clearly slower than the saturated ones at clearly less bandwidth.

    Clearly: under 95 % of the share's largest bandwidth, and over 1.2 times the median latency of the points above that.
    """
    marked = np.zeros(len(measured), np.bool_)
    for share in np.unique(measured.read_percents):
        own = measured.read_percents == share
        bandwidths, latencies = measured.bandwidths_GBps, measured.latencies_ns
        near_top = own & (bandwidths >= 0.95 * bandwidths[own].max())
        marked |= own & ~near_top & (latencies > 1.2 * np.median(latencies[near_top]))
    return marked


def fit_curves(measured: LoadedLatency, held_out_share: float, seed: int) -> CurveFit:
    """Fit every read share on a random part of its points and score on the rest.

    Args:
        measured: the points.
        held_out_share: share of each read share's points that is kept back, 0 to 0.9; at least 3 stay in the fit.
        seed: decides which.
    """
    rng = stream(seed, "calibration curves")
    bent = over_saturated(measured)
    held_out = np.zeros(len(measured), np.bool_)
    for share in np.unique(measured.read_percents):
        own = np.flatnonzero((measured.read_percents == share) & ~bent)
        count = max(0, min(round(held_out_share * len(own)), len(own) - 3))
        held_out[rng.permutation(own)[:count]] = True
    seen, unseen = measured.rows(~held_out & ~bent), measured.rows(held_out)
    curves = tuple(_fit_share(seen, share, rng) for share in np.unique(seen.read_percents))
    fit = CurveFit(curves, len(seen), len(unseen), int(bent.sum()), 0.0, None, None, _unloaded_ns(seen), unseen)
    fitted_error = float(np.abs(curve_latencies_ns(fit, seen) / seen.latencies_ns - 1).mean())
    scores: tuple[Score | None, Score | None] = (None, None)
    if len(unseen):
        scores = (
            score(curve_latencies_ns(fit, unseen), unseen.latencies_ns, rng),
            score(np.full(len(unseen), fit.analytic_latency_ns), unseen.latencies_ns, rng),
        )
    return CurveFit(
        curves, len(seen), len(unseen), fit.num_over_saturated, fitted_error, *scores, fit.analytic_latency_ns, unseen
    )


def curve_latencies_ns(fit: CurveFit, points: LoadedLatency) -> Float:
    """Latency that the fitted family gives at each point, float64[N]."""
    family = fit.family()
    pairs = zip(points.read_percents, points.bandwidths_GBps, strict=True)
    return np.array([family.latency_ps(share, 1e9 * bandwidth) / PS_PER_NS for share, bandwidth in pairs])


def score(predicted: Float, measured: Float, rng: np.random.Generator) -> Score:
    """Relative errors of N predictions, N >= 1."""
    errors = np.abs(predicted / measured - 1)
    means = errors[rng.integers(0, len(errors), (RESAMPLES, len(errors)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Score(float(errors.mean()), float(errors.max()), (float(low), float(high)))


def write_curves(fit: CurveFit, path: Path) -> None:
    """Write the table; a reader finds the old one or the whole new one."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "latency_low_ns", "latency_high_ns"])
    for curve in fit.curves:
        columns = (curve.bandwidths_GBps, curve.latencies_ns, curve.lows_ns, curve.highs_ns)
        for row in zip(*columns, strict=True):
            writer.writerow([f"{curve.read_percent:g}", *(f"{value:.6g}" for value in row)])
    replace_text(path, text.getvalue())


def _fit_share(seen: LoadedLatency, share: float, rng: np.random.Generator) -> Curve:
    own = np.flatnonzero(seen.read_percents == share)
    bandwidths, latencies = _isotonic_curve(seen.bandwidths_GBps[own], seen.latencies_ns[own])
    again = np.empty((RESAMPLES, len(bandwidths)))
    for turn, rows in enumerate(rng.integers(0, len(own), (RESAMPLES, len(own)))):
        curve = _isotonic_curve(seen.bandwidths_GBps[own[rows]], seen.latencies_ns[own[rows]])
        again[turn] = np.interp(bandwidths, *curve)
    lows, highs = np.percentile(again, (2.5, 97.5), axis=0)
    return Curve(float(share), bandwidths, latencies, lows, highs)


def _isotonic_curve(bandwidths: Float, latencies: Float) -> tuple[Float, Float]:
    """Fitted latency at each distinct bandwidth; points of equal bandwidth count by their mean."""
    distinct, which = np.unique(bandwidths, return_inverse=True)
    means = np.bincount(which, latencies) / np.bincount(which)
    return distinct, isotonic(means)


def _unloaded_ns(seen: LoadedLatency) -> float:
    """Median over the read shares of the latency at the smallest bandwidth."""
    lightest = []
    for share in np.unique(seen.read_percents):
        own = np.flatnonzero(seen.read_percents == share)
        lightest.append(seen.latencies_ns[own[np.argmin(seen.bandwidths_GBps[own])]])
    return float(np.median(lightest))
