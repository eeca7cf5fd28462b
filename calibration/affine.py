"""Fit of time = a + bytes / B to measured transfers, with intervals, and its score on rows that it has not seen.

The residuals are relative (measurement noise of copies is multiplicative), so each row weighs 1 / time; the problem is linear in
(a, 1 / B) and solved in closed form (`affine_law`). Intervals are percentiles of a bootstrap over rows (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.calibration.affine_law import Affine, solve
from tiergarten.calibration.measured import Measured
from tiergarten.scenario.fitted import FitError, FittedParameters, Interval
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.seeds import stream
from tiergarten.sim.units import PS_PER_S, format_bytes

RESAMPLES: Final = 1000


def fit(measured: Measured, held_out_share: float, seed: int) -> tuple[FittedParameters, NDArray[np.bool_]]:
    """Fit on a random part of the rows and score on the rest.

    Args:
        measured: N rows.
        held_out_share: share of the rows kept back, 0 to 0.9; at least 3 rows stay in the fit.
        seed: decides which.

    Returns:
        The parameters with their error, and bool[N]: which rows were held out.

    Raises InputError if all rows have one size: no slope can be told.
    """
    if len(np.unique(measured.num_bytes)) < 2:
        raise InputError(Problem("has a single size; a fit needs at least two", measured.file))
    rng = stream(seed, "calibration")
    num_held_out = min(round(held_out_share * len(measured)), len(measured) - 3)
    held_out = np.zeros(len(measured), np.bool_)
    held_out[rng.permutation(len(measured))[:num_held_out]] = True
    seen, unseen = measured.rows(~held_out), measured.rows(held_out)
    law = solve(seen.num_bytes, seen.times_ps)
    laws = [
        solve(seen.num_bytes[rows], seen.times_ps[rows]) for rows in rng.integers(0, len(seen), (RESAMPLES, len(seen)))
    ]
    constants = np.percentile([one.per_copy_ps for one in laws], (2.5, 97.5))
    rates = np.percentile([PS_PER_S / one.ps_per_byte for one in laws], (2.5, 97.5))
    parameters = FittedParameters(
        per_copy=_time_text(law.per_copy_ps),  # type: ignore[arg-type]  # read as a quantity
        bandwidth=_rate_text(PS_PER_S / law.ps_per_byte),  # type: ignore[arg-type]
        per_copy_interval=Interval(low=_time_text(constants[0]), high=_time_text(constants[1])),
        bandwidth_interval=Interval(low=_rate_text(rates[0]), high=_rate_text(rates[1])),
        error=_error(law, seen, unseen, rng),
        smallest=format_bytes(float(measured.num_bytes.min())),
        largest=format_bytes(float(measured.num_bytes.max())),
        rows_fitted=len(seen),
        rows_held_out=len(unseen),
        measured_file=measured.file,
        measured_sha256=measured.sha256,
        seed=seed,
    )
    return parameters, held_out


def law_of(parameters: FittedParameters) -> Affine:
    """The law that fitted parameters stand for."""
    return Affine(float(parameters.per_copy), PS_PER_S / parameters.bandwidth)


def relative_errors(law: Affine, measured: Measured) -> NDArray[np.float64]:
    """|predicted - measured| / measured, float64[N]."""
    return np.asarray(np.abs(law.times_ps(measured.num_bytes) / measured.times_ps - 1))


def _error(law: Affine, seen: Measured, unseen: Measured, rng: np.random.Generator) -> FitError:
    fitted_mape = float(relative_errors(law, seen).mean())
    if not len(unseen):
        return FitError(fitted_mape=fitted_mape)
    errors = relative_errors(law, unseen)
    means = errors[rng.integers(0, len(errors), (RESAMPLES, len(errors)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return FitError(
        fitted_mape=fitted_mape,
        held_out_mape=float(errors.mean()),
        held_out_worst=float(errors.max()),
        interval=(float(low), float(high)),
    )


def _time_text(time_ps: float) -> str:
    return f"{time_ps / 1e6:.6g} us"


def _rate_text(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e9:.6g} GB/s"
