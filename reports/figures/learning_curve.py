"""How an agent learns: mean and 95 % interval over seeds against random, heuristic and optimum lines."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder

CURVE, REFERENCE = "series/learning_curve", "series/learning_reference"
MAX_AGENTS = 7
NUM_BINS = 60
# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; 1.96 beyond.
# fmt: off
STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on


@FIGURES.register("learning-curve")
@dataclass(frozen=True)
class LearningCurve:
    """Value against training steps: mean and 95 % interval over seeds, with reference lines."""

    title = "Learning curve"
    needs = (CURVE,)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table(CURVE, ["agent", "seed", "step", "value"])
        table = table[np.isfinite(table["value"])]
        if table.empty:
            raise NothingToDrawError("no finite value")
        table = table[table["agent"].isin(list(dict.fromkeys(table["agent"]))[:MAX_AGENTS])]
        width = max(1, -(-(int(table["step"].max()) + 1) // NUM_BINS))
        table = table.assign(step=table["step"] // width * width + width // 2)
        per_seed = table.groupby(["agent", "step", "seed"], sort=True, as_index=False)["value"].mean()
        data = per_seed.groupby(["agent", "step"], sort=True)["value"].agg(["mean", "std", "count"]).reset_index()
        half = [_half_interval(std, count) for std, count in zip(data["std"], data["count"], strict=True)]
        curves = pd.DataFrame(
            {
                "kind": "curve",
                "name": data["agent"],
                "step": data["step"],
                "mean": data["mean"],
                "low": data["mean"] - half,
                "high": data["mean"] + half,
                "seeds": data["count"],
            }
        )
        if folder.missing(REFERENCE):
            return curves
        lines = folder.table(REFERENCE, ["name", "value"]).head(MAX_AGENTS)
        return pd.concat(
            [curves, pd.DataFrame({"kind": "reference", "name": lines["name"], "mean": lines["value"]})],
            ignore_index=True,
        )

    def draw(self, data: pd.DataFrame) -> Figure:
        figure = style.new_figure(style.COLUMN_IN, 2.5)
        axes = figure.subplots()
        curves, lines = data[data["kind"] == "curve"], data[data["kind"] == "reference"]
        chosen = style.swatches(curves["name"])
        for name, swatch in chosen.items():
            rows = curves[curves["name"] == name]
            axes.fill_between(rows["step"], rows["low"], rows["high"], color=swatch.color, alpha=0.22, linewidth=0)
            axes.plot(
                rows["step"], rows["mean"], color=swatch.color, linestyle=swatch.dashes, label=style.label(name, 20)
            )
        right = max(float(curves["step"].max()), 1.0)
        for _, row in lines.iterrows():
            axes.axhline(row["mean"], color=style.MUTED, linestyle=(0, (4, 2)), linewidth=0.8)
            axes.annotate(
                style.label(row["name"], 18),
                (right, row["mean"]),
                (0, 2),
                textcoords="offset points",
                ha="right",
                fontsize=style.FONT_PT - 2,
                color=style.MUTED,
            )
        axes.set_xlim(0, right)
        axes.set_xlabel("Training steps")
        axes.set_ylabel("Value per episode")
        axes.xaxis.set_major_formatter(lambda value, _: style.plain_number(value))
        axes.locator_params(axis="x", nbins=5)
        style.legend_above(figure, axes.get_legend_handles_labels()[0], 3)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        seeds = data.loc[data["kind"] == "curve"].groupby("name", sort=False)["seeds"].max()
        parts = ", ".join(f"{style.label(name)} {int(count)}" for name, count in seeds.items())
        return f"Mean over seeds ({parts}) with the 95 % interval of the mean by Student's t; a single seed has none."


def _half_interval(std: float, count: int) -> float:
    """Half the 95 % interval of a mean of `count` values; 0 for a single one, which has none."""
    if count < 2:
        return 0.0
    quantile = STUDENT_T[count - 2] if count - 2 < len(STUDENT_T) else 1.96
    return float(quantile * std / np.sqrt(count))
