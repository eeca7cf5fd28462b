"""One metric over two swept parameters, in panels by a third; points that could not be run are hatched."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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
MAX_PANELS = 4
WRITTEN_COLUMNS = 12
KEYS = ["x_key", "y_key", "panel_key", "metric", "x", "y", "panel"]


@FIGURES.register("heat-map")
@dataclass(frozen=True)
class HeatMap:
    """A metric over the two parameters of a sweep that take the most values, one panel per value of the third."""

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
        unknown = [key for key in (self.x, self.y) if key and key not in counts.index]
        if unknown or len(counts) < 2:
            raise NothingToDrawError(f"{unknown[0]!r} does not vary" if unknown else "fewer than two parameters vary")
        free = [key for key in counts.index if key not in (self.x, self.y)]
        x = self.x or free.pop(0)
        y = self.y or free.pop(0)
        panel = next((key for key in free if counts[key] <= MAX_PANELS), "")
        metric = points.target(self.metric)
        data = pd.DataFrame(
            {
                **{"x_key": x, "y_key": y, "panel_key": panel, "metric": metric},
                **{"x": points.parameters[x], "y": points.parameters[y]},
                "panel": points.parameters[panel] if panel else "",
                **{"x_order": points.order[x], "y_order": points.order[y], "value": points.metrics[metric]},
            }
        )
        data = data.groupby(KEYS, sort=False, as_index=False).agg(
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
        text = {name: data[name].astype(object).where(data[name].notna(), "").map(str) for name in ("x", "y", "panel")}
        data = data.assign(**text)
        xs, ys = _in_order(data, "x"), _in_order(data, "y")
        panels = list(dict.fromkeys(data["panel"]))
        figure = style.new_figure(style.PAGE_IN, min(6.0, 1.2 + 0.34 * len(ys)))
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        norm = _norm(data["value"].dropna().to_numpy())
        for axes, panel in zip(grid, panels, strict=True):
            rows = data[data["panel"] == panel]
            cells = rows.pivot(index="y", columns="x", values="value").reindex(index=ys, columns=xs).to_numpy(float)
            _draw_cells(axes, cells, norm, written=len(xs) * len(panels) <= WRITTEN_COLUMNS)
            slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if len(xs) > 5 else {}
            axes.set_xticks(range(len(xs)), [style.label(x, 14) for x in xs], **slant)
            axes.set_yticks(range(len(ys)), [style.label(y, 18) for y in ys])
            axes.set_xlabel(style.label(data["x_key"].iloc[0], 40))
            if panel:
                axes.set_title(
                    f"{style.label(data['panel_key'].iloc[0])} {style.label(panel, 20)}", fontweight="normal"
                )
        grid[0].set_ylabel(style.label(data["y_key"].iloc[0], 40))
        bar = figure.colorbar(grid[-1].images[0], ax=list(grid), pad=0.01)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.plain_number(value)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.set_label(style.label(quantity(data["metric"].iloc[0]).axis, 40))
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        name = data["metric"].iloc[0]
        finite = data.dropna(subset=["value"])
        low, high = finite.loc[finite["value"].idxmin()], finite.loc[finite["value"].idxmax()]
        text = f"{quantity(name).label} from {_at(low, name)} to {_at(high, name)}."
        if int(data["points"].max()) > 1:
            text += " Cells are means over the other parameters."
        return text + (" Hatched cells could not be run." if len(finite) < len(data) else "")


def _at(row: pd.Series, metric: str) -> str:
    place = ", ".join(style.label(row[name]) for name in ("x", "y", "panel") if row[name])
    return f"{format_metric(metric, float(row['value']))} ({place})"


def _in_order(data: pd.DataFrame, which: str) -> list[str]:
    return list(data.drop_duplicates(which).sort_values(f"{which}_order", kind="stable")[which])


def _norm(values: np.ndarray) -> Normalize:
    low, high = values.min(), values.max()
    if low > 0 and high / low > 10:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + max(abs(low), 1.0) * 1e-6)


def _draw_cells(axes: Axes, cells: np.ndarray, norm: Normalize, *, written: bool) -> None:
    axes.imshow(cells, origin="lower", aspect="auto", cmap=COLD_TO_HOT, interpolation="nearest", norm=norm)
    for row, column in np.ndindex(cells.shape):
        value = cells[row, column]
        if not np.isfinite(value):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(
                Rectangle(corner, 1, 1, facecolor=style.EMPTY, edgecolor="#9aa1ab", hatch="////", linewidth=0)
            )
        elif written:
            ink = "#ffffff" if norm(value) > 0.55 else "#101418"
            text = style.plain_number(float(f"{value:.3g}"))
            axes.text(column, row, text, ha="center", va="center", fontsize=style.FONT_PT - 1.5, color=ink)
    axes.grid(False)
    axes.tick_params(length=0)
