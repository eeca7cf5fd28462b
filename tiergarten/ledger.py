"""Where every object was at every moment: the placement's bookings joined with the transfers that filled them, and their laws."""

from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tiergarten.sim.placement import Bookings, Leaving

Int = NDArray[np.int64]

NEVER: Final = -1
"""Of a time: it has not happened in the run."""
LAW: Final = (
    "every object is complete in at least one tier from its first byte until it is discarded; "
    "a transfer carries the bytes of its objects, all complete at its source while it is under way"
)


def ledger_table(bookings: Bookings, tiers: list[str], transfer_ids: Int, finished_ps: Int, named: bool) -> pa.Table:
    """One row per copy that was ever booked in a tier: object, tier, bytes, and since when it was booked, complete and gone.

    Args:
        bookings: the placement's.
        tiers: names, by number.
        transfer_ids, finished_ps: int64[N], transfers that finished in the run, by id.
        named: the objects' names as text; otherwise their numbers, which is enough for the law.
    """
    columns = {
        name: np.array(getattr(bookings, name), np.int64)
        for name in ("object_numbers", "tiers", "num_bytes", "booked_ps", "left_ps", "leavings", "arrivals")
    }
    complete_ps = columns["booked_ps"].copy()
    arriving = columns["arrivals"] >= 0
    if len(transfer_ids) and arriving.any():
        wanted = columns["arrivals"][arriving]
        at = np.minimum(np.searchsorted(transfer_ids, wanted), len(transfer_ids) - 1)
        complete_ps[arriving] = np.where(transfer_ids[at] == wanted, finished_ps[at], NEVER)
    else:
        complete_ps[arriving] = NEVER
    objects: Any = columns["object_numbers"]
    if named:
        names = pa.array([str(key) for key in bookings.objects], pa.string())
        objects = pa.DictionaryArray.from_arrays(pa.array(objects, pa.int32()), names)
    left = [leaving.name.lower() for leaving in Leaving]
    return pa.table(
        {
            "object": objects,
            "tier": pa.DictionaryArray.from_arrays(
                pa.array(columns["tiers"], pa.int32()), pa.array(tiers, pa.string())
            ),
            "bytes": columns["num_bytes"],
            "booked_ps": columns["booked_ps"],
            "complete_ps": complete_ps,
            "left_ps": columns["left_ps"],
            "left": pa.DictionaryArray.from_arrays(
                pa.array(columns["leavings"], pa.int32()), pa.array(left, pa.string())
            ),
            "transfer": columns["arrivals"],
        }
    )


def broken(ledger: pa.Table, transfers: pa.Table) -> str | None:
    """What of the law does not hold, with the first object concerned; None if all does."""
    copies = _frame(ledger)
    copies["object"] = pd.factorize(copies["object"])[0]
    return _lost(copies) or _torn(copies, transfers)


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table with its dictionaries as plain text, whose entries may repeat."""
    columns = [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.columns]
    return pa.table(columns, table.column_names).to_pandas()


def _lost(copies: pd.DataFrame) -> str | None:
    """An object without a complete copy that nobody has discarded."""
    whole = copies[copies["complete_ps"] != NEVER]
    gone = whole[whole["left_ps"] != NEVER]
    changes = pd.concat(
        [
            pd.DataFrame({"object": whole["object"], "time": whole["complete_ps"], "change": 1, "discarded": False}),
            pd.DataFrame(
                {
                    "object": gone["object"],
                    "time": np.maximum(gone["left_ps"], gone["complete_ps"]),
                    "change": -1,
                    "discarded": gone["left"] == "discarded",
                }
            ),
        ]
    )
    instants = changes.groupby(["object", "time"], sort=True).agg({"change": "sum", "discarded": "any"}).reset_index()
    held = instants.groupby("object")["change"].cumsum()
    lost = instants[(held <= 0) & ~instants["discarded"] & (instants["change"] < 0)]
    if lost.empty:
        return None
    first = lost.iloc[0]
    return (
        f"{len(lost)} objects lost their last complete copy, the first (number {first['object']}) at {first['time']} ps"
    )


def _torn(copies: pd.DataFrame, transfers: pd.DataFrame) -> str | None:
    """A transfer whose bytes are not those of the objects that it brings, or that its source did not hold all the while."""
    arrivals = copies[(copies["transfer"] >= 0) & (copies["complete_ps"] != NEVER)]
    if arrivals.empty:
        return None
    moved = _frame(transfers.select(["id", "source", "destination", "bytes", "requested_ps", "finished_ps"]))
    brought = arrivals.groupby("transfer").agg(brought=("bytes", "sum"), tier=("tier", "first")).reset_index()
    brought = brought.merge(moved, left_on="transfer", right_on="id")
    wrong = brought[(brought["brought"] != brought["bytes"]) | (brought["tier"] != brought["destination"])]
    if not wrong.empty:
        first = wrong.iloc[0]
        return (
            f"transfer {first['transfer']} of {first['bytes']} bytes to {first['destination']} brought {first['brought']} "
            f"bytes of objects to {first['tier']}"
        )
    sources = copies.loc[copies["complete_ps"] != NEVER, ["object", "tier", "complete_ps", "left_ps"]]
    pairs = arrivals[["object", "transfer"]].merge(moved, left_on="transfer", right_on="id")
    pairs = pd.merge_asof(  # the copy in the source that was completed last before the transfer was asked for
        pairs.sort_values("requested_ps", kind="stable"),
        sources.sort_values("complete_ps", kind="stable"),
        left_on="requested_ps",
        right_on="complete_ps",
        left_by=["object", "source"],
        right_by=["object", "tier"],
    )
    held = pairs["complete_ps"].notna() & ((pairs["left_ps"] == NEVER) | (pairs["left_ps"] >= pairs["finished_ps"]))
    if held.all():
        return None
    first = pairs[~held].iloc[0]
    return f"transfer {first['transfer']} brought object {first['object']}, which {first['source']} did not hold all the while"
