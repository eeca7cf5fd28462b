"""Figures of GPU paging from sweep folders: over-subscription with measured points, vAttention's growth, weights from flash."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tiergarten.reports import style
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.render import Drawn
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import format_bytes, parse_bytes

MEASURED: Final = ["pattern", "factor", "pass_ms"]
"""Columns of measured points."""


def oversubscription(sweep: RunFolder, measured: pd.DataFrame | None = None) -> Drawn:
    """Time of a pass against the working set.

    Args:
        sweep: folder of a sweep over `workload.working_set`, perhaps `workload.pattern` and `policies.prefetch` too.
        measured: columns pattern, factor (working set over memory), pass_ms; prefetcher on.

    Raises InputError for a folder that is not of such a sweep.
    """
    points = _columns(
        sweep,
        {
            "working_set_bytes": "working_set_bytes",
            "gpu_memory_bytes": "gpu_memory_bytes",
            "pass_ms": "pass_ms",
        },
    )
    points["pattern"] = _setting(sweep, "workload", "pattern", "sequential")
    points["prefetch"] = ["off" if name == "none" else "on" for name in _setting(sweep, "policies", "prefetch", "tree")]
    points["factor"] = points["working_set_bytes"] / points["gpu_memory_bytes"]
    points = points.dropna(subset=["pass_ms"]).sort_values(["pattern", "prefetch", "factor"], kind="stable")
    shown = measured if measured is not None else pd.DataFrame(columns=MEASURED)
    shown = shown[shown["pattern"].isin(points["pattern"])]
    data = pd.concat([points.assign(source="model"), shown.assign(source="measured", prefetch="on")], ignore_index=True)
    with style.context():
        figure = _draw_oversubscription(points, shown)
    return Drawn(
        "oversubscription",
        "A pass over managed memory against its size",
        "Time of a pass in the steady state; the working set is in units of the GPU's memory. Filled and solid: tree prefetcher "
        "on; dotted: off. Hollow: measured on an RTX 5090 with the prefetcher on (eunomia-bpf/gpu_ext).",
        data,
        figure,
    )


def _draw_oversubscription(points: pd.DataFrame, measured: pd.DataFrame) -> Figure:
    swatches = style.swatches(points["pattern"])
    figure = style.new_figure(style.PAGE_IN, 3.2)
    axes = figure.subplots()
    for (pattern, prefetch), mine in points.groupby(["pattern", "prefetch"], sort=False):
        swatch, is_on = swatches[pattern], prefetch == "on"
        look: dict[str, Any] = (
            {"linestyle": "solid", "marker": swatch.marker} if is_on else {"linestyle": (0, (1, 1.5))}
        )
        label = style.label(str(pattern).replace("_", " ")) if is_on else None
        axes.plot(mine["factor"], mine["pass_ms"], color=swatch.color, label=label, **look)
    for pattern, mine in measured.groupby("pattern", sort=False):
        hollow = {
            "marker": swatches[pattern].marker,
            "markerfacecolor": "none",
            "markersize": 8,
            "markeredgewidth": 1.4,
        }
        axes.plot(mine["factor"], mine["pass_ms"], linestyle="none", color=swatches[pattern].color, **hollow)
    axes.axvline(1.0, color=style.MUTED, lw=0.8)
    axes.annotate(
        "memory of the GPU",
        (1.0, 0.5),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        color=style.MUTED,
    )
    axes.set(yscale="log", xlabel="working set / memory of the GPU", ylabel="time of a pass (ms)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    handles, _ = axes.get_legend_handles_labels()
    handles.append(Line2D([], [], color=style.INK, linestyle=(0, (1, 1.5)), label="prefetcher off"))
    if len(measured):
        hollow_look = {"linestyle": "none", "marker": "o", "markerfacecolor": "none", "markersize": 8}
        handles.append(Line2D([], [], color=style.INK, label="measured, prefetcher on", **hollow_look))
    style.legend_above(figure, handles, columns=6)
    return figure


def vattention_growth(sweep: RunFolder) -> Drawn:
    """Decode iterations and mapped memory, with and without overlap, one column of panels per group size.

    Args:
        sweep: folder of a sweep of kind `vattention` over `policies.overlap`, perhaps `workload.group` too.

    Raises InputError for a folder that is not of such a sweep.
    """
    frames = []
    for point, scenario in _points(sweep):
        if point.missing("series/iterations"):
            continue
        frame = point.table("series/iterations", ["iteration", "compute_ms", "wall_ms", "mapped_bytes"])
        mode = "mapped ahead" if scenario.get("policies", {}).get("overlap", True) else "mapped when needed"
        frames.append(frame.assign(group_bytes=parse_bytes(str(scenario["workload"].get("group", "0 B"))), mode=mode))
    if not frames:
        raise InputError(Problem("holds no run with a table series/iterations", file=str(sweep.path)))
    data = pd.concat(frames, ignore_index=True).sort_values(["group_bytes", "mode", "iteration"], kind="stable")
    with style.context():
        figure = _draw_growth(data)
    return Drawn(
        "vattention-growth",
        "Decode iterations while KV memory is mapped",
        "A request that fills its page groups maps one group in each of the model's 2 x layers tensors. Mapped when it is needed "
        "this shows as a longer iteration; mapped during the iteration before it is hidden. The first iteration, which maps the "
        "prompts, is left out above. Below: memory mapped.",
        data,
        figure,
    )


def _draw_growth(data: pd.DataFrame) -> Figure:
    groups = list(dict.fromkeys(data["group_bytes"]))
    swatches = style.swatches(["mapped when needed", "mapped ahead"])
    figure = style.new_figure(style.PAGE_IN, 3.4)
    grid = figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row", height_ratios=[3, 2])
    for column, group in enumerate(groups):
        upper, lower = grid[0][column], grid[1][column]
        mine = data[(data["group_bytes"] == group) & (data["iteration"] > 0)]
        for mode, swatch in swatches.items():
            rows = mine[mine["mode"] == mode]
            upper.plot(
                rows["iteration"],
                rows["wall_ms"],
                drawstyle="steps-mid",
                color=swatch.color,
                linestyle=swatch.dashes,
                label=mode,
            )
        rows = mine.drop_duplicates("iteration")
        lower.plot(rows["iteration"], rows["mapped_bytes"] / 2**30, drawstyle="steps-post", color=style.INK)
        upper.set_title(f"page groups of {format_bytes(group)}")
        upper.set_ylim(0, 1.15 * data.loc[data["iteration"] > 0, "wall_ms"].max())
        lower.set_ylim(0, 1.15 * data["mapped_bytes"].max() / 2**30)
        lower.set_xlabel("decode iteration")
    grid[0][0].set_ylabel("iteration (ms)")
    grid[1][0].set_ylabel("mapped (GiB)")
    style.legend_above(figure, grid[0][0].get_legend_handles_labels()[0])
    return figure


def weights_from_flash(sweep: RunFolder) -> Drawn:
    """Rate at which weights stream, and time of a pass, against the size of a read.

    Args:
        sweep: folder of a sweep of kind `weight-streaming` over `workload.chunk`, perhaps `workload.in_flight` too.

    Raises InputError for a folder that is not of such a sweep.
    """
    data = _columns(
        sweep,
        {
            "set.workload.chunk": "chunk",
            "streamed_bytes_per_s": "streamed_bytes_per_s",
            "pass_ms": "pass_ms",
        },
    )
    data["in_flight"] = [int(number) for number in _setting(sweep, "workload", "in_flight", "8")]
    data["chunk_bytes"] = [parse_bytes(str(chunk)) for chunk in data.pop("chunk")]
    data = data.dropna(subset=["streamed_bytes_per_s"]).sort_values(["in_flight", "chunk_bytes"], kind="stable")
    with style.context():
        figure = _draw_streaming(data)
    return Drawn(
        "weights-from-flash",
        "Weights streamed from flash against the size of a read",
        "A model's layers are read one after another, each in reads of the given size, with two buffers: a layer computes while the "
        "next one loads. Small reads, one at a time, pay the drive's latency for each; many in flight hide it.",
        data,
        figure,
    )


def _draw_streaming(data: pd.DataFrame) -> Figure:
    figure = style.new_figure(style.PAGE_IN, 2.6)
    rate, passes = figure.subplots(1, 2)
    names = {
        number: f"{number} read{'s' if number != 1 else ''} in flight" for number in dict.fromkeys(data["in_flight"])
    }
    for (number, name), swatch in zip(names.items(), style.swatches(names.values()).values(), strict=True):
        mine = data[data["in_flight"] == number]
        look = {"color": swatch.color, "linestyle": swatch.dashes, "marker": swatch.marker, "label": name}
        rate.plot(mine["chunk_bytes"], mine["streamed_bytes_per_s"] / 1e9, **look)
        passes.plot(mine["chunk_bytes"], mine["pass_ms"] / 1e3, **look)
    for axes in (rate, passes):
        axes.set_xscale("log", base=2)
        sizes = sorted(set(data["chunk_bytes"]))
        axes.set_xticks(sizes, [format_bytes(size) for size in sizes])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("size of a read")
        axes.set_ylim(0, None)
    rate.set_ylabel("weights streamed (GB/s)")
    passes.set_ylabel("time of a pass over the model (s)")
    style.legend_above(figure, rate.get_legend_handles_labels()[0])
    return figure


DRAWERS: Final[dict[str, Callable[[RunFolder], Drawn]]] = {
    "uvm": oversubscription,
    "vattention": vattention_growth,
    "weight-streaming": weights_from_flash,
}
"""Figure of a sweep by the kind of its workload."""


def kind_of(sweep: RunFolder) -> str:
    """Kind of workload that a sweep's points run. Raises InputError for a folder without points."""
    for _, scenario in _points(sweep):
        return str(scenario["workload"].get("kind"))
    raise InputError(Problem("holds no points of a sweep", file=str(sweep.path)))


