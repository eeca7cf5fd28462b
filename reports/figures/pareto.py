"""Which points of a sweep are worth having: the Pareto front of two metrics, dominated points grey, one starred."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.metrics import format_metric, quantity
from tiergarten.reports.sweeps import Points, better, knee, pareto_front

LABELLED = 8


@FIGURES.register("pareto")
@dataclass(frozen=True)
class Pareto:
    """Front of two metrics over a sweep; dominated points grey, the knee starred."""

    x: str = ""
    """Metric of the x axis; the first that is a cost, an energy or a throughput by default."""
    y: str = ""
    """Metric of the y axis; the first latency by default."""

    title = "Pareto front"
    needs = ("sweep",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        points = Points.read(folder)
        y = points.target(self.y)
        x = points.price(self.x)
        both = points.metrics[[x, y]].dropna() if x != y else pd.DataFrame()
        if len(both) < 2:
            raise NothingToDrawError(f"fewer than two points have both {x} and {y}")
        front = pareto_front(-better(x) * both[x].to_numpy(), -better(y) * both[y].to_numpy())
        data = pd.DataFrame(
            {"x_metric": x, "y_metric": y, "x": both[x], "y": both[y], "on_front": front, "chosen": False}
        )
        on_front = data[front]
        chosen = knee(-better(x) * on_front["x"].to_numpy(), -better(y) * on_front["y"].to_numpy())
        data.loc[on_front.index[chosen], "chosen"] = True
        chosen_parameters = points.parameters.loc[both.index]
        data["point"] = [
            ", ".join(f"{_short(k)} {v}" for k, v in row.items()) for row in chosen_parameters.to_dict("records")
        ]
        return data.reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        figure = style.new_figure(style.PAGE_IN, 2.9)
        axes = figure.subplots()
        dominated = data[~data["on_front"]]
        front = data[data["on_front"]].sort_values("x", kind="stable")
        star = data[data["chosen"]].iloc[0]
        axes.plot(
            dominated["x"],
            dominated["y"],
            "o",
            color=style.NEUTRAL,
            markersize=3,
            label=f"dominated ({len(dominated)})",
        )
        axes.step(front["x"], front["y"], where="post", color=style.BLUE, linewidth=0.9)
        axes.plot(front["x"], front["y"], "o", color=style.BLUE, label=f"front ({len(front)})")
        axes.plot(
            [star["x"]],
            [star["y"]],
            "*",
            color=style.VERMILLION,
            markersize=11,
            zorder=5,
            label=f"knee: {style.label(star['point'], 80)}",
        )
        if len(front) <= LABELLED:
            for _, point in front.iterrows():
                axes.annotate(
                    style.label(point["point"], 44),
                    (point["x"], point["y"]),
                    (5, 4),
                    textcoords="offset points",
                    fontsize=style.FONT_PT - 2.5,
                    color=style.MUTED,
                )
        for which, name in (("x", data["x_metric"].iloc[0]), ("y", data["y_metric"].iloc[0])):
            values = data[which]
            if (values > 0).all() and values.max() / values.min() > 30:
                style.log10_axis(axes, which)
            arrow = "more is better" if better(name) > 0 else "less is better"
            text = f"{style.label(quantity(name).axis, 40)}, {arrow}"
            (axes.set_xlabel if which == "x" else axes.set_ylabel)(text)
        axes.margins(x=0.08, y=0.1)
        style.legend_above(figure, axes.get_legend_handles_labels()[0], 3)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        star = data[data["chosen"]].iloc[0]
        place = (
            f"{format_metric(star['x_metric'], float(star['x']))}, {format_metric(star['y_metric'], float(star['y']))}"
        )
        count = int(data["on_front"].sum())
        return (
            f"{len(data)} points, {count} of them bettered by none in both metrics. Starred: the point of the front nearest to the "
            f"best of both, each scaled to the front's range: {style.label(star['point'], 120)} ({place})."
        )


def _short(key: str) -> str:
    return ".".join(key.split(".")[-2:])
