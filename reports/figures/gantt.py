"""Single transfers, one bar each: how long each waited and how long it took, in the densest stretch of the run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tiergarten.reports import style
from tiergarten.reports.binning import busiest
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.lanes import lay_out
from tiergarten.sim.units import format_ps

COLUMNS = ("id", "source", "destination", "bytes", "cause", "requested_ps", "started_ps", "finished_ps", "route")
MAX_ROWS = 64
MAX_LANES = 16


@dataclass(frozen=True)
class _Window:
    """The rows drawn, and how many there are in all."""

    rows: pd.DataFrame
    total: int


@FIGURES.register("gantt")
@dataclass(frozen=True)
class Gantt:
    """Transfers as bars per route and direction, waiting pale and moving solid, in the densest stretch of the run."""

    transfers: int = 100
    """How many consecutive transfers are drawn."""

    title = "Single transfers"
    needs = ("transfers",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("transfers", COLUMNS)
        over_links = table[table["route"] != ""]
        window = _densest(over_links if len(over_links) else table, max(2, self.transfers))
        rows = window.rows.assign(lane=_lanes(window.rows))
        kept, _ = busiest(rows.assign(one=1), "lane", "one", MAX_LANES)
        rows = rows[rows["lane"].isin(kept)]
        parts = []
        for _, part in rows.groupby("lane", sort=True):
            track = lay_out(part["requested_ps"].to_numpy(), part["finished_ps"].to_numpy())
            parts.append(part.assign(track=track))
        data = pd.concat(parts, ignore_index=True)
        height = data.groupby("lane", sort=True)["track"].max() + 1
        share = max(2, MAX_ROWS // len(height))
        fits = data["track"] < share
        cut = len(window.rows) - int(fits.sum())
        return data[fits].assign(transfers_total=window.total, transfers_cut=cut).reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        height = data.groupby("lane", sort=True)["track"].max() + 1
        top = height.cumsum() - height + 0.8 * np.arange(len(height))
        rows = data["lane"].map(top) + data["track"]
        figure = style.new_figure(style.PAGE_IN, 1.0 + 0.055 * float(height.sum()) + 0.12 * len(height))
        axes = figure.subplots()
        start = float(data["requested_ps"].min())
        factor, unit = style.time_unit(float(data["finished_ps"].max()) - start)
        asked, began, done = ((data[name] - start) / factor for name in ("requested_ps", "started_ps", "finished_ps"))
        axes.barh(rows, began - asked, left=asked, height=0.8, color=style.GRID, linewidth=0)
        chosen = style.swatches(sorted(data["cause"].unique()))
        for cause, swatch in chosen.items():
            of = (data["cause"] == cause).to_numpy()
            axes.barh(rows[of], (done - began)[of], left=began[of], height=0.8, color=swatch.color, linewidth=0.4)
        axes.set_yticks(top + (height - 1) / 2, [style.label(lane, 40) for lane in height.index])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_ylim(float(top.iloc[-1] + height.iloc[-1]) - 0.2, -0.8)
        axes.set_xlim(0, float(done.max()) or 1.0)
        axes.set_xlabel(f"Time ({unit}) after {format_ps(start)}")
        waiting = Patch(facecolor=style.GRID, linewidth=0, label="waiting")
        style.legend_above(figure, [*style.patches(chosen), waiting])
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        total, cut = int(data["transfers_total"].max()), int(data["transfers_cut"].max())
        text = f"{len(data)} transfers, one bar each: grey from request to start, coloured from start to finish."
        if len(data) + cut < total:
            text += f" The stretch of the run in which transfers over links start most densely, out of {total:,}."
        return text + (f" {cut} more, in the deepest queues or the least used routes, found no room." if cut else "")


def _densest(table: pd.DataFrame, count: int) -> _Window:
    """The `count` transfers, consecutive by start, that begin in the shortest time; the earliest such stretch."""
    rows = table.sort_values(["started_ps", "id"], kind="stable").reset_index(drop=True)
    if not (rows["finished_ps"] > rows["started_ps"]).any():
        raise NothingToDrawError("no transfer took any time")
    total = len(rows)
    if total > count:
        starts = rows["started_ps"].to_numpy()
        first = int(np.argmin(starts[count - 1 :] - starts[: total - count + 1]))
        rows = rows.iloc[first : first + count].reset_index(drop=True)
    return _Window(rows, total)


def _lanes(rows: pd.DataFrame) -> pd.Series:
    return rows["route"] + "  " + rows["source"] + " > " + rows["destination"]
