"""Figure of a trace's statistics: reuse distances, working sets and run lengths, from their tables."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tiergarten.reports import style
from tiergarten.reports.render import Drawn
from tiergarten.sim.units import format_bytes

PANELS = {
    "reuse": ("reuse_distance_blocks", "accesses", "Reuse distance, blocks", "Accesses"),
    "working_set": ("window_accesses", "working_set_bytes", "Window, accesses", "Working set, bytes"),
    "runs": ("run_blocks", "runs", "Run length, blocks", "Runs"),
}
"""Table: its two columns, their labels."""


def trace_figure(name: str, summary: Mapping[str, float], tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Three panels under a line of totals.

    `summary` holds accesses, block_bytes, footprint_bytes and read_share; `tables` reuse, working_set and runs with the
    columns that PANELS names.
    """
    data = pd.concat([tables[panel].assign(panel=panel) for panel in PANELS], ignore_index=True)
    with style.context():
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        for axes, (panel, (x, y, x_label, y_label)) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
            edges, heights = tables[panel][x].tolist(), tables[panel][y].tolist()
            if panel == "working_set":
                axes.plot(edges, heights, marker="o", markersize=3)
                axes.set_xscale("log", base=2)
                axes.set_yscale("log", base=2)
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_locator(LogLocator(base=16))
                    axis.set_minor_locator(NullLocator())
                    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
            else:
                axes.bar(range(len(edges)), heights)
                shown = range(0, len(edges), -(-len(edges) // 6))
                axes.set_xticks(list(shown), [_short(edges[place]) for place in shown])
            axes.set_xlabel(x_label)
            axes.set_ylabel(y_label)
        figure.suptitle(
            f"{name}: {summary['accesses']:,} accesses in blocks of {format_bytes(int(summary['block_bytes']))}, "
            f"footprint {format_bytes(int(summary['footprint_bytes']))}, {summary['read_share']:.1%} reads",
            fontsize="medium",
        )
    caption = "Accesses by reuse distance; mean bytes in a window of accesses; runs of consecutive blocks. Bars are named by their lower edge."
    return Drawn("trace-statistics", f"Statistics of {name}", caption, data, figure)


def _short(value: float) -> str:
    """1, 16, 4Ki, 64Mi."""
    for factor, prefix in ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki")):
        if value >= factor:
            return f"{value / factor:g}{prefix}"
    return f"{value:g}"
