"""A family of bandwidth-latency curves as a table and as the figure of the Mess papers."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tiergarten.dram.mess import CurvePoint


def curve_table(points: Sequence[CurvePoint], channels: int) -> pd.DataFrame:
    """One row a point, heaviest load of a curve first; bandwidths of `channels` channels that work alike."""
    table = pd.DataFrame(
        {
            "read_percent": [point.read_percent for point in points],
            "bandwidth_bytes_per_s": [round(point.bandwidth_bytes_per_s * channels) for point in points],
            "latency_ps": [round(point.latency_ps) for point in points],
        }
    )
    table.insert(1, "point", table.groupby("read_percent").cumcount())
    table["bandwidth_GBps"] = (table["bandwidth_bytes_per_s"] / 1e9).round(4)
    table["latency_ns"] = (table["latency_ps"] / 1e3).round(3)
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the CSV, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    table.to_csv(partial, index=False)
    os.replace(partial, path)


def draw_curves(table: pd.DataFrame, peak_bytes_per_s: float, limit_bytes_per_s: float, title: str, path: Path) -> None:
    """Latency against bandwidth, a shade for each share of reads, with lines at the peak and at the refresh limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 3.6), layout="constrained")
    shares = sorted(table["read_percent"].unique())
    colours = matplotlib.colormaps["Blues"]
    for place, share in enumerate(shares):
        curve = table[table["read_percent"] == share]
        colour = colours(0.35 + 0.6 * place / max(1, len(shares) - 1))
        axes.plot(curve["bandwidth_GBps"], curve["latency_ns"], color=colour, marker=".", label=f"{share} % reads")
    axes.axvline(peak_bytes_per_s / 1e9, color="black", linestyle="--", linewidth=1, label="peak")
    axes.axvline(limit_bytes_per_s / 1e9, color="grey", linestyle=":", linewidth=1, label="refresh limit")
    axes.set(xlabel="bandwidth (GB/s)", ylabel="latency (ns)", title=title, xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize="small", ncols=2)
    partial = path.with_name(path.stem + ".part" + path.suffix)
    figure.savefig(partial, dpi=150)
    pyplot.close(figure)
    os.replace(partial, path)
