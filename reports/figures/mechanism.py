"""What a mechanism buys: bytes per token and tier, and time per token with the share stalled, per variant and machine."""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.sweeps import PREFIX
from tiergarten.sim.units import PS_PER_S

MAX_ROWS = 36
MACHINE_KEYS = ("links.", "tiers.", "devices.", "policies.placement.")
"""A swept key that begins like this changes the machine or where things lie; all others change the workload."""
TIER = re.compile(r"tier_(.+)_peak_occupancy_bytes")
"""A column that every tier of a machine has, in the machine's order."""
MAX_NUMBER = 1e18
ROW_IN = 0.17
GAP = 0.6
"""Between variants, in rows."""


@FIGURES.register("mechanism")
@dataclass(frozen=True)
class Mechanism:
    """Points of a trace replay's sweep: one group per variant of the workload, one row per machine in it."""

    title = "What the mechanism buys"
    needs = ("sweep",)

    def data(self, folder: RunFolder) -> pd.DataFrame:
        table = folder.table("sweep")
        if not {"work_done", "work_unit", "elapsed_s", "stall_share"} <= set(table.columns):
            raise NothingToDrawError("no point replays a trace")
        tiers = [match.group(1) for match in map(TIER.fullmatch, table.columns) if match]
        table = _numbers(table, tiers)
        if not 0 < len(table) <= MAX_ROWS:
            raise NothingToDrawError(f"{len(table)} points could be run; 1 to {MAX_ROWS} are shown")
        keys = [name for name in table.columns if name.startswith(PREFIX) and table[name].map(str).nunique() > 1]
        of_machine = [key for key in keys if key.removeprefix(PREFIX).startswith(MACHINE_KEYS)]
        per_unit = 1 / table["work_done"]
        common = pd.DataFrame(
            {
                "variant": _labels(table, [key for key in keys if key not in of_machine]),
                "machine": _labels(table, of_machine),
                "unit": table["work_unit"].map(str),
            }
        )
        time_ps = table["elapsed_s"] * PS_PER_S * per_unit
        stalled_ps = time_ps * table["stall_share"]
        parts = [
            common.assign(quantity="time_ps", part="computing", value=time_ps - stalled_ps),
            common.assign(quantity="time_ps", part="stalled", value=stalled_ps),
        ]
        parts += [common.assign(quantity="bytes", part=tier, value=table[f"bytes {tier}"] * per_unit) for tier in tiers]
        data = pd.concat(parts, ignore_index=True)
        keys = ["variant", "machine", "unit", "quantity", "part"]
        return data.groupby(keys, sort=False, as_index=False).agg(value=("value", "sum"))

    def draw(self, data: pd.DataFrame) -> Figure:
        data = data.assign(**{name: _text(data[name]) for name in ("variant", "machine", "unit")})
        found = dict.fromkeys(zip(data["variant"], data["machine"], data["unit"], strict=True))
        order = list(dict.fromkeys(data["variant"]))
        rows = sorted(found, key=lambda row: order.index(row[0]))
        places = _places([row[0] for row in rows])
        figure = style.new_figure(style.PAGE_IN, 0.85 + ROW_IN * (places[-1] + 1))
        bytes_axes, time_axes = figure.subplots(1, 2, sharey=True)
        units = sorted(set(data["unit"]))
        per = f"per {style.label(units[0])}" if len(units) == 1 else "per unit of work"
        largest = {
            quantity: float(part.groupby(["variant", "machine"])["value"].sum().max())
            for quantity, part in data.groupby("quantity")
        }
        factor, unit = style.byte_unit(largest["bytes"])
        tiers = data[data["quantity"] == "bytes"]["part"].unique()
        _bars(bytes_axes, data[data["quantity"] == "bytes"], (rows, places), style.swatches(tiers), factor)
        bytes_axes.set_xlabel(f"bytes read and written {per} ({unit})")
        factor, unit = style.time_unit(largest["time_ps"])
        looks = {"computing": style.swatches(["busy"])["busy"], "stalled": style.swatches(["eviction"])["eviction"]}
        _bars(time_axes, data[data["quantity"] == "time_ps"], (rows, places), looks, factor)
        time_axes.set_xlabel(f"time {per} ({unit})")
        _stall_shares(time_axes, data, rows, places, factor)
        _label_rows(bytes_axes, rows, places, several_units=len(units) > 1)
        for axes, names in ((bytes_axes, style.swatches(tiers)), (time_axes, looks)):
            axes.legend(
                handles=style.patches(names), loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2
            )
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        return figure

    def caption(self, data: pd.DataFrame) -> str:
        totals = data.groupby(["variant", "machine", "quantity"], sort=False)["value"].sum().unstack("quantity")
        quickest = totals["time_ps"].idxmin()
        name = ", ".join(style.label(part) for part in quickest if part)
        return (
            "Bytes that operations read and write, by the tier where they lie, and time from the first operation to the last, "
            "both over the work done. Stalled: the first stream waits for memory or for other streams. "
            f"Least time: {name or 'the only point'}."
        )


