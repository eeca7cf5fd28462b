"""What slow requests wait for: mean time per phase in groups of requests ordered by latency, to the first token and in all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.binning import busiest
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder

GROUPS = ((0.0, 0.5, "fastest half"), (0.5, 0.9, "p50 to p90"), (0.9, 0.99, "p90 to p99"), (0.99, 1.0, "slowest 1 %"))
MAX_PHASES = 10
DECODE = "decode"
"""The phase after the first token."""
FIRST_TOKEN, END = "to the first token", "end to end"


@FIGURES.register("request-phases")
@dataclass(frozen=True)
class RequestPhases:
    """Mean time per phase of the requests between two percentiles of TTFT and of E2E; bars sum to the mean latency."""

    title = "What requests spend their time on"
    needs = ("phases",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("phases", ["request_id", "phase", "ps"])
        if table["ps"].max() <= 0:
            raise NothingToDrawError("no request took any time")
        phases, _ = busiest(table, "phase", "ps", MAX_PHASES)
        table = table.assign(phase=table["phase"].where(table["phase"].isin(phases), "other"))
        parts = [_groups(table, END)]
        before = table[table["phase"] != DECODE]
        if _is_time_to_first_token(before, folder):
            parts.insert(0, _groups(before, FIRST_TOKEN))
        return pd.concat(parts, ignore_index=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        spans = list(dict.fromkeys(data["span"]))
        longest = data.groupby("phase", sort=False)["mean_ps"].max()
        chosen = style.swatches(longest.index[longest > 0])
        rows = max(data.groupby("span")["group"].nunique())
        figure = style.new_figure(style.PAGE_IN, 0.95 + 0.27 * rows)
        for axes, span in zip(figure.subplots(1, len(spans), squeeze=False)[0], spans, strict=True):
            _draw_bars(axes, data[data["span"] == span], chosen)
            axes.set_xlabel(f"Mean time {span} ({_unit(data[data['span'] == span])[1]})")
        style.legend_above(figure, style.patches(chosen), 8)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        both = FIRST_TOKEN in set(data["span"])
        order = "time to first token (left) and by end-to-end latency (right)" if both else "end-to-end latency"
        return (
            f"Requests ordered by {order} and grouped by percentile, number of requests in brackets: mean time per phase. "
            "Each bar sums to the mean latency of its group."
        )


def _is_time_to_first_token(before: pd.DataFrame, folder: RunFolder) -> bool:
    """Whether the phases before decoding sum to the time to first token, for every request that has one."""
    if before.empty or before["ps"].max() <= 0 or folder.missing("requests"):
        return False
    requests = folder.table("requests", ["request_id", "arrival_ps", "first_token_ps"]).drop_duplicates("request_id")
    begun = requests[requests["first_token_ps"] >= requests["arrival_ps"]].set_index("request_id")
    spent = before.groupby("request_id")["ps"].sum().reindex(begun.index, fill_value=0)
    return bool(((spent - (begun["first_token_ps"] - begun["arrival_ps"])).abs() <= 1).all())


def _groups(table: pd.DataFrame, span: str) -> pd.DataFrame:
    total = table.groupby("request_id")["ps"].sum().sort_values(kind="stable")
    phases = list(dict.fromkeys(table["phase"]))
    rows = []
    for low, high, name in GROUPS:
        members = total.index[int(np.ceil(low * len(total))) : int(np.ceil(high * len(total)))]
        spent = table[table["request_id"].isin(members)].groupby("phase", sort=False)["ps"].sum()
        rows += [
            (span, name, len(members), phase, spent.get(phase, 0) / len(members)) for phase in phases if len(members)
        ]
    return pd.DataFrame(rows, columns=["span", "group", "requests", "phase", "mean_ps"])


def _unit(rows: pd.DataFrame) -> tuple[float, str]:
    return style.time_unit(float(rows.groupby("group")["mean_ps"].sum().max()))


def _draw_bars(axes: Axes, rows: pd.DataFrame, chosen: dict[str, style.Swatch]) -> None:
    factor, unit = _unit(rows)
    groups = list(dict.fromkeys(rows["group"]))[::-1]
    mean = rows.set_index(["group", "phase"])["mean_ps"] / factor
    for row, group in enumerate(groups):
        left = 0.0
        for phase, swatch in chosen.items():
            width = float(mean.get((group, phase), 0.0))
            look: Any = {"facecolor": swatch.color, "hatch": swatch.hatch, "edgecolor": style.HATCH_INK, "linewidth": 0}
            axes.barh(row, width, left=left, height=0.7, **look)
            left += width
        text = style.plain_number(float(f"{left:.3g}"))
        axes.text(left, row, f" {text} {unit}", va="center", fontsize=style.FONT_PT - 1.5)
    count = rows.groupby("group")["requests"].first()
    axes.set_yticks(range(len(groups)), [f"{group} ({count[group]})" for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(1.28 * float(mean.groupby("group").sum().max()), 1e-9))
    axes.grid(axis="y", visible=False)
