"""What each tier and link moved when, what for, and how many transfers waited: the run at a glance."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from tiergarten.reports import style
from tiergarten.reports.binning import busiest, rebin, spread, wide_edges
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.routes import link_hops
from tiergarten.sim.units import PS_PER_S, format_bytes_per_s, format_ps

MAX_TIERS = 8
MAX_LINK_WAYS = 8
WAITING = "waiting"
FAULT = "in fault"
"""Its value is the missing part of the link's rate, 0 to 1."""
OTHER = "other"

FAULT_ALPHA = 0.25

Series = NDArray[np.float64]


@dataclass(frozen=True)
class _Moved:
    """What the transfers say about each link direction ("lane"), in bins."""

    by_cause: dict[str, dict[str, Series]]
    """Bytes per cause and lane."""
    waiting_ps: dict[str, Series]
    """Transfer-picoseconds spent waiting, per lane."""


@FIGURES.register("timeline")
@dataclass(frozen=True)
class Timeline:
    """Bandwidth of tiers and links over time by cause, with the number of waiting transfers below each link."""

    title = "Timeline of tiers and links"
    needs = ("tiers", "links")

    def data(self, folder: RunFolder) -> pd.DataFrame:
        tiers = folder.table("tiers", ["tier", "bin_start_ps", "bin_ps", "read_bytes", "write_bytes"])
        links = folder.table("links", ["link", "direction", "bin_start_ps", "bin_ps", "bytes"])
        tiers, links = (table[table["bin_ps"] > 0] for table in (tiers, links))
        if tiers.empty or links.empty:
            raise NothingToDrawError("no bin has a length")
        data = pd.concat([_tier_lanes(tiers, folder), _link_lanes(links, folder)], ignore_index=True)
        if not (data.loc[~data["state"].isin([WAITING, FAULT]), "value"] > 0).any():
            raise NothingToDrawError("no byte was moved")
        used = data.groupby(["lane", "state"])["value"].transform("max") > 0
        return data[used].round({"value": 6}).reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        lanes = list(dict.fromkeys(data["lane"]))
        states = [state for state in dict.fromkeys(data["state"]) if state not in (WAITING, FAULT)]
        chosen = {state: replace(swatch, hatch="") for state, swatch in style.swatches(states).items()}
        figure = style.new_figure(style.PAGE_IN, 0.75 + 0.42 * len(lanes))
        grid = figure.subplots(len(lanes), 1, sharex=True, squeeze=False)[:, 0]
        end_ps = float((data["bin_start_ps"] + data["bin_ps"]).max())
        factor, unit = style.time_unit(end_ps)
        waiting = float(data.loc[data["state"] == WAITING, "value"].max()) if (data["state"] == WAITING).any() else 0.0
        for axes, lane in zip(grid, lanes, strict=True):
            _draw_lane(axes, data[data["lane"] == lane], chosen, factor, waiting)
        grid[-1].tick_params(axis="x", length=2.5)
        grid[-1].set_xlabel(f"Time ({unit})")
        grid[-1].set_xlim(data["bin_start_ps"].min() / factor, end_ps / factor)
        handles = style.patches(chosen)
        if waiting:
            peak = f"waiting (up to {style.plain_number(waiting)})"
            handles.append(Patch(facecolor=style.ALERT, linewidth=0, label=peak))
        if (data["state"] == FAULT).any():
            handles.append(Patch(facecolor=style.ALERT, alpha=FAULT_ALPHA, linewidth=0, label=FAULT))
        style.legend_above(figure, handles, 7)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        text = (
            f"Bytes moved per second by each tier and link direction, in bins of {format_ps(int(data['bin_ps'].max()))}: tiers "
            "split into reads and writes, links by the cause of the transfers. Each lane is as high as its own busiest bin; "
            "that peak, and the mean over the run, stand at the right."
        )
        if (data["state"] == WAITING).any():
            text += " Below each link, the mean number of transfers that were requested and not yet started."
        if (data["state"] == FAULT).any():
            text += " Shaded: the part of a link's rate that is missing while it is down or degraded, and when a tier takes no writes."
        omitted = int(data["lanes_omitted"].max())
        return text + (f" The {omitted} least used lanes are left out." if omitted else "")


def _rows(lane: str, state: str, bins: pd.DataFrame, value: Series, omitted: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "lane": lane,
            "state": state,
            "bin_start_ps": bins["bin_start_ps"].to_numpy(),
            "bin_ps": bins["bin_ps"].to_numpy(),
            "value": value,
            "lanes_omitted": omitted,
        }
    )


def _tier_lanes(table: pd.DataFrame, folder: RunFolder) -> pd.DataFrame:
    kept, omitted = busiest(table.assign(all=table["read_bytes"] + table["write_bytes"]), "tier", "all", MAX_TIERS)
    wide = rebin(table, ["tier"], ["read_bytes", "write_bytes"])
    events = None if folder.missing("events") else folder.table("events")
    parts = []
    for tier in kept:
        bins = wide[wide["tier"] == tier]
        for state in ("read", "write"):
            parts.append(_rows(tier, state, bins, _per_s(bins[f"{state}_bytes"], bins), omitted))
        if events is not None:
            parts.append(_rows(tier, FAULT, bins, _missing(events, tier, bins), omitted))
    return pd.concat(parts, ignore_index=True)


def _per_s(num_bytes: pd.Series, bins: pd.DataFrame) -> Series:
    return num_bytes.to_numpy(float) * PS_PER_S / bins["bin_ps"].to_numpy(float)


def _lane(link: str, direction: str) -> str:
    return f"{link}  {direction.replace('>', ' > ')}"


