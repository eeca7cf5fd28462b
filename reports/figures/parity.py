"""How far a calibrated model is off: predicted against measured, with the ±10 % band and the error on rows it has
not seen."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
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
        figure = style.new_figure(
            style.COLUMN_IN if len(quantities) == 1 else style.PAGE_IN, 3.2 if len(quantities) == 1 else 2.9
        )
        grid = figure.subplots(1, len(quantities), squeeze=False)[0]
        for axes, name in zip(grid, quantities, strict=True):
            rows = data[data["quantity"] == name]
            values = rows[["measured", "predicted"]].to_numpy()
            low, high = values.min() / 1.3, values.max() * 1.3
            line = np.array([low, high])
            axes.fill_between(
                line, line * (1 - BAND), line * (1 + BAND), color=style.GRID, linewidth=0, label=f"±{100 * BAND:.0f} %"
            )
            axes.plot(line, line, color=style.INK, linewidth=0.7)
            for held_out, color, marker, text in (
                (False, style.BLUE, "o", "fitted"),
                (True, style.VERMILLION, "s", "held out"),
            ):
                part = rows[rows["held_out"] == held_out]
                if part.empty:
                    continue
                drawn = part.iloc[:: -(-len(part) // MAX_POINTS)]
                axes.plot(
                    drawn["measured"],
                    drawn["predicted"],
                    marker=marker,
                    color=color,
                    fillstyle="none",
                    linestyle="none",
                    markeredgewidth=0.8,
                    label=f"{text}, MAPE {mape(part):.3g} % (n = {len(part)})",
                )
            axes.set_xlim(low, high)
            axes.set_ylim(low, high)
            style.log10_axis(axes, "x")
            style.log10_axis(axes, "y")
            axes.set_aspect("equal")
            unit = style.label(rows["unit"].iloc[0], 12)
            axes.set_title(style.label(name, 28))
            axes.set_xlabel(f"Measured ({unit})")
            axes.set_ylabel(f"Predicted ({unit})")
            axes.legend(loc="upper left", fontsize=style.FONT_PT - 2)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        parts = []
        for name, rows in data.groupby("quantity", sort=False):
            for held_out, text in ((False, "fitted"), (True, "held-out")):
                part = rows[rows["held_out"] == held_out]
                if len(part):
                    parts.append(f"{style.label(name)}: MAPE {mape(part):.3g} % over {len(part)} {text} points")
        return "Predicted against measured, with a ±10 % band. " + "; ".join(parts) + "."


def mape(rows: pd.DataFrame) -> float:
    """Mean absolute percentage error of `predicted` against `measured`, in percent."""
    return float(100 * ((rows["predicted"] - rows["measured"]).abs() / rows["measured"]).mean())
