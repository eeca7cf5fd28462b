"""What each tier held over time: weights, KV blocks, activations, stacked under the capacity."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiergarten.reports import style
from tiergarten.reports.binning import MAX_BINS, bin_edges, busiest
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.sim.units import format_bytes

MAX_TIERS = 8
MAX_ROLES = 8


@FIGURES.register("occupancy")
@dataclass(frozen=True)
class Occupancy:
    """Bytes held per tier and role over time, stacked, with the capacity as a line."""

    title = "Occupancy over time by role"
    needs = ("occupancy",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("occupancy", ["tier", "role", "time_ps", "bytes", "capacity_bytes"])
        if not (table["bytes"] > 0).any():
            raise NothingToDrawError("nothing was ever placed")
        kept, omitted = busiest(table, "tier", "bytes", MAX_TIERS)
        roles, _ = busiest(table, "role", "bytes", MAX_ROLES)
        table = table[table["tier"].isin(kept)].assign(role=table["role"].where(table["role"].isin(roles), "other"))
        parts = [_fullest_moments(table[table["tier"] == tier]) for tier in kept]
        return pd.concat(parts, ignore_index=True).assign(tiers_omitted=omitted)

    def draw(self, data: pd.DataFrame) -> Figure:
        tiers = list(dict.fromkeys(data["tier"]))
        chosen = style.swatches(data["role"])
        figure = style.new_figure(style.PAGE_IN, 0.8 + 0.95 * len(tiers))
        grid = figure.subplots(len(tiers), 1, sharex=True, squeeze=False)[:, 0]
        factor, unit = style.time_unit(float(data["time_ps"].max()))
        for axes, tier in zip(grid, tiers, strict=True):
            rows = data[data["tier"] == tier]
            held = rows.pivot_table(index="time_ps", columns="role", values="bytes", aggfunc="sum", sort=False).fillna(
                0
            )
            held.loc[min(0, held.index[0])] = held.iloc[0]
            held = held.sort_index()
            capacity = float(rows["capacity_bytes"].max())
            scale, size = style.byte_unit(max(float(held.sum(axis=1).max()), 1.0))
            floor = np.zeros(len(held))
            for role in held.columns:
                top = floor + held[role].to_numpy() / scale
                axes.fill_between(
                    held.index / factor,
                    floor,
                    top,
                    step="pre",
                    facecolor=chosen[role].color,
                    hatch=chosen[role].hatch,
                    edgecolor=style.HATCH_INK,
                    linewidth=0,
                )
                floor = top
            peak = float(floor.max())
            shown = capacity / scale <= 4 * peak
            if shown and capacity > 0:
                axes.axhline(capacity / scale, color=style.INK, linestyle=(0, (4, 2)), linewidth=0.9)
            axes.set_ylim(0, max(1.08 * (max(capacity / scale, peak) if shown else peak), 1e-3))
            axes.set_ylabel(size)
            share = (
                f", at most {100 * peak * scale / capacity:.3g} % of {format_bytes(capacity)}" if capacity > 0 else ""
            )
            axes.set_title(style.label(tier) + share, fontweight="normal")
        grid[-1].set_xlabel(f"Time ({unit})")
        grid[-1].set_xlim(min(0, data["time_ps"].min()) / factor, max(data["time_ps"].max(), 1) / factor)
        handles = [
            *style.patches(chosen),
            Line2D([], [], color=style.INK, linestyle=(0, (4, 2)), linewidth=0.9, label="capacity"),
        ]
        style.legend_above(figure, handles)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        text = "Bytes held by each tier, stacked by role; the dashed line is the tier's capacity where it is near."
        if data["thinned"].any():
            text += f" Of the samples in each of {MAX_BINS} bins the fullest one is drawn, so that no peak is lost."
        omitted = int(data["tiers_omitted"].max())
        return text + (f" The {omitted} least filled tiers are left out." if omitted else "")


def _fullest_moments(rows: pd.DataFrame) -> pd.DataFrame:
    """All samples of one tier, or per bin the sample with the largest total: peaks survive, and the roles shown
    coexisted."""
    rows = rows.groupby(["tier", "time_ps", "role"], sort=False, as_index=False).agg(
        {"bytes": "sum", "capacity_bytes": "max"}
    )
    totals = rows.groupby("time_ps")["bytes"].sum()
    thinned = len(totals) > MAX_BINS
    if thinned:
        edges = bin_edges(int(totals.index[0]), int(totals.index[-1]) + 1)
        bins = np.searchsorted(edges, totals.index.to_numpy(), side="right")
        rows = rows[rows["time_ps"].isin(totals.groupby(bins).idxmax())]
    return rows.sort_values("time_ps", kind="stable").assign(thinned=thinned)
