"""A link whose copies take the measured time of their size, each way: a bundled curve by name, or a user's CSV file."""

import csv
from importlib.resources import files
from math import isfinite
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from tiergarten.sim.copy_cost import TableCopyCost
from tiergarten.sim.errors import InputError, Problem, did_you_mean
from tiergarten.sim.link_model import LinkSetup, Wire, link_models, striped
from tiergarten.sim.params import InputFile, StrictModel, open_text
from tiergarten.sim.units import PS_PER_S, PS_PER_US

MAX_ROWS = 100_000
BOTH, TO_DEVICE, TO_HOST = "", "h2d", "d2h"
VALUE_COLUMNS = ("time_us", "bandwidth_GBps")


def bundled_curves() -> dict[str, Path]:
    """Curves by name; each file opens with its source."""
    folder = Path(str(files("tiergarten.sim.links"))) / "curves"
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


@link_models.register("measured")
class MeasuredLink:
    """Time of a copy by its size as measured: a bundled curve or a CSV file."""

    class Params(StrictModel):
        """Keys of `model: {name: measured}`."""

        curve: str | None = Field(None, description="A bundled curve: gtx1080ti-migration or gtx1080ti-copies.")
        table: InputFile | None = Field(
            None,
            description="CSV with the columns bytes, time_us or bandwidth_GBps (10^9 bytes/s), and direction (h2d, d2h) if both "
            "ways differ. Lines that begin with # are comments.",
        )
        host: str | None = Field(
            None, description="The end that h2d copies come from; absent = the second of `between`."
        )

        @field_validator("curve")
        @classmethod
        def _known(cls, value: str | None) -> str | None:
            known = bundled_curves()
            if value is not None and value not in known:
                raise ValueError(f"unknown curve {value!r}. {did_you_mean(value, known)}")
            return value

        @model_validator(mode="after")
        def _one_source(self) -> "MeasuredLink.Params":
            if (self.curve is None) == (self.table is None):
                raise ValueError("needs `curve` or `table`, not both")
            return self

    @classmethod
    def build(cls, setup: LinkSetup, params: "MeasuredLink.Params") -> Wire:
        path = params.table or bundled_curves()[str(params.curve)]
        to_device, to_host = read_copy_curves(path)
        ways = (to_host, to_device) if setup.end(params.host, 1, "host") == 1 else (to_device, to_host)
        return Wire(
            (striped(ways[0], setup.count), striped(ways[1], setup.count)), (ways[0].setup_ps, ways[1].setup_ps)
        )


def read_copy_curves(path: Path) -> tuple[TableCopyCost, TableCopyCost]:
    """(h2d, d2h) of a CSV file of measured copies; the same twice where the file has no direction.

    Raises InputError with the row for what cannot be used, all at once (the first 20).
    """
    points: dict[str, dict[int, tuple[int, int]]] = {}
    problems: list[Problem] = []
    try:
        with open_text(path) as file:
            lines = [(number, text) for number, text in enumerate(file, 1) if text.strip() and text[0] != "#"]
            if len(lines) > MAX_ROWS:
                raise InputError(Problem(f"more than {MAX_ROWS} rows", str(path)))
            reader = csv.DictReader((text for _, text in lines))
            _check_columns(reader.fieldnames or (), path)
            for row in reader:
                number = lines[min(reader.line_num, len(lines)) - 1][0]
                try:
                    size, time_ps, way = _point(row)
                    if size in points.get(way, {}):
                        raise ValueError(f"{size} bytes are given twice")
                    points.setdefault(way, {})[size] = (time_ps, number)
                except ValueError as error:
                    problems.append(Problem(str(error), str(path), number))
                if len(problems) >= 20:
                    break
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(path))) from error
    ways = {BOTH} if BOTH in points or not points else {TO_DEVICE, TO_HOST}
    for way in sorted(ways):
        problems += _curve_problems(points.get(way, {}), way, path)
    if problems:
        raise InputError(problems[:20])
    curves = {}
    for way in ways:
        sizes = tuple(sorted(points[way]))
        curves[way] = TableCopyCost(sizes, tuple(points[way][size][0] for size in sizes))
    return (curves[BOTH], curves[BOTH]) if BOTH in ways else (curves[TO_DEVICE], curves[TO_HOST])


def _check_columns(names: object, path: Path) -> None:
    known = set(names)  # type: ignore[call-overload]
    if "bytes" not in known or not known & set(VALUE_COLUMNS):
        raise InputError(Problem(f"needs the columns bytes and {' or '.join(VALUE_COLUMNS)}", str(path), 1))


def _point(row: dict[str, str | None]) -> tuple[int, int, str]:
    """(bytes, time in ps, direction) of a row. ValueError with the reason."""
    way = (row.get("direction") or BOTH).strip().lower()
    if way not in (BOTH, TO_DEVICE, TO_HOST):
        raise ValueError(f"direction {way!r} is neither h2d nor d2h")
    time_us, rate = (row.get(column) for column in VALUE_COLUMNS)
    try:
        size = float(row["bytes"] or "")
        value = float(time_us or rate or "")
    except ValueError:
        raise ValueError("is not a size and a number") from None
    if not (size.is_integer() and 0 < size < 1e15):
        raise ValueError(f"bytes must be a whole number above zero, got {row['bytes']!r}")
    if not (isfinite(value) and 1e-6 < value < 1e12):
        raise ValueError(f"time or bandwidth is out of range, got {value}")
    time_ps = value * PS_PER_US if time_us else size * PS_PER_S / (value * 1e9)
    return int(size), round(time_ps), way


def _curve_problems(points: dict[int, tuple[int, int]], way: str, path: Path) -> list[Problem]:
    """What keeps the points from being a curve."""
    what = f"direction {way}" if way else "the curve"
    if len(points) < 2:
        return [Problem(f"{what} needs two or more sizes, has {len(points)}", str(path))]
    problems = []
    before = 0
    for size in sorted(points):
        time_ps, number = points[size]
        if time_ps <= before:
            problems.append(Problem(f"{size} bytes take no longer than fewer bytes do", str(path), number))
        before = max(before, time_ps)
    return problems