def _numbers(table: pd.DataFrame, tiers: list[str]) -> pd.DataFrame:
    """The points that have usable numbers, with a column "bytes TIER" of what was read and written there."""
    table = table.copy()
    for tier in tiers:
        verbs = [name for name in (f"program_{verb}_{tier}_bytes" for verb in ("read", "written")) if name in table]
        moved = table[verbs].apply(pd.to_numeric, errors="coerce").fillna(0.0)
        table[f"bytes {tier}"] = moved.sum(axis=1).astype(float)
    names = ["work_done", "elapsed_s", "stall_share", *(f"bytes {tier}" for tier in tiers)]
    numbers = table[names].apply(pd.to_numeric, errors="coerce").astype(float)
    usable = (numbers >= 0).all(axis=1) & (numbers < MAX_NUMBER).all(axis=1)
    usable &= (numbers["work_done"] >= 1) & (numbers["stall_share"] <= 1)
    return table.assign(**numbers)[usable]


def _labels(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """ "flash_moba", "window 4", "pcie 64 GB/s", "in ddr": what a point has under these keys, in a few words."""
    parts = [[_words(key.removeprefix(PREFIX), value) for value in table[key]] for key in keys]
    return pd.Series([", ".join(words) for words in zip(*parts, strict=True)] or [""] * len(table), table.index)


def _text(column: pd.Series) -> pd.Series:
    """Empty text is read back from CSV as NaN."""
    return column.astype(object).where(column.notna(), "").map(str)


def _words(key: str, value: object) -> str:
    values = value if isinstance(value, list | np.ndarray) else [value]
    text = ", ".join(
        style.plain_number(one) if isinstance(one, int | float) else str(one).strip("[]").replace("'", "")
        for one in values
    )
    *_, owner, name = ("", *key.split("."))
    if name == "name":
        return text
    if key.startswith("policies.placement."):
        return f"in {text}"
    if name in ("bandwidth", "capacity"):
        return f"{owner} {text}"
    return f"{name.replace('_', ' ')} {text}"


def _places(variants: list[str]) -> list[float]:
    """Height of each row from the top: a gap where the variant changes."""
    places = [0.0]
    for before, here in pairwise(variants):
        places.append(places[-1] + 1 + (GAP if here != before else 0.0))
    return places


def _bars(
    axes: Axes,
    data: pd.DataFrame,
    rows: tuple[list[tuple[str, str, str]], list[float]],
    looks: dict[str, style.Swatch],
    factor: float,
) -> None:
    names, places = rows
    cells = data.set_index(["variant", "machine", "unit", "part"])["value"]
    ends = np.zeros(len(names))
    for part, swatch in looks.items():
        values = np.array([cells.get((*name, part), 0.0) for name in names]) / factor
        axes.barh(
            places,
            values,
            0.8,
            left=ends,
            color=swatch.color,
            hatch=swatch.hatch,
            edgecolor=style.HATCH_INK,
            linewidth=0,
        )
        ends += values
    for place, end in zip(places, ends, strict=True):
        axes.annotate(
            style.plain_number(float(f"{end:.3g}")), (end, place), (2, 0), textcoords="offset points", va="center",
            fontsize=style.FONT_PT - 2,
        )  # fmt: skip
    axes.set_xlim(0, max(float(ends.max()), 1e-12) * 1.18)


def _stall_shares(
    axes: Axes, data: pd.DataFrame, rows: list[tuple[str, str, str]], places: list[float], factor: float
) -> None:
    """The stalled share of each row, in percent, at the right edge."""
    cells = data[data["quantity"] == "time_ps"].set_index(["variant", "machine", "unit", "part"])["value"]
    for row, place in zip(rows, places, strict=True):
        total = cells[(*row, "computing")] + cells[(*row, "stalled")]
        share = 100 * cells[(*row, "stalled")] / total if total else 0.0
        axes.annotate(
            f"{share:.0f} %", (1.0, place), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=style.FONT_PT - 2, color=style.MUTED,
        )  # fmt: skip
    axes.annotate(
        "stalled", (1.0, 1.0), (2, 2), xycoords="axes fraction", textcoords="offset points", fontsize=style.FONT_PT - 2,
        color=style.MUTED,
    )  # fmt: skip


def _label_rows(axes: Axes, rows: list[tuple[str, str, str]], places: list[float], *, several_units: bool) -> None:
    """Machine at each row; the variant in front of its first one."""
    texts, before = [], ""
    for number, (variant, machine, unit) in enumerate(rows):
        name = f"{variant} (per {unit})" if several_units else variant
        shown = name if number == 0 or name != before else ""
        texts.append("   ".join(style.label(part, 44) for part in (shown, machine) if part) or " ")
        before = name
    axes.set_yticks(places, texts)
    axes.set_ylim(places[-1] + 0.6, -0.6)
