"""When each tier and link was busy, what for, and how many transfers waited: the run at a glance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tiergarten.reports import style
from tiergarten.reports.binning import bin_edges, busiest, rebin, spread
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.routes import link_hops

MAX_LANES = 12
WAITING = "waiting"


@FIGURES.register("timeline")
@dataclass(frozen=True)
class Timeline:
    """Busy share of tiers and links over time by cause, with the number of waiting transfers below each link."""

    title = "Timeline of tiers and links"
    needs = ("tiers", "links")

    def data(self, folder: RunFolder) -> pd.DataFrame:
        tiers = _tier_lanes(
            folder.table("tiers", ["tier", "bin_start_ps", "bin_ps", "read_bytes", "write_bytes", "busy_ps"])
        )
        links = folder.table("links", ["link", "direction", "bin_start_ps", "bin_ps", "bytes", "busy_ps"])
        rows = [tiers, _link_lanes(links, folder)]
        data = pd.concat(rows, ignore_index=True)
        if not (data["value"] > 0).any():
            raise NothingToDrawError("no tier and no link was ever busy")
        return data

    def draw(self, data: pd.DataFrame) -> Figure:
        lanes = list(dict.fromkeys(data["lane"]))
        states = [state for state in dict.fromkeys(data["state"]) if state != WAITING]
        chosen = style.swatches(states)
        figure = style.new_figure(style.PAGE_IN, 0.75 + 0.42 * len(lanes))
        grid = figure.subplots(len(lanes), 1, sharex=True, squeeze=False)[:, 0]
        factor, unit = style.time_unit(float((data["bin_start_ps"] + data["bin_ps"]).max()))
        waiting = data.loc[data["state"] == WAITING, "value"].max() if WAITING in set(data["state"]) else 0.0
        for axes, lane in zip(grid, lanes, strict=True):
            _draw_lane(axes, data[data["lane"] == lane], chosen, factor, waiting)
        grid[-1].set_xlabel(f"Time ({unit})")
        grid[-1].set_xlim(data["bin_start_ps"].min() / factor, (data["bin_start_ps"] + data["bin_ps"]).max() / factor)
        handles = style.patches(chosen)
        if waiting:
            handles.append(
                Patch(facecolor=style.ALERT, linewidth=0, label=f"waiting (peak {style.plain_number(waiting)})")
            )
        style.legend_above(figure, handles, 7)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        width = int(data["bin_ps"].max())
        from_, unit = style.time_unit(width)
        text = (
            f"Share of time each tier and link direction was busy, in bins of {width / from_:.4g} {unit}: tiers split by bytes "
            "read and written, links by the cause of the bytes moved. At the right the mean over the run."
        )
        if (data["state"] == WAITING).any():
            text += " Below each link, the mean number of transfers that were requested and not yet started."
        omitted = int(data["lanes_omitted"].max())
        return text + (f" The {omitted} least busy lanes are left out." if omitted else "")


def _tier_lanes(table: pd.DataFrame) -> pd.DataFrame:
    kept, omitted = busiest(table, "tier", "busy_ps", MAX_LANES)
    bins = rebin(table[table["tier"].isin(kept)], ["tier"], ["read_bytes", "write_bytes", "busy_ps"])
    bins["tier"] = pd.Categorical(bins["tier"], kept, ordered=True)
    bins = bins.sort_values(["tier", "bin_start_ps"], kind="stable")
    total = (bins["read_bytes"] + bins["write_bytes"]).to_numpy(float)
    busy = (bins["busy_ps"] / bins["bin_ps"]).to_numpy(float)
    read = np.divide(bins["read_bytes"], total, out=np.ones_like(total), where=total > 0)
    parts = [
        _rows(bins, bins["tier"].astype(str), state, busy * share, omitted)
        for state, share in (("read", read), ("write", 1 - read))
    ]
    return pd.concat(parts, ignore_index=True).sort_values("lane", key=lambda lane: lane.map(kept.index), kind="stable")


def _rows(bins: pd.DataFrame, lane: pd.Series, state: str, value: np.ndarray, omitted: int) -> pd.DataFrame:
    return pd.DataFrame({
        "lane": lane.to_numpy(), "state": state, "bin_start_ps": bins["bin_start_ps"].to_numpy(),
        "bin_ps": bins["bin_ps"].to_numpy(), "value": value, "lanes_omitted": omitted,
    })  # fmt: skip


def _link_lanes(table: pd.DataFrame, folder: RunFolder) -> pd.DataFrame:
    table = table.assign(lane=lane_name(table["link"], table["direction"]))
    kept, omitted = busiest(table, "lane", "busy_ps", MAX_LANES)
    bins = rebin(table[table["lane"].isin(kept)], ["lane"], ["bytes", "busy_ps"])
    edges = bin_edges(int(table["bin_start_ps"].min()), int((table["bin_start_ps"] + table["bin_ps"]).max()))
    causes, waiting = _causes(table, folder, edges)
    parts = []
    for lane in kept:
        rows = bins[bins["lane"] == lane]
        index = np.searchsorted(edges, rows["bin_start_ps"].to_numpy(), side="right") - 1
        busy = (rows["busy_ps"] / rows["bin_ps"]).to_numpy(float)
        shares = {cause: moved[lane][index] for cause, moved in causes.items() if lane in moved}
        total = np.sum(list(shares.values()), axis=0) if shares else np.zeros(len(rows))
        for cause, moved in shares.items():
            value = np.divide(moved, total, out=np.zeros_like(busy), where=total > 0) * busy
            parts.append(_rows(rows, rows["lane"], cause, value, omitted))
        unexplained = np.where(total > 0, 0.0, busy)
        if unexplained.any() or not shares:
            parts.append(_rows(rows, rows["lane"], "busy", unexplained, omitted))
        if lane in waiting:
            parts.append(_rows(rows, rows["lane"], WAITING, waiting[lane][index] / np.diff(edges)[index], omitted))
    return pd.concat(parts, ignore_index=True)


def lane_name(link: pd.Series, direction: pd.Series) -> pd.Series:
    """ "pcie  ddr > hbm" """
    return link + "  " + direction.str.replace(">", " > ", regex=False)


Moved = dict[str, np.ndarray]


def _causes(links: pd.DataFrame, folder: RunFolder, edges: np.ndarray) -> tuple[dict[str, Moved], Moved]:
    """Per cause and lane the bytes in each bin; per lane the transfer-picoseconds spent waiting in each bin."""
    causes: dict[str, Moved] = {}
    waiting: Moved = {}
    if folder.missing("transfers"):
        return causes, waiting
    hops = link_hops(links)
    columns = ["source", "destination", "bytes", "cause", "requested_ps", "started_ps", "finished_ps", "route"]
    for batch in folder.batches("transfers", columns):
        for (source, destination, route, cause), rows in batch.groupby(
            ["source", "destination", "route", "cause"], sort=True
        ):
            lanes = [f"{link}  {direction.replace('>', ' > ')}" for link, direction in hops(source, destination, route)]
            start, end = rows["started_ps"].to_numpy(), rows["finished_ps"].to_numpy()
            moved = spread(start, end, rows["bytes"].to_numpy(float), edges)
            asked = rows["requested_ps"].to_numpy()
            waited = spread(asked, start, (start - asked).astype(float), edges)
            for lane in lanes:
                bucket = causes.setdefault(str(cause), {})
                bucket[lane] = bucket.get(lane, 0.0) + moved
            if lanes:
                waiting[lanes[0]] = waiting.get(lanes[0], 0.0) + waited
    return causes, waiting


def _draw_lane(axes: Axes, rows: pd.DataFrame, chosen: dict[str, style.Swatch], factor: float, waiting: float) -> None:
    base = None
    mean = 0.0
    for state, part in rows.groupby("state", sort=False):
        left = part["bin_start_ps"].to_numpy() / factor
        edges = np.append(left, (part["bin_start_ps"].iloc[-1] + part["bin_ps"].iloc[-1]) / factor)
        value = part["value"].to_numpy()
        if state == WAITING:
            axes.stairs(-0.45 * value / waiting if waiting else value, edges, fill=True, color=style.ALERT, linewidth=0)
            continue
        swatch = chosen[str(state)]
        floor = np.zeros(len(value)) if base is None or len(base) != len(value) else base
        base = floor + value
        axes.stairs(base, edges, baseline=floor, fill=True, facecolor=swatch.color, edgecolor="none", linewidth=0)
        mean += float((part["value"] * part["bin_ps"]).sum() / part["bin_ps"].sum())
    has_waiting = bool((rows["state"] == WAITING).any()) and waiting > 0
    axes.set_ylim(-0.5 if has_waiting else 0, 1.02)
    axes.axhline(0, color=style.INK, linewidth=0.4)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel(style.label(rows["lane"].iloc[0], 26), rotation=0, ha="right", va="center")
    axes.text(1.005, 0.5, f"{100 * mean:.3g} %", transform=axes.transAxes, va="center", fontsize=style.FONT_PT - 1)
