"""Tables and metrics of a finished machine: transfers, tiers and links in time bins, occupancy, where the time went."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tiergarten.driver import Machine, Output
from tiergarten.faults import events_table, fault_metrics, fault_rows
from tiergarten.laws import check_laws
from tiergarten.ledger import ledger_table
from tiergarten.sim.system import Route
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause
from tiergarten.sim.transfer_log import Column
from tiergarten.sim.units import PS_PER_S

Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Collected:
    """Tables and metrics of a finished machine, with the laws that they obey."""

    tables: dict[str, pa.Table]
    metrics: dict[str, Any]
    laws: list[str]


def collect(machine: Machine, output: Output, bins: int, keep_transfers: bool, keep_ledger: bool = False) -> Collected:
    """Tables and metrics of a finished machine, the driver's own among them, laws checked."""
    columns = _columns(machine)
    elapsed_ps = max(machine.engine.now_ps, 1)
    bins = min(bins, elapsed_ps)  # a bin is a picosecond at least
    tables = {
        "transfers": _transfers_table(columns),
        "tiers": _tiers_table(machine, columns, elapsed_ps, bins),
        "links": _links_table(machine, columns, elapsed_ps, bins),
        "occupancy": _occupancy_table(machine, elapsed_ps, bins),
        "breakdown": _breakdown_table(machine, output, elapsed_ps),
        **output.tables,
    }
    faults = fault_rows(machine.system, elapsed_ps)
    if faults:
        tables["events"] = events_table(faults)
    metrics = {"elapsed_s": elapsed_ps / PS_PER_S, **output.metrics, **_machine_metrics(machine, columns, elapsed_ps)}
    metrics |= fault_metrics(machine.system, tables["transfers"], faults)
    if len(machine.placement.bookings):
        tables["ledger"] = ledger_table(
            machine.placement.bookings,
            list(machine.system.tiers),
            columns[Column.ID],
            columns[Column.FINISHED_PS],
            keep_ledger,
        )
    laws = check_laws(tables, metrics)
    if not keep_transfers:
        tables["transfers"] = tables["transfers"].slice(0, 0)
    if not keep_ledger:
        tables.pop("ledger", None)
    return Collected(tables, metrics, laws)


@dataclass(frozen=True, eq=False)
class _Columns:
    """The log of transfers that finished within the run, as columns. N transfers."""

    log: Int
    """int64[9, N], by `Column`."""
    routes: list[Route]
    in_flight: int

    def __getitem__(self, column: Column) -> Int:
        return self.log[column]


def _columns(machine: Machine) -> _Columns:
    log = machine.system.log.columns()
    done = log[Column.FINISHED_PS] <= machine.engine.now_ps
    return _Columns(np.compress(done, log, axis=1), machine.system.routes, int((~done).sum()))


def _dictionary(indices: Int, names: list[str]) -> pa.DictionaryArray:
    """Text as indices into names, of which some may be equal: the dictionary has each once."""
    distinct = {name: place for place, name in enumerate(dict.fromkeys(names))}
    places = np.array([distinct[name] for name in names], np.int32)[indices]
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(list(distinct), pa.string()))


def _transfers_table(c: _Columns) -> pa.Table:
    return pa.table(
        {
            "id": c[Column.ID],
            "source": _dictionary(c[Column.ROUTE], [r.source for r in c.routes]),
            "destination": _dictionary(c[Column.ROUTE], [r.destination for r in c.routes]),
            "bytes": c[Column.BYTES],
            "cause": _dictionary(c[Column.CAUSE], [cause.name.lower() for cause in Cause]),
            "role": _dictionary(c[Column.ROLE], [role.name.lower() for role in Role]),
            "requested_ps": c[Column.REQUESTED_PS],
            "started_ps": c[Column.STARTED_PS],
            "finished_ps": c[Column.FINISHED_PS],
            "route": _dictionary(c[Column.ROUTE], [r.name for r in c.routes]),
            "owner": c[Column.OWNER],
        }
    )


