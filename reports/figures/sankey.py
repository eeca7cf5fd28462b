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
from tiergarten.reports.traffic import traffic
from tiergarten.sim.units import format_bytes

GAP = 0.05
BAR = 0.025


@FIGURES.register("sankey")
@dataclass(frozen=True)
class Sankey:
    """Bytes from tier to tier as bands coloured by cause."""

    title = "Where the bytes flow"
    needs = ("transfers",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        return traffic(folder)

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
        axes.set_ylim(-0.02 - GAP * (tiers - 1), 1.02)
        axes.set_axis_off()
        style.legend_above(figure, style.patches(chosen))
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        top = data.loc[data["bytes"].idxmax()]
        share = 100 * top["bytes"] / data["bytes"].sum()
        return (
            f"Bytes from tier (left) to tier (right) over the whole run, {format_bytes(data['bytes'].sum())} in "
            f"all. The largest flow, "
            f"{style.label(top['source'])} to {style.label(top['destination'])} for {style.label(top['cause'])}, "
            f"is {share:.3g} %."
        )


def _stack(axes: Axes, totals: pd.Series, total: float, x: float) -> dict[str, float]:
    """Draw the bars of one side; the upper end of each tier's bar."""
    tops: dict[str, float] = {}
    top = 1.0
    for name, amount in totals.items():
        height = amount / total
        axes.add_patch(
            Rectangle((x - BAR if x == 0 else x, top - height), BAR, height, facecolor=style.INK, linewidth=0)
        )
        side = {"ha": "right", "x": x - BAR - 0.012} if x == 0 else {"ha": "left", "x": x + BAR + 0.012}
        axes.text(
            side["x"],
            top - height / 2,
            f"{style.label(name, 16)}\n{format_bytes(amount)}",
            ha=side["ha"],
            va="center",
            fontsize=style.FONT_PT - 1,
        )
        tops[str(name)] = top
        top -= height + GAP
    return tops


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
