"""Figures of compositions of experts on several systems: latency against the number of experts, nodes against it.

Drawn from the tables of sweeps over `workload.experts`, one sweep per system.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.render import Drawn
from tiergarten.sim.errors import InputError, Problem

_SWEPT: Final = ("set.workload.batch_size", "set.workload.experts")
_COLUMNS: Final = {
    "set.workload.batch_size": "batch_size",
    "set.workload.experts": "experts",
    "batch_latency_mean_ms": "batch_latency_mean_ms",
    "switch_mean_ms": "switch_mean_ms",
    "expert_hit_rate": "expert_hit_rate",
    "error": "error",
}


def latency_against_experts(sweeps: Mapping[str, RunFolder]) -> Drawn:
    """Mean batch latency of each system over the number of experts, one panel per batch size.

    Args:
        sweeps: folder of a sweep over `workload.batch_size` and `workload.experts`, by the name of its system.

    Raises InputError for a folder that is not of such a sweep.
    """
    data = pd.concat([_points(system, folder) for system, folder in sweeps.items()], ignore_index=True)
    with style.context():
        figure = _draw_latency(data)
    return Drawn(
        "latency-against-experts",
        "Latency against the number of experts",
        "Mean latency of a batch: router, copies of absent experts, one run per prompt. A line ends with a cross where the "
        "next number of experts no longer fits into the home tier.",
        data,
        figure,
    )


def nodes_against_experts(data: pd.DataFrame) -> Drawn:
    """Nodes that a number of experts needs.

    Args:
        data: columns system, tier_role ("beside the device" or "home"), experts, nodes.
    """
    with style.context():
        figure = _draw_nodes(data)
    return Drawn(
        "nodes-against-experts",
        "Nodes against the number of experts",
        "Nodes whose pooled memory holds router and all experts: in the tier beside the device (no copies at all) or in "
        "the home tier (experts are copied when they are asked for).",
        data,
        figure,
    )


def _points(system: str, folder: RunFolder) -> pd.DataFrame:
    table = folder.table("sweep")
    absent = [column for column in _SWEPT if column not in table]
    if absent:
        raise InputError(Problem(f"the sweep does not vary {' and '.join(absent)}", file=str(folder.path)))
    points = table.reindex(columns=list(_COLUMNS)).rename(columns=_COLUMNS)
    points.insert(0, "system", system)
    return points.sort_values(["batch_size", "experts"], kind="stable")


def _draw_latency(data: pd.DataFrame) -> Figure:
    batch_sizes = sorted(data["batch_size"].unique(), reverse=True)
    swatches = style.swatches(data["system"])
    figure = style.new_figure(style.PAGE_IN, 2.6)
    panels = figure.subplots(1, len(batch_sizes), squeeze=False)[0]
    for axes, batch_size in zip(panels, batch_sizes, strict=True):
        for system, swatch in swatches.items():
            mine = data[(data["system"] == system) & (data["batch_size"] == batch_size)]
            known = mine[mine["batch_latency_mean_ms"].notna()]
            axes.plot(
                known["experts"],
                known["batch_latency_mean_ms"],
                color=swatch.color,
                linestyle=swatch.dashes,
                marker=swatch.marker,
                markersize=2.5,
                label=style.label(system),
            )
            if len(known) < len(mine) and len(known):
                last = known.iloc[-1]
                axes.plot(last["experts"], last["batch_latency_mean_ms"], "x", color=style.ALERT, markersize=7, mew=1.6)
        axes.set_title(f"batch of {batch_size}")
        axes.set_xlabel("Experts")
        axes.set_ylabel("Batch latency (ms)")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), borderaxespad=0.1)
    return figure


def _draw_nodes(data: pd.DataFrame) -> Figure:
    swatches = style.swatches(data["system"])
    figure = style.new_figure(style.PAGE_IN, 2.6)
    axes = figure.subplots()
    for index, (system, swatch) in enumerate(swatches.items()):
        width = 1.2 * (len(swatches) - index)  # systems of equal capacity lie on each other; the first stays visible
        for role, dashes in (("beside the device", "solid"), ("home", (0, (4, 2)))):
            mine = data[(data["system"] == system) & (data["tier_role"] == role)].sort_values("experts")
            if len(mine):
                axes.step(
                    mine["experts"],
                    mine["nodes"],
                    where="post",
                    color=swatch.color,
                    linestyle=dashes,
                    linewidth=width,
                    label=style.label(f"{system}, {role}", 60),
                )
    axes.set_xlabel("Experts")
    axes.set_ylabel("Nodes")
    axes.set_xlim(left=0)
    axes.set_yticks(np.arange(0, int(data["nodes"].max()) + 2, max(1, int(data["nodes"].max()) // 8)))
    axes.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, borderaxespad=0.1)
    return figure
