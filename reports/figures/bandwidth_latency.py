"""Latency under load: used bandwidth against loaded latency, one line per read share, measured points over the
model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder

MAX_TIERS = 4
MAX_SHARES = 7
TABLE = "series/bandwidth_latency"


@FIGURES.register("bandwidth-latency")
@dataclass(frozen=True)
class BandwidthLatency:
    """Loaded latency against used bandwidth per read share; simulated solid, measured hollow, saturation marked."""

    title = "Bandwidth and latency under load"
    needs = (TABLE,)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table(TABLE, ["tier", "kind", "read_share", "point", "bytes_per_s", "latency_ns"])
        finite = np.isfinite(table[["read_share", "bytes_per_s", "latency_ns"]]).all(axis=1)
        table = table[finite]
        if table.empty:
            raise NothingToDrawError("no finite point")
        tiers = list(dict.fromkeys(table["tier"]))[:MAX_TIERS]
        shares = sorted(table["read_share"].unique())
        if len(shares) > MAX_SHARES:
            shares = [shares[i] for i in np.unique(np.linspace(0, len(shares) - 1, MAX_SHARES).round().astype(int))]
        table = table[table["tier"].isin(tiers) & table["read_share"].isin(shares)]
        return table.sort_values(["tier", "kind", "read_share", "point"], kind="stable").reset_index(drop=True)

    def draw(self, data: pd.DataFrame) -> Figure:
        tiers = list(dict.fromkeys(data["tier"]))
        figure = style.new_figure(style.COLUMN_IN if len(tiers) == 1 else style.PAGE_IN, 2.7)
        grid = figure.subplots(1, len(tiers), squeeze=False)[0]
        chosen = style.swatches(
            [f"{100 * share:.3g} % reads" for share in sorted(data["read_share"].unique(), reverse=True)]
        )
        scale, unit = style.rate_unit(float(data["bytes_per_s"].max()), "B/s")
        for axes, tier in zip(grid, tiers, strict=True):
            for (kind, share), rows in data[data["tier"] == tier].groupby(["kind", "read_share"], sort=True):
                swatch = chosen[f"{100 * share:.3g} % reads"]
                used, latency = rows["bytes_per_s"].to_numpy() / scale, rows["latency_ns"].to_numpy()
                if kind == "measured":
                    axes.plot(
                        used,
                        latency,
                        marker=swatch.marker,
                        color=swatch.color,
                        fillstyle="none",
                        linestyle="none",
                        markeredgewidth=0.8,
                    )
                else:
                    axes.plot(used, latency, color=swatch.color)
                    axes.plot(
                        [used.max()],
                        [latency[used.argmax()]],
                        marker="|",
                        color=style.INK,
                        markersize=7,
                        markeredgewidth=1,
                    )
            axes.set_title(style.label(tier, 24))
            axes.set_xlabel(f"Used bandwidth ({unit})")
            axes.set_xlim(0, None)
            axes.set_ylim(0, max(1.05 * data.loc[data["tier"] == tier, "latency_ns"].max(), 1.0))
        grid[0].set_ylabel("Loaded latency (ns)")
        handles = [
            Line2D([], [], color=s.color, marker=s.marker, fillstyle="none", label=name) for name, s in chosen.items()
        ]
        style.legend_above(figure, handles, 3 if len(tiers) == 1 else 6)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        kinds = set(data["kind"])
        parts = ["Loaded latency against used bandwidth, one line per share of reads."]
        if "measured" in kinds:
            parts.append("Hollow marks were measured.")
        if kinds - {"measured"}:
            parts.append("Lines are simulated; a vertical stroke marks the largest bandwidth each reaches.")
        return " ".join(parts)
