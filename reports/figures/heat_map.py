"""One metric over two swept parameters; points that could not be run are hatched."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.figures.traffic_matrix import COLD_TO_HOT
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.metrics import format_metric, quantity
from tiergarten.reports.sweeps import Points

MAX_SIDE = 40
WRITTEN_SIDE = 9


@FIGURES.register("heat-map")
@dataclass(frozen=True)
class HeatMap:
    """A metric over the two parameters of a sweep that take the most values."""

    metric: str = ""
    """Which metric; the first latency by default."""
    x: str = ""
    """Dotted key of the horizontal parameter."""
    y: str = ""
    """Dotted key of the vertical parameter."""

    title = "Sweep"
    needs = ("sweep",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        points = Points.read(folder)
        counts = points.parameters.nunique().sort_values(ascending=False, kind="stable")
        free = [key for key in counts.index if key not in (self.x, self.y)]
        unknown = [key for key in (self.x, self.y) if key and key not in counts.index]
        if unknown or len(counts) < 2:
            raise NothingToDrawError(f"{unknown[0]!r} does not vary" if unknown else "fewer than two parameters vary")
        x = self.x or free.pop(0)
        y = self.y or free.pop(0)
        metric = points.target(self.metric)
        data = pd.DataFrame(
            {
                "x_key": x,
                "y_key": y,
                "metric": metric,
                "x": points.parameters[x],
                "y": points.parameters[y],
                "x_order": points.order[x],
                "y_order": points.order[y],
                "value": points.metrics[metric],
            }
        )
        data = data.groupby(["x_key", "y_key", "metric", "x", "y"], sort=False, as_index=False).agg(
            x_order=("x_order", "first"),
            y_order=("y_order", "first"),
            value=("value", "mean"),
            points=("value", "size"),
        )
        if max(data["x"].nunique(), data["y"].nunique()) > MAX_SIDE:
            raise NothingToDrawError(f"more than {MAX_SIDE} values of one parameter")
        if data["value"].notna().sum() == 0:
            raise NothingToDrawError(f"no point has {metric}")
        return data.sort_values(["y_order", "x_order"], kind="stable").reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        xs = list(data.drop_duplicates("x").sort_values("x_order", kind="stable")["x"])
        ys = list(data.drop_duplicates("y").sort_values("y_order", kind="stable")["y"])
        grid = data.pivot(index="y", columns="x", values="value").reindex(index=ys, columns=xs).to_numpy(float)
        figure = style.new_figure(style.PAGE_IN, min(6.0, 1.1 + 0.34 * len(ys)))
        axes = figure.subplots()
        values = grid[np.isfinite(grid)]
        wide = values.min() > 0 and values.max() / values.min() > 10
        image = axes.imshow(
            grid,
            origin="lower",
            aspect="auto",
            cmap=COLD_TO_HOT,
            interpolation="nearest",
            norm=LogNorm() if wide else Normalize(values.min(), max(values.max(), values.min() + 1e-12)),
        )
        metric = data["metric"].iloc[0]
        for row, column in np.ndindex(grid.shape):
            if not np.isfinite(grid[row, column]):
                axes.add_patch(
                    Rectangle(
                        (column - 0.5, row - 0.5),
                        1,
                        1,
                        facecolor="#eceef1",
                        edgecolor="#9aa1ab",
                        hatch="////",
                        linewidth=0,
                    )
                )
            elif max(grid.shape) <= WRITTEN_SIDE:
                dark = image.norm(grid[row, column]) > 0.55
                axes.text(
                    column,
                    row,
                    style.plain_number(float(f"{grid[row, column]:.3g}")),
                    ha="center",
                    va="center",
                    fontsize=style.FONT_PT - 1.5,
                    color="#ffffff" if dark else "#101418",
                )
        axes.set_xticks(range(len(xs)), [style.label(x, 14) for x in xs], rotation=30 if len(xs) > 6 else 0)
        axes.set_yticks(range(len(ys)), [style.label(y, 18) for y in ys])
        axes.set_xlabel(style.label(data["x_key"].iloc[0], 50))
        axes.set_ylabel(style.label(data["y_key"].iloc[0], 50))
        axes.grid(False)
        axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=axes, pad=0.01)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.plain_number(value)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.set_label(style.label(quantity(metric).axis, 40))
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        name = data["metric"].iloc[0]
        finite = data.dropna(subset=["value"])
        low, high = finite.loc[finite["value"].idxmin()], finite.loc[finite["value"].idxmax()]
        text = (
            f"{quantity(name).label} from {format_metric(name, float(low['value']))} ({style.label(low['x'])}, "
            f"{style.label(low['y'])}) to "
            f"{format_metric(name, float(high['value']))} ({style.label(high['x'])}, {style.label(high['y'])})."
        )
        if int(data["points"].max()) > 1:
            text += " Cells are means over the other parameters."
        return text + (" Hatched cells could not be run." if len(finite) < len(data) else "")
