"""Draws figures of a result folder and saves each as PNG, PDF and the CSV of its data. The same data gives the
same bytes."""

import io
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tiergarten.reports import style
from tiergarten.reports.figures import FIGURES, FigureKind, NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.sim.errors import InputError, Problem

FOLDER: Final = "figures"
_METADATA: Final[Mapping[str, Mapping[str, Any]]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
}
"""What matplotlib would write of itself and of the hour is left out, so that equal figures are equal bytes."""

Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Drawn:
    """A figure that could be drawn."""

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    figure: Figure


@dataclass(frozen=True)
class Skipped:
    """A figure that could not be drawn, and why."""

    name: str
    title: str
    reason: str


def draw(folder: RunFolder, name: str, **options: Any) -> Drawn | Skipped:
    """One figure of a folder. Raises UnknownNameError, and InputError for a table that cannot be read."""
    kind: FigureKind = FIGURES.get(name)(**options)
    reason = next(filter(None, map(folder.missing, kind.needs)), None)
    if reason is not None:
        return Skipped(name, kind.title, reason)
    try:
        data = kind.data(folder)
    except NothingToDrawError as nothing:
        return Skipped(name, kind.title, str(nothing))
    with style.context():
        return Drawn(name, kind.title, kind.caption(data), data, settled(kind.draw(data)))


def settled(figure: Figure) -> Figure:
    """The figure with its layout computed once, not again for each format."""
    FigureCanvasAgg(figure)
    with _unknown_glyphs_allowed():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


@contextmanager
def _unknown_glyphs_allowed() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes; the page beside it has it as text."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield


def draw_all(
    folder: RunFolder, names: Iterable[str] | None = None, options: Options | None = None
) -> list[Drawn | Skipped]:
    """Several figures, all of them where none is named, in the order in which a report shows them."""
    chosen = sorted(FIGURES.names(), key=report_order) if names is None else list(names)
    return [draw(folder, name, **(options or {}).get(name, {})) for name in chosen]


_ORDER: Final = (
    "latency-cdf", "request-phases", "breakdown", "timeline", "occupancy", "hit-rate", "traffic-matrix", "sankey",
    "gantt", "mechanism", "pareto", "heat-map", "tornado", "bandwidth-latency", "roofline", "parity", "learning-curve",
    "series",
)  # fmt: skip


def report_order(name: str) -> tuple[int, str]:
    """Sort key: what the user asked for first, what explains it next; third-party figures last."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def make_figures(
    folder: str | Path, names: Iterable[str] | None = None, options: Options | None = None
) -> dict[str, Path]:
    """Save figures of a result folder in its `figures/`.

    Args:
        folder: a result folder.
        names: which figures; by default all that the folder has the tables for.
        options: per figure name the fields of its class, as in {"pareto": {"x": "cost_usd"}}.

    Returns:
        The PNG of each figure drawn; PDF and CSV lie beside it. Raises InputError for a folder that cannot be read or a
        named figure that it has no data for, UnknownNameError for an unknown figure.
    """
    run = RunFolder.open(folder)
    results = draw_all(run, names, options)
    skipped = [result for result in results if isinstance(result, Skipped)]
    if names is not None and skipped:
        raise InputError([Problem(f"cannot draw {s.name}: {s.reason}", file=str(run.path)) for s in skipped])
    return save_all(run, results)


def save_all(run: RunFolder, results: Iterable[Drawn | Skipped]) -> dict[str, Path]:
    """Save drawn figures in the run's `figures/`; `index.json` there lists captions, and what was skipped and why."""
    target = run.path / FOLDER
    target.mkdir(exist_ok=True)
    saved: dict[str, Path] = {}
    index: dict[str, Any] = {"run": run.title, "figures": {}, "skipped": {}}
    for result in results:
        if isinstance(result, Skipped):
            index["skipped"][result.name] = result.reason
        else:
            index["figures"][result.name] = {"title": result.title, "caption": result.caption}
            saved[result.name] = save(result, target)
    write_bytes(target / "index.json", (json.dumps(index, indent=1, ensure_ascii=False) + "\n").encode())
    return saved


def save(drawn: Drawn, target: Path) -> Path:
    """Write NAME.png, NAME.pdf and NAME.csv; the path of the first."""
    contents = {
        "png": encode(drawn.figure, "png"),
        "pdf": encode(drawn.figure, "pdf"),
        "csv": drawn.data.to_csv(index=False, lineterminator="\n").encode(),
    }
    written = [write_bytes(target / f"{drawn.name}.{suffix}", content) for suffix, content in contents.items()]
    return written[0]


def encode(figure: Figure, suffix: str) -> bytes:
    """The figure as png, pdf or svg. Equal figures give equal bytes."""
    buffer = io.BytesIO()
    with style.context(), _unknown_glyphs_allowed():
        figure.savefig(buffer, format=suffix, dpi=style.DPI, metadata=dict(_METADATA[suffix]))
    return buffer.getvalue()


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
    return path