def _link_lanes(table: pd.DataFrame, folder: RunFolder) -> pd.DataFrame:
    table = table.assign(lane=[_lane(*pair) for pair in zip(table["link"], table["direction"], strict=True)])
    kept, omitted = busiest(table, "lane", "bytes", MAX_LINK_WAYS)
    wide = rebin(table, ["lane"], ["bytes"])
    edges = wide_edges(table)
    moved = _from_transfers(table, folder, edges)
    events = None if folder.missing("events") else folder.table("events")
    link_of = dict(zip(table["lane"], table["link"], strict=True))
    parts = []
    for lane in kept:
        bins = wide[wide["lane"] == lane]
        if events is not None and bins["bytes"].any():
            parts.append(_rows(lane, FAULT, bins, _missing(events, link_of[lane], bins), omitted))
        index = np.searchsorted(edges, bins["bin_start_ps"].to_numpy(), side="right") - 1
        used = _per_s(bins["bytes"], bins)
        shares = {cause: of[lane][index] for cause, of in moved.by_cause.items() if lane in of}
        total = np.sum(list(shares.values()), axis=0) if shares else np.zeros(len(bins))
        for cause, share in shares.items():
            value = np.divide(share, total, out=np.zeros_like(used), where=total > 0) * used
            parts.append(_rows(lane, cause, bins, value, omitted))
        unexplained = np.where(total > 0, 0.0, used)
        if unexplained.any() or not shares:
            parts.append(_rows(lane, OTHER, bins, unexplained, omitted))
        if lane in moved.waiting_ps:
            mean = moved.waiting_ps[lane][index] / bins["bin_ps"].to_numpy(float)
            parts.append(_rows(lane, WAITING, bins, mean, omitted))
    return pd.concat(parts, ignore_index=True)


def _missing(events: pd.DataFrame, resource: str, bins: pd.DataFrame) -> Series:
    """The part of a link's rate, or of a tier's time for writes, that faults take away, as a mean over each bin."""
    starts = bins["bin_start_ps"].to_numpy(float)
    lengths = bins["bin_ps"].to_numpy(float)
    missing = np.zeros(len(bins))
    for event in events[events["resource"] == resource].itertuples():
        inside = np.minimum(starts + lengths, event.end_ps) - np.maximum(starts, event.start_ps)
        missing += np.maximum(inside, 0.0) / lengths * (1 - event.share)
    return np.minimum(missing, 1.0)


def _from_transfers(links: pd.DataFrame, folder: RunFolder, edges: NDArray[np.int64]) -> _Moved:
    """Bytes and waiting per lane. A transfer waits before the first link of its route."""
    moved = _Moved({}, {})
    if folder.missing("transfers"):
        return moved
    hops = link_hops(links)
    keys = ["source", "destination", "route", "cause"]
    for batch in folder.batches("transfers", [*keys, "bytes", "requested_ps", "started_ps", "finished_ps"]):
        for (source, destination, route, cause), rows in batch.groupby(keys, sort=True):
            lanes = [_lane(link, direction) for link, direction in hops(source, destination, route)]
            asked, start, end = (rows[name].to_numpy() for name in ("requested_ps", "started_ps", "finished_ps"))
            num_bytes = spread(start, end, rows["bytes"].to_numpy(float), edges)
            of_cause = moved.by_cause.setdefault(cause, {})
            for lane in lanes:
                of_cause[lane] = of_cause.get(lane, 0.0) + num_bytes
            for lane in lanes[:1]:
                waited = spread(asked, start, (start - asked).astype(float), edges)
                moved.waiting_ps[lane] = moved.waiting_ps.get(lane, 0.0) + waited
    return moved


def _draw_lane(
    axes: Axes, rows: pd.DataFrame, chosen: dict[str, style.Swatch], factor: float, most_waiting: float
) -> None:
    bins = rows[rows["state"] == rows["state"].iloc[0]]
    left = bins["bin_start_ps"].to_numpy()
    edges = np.append(left, left[-1] + bins["bin_ps"].iloc[-1]) / factor
    moving = rows[~rows["state"].isin([WAITING, FAULT])]
    used = moving.groupby("bin_start_ps")["value"].sum()
    peak = max(float(used.max()), 1.0)
    mean = float((moving["value"] * moving["bin_ps"]).sum() / bins["bin_ps"].sum())
    floor = np.zeros(len(left))
    for state in dict.fromkeys(moving["state"]):
        top = floor + moving.loc[moving["state"] == state, "value"].to_numpy() / peak
        axes.stairs(top, edges, baseline=floor, fill=True, facecolor=chosen[state].color, linewidth=0)
        floor = top
    missing = rows.loc[rows["state"] == FAULT, "value"].to_numpy()
    if len(missing):
        axes.stairs(missing, edges, fill=True, facecolor=style.ALERT, alpha=FAULT_ALPHA, linewidth=0)
    waiting = rows.loc[rows["state"] == WAITING, "value"].to_numpy()
    if len(waiting) and most_waiting > 0:
        axes.stairs(-0.45 * waiting / most_waiting, edges, fill=True, facecolor=style.ALERT, linewidth=0)
    axes.set_ylim(-0.5 if len(waiting) and most_waiting > 0 else -0.02, 1.02)
    axes.axhspan(0, 1, color=style.GRID, alpha=0.35, linewidth=0, zorder=0)
    axes.axhline(0, color=style.INK, linewidth=0.4)
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel(style.label(rows["lane"].iloc[0], 26), rotation=0, ha="right", va="center")
    note = f"peak {format_bytes_per_s(float(used.max()))}\nmean {format_bytes_per_s(mean)}"
    axes.text(1.008, 0.5, note, transform=axes.transAxes, va="center", fontsize=style.FONT_PT - 2)
