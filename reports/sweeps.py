"""A sweep's points as numbers and labels: which parameters vary, which metrics there are, which points are
dominated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tiergarten.reports.figures import NothingToDrawError
from tiergarten.reports.folder import RunFolder
from tiergarten.reports.metrics import HIGHER_IS_BETTER, LOWER_IS_BETTER, quantity
from tiergarten.sim.units import format_bytes, format_bytes_per_s, format_ps, parse_bytes, parse_bytes_per_s, parse_ps

PREFIX: Final = "set."
MAX_POINTS: Final = 200_000
_TARGETS: Final = ("ttft_p99", "e2e_p99", "tpot_p99", "ttft_p50", "ttft", "latency", "elapsed")
_PRICES: Final = (
    "usd_per_mtoken",
    "cost",
    "usd",
    "watts",
    "energy",
    "_pj",
    "_j",
    "goodput",
    "tokens_per_s",
    "throughput",
    "hit_rate",
)
_READERS: Final = ((parse_bytes, format_bytes), (parse_bytes_per_s, format_bytes_per_s), (parse_ps, format_ps))


@dataclass(frozen=True)
class Points:
    """The points of a sweep. Rows of all three tables correspond."""

    parameters: pd.DataFrame
    """Text, one column per varying parameter (without "set.")."""
    order: pd.DataFrame
    """float64, the parameters as sizes, rates, times or numbers where they are such, else by order of appearance."""
    metrics: pd.DataFrame
    """float64, one column per metric; NaN where a point has none (it could not be run)."""
    errors: pd.Series
    """Text: why a point could not be run, empty where it was."""

    @classmethod
    def read(cls, folder: RunFolder) -> "Points":
        table = folder.table("sweep").head(MAX_POINTS)
        text = pd.DataFrame({
            name.removeprefix(PREFIX): [_plain(value) for value in table[name]]
            for name in table.columns if name.startswith(PREFIX) and table[name].map(_plain).nunique() > 1
        })  # fmt: skip
        numeric = {
            name: pd.to_numeric(table[name], errors="coerce").replace([np.inf, -np.inf], np.nan).astype(float)
            for name in table.columns
            if not name.startswith(PREFIX)
            and (pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name]))
        }
        order = pd.DataFrame({name: sort_values(text[name]) for name in text.columns})
        errors = table["error"].map(str) if "error" in table else pd.Series("", index=table.index)
        return cls(text, order, pd.DataFrame(numeric, index=table.index), errors)

    def metric(self, name: str, otherwise: Sequence[str]) -> str:
        """`name` if it is a metric, else the first metric that holds one of the words of `otherwise`, and varies."""
        if name:
            if name not in self.metrics:
                raise NothingToDrawError(
                    f"the sweep has no metric {name!r}; it has {', '.join(sorted(self.metrics)[:20])}"
                )
            return name
        for word in otherwise:
            for column in self.metrics:
                if word in column and self.metrics[column].nunique() > 1:
                    return str(column)
        raise NothingToDrawError("no metric of the sweep is a target that this figure knows; name one")

    def target(self, name: str = "") -> str:
        """The metric that says how good a point is."""
        return self.metric(name, _TARGETS)

    def price(self, name: str = "") -> str:
        """The metric that says what a point costs, or what else it yields."""
        return self.metric(name, _PRICES)


def _plain(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def sort_values(texts: pd.Series) -> NDArray[np.float64]:
    """float64[len(texts)]: "96 GiB" as bytes, "2 TB/s" as bytes/s, "5 us" as ps, numbers as they are, else order
    of appearance."""
    for read in (float, *(reader for reader, _ in _READERS)):
        try:
            values = np.array([read(text) for text in texts], np.float64)
        except ValueError:
            continue
        if np.isfinite(values).all():
            return values
    return pd.factorize(texts)[0].astype(np.float64)


def better(key: str) -> int:
    """Which way a metric improves; less is taken to be better where its name does not tell."""
    return HIGHER_IS_BETTER if quantity(key).sense == HIGHER_IS_BETTER else LOWER_IS_BETTER


def pareto_front(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool[P]: the points that no other point betters in one value without being worse in the other. Less is better
    in both.

    Equal points are all on the front. O(P log P).
    """
    order = np.lexsort((y, x))
    front = np.zeros(len(x), np.bool_)
    best_y, best_x = np.inf, -np.inf
    for point in order:
        if y[point] < best_y or (y[point] == best_y and x[point] == best_x):
            front[point] = True
            best_y, best_x = y[point], x[point]
    return front


def knee(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """Index of the point nearest to the best of both, each scaled to the range of the points given."""

    def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
        span = values.max() - values.min()
        return (values - values.min()) / span if span > 0 else np.zeros(len(values))

    return int(np.argmin(np.hypot(scaled(x), scaled(y))))
