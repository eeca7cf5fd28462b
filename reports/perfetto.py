"""The run as a Chrome trace, to be opened in ui.perfetto.dev: a process per link and tier, a thread per direction or
queue.

Links hold a slice per transfer on each link of its route; overlapping ones lie on tracks of their own. Tiers hold
counters of occupancy per role and of bandwidth. Requests hold a slice to the first token and one to the last. The
file is bounded: where there is more than fits, every n-th is taken and the file says so. Format: "Trace Event
Format", Google, 2016 (times in us).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from tiergarten.reports.binning import MAX_BINS, bin_edges, rebin, spread
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.lanes import lay_out
from tiergarten.reports.render import write_bytes
from tiergarten.reports.routes import link_hops
from tiergarten.sim.units import PS_PER_S, PS_PER_US

NAME: Final = "trace.perfetto.json"
MAX_TRANSFERS: Final = 12_000
MAX_REQUESTS: Final = 4_000
MAX_TRACKS: Final = 32
"""Threads of one link direction; transfers that need more are left out and counted."""
MAX_PROCESSES: Final = 64
_TRANSFER_COLUMNS: Final = (
    "id", "source", "destination", "bytes", "cause", "role", "requested_ps", "started_ps", "finished_ps", "route",
    "owner",
)  # fmt: skip

Event = dict[str, Any]


@dataclass
class _Trace:
    """Events gathered so far, and the numbers given to processes."""

    events: list[Event] = field(default_factory=list)
    processes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def process(self, name: str) -> int:
        """Number of a process, made known to the viewer when it is new."""
        if name not in self.processes:
            number = len(self.processes) + 1
            self.processes[name] = number
            self.events.append({"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": name}})
            self.events.append(
                {"ph": "M", "name": "process_sort_index", "pid": number, "tid": 0, "args": {"sort_index": number}}
            )
        return self.processes[name]

    def thread(self, process: int, number: int, name: str) -> None:
        """Name a thread."""
        self.events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": number, "args": {"name": name}})

    def slices(self, process: int, rows: Iterable[tuple[int, str, str, int, int, Event]]) -> None:
        """Complete events (thread, name, category, start_ps, end_ps, args)."""
        self.events += [
            {"ph": "X", "pid": process, "tid": thread, "name": name, "cat": category, "ts": start / PS_PER_US,
             "dur": (end - start) / PS_PER_US, "args": args}
            for thread, name, category, start, end, args in rows
        ]  # fmt: skip

    def counters(self, process: int, name: str, times_ps: Iterable[int], values: Iterable[Event]) -> None:
        """Counter events; each value maps series to numbers."""
        self.events += [
            {"ph": "C", "pid": process, "tid": 0, "name": name, "ts": time / PS_PER_US, "args": value}
            for time, value in zip(times_ps, values, strict=True)
        ]


def write_trace(run: RunFolder) -> Path | None:
    """Write `trace.perfetto.json` into the folder; None if it has neither tiers, links, transfers nor requests."""
    trace = perfetto_trace(run)
    if not trace["traceEvents"]:
        return None
    return write_bytes(run.path / NAME, (json.dumps(trace, separators=(",", ":"), ensure_ascii=True) + "\n").encode())


def perfetto_trace(run: RunFolder) -> dict[str, Any]:
    """The trace as the object that is written: `traceEvents`, and under `otherData` what was left out."""
    trace = _Trace()
    if not run.missing("tiers"):
        _tier_counters(trace, run)
    if not run.missing("occupancy"):
        _occupancy_counters(trace, run)
    if not run.missing("links"):
        _link_counters(trace, run)
        if not run.missing("transfers"):
            _transfer_slices(trace, run)
    if not run.missing("requests"):
        _request_slices(trace, run)
    other = {
        "title": run.title,
        "sampling": trace.notes or ["complete"],
        "tiergarten": str(run.manifest.get("tiergarten", "")),
    }
    return {"displayTimeUnit": "ns", "otherData": other, "traceEvents": trace.events}


def _first(names: Iterable[str], trace: _Trace, what: str) -> list[str]:
    known = list(dict.fromkeys(names))
    if len(known) > MAX_PROCESSES:
        trace.notes.append(f"{what}: the first {MAX_PROCESSES} of {len(known)}")
    return known[:MAX_PROCESSES]


def _tier_counters(trace: _Trace, run: RunFolder) -> None:
    table = run.table("tiers", ["tier", "bin_start_ps", "bin_ps", "read_bytes", "write_bytes"])
    names = _first(table["tier"], trace, "tiers")
    bins = rebin(table[table["tier"].isin(names)], ["tier"], ["read_bytes", "write_bytes"], 2 * MAX_BINS)
    for name in names:
        rows = bins[bins["tier"] == name]
        per_s = PS_PER_S / rows["bin_ps"].to_numpy(float) / 1e9
        values = [
            {"read": round(read, 6), "write": round(write, 6)}
            for read, write in zip(rows["read_bytes"] * per_s, rows["write_bytes"] * per_s, strict=True)
        ]
        trace.counters(trace.process(f"tier {name}"), "bandwidth (GB/s)", rows["bin_start_ps"].tolist(), values)


def _occupancy_counters(trace: _Trace, run: RunFolder) -> None:
    table = run.table("occupancy", ["tier", "role", "time_ps", "bytes"])
    for name in _first(table["tier"], trace, "tiers"):
        held = table[table["tier"] == name].pivot_table(index="time_ps", columns="role", values="bytes", aggfunc="sum")
        held = held.fillna(0).iloc[:, :MAX_TRACKS]
        step = -(-len(held) // (2 * MAX_BINS))
        if step > 1:
            trace.notes.append(f"occupancy of {name}: every {step}th of {len(held)} samples")
            held = held.iloc[::step]
        roles = [str(role) for role in held.columns]
        values = [dict(zip(roles, map(int, row), strict=True)) for row in held.to_numpy()]
        trace.counters(trace.process(f"tier {name}"), "occupancy (bytes)", held.index.tolist(), values)


def _link_counters(trace: _Trace, run: RunFolder) -> None:
    table = run.table("links", ["link", "direction", "bin_start_ps", "bin_ps", "bytes"])
    names = _first(table["link"], trace, "links")
    bins = rebin(table[table["link"].isin(names)], ["link", "direction"], ["bytes"], 2 * MAX_BINS)
    for (link, direction), rows in bins.groupby(["link", "direction"], sort=False):
        rate = rows["bytes"].to_numpy(float) * PS_PER_S / rows["bin_ps"].to_numpy(float) / 1e9
        values = [{"moved": round(value, 6)} for value in rate]
        trace.counters(trace.process(f"link {link}"), f"{direction} (GB/s)", rows["bin_start_ps"].tolist(), values)


def _transfer_slices(trace: _Trace, run: RunFolder) -> None:
    table = run.table("transfers", _TRANSFER_COLUMNS).sort_values(["started_ps", "id"], kind="stable")
    links = run.table("links", ["link", "direction"])
    hops = link_hops(links)
    _waiting_counters(trace, table)
    over_links = table[table["route"] != ""]
    if len(over_links) < len(table):
        trace.notes.append(
            f"{len(table) - len(over_links)} accesses of the device to tiers beside it: only as bandwidth"
        )
    if over_links.empty:
        return
    kept = _every_nth(trace, over_links, MAX_TRANSFERS, "transfers")
    ways = kept[["source", "destination", "route"]].drop_duplicates()
    on: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for source, destination, route in ways.itertuples(index=False):
        part = kept[(kept["source"] == source) & (kept["destination"] == destination) & (kept["route"] == route)]
        for hop in hops(source, destination, route):
            on.setdefault(hop, []).append(part)
    free: dict[str, int] = {}
    for (link, direction), parts in sorted(on.items(), key=lambda item: item[0]):
        if f"link {link}" not in trace.processes:
            continue
        process = trace.process(f"link {link}")
        rows = pd.concat(parts)
        track = lay_out(rows["started_ps"].to_numpy(), rows["finished_ps"].to_numpy())
        fits = track < MAX_TRACKS
        if not fits.all():
            trace.notes.append(
                f"link {link} {direction}: {int((~fits).sum())} transfers beyond {MAX_TRACKS} at a time are left out"
            )
        first = free.get(link, 0) + 1
        used = int(track[fits].max(initial=0)) + 1
        free[link] = first + used - 1
        for number in range(used):
            trace.thread(
                process,
                first + number,
                f"{direction.replace('>', ' > ')} #{number}" if used > 1 else direction.replace(">", " > "),
            )
        trace.slices(process, _slice_rows(rows[fits], first + track[fits]))


def _slice_rows(rows: pd.DataFrame, threads: np.ndarray) -> Iterator[tuple[int, str, str, int, int, Event]]:
    for thread, row in zip(threads.tolist(), rows.itertuples(index=False), strict=True):
        wait = int(row.started_ps) - int(row.requested_ps)
        args = {"id": int(row.id), "from": row.source, "to": row.destination, "bytes": int(row.bytes), "role": row.role,
                "route": row.route, "request": int(row.owner), "waited_us": wait / PS_PER_US}  # fmt: skip
        yield thread, row.cause, row.cause, int(row.started_ps), int(row.finished_ps), args


def _waiting_counters(trace: _Trace, table: pd.DataFrame) -> None:
    """Mean number of transfers requested and not started, per bin, over all transfers."""
    asked, started = table["requested_ps"].to_numpy(), table["started_ps"].to_numpy()
    edges = bin_edges(int(asked.min()), int(table["finished_ps"].max()), 2 * MAX_BINS)
    waiting = spread(asked, started, (started - asked).astype(float), edges) / np.diff(edges)
    process = trace.process("transfers")
    trace.counters(process, "waiting", edges[:-1].tolist(), ({"transfers": round(value, 6)} for value in waiting))


def _request_slices(trace: _Trace, run: RunFolder) -> None:
    columns = ["request_id", "arrival_ps", "first_token_ps", "finished_ps", "input_tokens", "output_tokens"]
    table = run.table("requests", columns)
    table = table[table["first_token_ps"] >= table["arrival_ps"]].sort_values(
        ["arrival_ps", "request_id"], kind="stable"
    )
    if table.empty:
        return
    kept = _every_nth(trace, table, MAX_REQUESTS, "requests")
    ends = kept[["first_token_ps", "finished_ps"]].max(axis=1).to_numpy()
    track = lay_out(kept["arrival_ps"].to_numpy(), ends)
    process = trace.process("requests")
    for number in range(int(track.max()) + 1):
        trace.thread(process, number + 1, f"slot {number}")
    rows: list[tuple[int, str, str, int, int, Event]] = []
    for thread, row in zip((track + 1).tolist(), kept.itertuples(index=False), strict=True):
        args = {
            "request": int(row.request_id),
            "input_tokens": int(row.input_tokens),
            "output_tokens": int(row.output_tokens),
        }
        rows.append((thread, "to first token", "request", int(row.arrival_ps), int(row.first_token_ps), args))
        if row.finished_ps > row.first_token_ps:
            rows.append((thread, "decode", "request", int(row.first_token_ps), int(row.finished_ps), args))
    trace.slices(process, rows)


def _every_nth(trace: _Trace, table: pd.DataFrame, limit: int, what: str) -> pd.DataFrame:
    step = -(-len(table) // limit)
    if step > 1:
        trace.notes.append(f"{what}: every {step}th of {len(table)} in order of time")
    return table.iloc[:: max(1, step)]
