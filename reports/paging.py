"""Figures of GPU paging: the over-subscription curve with measured points, and vAttention's growth timeline."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tiergarten.reports import style
from tiergarten.reports.render import Drawn

MARKERS = {"on": "-", "off": ":"}


def oversubscription(points: pd.DataFrame, measured: pd.DataFrame) -> Drawn:
    """Time of a pass against the working set.

    Args:
        points: columns pattern, prefetch ("on" or "off"), factor, pass_ms.
        measured: columns pattern, factor, pass_ms; may be empty.
    """
    data = pd.concat(
        [points.assign(source="model"), measured.assign(source="measured", prefetch="on")], ignore_index=True
    )
    with style.context():
        figure = _draw_oversubscription(points, measured)
    return Drawn(
        "oversubscription",
        "A pass over managed memory against its size",
        "Time of a pass in the steady state; the working set is in units of the GPU's memory. Solid: tree prefetcher on, dotted: "
        "off. Crosses: measured on an RTX 5090 (eunomia-bpf/gpu_ext, prefetcher on).",
        data,
        figure,
    )


def _draw_oversubscription(points: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    swatches = style.swatches(points["pattern"])
    figure = style.new_figure(style.PAGE_IN, 3.2)
    axes = figure.subplots()
    for (pattern, prefetch), mine in points.groupby(["pattern", "prefetch"], sort=False):
        label = str(pattern).replace("_", " ") if prefetch == "on" else None
        color = swatches[pattern].color
        axes.plot(mine["factor"], mine["pass_ms"], MARKERS[prefetch], marker="o", ms=3, color=color, label=label)
    for pattern, mine in measured.groupby("pattern", sort=False):
        if pattern in swatches:
            axes.plot(mine["factor"], mine["pass_ms"], "x", ms=8, mew=2, color=swatches[pattern].color)
    axes.axvline(1.0, color="0.6", lw=0.8)
    axes.set(yscale="log", xlabel="working set / memory", ylabel="ms per pass")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(frameon=False)
    return figure


def vattention_growth(iterations: pd.DataFrame) -> Drawn:
    """Wall time of decode iterations with and without overlapped mapping.

    Args:
        iterations: columns mode ("overlapped" or "synchronous"), iteration, wall_ms.
    """
    with style.context():
        swatches = style.swatches(iterations["mode"])
        figure = style.new_figure(style.PAGE_IN, 2.4)
        axes = figure.subplots()
        for mode, mine in iterations.groupby("mode", sort=False):
            later = mine[mine["iteration"] > 0]
            axes.plot(
                later["iteration"], later["wall_ms"], drawstyle="steps-mid", color=swatches[mode].color, label=mode
            )
        axes.set(
            xlabel="decode iteration",
            ylabel="ms",
            ylim=(0, 1.1 * iterations["wall_ms"][iterations["iteration"] > 0].max()),
        )
        axes.legend(frameon=False, loc="lower right")
    return Drawn(
        "vattention-growth",
        "Decode iterations while KV memory is mapped",
        "A request that fills its page groups maps one group in each of the model's 2 x layers tensors. Mapped in the "
        "iteration itself this shows as a spike; mapped during the iteration before it is hidden.",
        iterations,
        figure,
    )
