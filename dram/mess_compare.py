"""Two families of bandwidth-latency curves side by side: a reference from a file and our own, feature by feature.

The latency error is that of the Mess papers' replies: mean |ours - reference| / reference at equal steps of bandwidth on the
rising branch, raw and after one constant (the difference of the unloaded latencies of the curve of most reads, what lies
between the memory and the one who measured).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tiergarten.sim.errors import InputError, Problem, did_you_mean

NEEDED = ("read_percent", "bandwidth_GBps", "latency_ns")
NAMES = ("config", "system")
"""Columns that may say whose curve a row is of."""
STEPS = 20
FULLEST = 0.98
"""Share of the smaller maximum up to which latencies are compared."""


def read_reference(path: Path, name: str = "") -> pd.DataFrame:
    """The curves of one system: read_percent, bandwidth_GBps, latency_ns, rows in the file's order.

    `name`: which one, where a column `config` or `system` tells several apart. InputError if the file cannot be used.
    """
    try:
        table = pd.read_csv(path)
    except OSError as error:
        raise InputError(Problem(error.strerror or str(error), file=str(path))) from error
    except (ValueError, EOFError) as error:
        raise InputError(Problem(f"not a CSV file: {error}", file=str(path))) from error
    missing = [column for column in NEEDED if column not in table.columns]
    if missing:
        raise InputError([Problem("column is missing", str(path), 1, column) for column in missing])
    for column in NEEDED:
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise InputError(
                Problem(f"must be a number, got {table[column].iloc[bad[0]]!r}", str(path), int(bad[0]) + 2, column)
            )
        table[column] = numbers
    owner = next((column for column in NAMES if column in table.columns), None)
    owners = sorted(table[owner].astype(str).unique()) if owner else []
    if name and name not in owners:
        raise InputError(Problem(f"holds no curves of {name!r}. {did_you_mean(name, owners)}", file=str(path)))
    if not name and len(owners) > 1:
        raise InputError(Problem(f"holds several families; choose one of {', '.join(owners)}", file=str(path)))
    chosen = table[table[owner].astype(str) == name] if name else table
    return chosen[list(NEEDED)].reset_index(drop=True)


def compare_curves(ours: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """One row a read share that both have, most reads first: maxima, unloaded and largest latencies, latency errors in %."""
    shares = sorted(set(ours["read_percent"]) & set(reference["read_percent"]), reverse=True)
    families = [{share: table[table["read_percent"] == share] for share in shares} for table in (ours, reference)]
    constant = 0.0
    if shares:
        constant = _unloaded_ns(families[1][shares[0]]) - _unloaded_ns(families[0][shares[0]])
    rows = []
    for share in shares:
        mine, theirs = (family[share] for family in families)
        raw = _latency_error(mine, theirs, 0.0)
        rows.append(
            {
                "read_percent": share,
                "max_GBps": mine["bandwidth_GBps"].max(),
                "reference_max_GBps": theirs["bandwidth_GBps"].max(),
                "max_difference_pct": _percent(mine["bandwidth_GBps"].max(), theirs["bandwidth_GBps"].max()),
                "unloaded_ns": _unloaded_ns(mine),
                "reference_unloaded_ns": _unloaded_ns(theirs),
                "unloaded_difference_pct": _percent(_unloaded_ns(mine), _unloaded_ns(theirs)),
                "max_latency_ns": mine["latency_ns"].max(),
                "reference_max_latency_ns": theirs["latency_ns"].max(),
                "latency_error_pct": raw,
                "latency_error_one_constant_pct": _latency_error(mine, theirs, constant),
            }
        )
    return pd.DataFrame(rows)


def _percent(value: float, reference: float) -> float:
    return 100 * (value / reference - 1)


def _unloaded_ns(curve: pd.DataFrame) -> float:
    """Latency of the lightest load."""
    return float(curve["latency_ns"].iloc[int(curve["bandwidth_GBps"].argmin())])


def _rising(curve: pd.DataFrame) -> tuple[Sequence[float], Sequence[float]]:
    """Bandwidths and latencies from the lightest load up to the largest bandwidth, without what bends back."""
    by_pressure = curve.sort_values("latency_ns")
    rates = by_pressure["bandwidth_GBps"].to_numpy()
    kept = rates >= np.maximum.accumulate(rates)
    return rates[kept], by_pressure["latency_ns"].to_numpy()[kept]


def _latency_error(mine: pd.DataFrame, theirs: pd.DataFrame, constant_ns: float) -> float:
    (rates, latencies), (their_rates, their_latencies) = _rising(mine), _rising(theirs)
    low, high = max(rates[0], their_rates[0]), FULLEST * min(rates[-1], their_rates[-1])
    grid = np.linspace(low, high, STEPS)
    wanted = np.interp(grid, their_rates, their_latencies)
    found = np.interp(grid, rates, latencies) + constant_ns
    return float(100 * np.mean(np.abs(found - wanted) / wanted))
