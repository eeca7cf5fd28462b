"""How an agent learns: mean and 95 % interval over seeds against random, heuristic and optimum lines."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.metrics import quantity

CURVE, REFERENCE = "series/learning_curve", "series/learning_reference"
MAX_AGENTS = 7
NUM_BINS = 60
SEEDS_FOR_INTERVAL = 3
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
    """Value against steps: single seeds, from three seeds on mean and 95 % interval, best so far, reference lines."""

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
        per_seed = table.groupby(["agent", "seed", "step"], sort=True, as_index=False)["value"].mean()
        parts = [_mean_curve(per_seed)]
        counts = per_seed.groupby("agent")["seed"].nunique()
        single = per_seed[per_seed["agent"].isin(counts.index[counts < SEEDS_FOR_INTERVAL])]
        parts.append(_rows("seed", single["agent"], single["step"], single["value"], seed=single["seed"]))
        parts.append(_best_so_far(table, str(folder.manifest.get("direction", ""))))
        if not folder.missing(REFERENCE):
            lines = folder.table(REFERENCE, ["name", "value"]).head(MAX_AGENTS)
            merged = lines.groupby("value", sort=False)["name"].agg(", ".join).reset_index()
            parts.append(_rows("reference", merged["name"], 0, merged["value"]))
        data = pd.concat([part for part in parts if len(part)], ignore_index=True)
        metric = str(folder.manifest.get("metric", ""))
        return data.assign(metric=quantity(metric).axis if metric else "Value per episode")

    def draw(self, data: pd.DataFrame) -> Figure:
        figure = style.new_figure(style.COLUMN_IN, 2.6)
        axes = figure.subplots()
        curves = data[data["kind"] == "curve"]
        chosen = style.swatches(curves["name"])
        for name, swatch in chosen.items():
            _draw_agent(axes, data[data["name"] == name], swatch, style.label(name, 20))
        right = max(float(curves["step"].max()), 1.0)
        for _, row in data[data["kind"] == "reference"].iterrows():
            axes.axhline(row["mean"], color=style.MUTED, linestyle=(0, (4, 2)), linewidth=0.8)
            place: Any = {"xy": (right, row["mean"]), "xytext": (0, 2), "textcoords": "offset points", "ha": "right"}
            axes.annotate(style.label(row["name"], 30), fontsize=style.FONT_PT - 2, color=style.MUTED, **place)
        axes.set_xlim(0, right)
        axes.set_xlabel("Step")
        axes.set_ylabel(style.label(data["metric"].iloc[0], 40))
        axes.xaxis.set_major_formatter(lambda value, _: style.plain_number(value))
        axes.locator_params(axis="x", nbins=5)
        style.legend_above(figure, axes.get_legend_handles_labels()[0], 3)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        counts = data.loc[data["kind"] == "curve"].groupby("name", sort=False)["seeds"].max().astype(int)
        parts = []
        if (few := counts[counts < SEEDS_FOR_INTERVAL]).size:
            parts.append("Thin lines: single seeds of " + _listed(few) + ", too few for an interval.")
        if (many := counts[counts >= SEEDS_FOR_INTERVAL]).size:
            parts.append("Mean and 95 % interval of the mean (Student's t) over the seeds of " + _listed(many) + ".")
        if (data["kind"] == "best").any():
            parts.append("Thick line: the best value so far, mean over seeds.")
        if (data["kind"] == "reference").any():
            parts.append("Dashed: values to compare with.")
        return " ".join(parts)


def _listed(counts: pd.Series) -> str:
    return ", ".join(f"{style.label(name)} ({count})" for name, count in counts.items())


def _rows(kind: str, name: Any, step: Any, mean: Any, **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"kind": kind, "name": name, "step": step, "mean": mean, **more})


def _mean_curve(per_seed: pd.DataFrame) -> pd.DataFrame:
    points = per_seed.groupby(["agent", "step"], sort=True)["value"].agg(["mean", "std", "count"]).reset_index()
    half = np.array([_half_interval(std, count) for std, count in zip(points["std"], points["count"], strict=True)])
    low, high = points["mean"] - half, points["mean"] + half
    return _rows("curve", points["agent"], points["step"], points["mean"], low=low, high=high, seeds=points["count"])


def _best_so_far(table: pd.DataFrame, direction: str) -> pd.DataFrame:
    """Running best of each seed, averaged over the seeds; empty where the folder does not say what is better."""
    if direction not in ("maximise", "minimise"):
        return pd.DataFrame()
    ordered = table.sort_values("step", kind="stable")
    groups = ordered.groupby(["agent", "seed"], sort=False)["value"]
    best = ordered.assign(value=groups.cummax() if direction == "maximise" else groups.cummin())
    last = best.groupby(["agent", "seed", "step"], sort=True)["value"].last().unstack("step").ffill(axis=1)
    mean = last.groupby("agent", sort=True).mean().stack().rename("value").reset_index()
    return _rows("best", mean["agent"], mean["step"], mean["value"])


def _draw_agent(axes: Axes, rows: pd.DataFrame, swatch: style.Swatch, label: str) -> None:
    curve, best = rows[rows["kind"] == "curve"], rows[rows["kind"] == "best"]
    singles = rows[rows["kind"] == "seed"]
    for _, seed in singles.groupby("seed") if len(singles) else ():
        axes.plot(seed["step"], seed["mean"], color=swatch.color, linewidth=0.6, marker=".", markersize=2.5, alpha=0.7)
    if singles.empty:
        axes.fill_between(curve["step"], curve["low"], curve["high"], color=swatch.color, alpha=0.22, linewidth=0)
        axes.plot(curve["step"], curve["mean"], color=swatch.color, linestyle=swatch.dashes, label=label)
    if len(best):
        axes.step(
            best["step"], best["mean"], where="post", color=swatch.color, linewidth=1.8, label=f"{label}, best so far"
        )
    elif len(singles):
        axes.plot([], [], color=swatch.color, linewidth=0.6, marker=".", label=label)


def _half_interval(std: float, count: int) -> float:
    """Half the 95 % interval of a mean of `count` values; 0 for a single one, which has none."""
    if count < 2:
        return 0.0
    quantile = STUDENT_T[count - 2] if count - 2 < len(STUDENT_T) else 1.96
    return float(quantile * std / np.sqrt(count))
