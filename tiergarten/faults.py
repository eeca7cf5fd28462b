"""What faults leave in a result: a table of events, and how long each link was in fault and what that delayed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tiergarten.sim.availability import Fault
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier
from tiergarten.sim.units import NEVER_PS, PS_PER_S


@dataclass(frozen=True)
class FaultRow:
    """A fault as far as the run has seen it."""

    resource: str
    event: str
    """down, degraded, read-only or worn out."""
    start_ps: int
    end_ps: int
    """At most the end of the run."""
    share: float


def fault_rows(system: System, elapsed_ps: int) -> list[FaultRow]:
    """Faults of all links and tiers that began within the run, in order of time."""
    known = [
        (name, fault, "degraded" if fault.share else "down")
        for name, link in system.links.items()
        for fault in link.spec.availability.faults
    ]
    known += [(name, fault, "read-only") for name, tier in system.tiers.items() for fault in tier.writes.faults]
    known += [(name, Fault(tier.worn_out_ps, NEVER_PS, 0.0), "worn out") for name, tier in system.tiers.items()]
    rows = [
        FaultRow(name, event, fault.start_ps, min(fault.end_ps, elapsed_ps), fault.share)
        for name, fault, event in known
        if fault.start_ps < elapsed_ps
    ]
    return sorted(rows, key=lambda row: (row.start_ps, row.resource))


def events_table(rows: list[FaultRow]) -> pa.Table:
    """The rows as the table `events`."""
    return pa.table(
        {
            "resource": pa.array([row.resource for row in rows], pa.string()),
            "event": pa.array([row.event for row in rows], pa.string()),
            "start_ps": pa.array([row.start_ps for row in rows], pa.int64()),
            "end_ps": pa.array([row.end_ps for row in rows], pa.int64()),
            "share": pa.array([row.share for row in rows], pa.float64()),
        }
    )


def fault_metrics(system: System, transfers: pa.Table, rows: list[FaultRow]) -> dict[str, Any]:
    """Per link with faults: time down and degraded, and the transfers that were under way or waiting over it meanwhile.

    Transfers that a link still holds when the clock is stopped count as waiting.
    """
    metrics: dict[str, Any] = {}
    if not rows:
        return metrics
    requested, finished = (transfers[name].to_numpy() for name in ("requested_ps", "finished_ps"))
    num_bytes = transfers["bytes"].to_numpy()
    routes = transfers["route"].combine_chunks().dictionary_decode().to_numpy(zero_copy_only=False)
    unfinished = system.unfinished()
    end_ps = max(row.end_ps for row in rows)
    for name in dict.fromkeys(row.resource for row in rows):
        if name in system.tiers:
            metrics |= _tier_metrics(system.tiers[name], end_ps)
            continue
        availability = system.links[name].spec.availability
        over = np.array([name in route.split(">") for route in routes], bool)
        met = np.zeros(len(over), bool)
        for row in rows:
            if row.resource == name:
                met |= over & (requested < row.end_ps) & (finished > row.start_ps)
        metrics[f"link_{name}_down_s"] = availability.down_ps(0, end_ps) / PS_PER_S
        metrics[f"link_{name}_degraded_s"] = availability.degraded_ps(0, end_ps) / PS_PER_S
        metrics[f"link_{name}_delayed_transfers"] = int(met.sum())
        metrics[f"link_{name}_delayed_bytes"] = int(num_bytes[met].sum())
        metrics[f"link_{name}_waiting_transfers"] = len(unfinished.get(name, []))
        metrics[f"link_{name}_waiting_bytes"] = sum(carried.num_bytes for carried in unfinished.get(name, []))
    return metrics


def _tier_metrics(tier: Tier, end_ps: int) -> dict[str, Any]:
    worn_ps = max(0, end_ps - tier.worn_out_ps)
    return {
        f"tier_{tier.name}_read_only_s": (worn_ps or tier.writes.down_ps(0, end_ps)) / PS_PER_S,
        f"tier_{tier.name}_waiting_transfers": len(tier.server.unfinished()),
    }
