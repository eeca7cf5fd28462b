"""How many bytes went from each tier to each other."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.traffic import traffic
from tiergarten.sim.units import format_bytes

COLD_TO_HOT = LinearSegmentedColormap.from_list("tiergarten", ["#eef3f8", style.SKY, style.BLUE, "#08304f"])


@FIGURES.register("traffic-matrix")
@dataclass(frozen=True)
class TrafficMatrix:
    """Bytes moved from each source to each destination over the whole run."""

    title = "Traffic between tiers"
    needs = ("transfers",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        return (
            traffic(folder).groupby(["source", "destination"], sort=False, as_index=False)[["bytes", "transfers"]].sum()
        )

    def draw(self, data: pd.DataFrame) -> Figure:
        names = list(dict.fromkeys([*data["source"], *data["destination"]]))
        matrix = (
            data.pivot(index="source", columns="destination", values="bytes")
            .reindex(index=names, columns=names)
            .to_numpy(float)
        )
        side = min(style.PAGE_IN, max(style.COLUMN_IN, 1.3 + 0.55 * len(names)))
        figure = style.new_figure(side, 0.8 * side)
        axes = figure.subplots()
        positive = matrix[matrix > 0]
        norm = LogNorm(positive.min() / 1.5, positive.max()) if len(positive) else None
        axes.imshow(np.where(matrix > 0, matrix, np.nan), cmap=COLD_TO_HOT, norm=norm, aspect="auto")
        for row, column in np.argwhere(matrix > 0):
            dark = norm is not None and norm(matrix[row, column]) > 0.55
            axes.text(
                column,
                row,
                format_bytes(matrix[row, column]),
                ha="center",
                va="center",
                color="#ffffff" if dark else "#101418",
                fontsize=style.FONT_PT - 1,
            )
        labels = [style.label(name, 14) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=30 if len(names) > 4 else 0)
        axes.set_yticks(range(len(names)), labels)
        axes.set_xlabel("to")
        axes.set_ylabel("from")
        axes.grid(False)
        axes.tick_params(length=0)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        moved, transfers = format_bytes(data["bytes"].sum()), data["transfers"].sum()
        return f"Bytes moved over the whole run, {moved} in {transfers:,} transfers."
