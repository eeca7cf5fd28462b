"""A family of bandwidth-latency curves as a table and as the figure of the Mess papers."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from tiergarten.dram.mess import CurvePoint
from tiergarten.sim.trace_io import write_atomically


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
    write_atomically(path, table.to_csv(index=False).encode())


def draw_curves(
    table: pd.DataFrame,
    lines_bytes_per_s: Mapping[str, float],
    title: str,
    path: Path,
    reference: pd.DataFrame | None = None,
) -> None:
    """Latency against bandwidth, a shade for each share of reads; a second family, if given, dashed in the same shades.

    `lines_bytes_per_s`: bandwidths to mark by a vertical line, by name.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    colours = matplotlib.colormaps["Blues"]
    shares = sorted(table["read_percent"].unique(), reverse=True)
    for place, share in enumerate(shares):
        colour = colours(0.95 - 0.6 * place / max(1, len(shares) - 1))
        curve = table[table["read_percent"] == share]
        axes.plot(curve["bandwidth_GBps"], curve["latency_ns"], color=colour, marker=".", label=f"{share} % reads")
        if reference is not None:
            other = reference[reference["read_percent"] == share]
            axes.plot(other["bandwidth_GBps"], other["latency_ns"], color=colour, linestyle="--", linewidth=1)
    if reference is not None:
        axes.plot([], [], color="grey", linestyle="--", linewidth=1, label="reference")
    for (name, rate), style in zip(lines_bytes_per_s.items(), ("--", ":", "-."), strict=False):
        axes.axvline(rate / 1e9, color="black", linestyle=style, linewidth=1, label=name)
    axes.set(xlabel="bandwidth (GB/s)", ylabel="latency (ns)", title=title, xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize="small", loc="upper left")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.removeprefix("."), dpi=150)
    pyplot.close(figure)
    write_atomically(path, drawn.getvalue())
