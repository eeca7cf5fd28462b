"""How far a calibrated model is off: predicted against measured, with the ±10 % band and the error on rows it has
not seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder

TABLE = "series/parity"
MAX_QUANTITIES = 3
MAX_POINTS = 3000
BAND = 0.10


@FIGURES.register("parity")
@dataclass(frozen=True)
class Parity:
    """Predicted against measured values on logarithmic axes, held-out points in another colour, MAPE of both."""

    title = "Calibration: predicted against measured"
    needs = (TABLE,)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table(TABLE, ["quantity", "unit", "measured", "predicted", "held_out"])
        numbers = table[["measured", "predicted"]]
        table = table[(numbers > 0).all(axis=1) & np.isfinite(numbers).all(axis=1)]
        if table.empty:
            raise NothingToDrawError("no pair of measured and predicted values over zero")
        kept = list(dict.fromkeys(table["quantity"]))[:MAX_QUANTITIES]
        return table[table["quantity"].isin(kept)].reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        quantities = list(dict.fromkeys(data["quantity"]))
        figure = style.new_figure(style.COLUMN_IN if len(quantities) == 1 else style.PAGE_IN, 3.6)
        grid = figure.subplots(2, len(quantities), squeeze=False, sharex="col", height_ratios=[2.6, 1])
        for upper, lower, name in zip(*grid, quantities, strict=True):
            rows = data[data["quantity"] == name]
            values = rows[["measured", "predicted"]].to_numpy()
            line = np.array([values.min() / 1.3, values.max() * 1.3])
            upper.fill_between(line, line * (1 - BAND), line * (1 + BAND), color=style.GRID, linewidth=0, label="±10 %")
            upper.plot(line, line, color=style.INK, linewidth=0.7)
            lower.axhspan(-100 * BAND, 100 * BAND, color=style.GRID, linewidth=0)
            lower.axhline(0, color=style.INK, linewidth=0.7)
            _plot_pairs(upper, lower, rows)
            upper.set_xlim(*line)
            upper.set_ylim(*line)
            style.log10_axis(upper, "x")
            style.log10_axis(upper, "y")
            reach = max(1.15 * float(_errors_percent(rows).abs().max()), 120 * BAND)
            lower.set_ylim(-reach, reach)
            unit = style.label(rows["unit"].iloc[0], 12)
            upper.set_title(style.label(name, 28))
            upper.set_ylabel(f"Predicted ({unit})")
            lower.set_ylabel("Error (%)")
            lower.set_xlabel(f"Measured ({unit})")
            upper.legend(loc="upper left", fontsize=style.FONT_PT - 2)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        parts = []
        for name, rows in data.groupby("quantity", sort=False):
            for held_out, text in ((False, "fitted"), (True, "held-out")):
                part = rows[rows["held_out"] == held_out]
                if len(part):
                    parts.append(f"{style.label(name)}: MAPE {mape(part):.3g} % over {len(part)} {text} points")
        return "Predicted against measured and the error of each point, with a ±10 % band. " + "; ".join(parts) + "."


def _plot_pairs(upper: Axes, lower: Axes, rows: pd.DataFrame) -> None:
    for held_out, color, marker, text in (
        (False, style.BLUE, "o", "fitted"),
        (True, style.VERMILLION, "s", "held out"),
    ):
        part = rows[rows["held_out"] == held_out]
        if part.empty:
            continue
        drawn = part.iloc[:: -(-len(part) // MAX_POINTS)]
        look: Any = {"marker": marker, "color": color, "fillstyle": "none", "linestyle": "none", "markeredgewidth": 0.8}
        label = f"{text}, MAPE {mape(part):.3g} % (n = {len(part)})"
        upper.plot(drawn["measured"], drawn["predicted"], label=label, **look)
        lower.plot(drawn["measured"], _errors_percent(drawn), **look)


def _errors_percent(rows: pd.DataFrame) -> pd.Series:
    return 100 * (rows["predicted"] / rows["measured"] - 1)


def mape(rows: pd.DataFrame) -> float:
    """Mean absolute percentage error of `predicted` against `measured`, in percent."""
    return float(100 * ((rows["predicted"] - rows["measured"]).abs() / rows["measured"]).mean())
