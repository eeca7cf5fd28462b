"""How latency is distributed over requests: TTFT, TPOT and E2E, with p50, p90 and p99 marked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.latency import COLUMNS, MARKED, METRICS, cdf_points, latencies

LOG_FROM_RATIO = 30.0


@FIGURES.register("latency-cdf")
@dataclass(frozen=True)
class LatencyCdf:
    """Cumulative distributions of TTFT, TPOT and E2E with p50, p90 and p99 marked."""

    title = "Latency of requests"
    needs = ("requests",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        return distribution(folder, "run")

    def draw(self, data: pd.DataFrame) -> Figure:
        return draw_distributions(data)

    def caption(self, data: pd.DataFrame) -> str:
        counts = ", ".join(
            f"{name} {count}" for name, count in data.groupby("metric", sort=False)["requests"].first().items()
        )
        return (
            "Share of requests with at most that latency; p50, p90 and p99 marked (each the latency of a real "
            "request). TTFT: "
            "arrival to first token. TPOT: first to last token over output tokens less one. E2E: arrival to last "
            "token. "
            f"Requests counted: {counts}."
        )


def distribution(folder: RunFolder, name: str) -> pd.DataFrame:
    """Columns `run`, `metric`, `share`, `value_ps`, `requests` of one result folder."""
    parts = [
        cdf_points(values).assign(run=name, metric=metric, requests=len(values))
        for metric, values in latencies(folder.table("requests", COLUMNS)).items()
        if len(values)
    ]
    if not parts:
        raise NothingToDrawError("no request got its first token")
    return pd.concat(parts, ignore_index=True)[["run", "metric", "share", "value_ps", "requests"]]


def draw_distributions(data: pd.DataFrame) -> Figure:
    """One panel per metric, one line per run."""
    metrics = [metric for metric in METRICS if metric in set(data["metric"])]
    chosen = style.swatches(data["run"])
    figure = style.new_figure(style.PAGE_IN, 2.25 if len(chosen) == 1 else 2.5)
    grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, metrics, strict=True):
        rows = data[data["metric"] == metric]
        factor, unit = style.time_unit(float(rows.loc[rows["share"] == 0.5, "value_ps"].max()))
        for run, part in rows.groupby("run", sort=False):
            swatch = chosen[str(run)]
            value = part["value_ps"].to_numpy() / factor
            axes.step(value, part["share"], where="post", color=swatch.color, linestyle=swatch.dashes)
        axes.set_title(metric)
        axes.set_xlabel(f"{metric} ({unit})")
        _limits(axes, rows["value_ps"].to_numpy() / factor)
        for run, part in rows.groupby("run", sort=False):
            _mark(axes, part, factor, unit, chosen[str(run)], with_text=len(chosen) == 1)
        axes.set_ylim(0, 1.02)
    grid[0].set_ylabel("Share of requests")
    if len(chosen) > 1:
        lines = [
            Line2D([], [], color=s.color, linestyle=s.dashes, marker=s.marker, label=style.label(run))
            for run, s in chosen.items()
        ]
        style.legend_above(figure, lines)
    return figure


def _mark(axes: Axes, part: pd.DataFrame, factor: float, unit: str, swatch: style.Swatch, *, with_text: bool) -> None:
    marked = part[part["share"].isin(MARKED)].drop_duplicates("share")
    axes.plot(marked["value_ps"] / factor, marked["share"], swatch.marker, color=swatch.color, zorder=4)
    if with_text:
        values = [style.plain_number(float(f"{value / factor:.3g}")) for value in marked["value_ps"]]
        lines = [f"p{100 * share:.0f}  {value} {unit}" for share, value in zip(marked["share"], values, strict=True)]
        # the curve leaves the corner below it free, or the one above it where all values are alike
        early = part.loc[part["share"] >= 0.3, "value_ps"].iloc[0] / factor
        along = axes.transAxes.inverted().transform(axes.transData.transform((early, 0)))[0]
        x, y, align, edge = (0.98, 0.05, "right", "bottom") if along < 0.5 else (0.04, 0.93, "left", "top")
        look: Any = {"ha": align, "va": edge, "fontsize": style.FONT_PT - 1, "linespacing": 1.35}
        axes.text(x, y, "\n".join(lines), transform=axes.transAxes, **look)


def _limits(axes: Axes, values: np.ndarray) -> None:
    positive = values[values > 0]
    if len(positive) and values.max() / max(np.median(positive), 1e-12) > LOG_FROM_RATIO:
        axes.set_xlim(max(positive.min(), values.max() / 1e5) * 0.8, values.max() * 1.2)
        style.log10_axis(axes, "x")
    else:
        axes.set_xlim(0, max(values.max(), 1e-12) * 1.05)
