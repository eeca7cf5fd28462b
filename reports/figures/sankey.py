"""Flows between tiers as bands: sources left, destinations right, width is bytes, colour is cause."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.tables import COMPUTE
from tiergarten.reports.traffic import traffic
from tiergarten.sim.units import format_bytes

GAP = 0.05
BAR = 0.025
NAME = 0.13
"""Height of a name of two lines, as a share of the figure."""


@FIGURES.register("sankey")
@dataclass(frozen=True)
class Sankey:
    """Bytes from tier to tier as bands coloured by cause."""

    title = "Where the bytes flow"
    needs = ("transfers",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        flows = traffic(folder)
        own = (flows["source"] == COMPUTE) | (flows["destination"] == COMPUTE)
        between = flows[~own] if not own.all() else flows
        left_out = int(flows["bytes"].sum() - between["bytes"].sum())
        return between.assign(compute_bytes_left_out=left_out).reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        figure = style.new_figure(style.PAGE_IN, 2.9)
        axes = figure.subplots()
        chosen = style.swatches(data["cause"])
        total = float(data["bytes"].sum())
        left = _stack(axes, data.groupby("source", sort=False)["bytes"].sum(), total, 0.0)
        right = _stack(axes, data.groupby("destination", sort=False)["bytes"].sum(), total, 1.0)
        for _, flow in data.iterrows():
            width = flow["bytes"] / total
            start, end = left[flow["source"]], right[flow["destination"]]
            _band(axes, start, end, width, chosen[flow["cause"]])
            left[flow["source"]] = start - width
            right[flow["destination"]] = end - width
        axes.set_xlim(-0.32, 1.32)
        tiers = max(data["source"].nunique(), data["destination"].nunique())
        axes.set_ylim(min(-GAP * (tiers - 1), 1 - NAME * tiers) - 0.04, 1.04)
        axes.set_axis_off()
        style.legend_above(figure, style.patches(chosen))
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        top = data.loc[data["bytes"].idxmax()]
        total = data["bytes"].sum()
        ends = f"{style.label(top['source'])} to {style.label(top['destination'])}"
        text = (
            f"Bytes moved from tier (left) to tier (right) over the whole run, {format_bytes(total)} in all. The largest flow, "
            f"{ends} for {style.label(top['cause'])}, is {100 * float(top['bytes']) / float(total):.3g} %."
        )
        own = int(data["compute_bytes_left_out"].max())
        return text + (f" What the device itself read and wrote, {format_bytes(own)}, is left out." if own else "")


def _stack(axes: Axes, totals: pd.Series, total: float, x: float) -> dict[str, float]:
    """Draw the bars of one side with their names; the upper end of each tier's bar."""
    tops: dict[str, float] = {}
    middles: list[float] = []
    top = 1.0
    for name, amount in totals.items():
        height = amount / total
        corner = (x - BAR if x == 0 else x, top - height)
        axes.add_patch(Rectangle(corner, BAR, height, facecolor=style.INK, linewidth=0))
        tops[str(name)] = top
        middles.append(top - height / 2)
        top -= height + GAP
    align, beside = ("right", -BAR - 0.012) if x == 0 else ("left", 1 + BAR + 0.012)
    for (name, amount), y in zip(totals.items(), _apart(middles), strict=True):
        text = f"{style.label(name, 16)}\n{format_bytes(amount)}"
        axes.text(beside, y, text, ha=align, va="center", fontsize=style.FONT_PT - 1)
    return tops


def _apart(heights: list[float]) -> list[float]:
    """Heights of names, from top to bottom, moved down where two would overlap."""
    placed: list[float] = []
    for height in heights:
        placed.append(min([height, *(last - NAME for last in placed[-1:])]))
    return placed


def _band(axes: Axes, start: float, end: float, width: float, swatch: style.Swatch) -> None:
    outline = Outline(
        [
            (0, start),
            (0.5, start),
            (0.5, end),
            (1, end),
            (1, end - width),
            (0.5, end - width),
            (0.5, start - width),
            (0, start - width),
            (0, start),
        ],
        [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.CLOSEPOLY],
    )
    axes.add_patch(
        PathPatch(
            outline, facecolor=swatch.color, hatch=swatch.hatch, edgecolor=style.HATCH_INK, linewidth=0, alpha=0.75
        )
    )
