"""The look of every figure: widths, 8 pt type, a colour-blind palette with hatches, axes that carry units.

Colours are Okabe and Ito's ("Color Universal Design", 2008, jfly.uni-koeln.de/color). Simulated values are solid,
measured ones hollow. Text is never read as mathematics, so that a `$` in a name stays a `$`. Nothing here touches
pyplot's global state.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tiergarten.sim.units import format_bytes

COLUMN_IN: Final = 3.3
PAGE_IN: Final = 7.0
FONT_PT: Final = 8.0
DPI: Final = 200

INK: Final = "#1b1f24"
MUTED: Final = "#6b7280"
GRID: Final = "#d8dce2"
PAPER: Final = "#fefefe"
HATCH_INK: Final = "#ffffff"
ALERT: Final = "#d55e00"
NEUTRAL: Final = "#b5bac1"
EMPTY: Final = "#e4e7eb"
"""Idle time, cells without a value."""

BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, VERMILLION = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#d55e00",
)  # fmt: skip
PALETTE: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)
HATCHES: Final = ("", "///", "...", "\\\\\\", "xx", "---", "++")
DASHES: Final = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")

RC: Final[Mapping[str, Any]] = {
    "font.family": "DejaVu Sans", "font.size": FONT_PT, "axes.titlesize": FONT_PT, "axes.labelsize": FONT_PT,
    "xtick.labelsize": FONT_PT - 1, "ytick.labelsize": FONT_PT - 1, "legend.fontsize": FONT_PT - 1,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left", "text.parse_math": False, "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.edgecolor": INK, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.5,
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
    "lines.linewidth": 1.3, "lines.markersize": 3.5, "hatch.linewidth": 0.5, "patch.linewidth": 0.5,
    "legend.frameon": False, "legend.handlelength": 1.8, "legend.columnspacing": 1.2, "legend.handletextpad": 0.5,
    "pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "tiergarten", "path.simplify": True,
}  # fmt: skip


@dataclass(frozen=True)
class Swatch:
    """Colour and pattern of one series, so that it is told apart in grey print too."""

    color: str
    hatch: str
    dashes: Any
    marker: str


_FIXED: Final = {
    "idle": Swatch(EMPTY, "", "solid", "o"),
    "queue": Swatch("#8a929e", "", "solid", "o"),
    "prefill": Swatch(ORANGE, "///", "solid", "o"),
    "decode": Swatch(SKY, "", "solid", "o"),
    "read": Swatch(SKY, "", "solid", "o"),
    "write": Swatch(YELLOW, "///", "solid", "o"),
    "demand": Swatch(BLUE, "", "solid", "o"),
    "eviction": Swatch(ORANGE, "///", "solid", "o"),
    "prefetch": Swatch(GREEN, "...", "solid", "o"),
    "writeback": Swatch(PURPLE, "\\\\\\", "solid", "o"), "busy": Swatch(BLUE, "", "solid", "o"),
    "other": Swatch(NEUTRAL, "", "solid", "o"), "optimum": Swatch(INK, "", (0, (4, 2)), "o"),
}  # fmt: skip


def swatches(names: Iterable[str]) -> dict[str, Swatch]:
    """A swatch per name, in the order given; causes, "busy", "idle" and "other" look the same in every figure."""
    names = list(dict.fromkeys(names))
    chosen: dict[str, Swatch] = {}
    taken = {_FIXED[name].color for name in names if name in _FIXED}
    free = [colour for colour in PALETTE if colour not in taken] or list(PALETTE)
    number = 0
    for name in names:
        if name in _FIXED:
            chosen[name] = _FIXED[name]
            continue
        colour, turn = free[number % len(free)], number // len(free)
        look = PALETTE.index(colour)
        chosen[name] = Swatch(
            colour,
            HATCHES[(look + turn) % len(HATCHES)],
            DASHES[(look + turn) % len(DASHES)],
            MARKERS[(look + turn) % len(MARKERS)],
        )
        number += 1
    return chosen


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure with constrained layout. Call inside `mpl.rc_context(RC)`, as `render.draw` does."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def context() -> Any:
    """The style as a context manager, independent of the user's matplotlibrc."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **RC, "backend": "agg"}
    return mpl.rc_context(settings)


def label(text: object, limit: int = 36) -> str:
    """Text from a scenario or trace made fit for a figure: one line, no control characters, bounded length."""
    clean = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in str(text)[: 4 * limit])
    clean = " ".join(clean.split())
    if len(clean) > limit:
        clean = clean[: limit - 1] + "…"
    # matplotlib leaves labels that begin with an underscore out of legends
    return f"\u2009{clean}" if clean.startswith("_") else clean or "(no name)"


def patches(chosen: Mapping[str, Swatch]) -> list[Patch]:
    """Legend entries of filled series."""
    return [
        Patch(facecolor=swatch.color, hatch=swatch.hatch, edgecolor=HATCH_INK, linewidth=0, label=label(name))
        for name, swatch in chosen.items()
    ]


def legend_above(figure: Figure, handles: list[Any], columns: int = 6) -> None:
    """One legend for the whole figure, above it."""
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=min(columns, len(handles)), borderaxespad=0.1)


def time_unit(longest_ps: float) -> tuple[float, str]:
    """(picoseconds per unit, unit) in which a time of that length reads well."""
    for factor, unit in ((3_600 * 1e12, "h"), (1e12, "s"), (1e9, "ms"), (1e6, "µs"), (1e3, "ns")):
        if longest_ps >= factor:
            return factor, unit
    return 1.0, "ps"


def byte_unit(largest_bytes: float) -> tuple[float, str]:
    """(bytes per unit, unit) in which a size reads well; powers of two."""
    for exponent, unit in ((50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if largest_bytes >= 2**exponent:
            return float(2**exponent), unit
    return 1.0, "B"


def rate_unit(largest: float, base: str) -> tuple[float, str]:
    """(base per unit, unit) for rates in powers of ten: (1e9, "GB/s")."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= factor:
            return factor, prefix + base
    return 1.0, base


def log2_bytes_axis(axes: Axes) -> None:
    """Make the x axis logarithmic in bytes, with ticks at powers of two written as sizes."""
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    first, last = _exponents(low, high, 2)
    step = max(1, -(-(last - first + 1) // 7))
    ticks = [2.0**exponent for exponent in range(first, last + 1, step)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_bytes(value)))
    axes.set_xlim(low, high)


def log10_axis(axes: Axes, which: str) -> None:
    """Make the x or y axis logarithmic with plainly written ticks at 1, (2, 5,) 10, ..."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    first, last = _exponents(low, high, 10)
    within = (1.0, 2.0, 5.0) if last - first <= 1 else (1.0,)
    step = max(1, -(-(last - first + 1) // 7))
    ticks = [m * 10.0**e for e in range(first - 1, last + 1) if (e - first) % step == 0 for m in within]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


def _exponents(low: float, high: float, base: int) -> tuple[int, int]:
    """Whole exponents inside the limits, for limits over zero."""
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    return first, max(first, last)


def plain_number(value: float) -> str:
    """1e-5, 0.01, 20, 5000, 2e6: short and without mathematics markup."""
    if value and not 1e-3 <= abs(value) < 99_999.5:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{float(f'{value:.4g}'):g}"
