"""Tables of a run that no other figure knows: every numeric column against the first one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.metrics import PS_PER_UNIT, quantity
from tiergarten.reports.tables import TABLES

MAX_PANELS = 6
MAX_LINES = 6
MAX_POINTS = 240


@dataclass(frozen=True)
class _Panel:
    """Columns of one table that share a unit."""

    table: str
    x: str
    unit: str
    columns: tuple[str, ...]


@FIGURES.register("series")
@dataclass(frozen=True)
class Series:
    """Numeric columns of the tables under series/ that have no figure of their own, one panel per table and unit."""

    table: str = ""
    """Which table, without `series/`; all by default."""

    title = "Series"
    needs = ()

    def data(self, folder: RunFolder) -> pd.DataFrame:
        names = [name for name in folder.series() if name not in TABLES and self.table in ("", name.split("/")[1])]
        panels = [panel for name in names for panel in _panels(folder, name)][:MAX_PANELS]
        if not panels:
            raise NothingToDrawError("no table under series/ beyond those that have figures of their own")
        return pd.concat([part for panel in panels for part in _lines(folder, panel)], ignore_index=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        panels = list(data.groupby(["table", "unit"], sort=False, dropna=False))
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = style.new_figure(style.PAGE_IN, 0.3 + 1.9 * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (_, part) in zip(grid, panels, strict=False):
            _draw_panel(axes, part)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        tables = ", ".join(style.label(name) for name in dict.fromkeys(data["table"]))
        text = f"Columns of {tables} against the first column of each."
        width = int(data["rows_per_point"].max())
        return text + (f" A point is the mean of up to {width:,} rows." if width > 1 else "")


def _panels(folder: RunFolder, name: str) -> list[_Panel]:
    if folder.missing(name):
        return []
    sample = next(frame for frame in folder.batches(name) if len(frame))
    numeric = [
        column
        for column in sample.columns
        if pd.api.types.is_numeric_dtype(sample[column]) and not pd.api.types.is_bool_dtype(sample[column])
    ]
    by_unit: dict[str, list[str]] = {}
    for column in numeric[1:]:
        by_unit.setdefault(quantity(column).unit, []).append(column)
    return [_Panel(name, numeric[0], unit, tuple(columns[:MAX_LINES])) for unit, columns in by_unit.items()]


def _lines(folder: RunFolder, panel: _Panel) -> list[pd.DataFrame]:
    table = folder.table(panel.table, [panel.x, *panel.columns]).astype(float)
    table = table[np.isfinite(table[panel.x])].sort_values(panel.x, kind="stable")
    width = max(1, -(-len(table) // MAX_POINTS))
    table = table.groupby(np.arange(len(table)) // width).mean()
    facts = {"table": panel.table, "unit": panel.unit, "x_name": panel.x, "rows_per_point": width}
    return [
        pd.DataFrame({**facts, "column": column, "x": table[panel.x], "value": table[column]}).dropna(subset=["value"])
        for column in panel.columns
    ]


def _draw_panel(axes: Axes, part: pd.DataFrame) -> None:
    unit = part["unit"].iloc[0]
    unit = unit if isinstance(unit, str) else ""
    scale = 1.0
    if unit in PS_PER_UNIT:
        in_ps = PS_PER_UNIT[unit]
        factor, unit = style.time_unit(float(part["value"].abs().max()) * in_ps)
        scale = in_ps / factor
    columns = list(dict.fromkeys(part["column"]))
    for column, swatch in style.swatches(columns).items():
        rows = part[part["column"] == column]
        marker = swatch.marker if len(rows) <= 40 else ""
        label = style.label(quantity(column).label, 24)
        axes.plot(
            rows["x"], rows["value"] * scale, color=swatch.color, linestyle=swatch.dashes, marker=marker, label=label
        )
    axes.set_title(style.label(str(part["table"].iloc[0]).removeprefix("series/")), fontweight="normal")
    axes.set_xlabel(style.label(quantity(str(part["x_name"].iloc[0])).axis, 30))
    name = style.label(quantity(columns[0]).label, 24) if len(columns) == 1 else ""
    axes.set_ylabel(f"{name} ({unit})" if name and unit else name or unit)
    axes.xaxis.set_major_formatter(lambda value, _: style.plain_number(value))
    axes.yaxis.set_major_formatter(lambda value, _: style.plain_number(value))
    axes.locator_params(axis="x", nbins=6)
    if len(columns) > 1:
        axes.legend(fontsize=style.FONT_PT - 2)
