"""Whether kernels are bound by compute or by a memory: one roof per tier, one dot per kernel."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.sim.units import format_bytes_per_s

ROOFS, OPS = "series/roofline_roofs", "series/roofline_ops"
MAX_OPS = 400
LABELLED_OPS = 6


@FIGURES.register("roofline")
@dataclass(frozen=True)
class Roofline:
    """Attained FLOP/s against FLOP per byte under one roof per tier; the area of a dot is its time."""

    title = "Roofline"
    needs = (ROOFS, OPS)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        roofs = folder.table(ROOFS, ["device", "tier", "flops_per_s", "bytes_per_s"])
        ops = folder.table(OPS, ["name", "tier", "flops_per_byte", "flops_per_s", "time_ps"])
        roofs = roofs[
            (roofs[["flops_per_s", "bytes_per_s"]] > 0).all(axis=1)
            & np.isfinite(roofs[["flops_per_s", "bytes_per_s"]]).all(axis=1)
        ]
        numbers = ops[["flops_per_byte", "flops_per_s", "time_ps"]]
        ops = ops[(numbers > 0).all(axis=1) & np.isfinite(numbers).all(axis=1)]
        if roofs.empty:
            raise NothingToDrawError("no roof has a compute rate and a bandwidth over zero")
        if ops.empty:
            raise NothingToDrawError("no kernel has an intensity, a rate and a time over zero")
        longest = ops.sort_values("time_ps", ascending=False, kind="stable").head(MAX_OPS)
        return pd.concat(
            [roofs.assign(kind="roof"), longest.assign(kind="op", ops_omitted=len(ops) - len(longest))],
            ignore_index=True,
        )

    def draw(self, data: pd.DataFrame) -> Figure:
        roofs, ops = data[data["kind"] == "roof"], data[data["kind"] == "op"]
        figure = style.new_figure(style.PAGE_IN, 3.1)
        axes = figure.subplots()
        chosen = style.swatches([*roofs["tier"], *ops["tier"]])
        ridges = roofs["flops_per_s"] / roofs["bytes_per_s"]
        low = min(ops["flops_per_byte"].min(), ridges.min()) / 4
        high = max(ops["flops_per_byte"].max(), ridges.max()) * 6
        intensity = np.geomspace(low, high, 200)
        for (_, roof), ridge in zip(roofs.iterrows(), ridges, strict=True):
            color = chosen[roof["tier"]].color
            axes.plot(intensity, np.minimum(roof["flops_per_s"], roof["bytes_per_s"] * intensity), color=color)
            axes.plot([ridge], [roof["flops_per_s"]], marker="v", color=color, markersize=4)
        area = 8 + 130 * ops["time_ps"] / ops["time_ps"].max()
        axes.scatter(
            ops["flops_per_byte"],
            ops["flops_per_s"],
            s=area,
            facecolor=[chosen[tier].color for tier in ops["tier"]],
            edgecolor=style.INK,
            linewidth=0.5,
            alpha=0.75,
            zorder=3,
        )
        axes.set_xlim(low, high)
        bottom = min(ops["flops_per_s"].min(), (roofs["bytes_per_s"] * low).min()) / 2
        axes.set_ylim(bottom, roofs["flops_per_s"].max() * 3)
        for _, op in _apart(ops).iterrows():
            axes.annotate(
                style.label(op["name"], 22),
                (op["flops_per_byte"], op["flops_per_s"]),
                (6, -9),
                textcoords="offset points",
                fontsize=style.FONT_PT - 2,
            )
        style.log10_axis(axes, "x")
        style.log10_axis(axes, "y")
        axes.set_xlabel("Operational intensity (FLOP/byte)")
        scale, unit = style.rate_unit(float(roofs["flops_per_s"].max()), "FLOP/s")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.plain_number(value / scale)))
        axes.set_ylabel(f"Attained rate ({unit})")
        lines = [
            Line2D([], [], color=chosen[roof["tier"]].color, label=_roof_name(roof)) for _, roof in roofs.iterrows()
        ]
        style.legend_above(figure, lines, 4)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        omitted = int(data["ops_omitted"].max())
        text = (
            "One roof per tier with its ridge point (triangle); one dot per kernel, its area proportional to its time."
        )
        return text + (f" The {omitted} shortest kernels are left out." if omitted else "")


def _apart(ops: pd.DataFrame) -> pd.DataFrame:
    """The longest kernels whose names find room: none within three quarters of a decade right and a third up or
    down."""
    kept: list[int] = []
    places = np.log10(ops[["flops_per_byte", "flops_per_s"]].to_numpy(float))
    for row in range(len(ops)):
        gaps = np.abs(places[kept] - places[row]) if kept else np.empty((0, 2))
        if len(kept) < LABELLED_OPS and not ((gaps[:, 0] < 0.75) & (gaps[:, 1] < 0.33)).any():
            kept.append(row)
    return ops.iloc[kept]


def _roof_name(roof: pd.Series) -> str:
    rate = format_bytes_per_s(roof["bytes_per_s"])
    return f"{style.label(roof['device'], 16)} {style.label(roof['tier'], 16)}, {rate}"
