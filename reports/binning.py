"""Time series of any length brought down to a bounded number of bins without losing what they add up to."""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MAX_BINS: Final = 240
"""Bins along the time axis of a figure: more than the print resolves, few enough for a small file."""


def bin_edges(start_ps: int, end_ps: int, num_bins: int = MAX_BINS) -> NDArray[np.int64]:
    """int64[<= num_bins + 1], equally wide bins that cover [start_ps, end_ps]; the last may reach beyond the end."""
    span = max(1, int(end_ps) - int(start_ps))
    width = -(-span // num_bins)
    count = -(-span // width)
    return int(start_ps) + width * np.arange(count + 1, dtype=np.int64)


def spread(
    starts_ps: NDArray[np.int64], ends_ps: NDArray[np.int64], amounts: NDArray[np.float64], edges: NDArray[np.int64]
) -> NDArray[np.float64]:
    """float64[len(edges) - 1]: each amount spread evenly over its interval, summed per bin.

    An interval of no length falls whole into the bin that begins at or before it. What lies outside the edges is
    left out.
    """
    lengths = (ends_ps - starts_ps).astype(np.float64)
    long = lengths > 0
    delivered = np.zeros(len(edges))
    rates = amounts[long] / lengths[long]
    for times, sign in ((starts_ps[long], 1.0), (ends_ps[long], -1.0)):
        order = np.argsort(times, kind="stable")
        offset = times[order].astype(np.float64) - float(edges[0])
        rate = np.concatenate([[0.0], np.cumsum(rates[order])])
        moment = np.concatenate([[0.0], np.cumsum(rates[order] * offset)])
        done = np.searchsorted(times[order], edges, side="right")
        delivered += sign * (rate[done] * (edges - edges[0]) - moment[done])
    per_bin = np.diff(delivered)
    instants = np.searchsorted(edges, starts_ps[~long], side="right") - 1
    inside = (instants >= 0) & (instants < len(per_bin))
    np.add.at(per_bin, instants[inside], amounts[~long][inside])
    return np.maximum(per_bin, 0.0)


def wide_edges(table: pd.DataFrame, num_bins: int = MAX_BINS) -> NDArray[np.int64]:
    """int64[<= num_bins + 1]: edges over all rows of a binned table; each wide bin holds the same number of its bins."""
    starts = np.unique(table["bin_start_ps"].to_numpy())
    end = int((table["bin_start_ps"] + table["bin_ps"]).max())
    return np.append(starts[:: -(-len(starts) // num_bins)], max(end, int(starts[-1]) + 1)).astype(np.int64)


def rebin(table: pd.DataFrame, keys: list[str], sums: list[str], num_bins: int = MAX_BINS) -> pd.DataFrame:
    """Binned rows merged into at most `num_bins` wider bins, per combination of keys.

    Columns `bin_start_ps` and `bin_ps` in and out; `bin_ps` of a wide bin is the time that its rows cover, so that
    sum / bin_ps stays a true mean. Rows are ordered by keys and time.
    """
    edges = wide_edges(table, num_bins)
    inside = np.searchsorted(edges, table["bin_start_ps"].to_numpy(), side="right") - 1
    wide = table.assign(bin_start_ps=edges[inside])
    return wide.groupby([*keys, "bin_start_ps"], sort=True, as_index=False)[["bin_ps", *sums]].sum()


def busiest(table: pd.DataFrame, key: str, weight: str, limit: int) -> tuple[list[str], int]:
    """(names with the largest total weight, in order of first appearance; how many were left out)."""
    totals = table.groupby(key, sort=False)[weight].sum()
    kept = set(totals.sort_values(ascending=False, kind="stable").index[:limit])
    return [name for name in totals.index if name in kept], max(0, len(totals) - limit)
