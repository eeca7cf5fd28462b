"""Bytes moved between tiers, summed from the transfers."""

from typing import Final

import pandas as pd

from tiergarten.reports.binning import busiest
from tiergarten.reports.figures import NothingToDrawError
from tiergarten.reports.folder import RunFolder

MAX_TIERS: Final = 12
MAX_CAUSES: Final = 6


def traffic(folder: RunFolder) -> pd.DataFrame:
    """Columns source, destination, cause, bytes, transfers. Beyond the busiest 12 tiers all are one, called "other"."""
    keys = ["source", "destination", "cause"]
    parts = [
        batch.assign(transfers=1).groupby(keys, sort=False, as_index=False)[["bytes", "transfers"]].sum()
        for batch in folder.batches("transfers", [*keys, "bytes"])
    ]
    table = pd.concat(parts, ignore_index=True)
    ends = pd.concat([table[["source", "bytes"]].set_axis(["tier", "bytes"], axis=1),
                      table[["destination", "bytes"]].set_axis(["tier", "bytes"], axis=1)])  # fmt: skip
    tiers, _ = busiest(ends, "tier", "bytes", MAX_TIERS)
    causes, _ = busiest(table, "cause", "bytes", MAX_CAUSES)
    table = table.assign(
        source=table["source"].where(table["source"].isin(tiers), "other"),
        destination=table["destination"].where(table["destination"].isin(tiers), "other"),
        cause=table["cause"].where(table["cause"].isin(causes), "other"),
    )
    table = table.groupby(keys, sort=True, as_index=False)[["bytes", "transfers"]].sum()
    table = table[table["bytes"] > 0].reset_index(drop=True)
    if table.empty:
        raise NothingToDrawError("no byte was moved")
    if len(table) == 1:
        only = table.iloc[0]
        raise NothingToDrawError(f"all bytes went from {only['source']} to {only['destination']}")
    return table
