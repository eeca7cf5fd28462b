"""Two kinds of text files: CSV with named columns and one JSON object per line. The formats fill in names and units."""

import csv
import json
from decimal import Decimal
from typing import Any

from tiergarten.workloads.requests.rows import Row, TraceBuilder, block_ids


class CsvFormat:
    """A CSV file whose columns are found by name, in any order, other columns ignored."""

    block_tokens = 0
    chains_blocks = False
    columns: tuple[str, ...] = ()
    """Columns that must be there."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._num_columns = 0

    @classmethod
    def recognises(cls, first_line: str) -> bool:
        """Whether all columns are in the header."""
        try:
            header = fields(first_line)
        except ValueError:
            return False
        return set(cls.columns) <= set(header)

    def begin(self, first_line: str) -> bool:
        """Find the columns in the header."""
        header = fields(first_line)
        missing = [name for name in self.columns if name not in header]
        if missing:
            raise ValueError(f"column {', '.join(map(repr, missing))} is missing from the header: {first_line[:200]!r}")
        self._places = {name: place for place, name in enumerate(header)}
        self._num_columns = len(header)
        return True

    def parse(self, line: str, builder: TraceBuilder) -> Row | None:
        """Split the row and read it."""
        values = fields(line)
        if len(values) != self._num_columns:
            raise ValueError(f"has {len(values)} columns, the header has {self._num_columns}")
        return self.row({name: values[place] for name, place in self._places.items()}, builder)

    def row(self, values: dict[str, str], builder: TraceBuilder) -> Row | None:
        """The request in a row given by column name."""
        raise NotImplementedError


class JsonlFormat:
    """One JSON object per line."""

    block_tokens = 0
    chains_blocks = False
    keys: tuple[str, ...] = ()
    """Keys that every object has."""

    @classmethod
    def recognises(cls, first_line: str) -> bool:
        """Whether the first object has all keys."""
        try:
            return set(cls.keys) <= set(_object(first_line))
        except ValueError:
            return False

    def begin(self, first_line: str) -> bool:
        """There is no header."""
        return False

    def parse(self, line: str, builder: TraceBuilder) -> Row | None:
        """Read the object and the request in it."""
        values = _object(line)
        missing = [key for key in self.keys if key not in values]
        if missing:
            raise ValueError(f"key {', '.join(map(repr, missing))} is missing")
        return self.row(values, builder)

    def row(self, values: dict[str, Any], builder: TraceBuilder) -> Row | None:
        """The request in an object."""
        raise NotImplementedError


def fields(line: str) -> list[str]:
    """The columns of a CSV line, stripped."""
    if '"' not in line:
        return [value.strip() for value in line.split(",")]
    try:
        return [value.strip() for value in next(csv.reader([line], strict=True))]
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"is not CSV: {error}") from None


def _object(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {str(error)[:200]}") from None
    if not isinstance(values, dict):
        raise ValueError("is not a JSON object")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def id_list(value: Any) -> list[int]:
    """A JSON list of block ids."""
    if not isinstance(value, list):
        raise ValueError("hash_ids must be a list of whole numbers")
    return block_ids(value)
