"""Reads a result folder: manifest, metrics, resolved scenario, and tables by name.

A folder is input like any other. It may come from elsewhere, be damaged or be hostile: sizes are bounded, every
column is cast to the kind that `tables` declares, nothing in it is executed, and what is wrong is raised as
InputError.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tiergarten.reports.tables import BOOL, FLOAT, INT, TABLES, TEXT
from tiergarten.sim.errors import InputError, Problem

MAX_TEXT_BYTES: Final = 32 * 2**20
"""Largest manifest, metrics or scenario file that is read."""
MAX_SERIES: Final = 100
MAX_ROWS: Final = 20_000_000
"""Largest table that is read whole; `batches` has no such bound."""

_ARROW = {INT: pa.int64(), FLOAT: pa.float64(), TEXT: pa.string(), BOOL: pa.bool_()}

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class RunFolder:
    """One finished run or sweep on disk. Complete when opened; tables are read when asked for."""

    path: Path
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Scalar]
    scenario_yaml: str

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Read the small files of a folder. Raises InputError that lists every one that cannot be used."""
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(Problem("no such result folder; `tiergarten run` makes one", file=str(path)))
        if not any((folder / name).is_file() for name in ("manifest.json", "sweep.parquet")):
            raise InputError(Problem("not a result folder: neither manifest.json nor sweep.parquet", file=str(path)))
        problems: list[Problem] = []
        manifest = _json_object(folder / "manifest.json", problems)
        metrics = _json_object(folder / "metrics.json", problems)
        nested = [key for key, value in metrics.items() if isinstance(value, dict | list)]
        problems += [Problem("a metric is one value", file=str(folder / "metrics.json"), path=key) for key in nested]
        scenario = _text(folder / "scenario.resolved.yaml", problems)
        if problems:
            raise InputError(problems)
        return cls(folder, manifest, metrics, scenario)

    @property
    def title(self) -> str:
        """What the run calls itself; the folder's name where the manifest has none."""
        return str(self.manifest.get("title") or self.manifest.get("name") or self.path.name)

    def speed(self) -> tuple[float, float] | None:
        """(seconds that the simulation took, simulated seconds per second), None where the folder does not tell."""
        if not (self.path / "host.json").is_file():
            return None
        host = _json_object(self.path / "host.json", [])
        took, rate = finite_number(host.get("simulate_s")), finite_number(host.get("simulated_s_per_s"))
        return None if took is None or rate is None else (took, rate)

    def has(self, table: str) -> bool:
        """Whether the table is there at all."""
        return (self.path / f"{table}.parquet").is_file()

    def missing(self, table: str) -> str | None:
        """Why the table cannot be used ("no transfers.parquet"), or None if it has its columns and a row."""
        if not self.has(table):
            return f"no {table}.parquet"
        with self._open(table) as file:
            absent = [column for column in TABLES.get(table, {}) if column not in file.schema_arrow.names]
            if absent:
                return f"{table}.parquet has no column {', '.join(absent)}"
            return None if file.metadata.num_rows else f"{table}.parquet is empty"

    def series(self) -> list[str]:
        """Names of the tables under `series/`, sorted: "series/layers"."""
        return sorted(f"series/{path.stem}" for path in (self.path / "series").glob("*.parquet"))[:MAX_SERIES]

    def table(self, table: str, columns: Iterable[str] | None = None) -> pd.DataFrame:
        """A table whole, with the declared columns cast to their kinds. Raises InputError."""
        with self._open(table) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise self._fault(table, f"{file.metadata.num_rows} rows; at most {MAX_ROWS} are read")
        frames = list(self.batches(table, columns))
        return pd.concat(frames, ignore_index=True)

    def batches(self, table: str, columns: Iterable[str] | None = None) -> Iterator[pd.DataFrame]:
        """A table in pieces of bounded size, in order; at least one piece, which may be empty."""
        with self._open(table) as file:
            known = file.schema_arrow.names
            wanted = list(columns) if columns is not None else known
            absent = [column for column in wanted if column not in known]
            if absent:
                raise self._fault(table, f"no column {', '.join(absent)}")
            try:
                yield self._frame(table, file.schema_arrow.empty_table().select(wanted))
                for batch in file.iter_batches(batch_size=1 << 18, columns=wanted):
                    yield self._frame(table, pa.Table.from_batches([batch]).select(wanted))
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise self._fault(table, f"cannot be read: {error}") from error

    def _frame(self, table: str, part: pa.Table) -> pd.DataFrame:
        kinds = TABLES.get(table, {})
        cast = {}
        for name in part.column_names:
            column = part.column(name)
            if name in kinds:
                column = self._cast(table, name, column, _ARROW[kinds[name]])
            cast[name] = column.to_pandas()
        return pd.DataFrame(cast)

    def _cast(self, table: str, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
        if column.null_count and kind != pa.float64():
            raise self._fault(table, "holds nulls", name)
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if kind in (pa.int64(), pa.float64()) and not numeric and not pa.types.is_null(column.type):
            raise self._fault(table, f"must be a number, not {column.type}", name)
        try:
            return column.cast(kind, safe=kind != pa.float64())
        except pa.ArrowException as error:
            raise self._fault(table, f"must be {kind}, not {column.type}: {error}", name) from error

    def _open(self, table: str) -> pq.ParquetFile:
        path = self.path / f"{table}.parquet"
        try:
            return pq.ParquetFile(path)
        except FileNotFoundError as error:
            raise self._fault(table, "no such table") from error
        except (pa.ArrowException, OSError) as error:
            raise self._fault(table, f"cannot be read as Parquet: {error}") from error

    def _fault(self, table: str, message: str, column: str = "") -> InputError:
        return InputError(Problem(message, file=str(self.path / f"{table}.parquet"), path=column))


def finite_number(value: object) -> float | None:
    """The value as a finite float, None for everything else (text, NaN, true)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(path: Path, problems: list[Problem]) -> str:
    if not path.is_file():
        return ""
    if path.stat().st_size > MAX_TEXT_BYTES:
        problems.append(Problem(f"larger than {MAX_TEXT_BYTES} bytes", file=str(path)))
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"cannot be read as text: {error}", file=str(path)))
        return ""


def _json_object(path: Path, problems: list[Problem]) -> dict[str, Any]:
    text = _text(path, problems)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(Problem(f"not JSON: {error}", file=str(path)))
        return {}
    if not isinstance(value, dict):
        problems.append(Problem("must be a JSON object", file=str(path)))
        return {}
    return value
