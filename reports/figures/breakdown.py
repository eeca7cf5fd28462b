"""Where each resource's time went: busy, stalled and on what, idle. Bars sum to the elapsed time."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.binning import busiest
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.sim.units import format_ps

MAX_RESOURCES = 16
MAX_STATES = 10
LABELLED_SHARE = 0.055


@FIGURES.register("breakdown")
@dataclass(frozen=True)
class Breakdown:
    """Stacked time per resource and state; every bar sums to the elapsed time."""

    title = "Where the time went"
    needs = ("breakdown",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("breakdown", ["resource", "state", "ps"])
        total = table.groupby("resource")["ps"].sum()
        if total.max() <= 0:
            raise NothingToDrawError("no time passed")
        active = table.assign(active_ps=table["ps"].where(table["state"] != "idle", 0))
        kept, omitted = busiest(active, "resource", "active_ps", MAX_RESOURCES)
        states, _ = busiest(table[table["state"] != "idle"], "state", "ps", MAX_STATES) if len(active) else ([], 0)
        known = {*states, "idle"}
        table = table[table["resource"].isin(kept)].assign(
            state=table["state"].where(table["state"].isin(known), "other")
        )
        data = table.groupby(["resource", "state"], sort=False, as_index=False)["ps"].sum()
        return data.assign(elapsed_ps=data["resource"].map(total), resources_omitted=omitted)

    def draw(self, data: pd.DataFrame) -> Figure:
        resources = list(dict.fromkeys(data["resource"]))[::-1]
        states = sorted(dict.fromkeys(data["state"]), key=lambda state: (state == "idle", state != "busy"))
        chosen = style.swatches(states)
        figure = style.new_figure(style.PAGE_IN, 0.85 + 0.24 * len(resources))
        axes = figure.subplots()
        elapsed = float(data["elapsed_ps"].max())
        factor, unit = style.time_unit(elapsed)
        spent = data.set_index(["resource", "state"])["ps"]
        for row, resource in enumerate(resources):
            left = 0.0
            for state in states:
                width = float(spent.get((resource, state), 0))
                if width <= 0:
                    continue
                swatch = chosen[state]
                axes.barh(
                    row,
                    width / factor,
                    left=left / factor,
                    height=0.72,
                    facecolor=swatch.color,
                    hatch=swatch.hatch,
                    edgecolor=style.HATCH_INK,
                    linewidth=0,
                )
                if width / elapsed > LABELLED_SHARE:
                    axes.text(
                        (left + width / 2) / factor,
                        row,
                        f"{100 * width / elapsed:.0f} %",
                        ha="center",
                        va="center",
                        fontsize=style.FONT_PT - 2,
                        color="#101418",
                        bbox={"facecolor": "#ffffff", "alpha": 0.78, "edgecolor": "none", "pad": 0.9},
                    )
                left += width
        axes.set_yticks(range(len(resources)), [style.label(resource, 26) for resource in resources])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, elapsed / factor)
        axes.set_ylim(-0.6, len(resources) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"Time ({unit})")
        style.legend_above(figure, style.patches(chosen), 5)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        elapsed = int(data["elapsed_ps"].max())
        text = f"Time per resource over the {format_ps(elapsed)} of the run, by state."
        uneven = data.loc[data["elapsed_ps"] != elapsed, "resource"].unique()
        text += (
            " Each bar sums to the elapsed time."
            if not len(uneven)
            else (
                f" {len(uneven)} of the bars do not sum to the elapsed time: "
                f"{', '.join(style.label(name) for name in uneven[:5])}."
            )
        )
        omitted = int(data["resources_omitted"].max())
        return text + (f" The {omitted} least active resources are left out." if omitted else "")
