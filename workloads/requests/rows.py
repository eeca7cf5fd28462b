"""Rows of request files: numbers read strictly, and a builder that checks them, counts problems and bounds memory."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.prefix import chain_ids
from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import NEVER_PS

MAX_PROBLEMS = 20
"""Problems after which reading stops; a file in the wrong format would give one per row."""
MAX_TOKENS = 10**9
"""More tokens in one request are taken for a damaged row."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}\Z")


class Row(NamedTuple):
    """One request as read."""

    arrival_ps: int
    input_tokens: int
    output_tokens: int
    block_ids: list[int]


@dataclass(frozen=True)
class ReadLimits:
    """How much of a file is read before it is refused, so that no file can exhaust memory."""

    max_line_bytes: int = 8 * 2**20
    max_bytes: int = 4 * 2**30
    """Of the uncompressed text."""
    max_requests: int = 5_000_000
    max_blocks: int = 50_000_000


def whole_number(value: Any, what: str) -> int:
    """An integer given as text or JSON number; ValueError for anything else, fractions and booleans included."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.match(value.strip()):
        return int(value)
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < 10**18 and value == value.to_integral_value():
        return int(value)
    raise ValueError(f"{what} must be a whole number, got {_shown(value)}")


def token_count(value: Any, what: str) -> int:
    """A positive number of tokens."""
    tokens = whole_number(value, what)
    if tokens < 1:
        raise ValueError(f"{what} must be at least 1, got {tokens}")
    if tokens > MAX_TOKENS:
        raise ValueError(f"{what} is {tokens}, more than {MAX_TOKENS}; the row must be damaged")
    return tokens


def time_ps(value: Any, unit_ps: int, what: str) -> int:
    """A time in `unit_ps`, given as text or JSON number, as integer picoseconds without loss."""
    try:
        number = Decimal(value.strip()) if isinstance(value, str) else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"{what} must be a number, got {_shown(value)}") from None
    if isinstance(value, bool) or not number.is_finite():
        raise ValueError(f"{what} must be a finite number, got {_shown(value)}")
    if number < 0:
        raise ValueError(f"{what} must not be negative, got {_shown(value)}")
    if number > NEVER_PS // unit_ps:
        raise ValueError(f"{what} {_shown(value)} is beyond the 106 days that fit in 64-bit picoseconds; cut the trace")
    return int((number * unit_ps).to_integral_value())


def block_ids(values: Sequence[Any]) -> list[int]:
    """Block ids: integers from 0 to 2^63 - 1."""
    ids = [whole_number(value, "a block id") for value in values]
    if ids and not (min(ids) >= 0 and max(ids) < 2**63):
        raise ValueError("a block id must lie between 0 and 2^63 - 1")
    return ids


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


@dataclass
class TraceBuilder:
    """Collects rows of one file, in order; `finish` gives the trace or raises every problem found."""

    file: str
    block_tokens: int
    """As the caller said; 0 = as the format or the rows say."""
    limits: ReadLimits
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.row_block_tokens = 0
        self.epoch_ps: int | None = None
        """Absolute time of the first row, for formats that give dates."""
        self._arrivals, self._inputs, self._outputs = array("q"), array("q"), array("q")
        self._ends, self._blocks = array("q", [0]), array("q")

    def __len__(self) -> int:
        return len(self._arrivals)

    def note_block_tokens(self, value: Any) -> None:
        """A row says how large the blocks are; all rows must agree."""
        tokens = token_count(value, "block size")
        if self.row_block_tokens not in (0, tokens):
            raise ValueError(f"block size {tokens} differs from {self.row_block_tokens} in the rows above")
        self.row_block_tokens = tokens

    def add(self, row: Row) -> None:
        """Append a request. Raises ValueError if it cannot follow the ones before."""
        if self._arrivals and row.arrival_ps < self._arrivals[-1]:
            raise ValueError("arrives before the row above; sort the file by time of arrival")
        self._arrivals.append(row.arrival_ps)
        self._inputs.append(row.input_tokens)
        self._outputs.append(row.output_tokens)
        self._blocks.extend(row.block_ids)
        self._ends.append(len(self._blocks))

    def refuse(self, message: str, line: int | None) -> None:
        """Note a problem; raises all of them once there are MAX_PROBLEMS."""
        self.problems.append(Problem(message, file=self.file, line=line))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(Problem(f"stopped after {MAX_PROBLEMS} problems", file=self.file))
            raise TraceError(self.problems)

    def check_limits(self, line: int) -> None:
        """Raise TraceError once the file holds more than may be kept in memory."""
        if len(self._arrivals) > self.limits.max_requests:
            self._too_large(f"more than {self.limits.max_requests} requests; read fewer with num_requests", line)
        if len(self._blocks) > self.limits.max_blocks:
            self._too_large(f"more than {self.limits.max_blocks} prefix blocks; read fewer with num_requests", line)

    def _too_large(self, message: str, line: int) -> None:
        raise TraceError([*self.problems, Problem(message, file=self.file, line=line)])

    def finish(self, default_block_tokens: int, chains_blocks: bool) -> RequestTrace:
        """The trace. Times count from the first arrival."""
        if not self._arrivals and not self.problems:
            self.problems.append(Problem("holds no request", file=self.file))
        if self.problems:
            raise TraceError(self.problems)
        arrivals = np.array(self._arrivals, np.int64)
        inputs = np.array(self._inputs, np.int64)
        offsets = np.array(self._ends, np.int64)
        ids = np.array(self._blocks, np.int64)
        block_tokens = 0
        if len(ids):
            block_tokens = self.block_tokens or self.row_block_tokens or default_block_tokens
            block_tokens = block_tokens or self._inferred_block_tokens(inputs, np.diff(offsets))
            if chains_blocks:
                ids = chain_ids(offsets, ids)
        trace = RequestTrace(
            arrivals - arrivals[0], inputs, np.array(self._outputs, np.int64), offsets, ids, block_tokens, self.file
        )
        problems = trace.problems()
        if problems:
            raise TraceError(problems)
        return trace

    def _inferred_block_tokens(self, inputs: np.ndarray, counts: np.ndarray) -> int:
        """The one power of two that makes every request's number of blocks its tokens over the block size, up or down."""
        fits = [
            size
            for size in (2**power for power in range(13))
            if ((counts >= inputs // size) & (counts <= -(-inputs // size))).all()
        ]
        if len(fits) == 1:
            return fits[0]
        sizes = ", ".join(map(str, fits)) or "none from 1 to 4096"
        raise TraceError(
            Problem(f"the block size is not clear from the rows (possible: {sizes}); give block_tokens", file=self.file)
        )
