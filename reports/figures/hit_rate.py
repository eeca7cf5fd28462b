"""What a larger cache would buy: hit rate of each policy against capacity, under the ceiling that no policy passes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder

CEILING = ("opt", "optimal", "belady", "min")
MAX_POLICIES = 10


@FIGURES.register("hit-rate")
@dataclass(frozen=True)
class HitRate:
    """Hit rate in tokens against cache capacity, with Belady's optimum as the ceiling."""

    title = "Hit rate against capacity"
    needs = ("hit_rate",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("hit_rate", ["policy", "capacity_bytes", "hit_rate"])
        table = table[
            np.isfinite(table["capacity_bytes"]) & (table["capacity_bytes"] > 0) & np.isfinite(table["hit_rate"])
        ]
        if table.empty:
            raise NothingToDrawError("no row has a finite capacity over zero and a hit rate")
        policies = list(dict.fromkeys(table["policy"]))[:MAX_POLICIES]
        return (
            table[table["policy"].isin(policies)]
            .sort_values(["policy", "capacity_bytes"], kind="stable")
            .reset_index(drop=True)
        )

    def draw(self, data: pd.DataFrame) -> Figure:
        figure = style.new_figure(style.COLUMN_IN, 2.5)
        axes = figure.subplots()
        ceiling = [policy for policy in dict.fromkeys(data["policy"]) if policy.lower() in CEILING]
        others = [policy for policy in dict.fromkeys(data["policy"]) if policy not in ceiling]
        chosen = style.swatches(others)
        top = float(data["hit_rate"].max())
        span = (data["capacity_bytes"].min() / 1.15, data["capacity_bytes"].max() * 1.15)
        for policy in ceiling:
            rows = data[data["policy"] == policy]
            axes.plot(
                rows["capacity_bytes"],
                rows["hit_rate"],
                color=style.INK,
                linestyle=(0, (4, 2)),
                linewidth=1,
                label=f"{style.label(policy)} (ceiling)",
            )
            axes.fill_between(rows["capacity_bytes"], rows["hit_rate"], 2, color=style.GRID, alpha=0.5, linewidth=0)
        for policy in others:
            rows, swatch = data[data["policy"] == policy], chosen[policy]
            axes.plot(
                rows["capacity_bytes"],
                rows["hit_rate"],
                color=swatch.color,
                marker=swatch.marker,
                label=style.label(policy, 20),
            )
        axes.set_xlim(*span)
        style.log2_bytes_axis(axes)
        axes.set_ylim(0, min(1.0, 1.15 * top) if top > 0 else 1.0)
        axes.set_xlabel("Cache capacity")
        axes.set_ylabel("Hit rate (tokens)")
        axes.tick_params(axis="x", labelrotation=30)
        style.legend_above(figure, axes.get_legend_handles_labels()[0], 3)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        text = "Share of input tokens found in the cache, against its capacity (logarithmic)."
        ceiling = data[data["policy"].str.lower().isin(CEILING)]
        if ceiling.empty:
            return text
        best = ceiling.groupby("capacity_bytes")["hit_rate"].max()
        above = data[data["hit_rate"] > data["capacity_bytes"].map(best) + 1e-9]["policy"].unique()
        text += " The dashed line is Belady's optimum; the grey region is out of reach for every policy."
        return text + (f" Above it, which must not be: {', '.join(map(style.label, above))}." if len(above) else "")