def spread(starts_ps: Int, ends_ps: Int, amounts: Int, edges_ps: Int) -> Int:
    """Spread amounts evenly over their intervals and sum them in bins; the sum of all bins is the sum of all amounts.

    Args:
        starts_ps, ends_ps, amounts: int64[N]; intervals inside the edges. An empty interval counts in the bin it lies in.
        edges_ps: int64[B+1], rising.

    Returns:
        int64[B].
    """
    if len(starts_ps) == 0:
        return np.zeros(len(edges_ps) - 1, np.int64)
    ends_ps = np.maximum(ends_ps, starts_ps + 1)
    rates = amounts / (ends_ps - starts_ps)

    def ramp(points: Int) -> NDArray[np.float64]:
        """Sum over intervals of rate x time since the point, at each edge."""
        order = np.argsort(points, kind="stable")
        sorted_points = points[order]
        rate_sums = np.concatenate(([0.0], np.cumsum(rates[order])))
        moment_sums = np.concatenate(([0.0], np.cumsum(rates[order] * sorted_points)))
        before = np.searchsorted(sorted_points, edges_ps, side="right")
        return np.asarray(edges_ps * rate_sums[before] - moment_sums[before], np.float64)

    cumulative = np.rint(ramp(starts_ps) - ramp(ends_ps)).astype(np.int64)
    cumulative[0], cumulative[-1] = 0, int(amounts.sum())
    return np.diff(np.maximum.accumulate(np.minimum(cumulative, cumulative[-1])))


def merged(starts_ps: Int, ends_ps: Int) -> tuple[Int, Int]:
    """The union of intervals as disjoint ones, in order: when at least one transfer was under way."""
    order = np.argsort(starts_ps, kind="stable")
    starts, reach = starts_ps[order], np.maximum.accumulate(ends_ps[order]) if len(ends_ps) else ends_ps
    opens = np.concatenate(([True], starts[1:] > reach[:-1])) if len(starts) else np.zeros(0, bool)
    closes = np.concatenate((opens[1:], [True])) if len(starts) else opens
    return starts[opens], reach[closes]


def _edges(elapsed_ps: int, bins: int) -> Int:
    return np.linspace(0, elapsed_ps, bins + 1).astype(np.int64)


def _busy_ps(c: _Columns, mine: NDArray[np.bool_], edges: Int) -> Int:
    """Per bin the time in which at least one of the transfers was under way."""
    starts, ends = merged(c[Column.STARTED_PS][mine], c[Column.FINISHED_PS][mine])
    return np.minimum(spread(starts, ends, ends - starts, edges), np.diff(edges))


def _touching(c: _Columns, touches: list[bool]) -> NDArray[np.bool_]:
    """bool[N]: transfers on a route for which `touches` (one entry per route) is true."""
    return np.isin(c[Column.ROUTE], np.flatnonzero(touches))


def _tiers_table(machine: Machine, c: _Columns, elapsed_ps: int, bins: int) -> pa.Table:
    edges = _edges(elapsed_ps, bins)
    names = list(machine.system.tiers)
    columns: dict[str, list[Int]] = {"read_bytes": [], "write_bytes": [], "busy_ps": []}
    for name in names:
        read = _touching(c, [route.source == name for route in c.routes])
        written = _touching(c, [route.destination == name for route in c.routes])
        columns["read_bytes"].append(
            spread(c[Column.STARTED_PS][read], c[Column.FINISHED_PS][read], c[Column.BYTES][read], edges)
        )
        columns["write_bytes"].append(
            spread(c[Column.STARTED_PS][written], c[Column.FINISHED_PS][written], c[Column.BYTES][written], edges)
        )
        columns["busy_ps"].append(_busy_ps(c, read | written, edges))
    return pa.table(
        {
            "tier": _dictionary(np.repeat(np.arange(len(names)), bins), names),
            "bin_start_ps": np.tile(edges[:-1], len(names)),
            "bin_ps": np.tile(np.diff(edges), len(names)),
            **{column: np.concatenate(values) for column, values in columns.items()},
        }
    )


def _links_table(machine: Machine, c: _Columns, elapsed_ps: int, bins: int) -> pa.Table:
    edges = _edges(elapsed_ps, bins)
    lanes = [
        (link.name, direction, server)
        for link in machine.system.links.values()
        for direction, server in link.directions().items()
    ]
    moved, busy = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for _, _, server in lanes:
        mine = _touching(c, [any(hop[0] is server for hop in route.hops) for route in c.routes])
        moved.append(spread(c[Column.STARTED_PS][mine], c[Column.FINISHED_PS][mine], c[Column.BYTES][mine], edges))
        busy.append(_busy_ps(c, mine, edges))
    return pa.table(
        {
            "link": pa.array([link for link, _, _ in lanes for _ in range(bins)], pa.string()).dictionary_encode(),
            "direction": pa.array(
                [direction for _, direction, _ in lanes for _ in range(bins)], pa.string()
            ).dictionary_encode(),
            "bin_start_ps": np.tile(edges[:-1], len(lanes)),
            "bin_ps": np.tile(np.diff(edges), len(lanes)),
            "bytes": np.concatenate(moved),
            "busy_ps": np.concatenate(busy),
        }
    )