def _points(sweep: RunFolder) -> Iterator[tuple[RunFolder, dict[str, Any]]]:
    """Each point of a sweep with its scenario."""
    for path in sorted(Path(sweep.path, "points").glob("*/manifest.json")):
        point = RunFolder.open(path.parent)
        try:
            scenario = YAML(typ="safe").load(point.scenario_yaml)
        except YAMLError as error:
            raise InputError(Problem(f"cannot be read: {error}", file=str(path.parent))) from error
        if not isinstance(scenario, dict) or not isinstance(scenario.get("workload"), dict):
            raise InputError(Problem("its scenario has no workload", file=str(path.parent)))
        yield point, scenario


def _setting(sweep: RunFolder, part: str, key: str, default: str) -> list[str]:
    """What each row of a sweep's table had at a key, whether it was varied, set for all, or left at its default."""
    table = sweep.table("sweep")
    if f"set.{part}.{key}" in table:
        return [str(value) for value in table[f"set.{part}.{key}"]]
    for _, scenario in _points(sweep):
        settings = scenario.get(part)
        default = str(settings.get(key, default)) if isinstance(settings, dict) else default
        break
    return [default] * len(table)


def _columns(sweep: RunFolder, wanted: dict[str, str]) -> pd.DataFrame:
    """Columns of a sweep's table under new names. Raises InputError naming those that it lacks."""
    reason = sweep.missing("sweep")
    if reason is not None:
        raise InputError(Problem(reason, file=str(sweep.path)))
    table = sweep.table("sweep")
    absent = [name for name in wanted if name not in table]
    if absent:
        raise InputError(Problem(f"sweep.parquet has no column {', '.join(absent)}", file=str(sweep.path)))
    return table[list(wanted)].rename(columns=wanted)
