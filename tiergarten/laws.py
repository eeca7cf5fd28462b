"""The conservation laws that every run must obey, checked on its tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tiergarten.ledger import LAW, broken
from tiergarten.sim.errors import ConservationError
from tiergarten.sim.system import COMPUTE
from tiergarten.sim.units import PS_PER_S

Int = NDArray[np.int64]


def check_laws(tables: Mapping[str, pa.Table], metrics: Mapping[str, Any]) -> list[str]:
    """Check every law that the tables allow and name them; ConservationError for a broken one."""
    laws = [
        _check_transfers(tables, metrics),
        _check_bytes(tables, metrics),
        _check_occupancy(tables),
        _check_breakdown(tables, metrics),
    ]
    if "requests" in tables:
        laws.append(_check_requests(tables))
    if "ledger" in tables:
        laws.append(_check_ledger(tables, metrics))
    return laws


def _require(law: str, holds: bool, found: str) -> None:
    if not holds:
        raise ConservationError(f"law broken: {law}: {found}")


def _column(table: pa.Table, name: str) -> Int:
    return table[name].to_numpy()  # type: ignore[no-any-return]


def _is_tier(ends: pa.ChunkedArray) -> NDArray[np.bool_]:
    """bool[N]: which ends of transfers are tiers."""
    return pc.not_equal(ends.cast(pa.string()), COMPUTE).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _check_transfers(tables: Mapping[str, pa.Table], metrics: Mapping[str, Any]) -> str:
    law = "requested <= started <= finished <= end of the run, every transfer has bytes and an id of its own"
    table = tables["transfers"]
    requested, started, finished = (_column(table, name) for name in ("requested_ps", "started_ps", "finished_ps"))
    end_ps = round(metrics["elapsed_s"] * PS_PER_S)
    in_order = bool(
        np.all(requested <= started)
        and np.all(started <= finished)
        and (len(finished) == 0 or finished.max() <= end_ps + 1)
    )
    unique = bool(np.all(np.diff(np.sort(_column(table, "id"), kind="stable")) > 0))
    _require(law, in_order and unique and bool(np.all(_column(table, "bytes") > 0)), "transfers.parquet")
    return law


def _check_bytes(tables: Mapping[str, pa.Table], metrics: Mapping[str, Any]) -> str:
    law = "bytes that leave tiers = bytes that enter tiers or compute; the bins hold every byte"
    transfers = tables["transfers"]
    if len(transfers) == 0 and metrics.get("transfers"):
        return law + " (transfers not kept)"
    leaves, enters = (_is_tier(transfers[end]) for end in ("source", "destination"))
    moved = _column(transfers, "bytes")
    read = int(_column(tables["tiers"], "read_bytes").sum())
    written = int(_column(tables["tiers"], "write_bytes").sum())
    left, entered = int(moved[leaves].sum()), int(moved[enters].sum())
    _require(
        law, (read, written) == (left, entered), f"bins hold {read} read and {written} written of {left} and {entered}"
    )
    return law


def _check_occupancy(tables: Mapping[str, pa.Table]) -> str:
    law = "occupancy never exceeds capacity and is never negative"
    frame = tables["occupancy"].to_pandas()
    if len(frame):
        total = frame.groupby(["tier", "time_ps"]).agg({"bytes": "sum", "capacity_bytes": "first"})
        over = total[total["bytes"] > total["capacity_bytes"]]
        _require(law, over.empty and bool((frame["bytes"] >= 0).all()), str(over.head(3)))
    return law


def _check_ledger(tables: Mapping[str, pa.Table], metrics: Mapping[str, Any]) -> str:
    if len(tables["transfers"]) == 0 and metrics.get("transfers"):
        return LAW + " (transfers not kept)"
    found = broken(tables["ledger"], tables["transfers"])
    _require(LAW, found is None, found or "")
    return LAW


def _check_breakdown(tables: Mapping[str, pa.Table], metrics: Mapping[str, Any]) -> str:
    law = "busy + stall + idle = elapsed, for every resource"
    frame = tables["breakdown"].to_pandas()
    end_ps = round(metrics["elapsed_s"] * PS_PER_S)
    sums = frame.groupby("resource")["ps"].sum()
    _require(
        law, bool((frame["ps"] >= 0).all() and ((sums - end_ps).abs() <= 1).all()), f"{sums.to_dict()} of {end_ps}"
    )
    return law


def _check_requests(tables: Mapping[str, pa.Table]) -> str:
    law = "a request arrives, gets its first token and ends in that order; phases sum to its end-to-end time"
    frame = tables["requests"].to_pandas()
    if not {"arrival_ps", "first_token_ps", "finished_ps"} <= set(frame.columns):
        return law + " (no such columns)"
    done = frame[frame["finished_ps"] >= 0]
    in_order = (done["arrival_ps"] <= done["first_token_ps"]) & (done["first_token_ps"] <= done["finished_ps"])
    _require(law, bool(in_order.all() and frame["request_id"].is_unique), str(done[~in_order].head(3)))
    if "phases" in tables:
        phases = tables["phases"].to_pandas().groupby("request_id")["ps"].sum()
        spans = done.set_index("request_id").eval("finished_ps - arrival_ps")
        apart = (phases.reindex(spans.index, fill_value=0) - spans).abs()
        _require(
            law, bool((apart <= 1).all()), f"request {apart.idxmax() if len(apart) else ''} is {apart.max()} ps apart"
        )
    return law