def _occupancy_table(machine: Machine, elapsed_ps: int, bins: int) -> pa.Table:
    rows: dict[str, list[Any]] = {"tier": [], "role": [], "time_ps": [], "bytes": [], "capacity_bytes": []}
    for (tier, role), timeline in machine.placement.timelines.items():
        times, values = timeline.at_bin_ends(elapsed_ps, bins)
        rows["tier"] += [tier] * bins
        rows["role"] += [role.name.lower()] * bins
        rows["time_ps"] += times.tolist()
        rows["bytes"] += values.tolist()
        rows["capacity_bytes"] += [machine.system.tiers[tier].capacity_bytes] * bins
    types = {
        "tier": pa.string(),
        "role": pa.string(),
        "time_ps": pa.int64(),
        "bytes": pa.int64(),
        "capacity_bytes": pa.int64(),
    }
    return pa.table({name: pa.array(values, types[name]) for name, values in rows.items()})


def _breakdown_table(machine: Machine, output: Output, elapsed_ps: int) -> pa.Table:
    """Per resource the time in each state; the states of a resource sum to the elapsed time."""
    states = dict(output.states_ps)
    for tier in machine.system.tiers.values():
        states.setdefault(tier.name, {"busy": min(tier.server.occupied_ps, elapsed_ps)})
    for link in machine.system.links.values():
        for direction, server in link.directions().items():
            down_ps = link.spec.availability.down_ps(0, elapsed_ps)
            states[f"{link.name} {direction}"] = {
                "busy": min(server.occupied_ps, elapsed_ps - down_ps),
                "down": down_ps,
            }
    rows = []
    for resource, times in states.items():
        idle_ps = elapsed_ps - sum(times.values())
        rows += [(resource, state, ps) for state, ps in times.items() if ps or state == "busy"] + [
            (resource, "idle", idle_ps)
        ]
    return pa.table(
        {
            "resource": pa.array([r[0] for r in rows], pa.string()),
            "state": pa.array([r[1] for r in rows], pa.string()),
            "ps": pa.array([r[2] for r in rows], pa.int64()),
        }
    )


def _machine_metrics(machine: Machine, c: _Columns, elapsed_ps: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {"transfers": len(c[Column.ID]), "transfers_in_flight_at_end": c.in_flight}
    tells_bytes = len(c[Column.ID]) > 0  # a workload that computes its own time moves none, which is not 0 J
    energies_j: list[float] = []
    for name, tier in machine.system.tiers.items():
        totals = {}
        for verb, end in (("read", "source"), ("written", "destination")):
            mine = _touching(c, [getattr(route, end) == name for route in c.routes])
            totals[verb] = int(c[Column.BYTES][mine].sum())
            metrics[f"tier_{name}_{verb}_bytes"] = totals[verb]
        peak = sum(timeline.peak for (t, _), timeline in machine.placement.timelines.items() if t == name)
        metrics[f"tier_{name}_peak_occupancy_bytes"] = min(peak, tier.capacity_bytes)
        metrics |= {f"tier_{name}_{key}": value for key, value in tier.wear_metrics(machine.engine.now_ps).items()}
        if tells_bytes and tier.spec.energy_pj_per_bit is not None:
            metrics[f"tier_{name}_energy_j"] = sum(totals.values()) * 8 * tier.spec.energy_pj_per_bit * 1e-12
            energies_j.append(metrics[f"tier_{name}_energy_j"])
        if tier.spec.cost_usd_per_gb is not None:
            metrics[f"tier_{name}_cost_usd"] = tier.capacity_bytes / 1e9 * tier.spec.cost_usd_per_gb
    for name, link in machine.system.links.items():
        total = 0
        for direction, server in link.directions().items():
            mine = _touching(c, [any(hop[0] is server for hop in route.hops) for route in c.routes])
            moved = int(c[Column.BYTES][mine].sum())
            total += moved
            metrics[f"link_{name}_{direction}_bytes"] = moved
            metrics[f"link_{name}_{direction}_busy_share"] = min(1.0, server.occupied_ps / elapsed_ps)
        if tells_bytes and link.spec.energy_pj_per_bit is not None:
            metrics[f"link_{name}_energy_j"] = total * 8 * link.spec.energy_pj_per_bit * 1e-12
            energies_j.append(metrics[f"link_{name}_energy_j"])
    if energies_j:
        metrics["memory_energy_j"] = sum(energies_j)
    return metrics
