"""The table that closes a suite: one line for each item, with its best figure."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

from tiergarten.calibration.measure.items import all_items


class Line(NamedTuple):
    """One item in the closing table."""

    name: str
    status: str
    rows: int
    seconds: float
    figure: str
    """Best row of the item's figure, or why there is none."""


def summary(folder: Path, manifest: dict[str, Any]) -> list[Line]:
    """A line for each item of the manifest, in the suite's order."""
    lines = []
    for item in all_items():
        entry = manifest["items"].get(item.name)
        if entry is None:
            continue
        figure = entry.get("reason", "").splitlines()[-1:] or [""]
        if entry["status"] == "done":
            with (folder / entry["file"]).open(newline="") as file:
                rows = list(csv.DictReader(file))
            best = (min if item.is_smaller_better else max)(rows, key=lambda row: float(row[item.figure]))
            figure = [f"{item.figure} {float(best[item.figure]):.4g}  ({_where(best, item.figure)})"]
        lines.append(Line(item.name, entry["status"], entry["rows"], entry.get("seconds", 0.0), figure[0]))
    return lines


def _where(row: dict[str, str], figure: str) -> str:
    """The first three columns name the point."""
    return ", ".join(f"{key}={value}" for key, value in list(row.items())[:3] if key != figure)
