"""Which knob moves the target most: change of one metric when each knob is turned down and up."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.metrics import format_metric, quantity

TABLE = "series/sensitivity"
MAX_KNOBS = 14


@FIGURES.register("tornado")
@dataclass(frozen=True)
class Tornado:
    """Relative change of a metric per knob turned down and up, the most sensitive on top."""

    metric: str = ""
    """Which metric; the first of the table by default."""

    title = "Sensitivity"
    needs = (TABLE,)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table(TABLE, ["metric", "knob", "change", "value", "base_value"])
        metric = self.metric or table["metric"].iloc[0]
        rows = table[(table["metric"] == metric) & np.isfinite(table[["change", "value", "base_value"]]).all(axis=1)]
        rows = rows[rows["base_value"] != 0]
        if rows.empty:
            raise NothingToDrawError(f"no finite change of {metric}")
        rows = rows.assign(effect=rows["value"] / rows["base_value"] - 1)
        swing = rows.groupby("knob", sort=False)["effect"].agg(lambda effect: effect.abs().max())
        kept = list(swing.sort_values(ascending=False, kind="stable").index[:MAX_KNOBS])
        rows = rows[rows["knob"].isin(kept)]
        return rows.sort_values("knob", key=lambda knob: knob.map(kept.index), kind="stable").reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        knobs = list(dict.fromkeys(data["knob"]))[::-1]
        figure = style.new_figure(style.PAGE_IN, 0.9 + 0.22 * len(knobs))
        axes = figure.subplots()
        for row, knob in enumerate(knobs):
            for _, bar in data[data["knob"] == knob].iterrows():
                up = bar["change"] > 0
                axes.barh(
                    row,
                    100 * bar["effect"],
                    height=0.66,
                    facecolor=style.BLUE if up else style.ORANGE,
                    hatch="" if up else "////",
                    edgecolor=style.HATCH_INK,
                    linewidth=0,
                )
                axes.annotate(
                    f"{100 * bar['effect']:+.1f} %".replace("-", "−"),
                    (100 * bar["effect"], row),
                    (3 if bar["effect"] >= 0 else -3, 0),
                    textcoords="offset points",
                    va="center",
                    ha="left" if bar["effect"] >= 0 else "right",
                    fontsize=style.FONT_PT - 2,
                )
        axes.axvline(0, color=style.INK, linewidth=0.7)
        axes.set_yticks(range(len(knobs)), [style.label(knob, 40) for knob in knobs])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.14)
        metric = data["metric"].iloc[0]
        base = format_metric(metric, float(data["base_value"].iloc[0]))
        axes.set_xlabel(f"Change of {style.label(quantity(metric).label)} (%), from {base}")
        directions = [data[data["change"] < 0]["change"], data[data["change"] > 0]["change"]]
        style.legend_above(
            figure,
            [
                axes.barh(
                    0,
                    0,
                    facecolor=style.BLUE if changes.iloc[0] > 0 else style.ORANGE,
                    hatch="" if changes.iloc[0] > 0 else "////",
                    edgecolor=style.HATCH_INK,
                    linewidth=0,
                    label=_turned(changes),
                )
                for changes in directions
                if len(changes)
            ],
        )
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        top = data.iloc[0]
        return (
            f"Change of {style.label(quantity(top['metric']).label)} when one knob at a time is turned down or up "
            f"and all others "
            f"stay. {style.label(top['knob'], 60)} moves it most."
        )


def _turned(changes: pd.Series) -> str:
    """ "knob −20 %", or "knob −33 to −20 %" where knobs are turned by different amounts."""
    low, high = (f"{100 * change:+.0f}".replace("-", "−") for change in (changes.min(), changes.max()))
    return f"knob {low} %" if low == high else f"knob {low} to {high} %"
