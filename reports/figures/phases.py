"""What slow requests wait for: mean time per phase in groups of requests ordered by end-to-end latency."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.binning import busiest
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder

GROUPS = ((0.0, 0.5, "fastest half"), (0.5, 0.9, "p50 to p90"), (0.9, 0.99, "p90 to p99"), (0.99, 1.0, "slowest 1 %"))
MAX_PHASES = 10


@FIGURES.register("request-phases")
@dataclass(frozen=True)
class RequestPhases:
    """Mean time per phase of the requests between two percentiles of end-to-end latency; bars sum to the mean
    latency."""

    title = "What requests spend their time on"
    needs = ("phases",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("phases", ["request_id", "phase", "ps"])
        total = table.groupby("request_id")["ps"].sum().sort_values(kind="stable")
        if total.iloc[-1] <= 0:
            raise NothingToDrawError("no request took any time")
        phases, _ = busiest(table, "phase", "ps", MAX_PHASES)
        table = table.assign(phase=table["phase"].where(table["phase"].isin(phases), "other"))
        rows = []
        for low, high, name in GROUPS:
            members = total.index[int(np.ceil(low * len(total))) : int(np.ceil(high * len(total)))]
            if len(members) == 0:
                continue
            spent = table[table["request_id"].isin(members)].groupby("phase", sort=False)["ps"].sum()
            rows += [
                (name, len(members), phase, spent.get(phase, 0) / len(members))
                for phase in dict.fromkeys(table["phase"])
            ]
        return pd.DataFrame(rows, columns=["group", "requests", "phase", "mean_ps"])

    def draw(self, data: pd.DataFrame) -> Figure:
        groups = list(dict.fromkeys(data["group"]))[::-1]
        chosen = style.swatches(data["phase"])
        figure = style.new_figure(style.PAGE_IN, 0.85 + 0.27 * len(groups))
        axes = figure.subplots()
        totals = data.groupby("group")["mean_ps"].sum()
        factor, unit = style.time_unit(float(totals.max()))
        mean = data.set_index(["group", "phase"])["mean_ps"]
        for row, group in enumerate(groups):
            left = 0.0
            for phase, swatch in chosen.items():
                width = float(mean[(group, phase)]) / factor
                axes.barh(
                    row,
                    width,
                    left=left,
                    height=0.7,
                    facecolor=swatch.color,
                    hatch=swatch.hatch,
                    edgecolor=style.HATCH_INK,
                    linewidth=0,
                )
                left += width
            axes.text(left, row, f"  {left:.3g} {unit}", va="center", fontsize=style.FONT_PT - 1)
        count = data.groupby("group")["requests"].first()
        axes.set_yticks(range(len(groups)), [f"{group} ({count[group]})" for group in groups])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.12 * totals.max() / factor)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"Mean time per request ({unit})")
        style.legend_above(figure, style.patches(chosen))
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        return (
            "Requests ordered by end-to-end latency and grouped by percentile (number of requests in brackets): "
            "mean time "
            "per phase. Each bar sums to the mean end-to-end latency of its group."
        )
