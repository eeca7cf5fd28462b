"""Two runs side by side: every metric with its difference, and what differs in the scenarios. Draws nothing."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tiergarten.reports.folder import RunFolder, Scalar, finite_number
from tiergarten.reports.metrics import quantity

BETTER: Final = "better"
WORSE: Final = "worse"
SAME: Final = "same"
DIFFERENT: Final = "different"
MAX_DIFF_LINES: Final = 400
MAX_SCENARIO_LINES: Final = 20_000


@dataclass(frozen=True)
class MetricChange:
    """One metric in two runs."""

    metric: str
    first: Scalar
    """None where the run has no such metric."""
    second: Scalar
    difference: float | None
    """second - first; None where one of them is no finite number."""
    change_percent: float | None
    """The difference as a share of the first; None where that is 0 or unknown."""
    verdict: str
    """Of the second: BETTER or WORSE where the metric's name tells, else SAME or DIFFERENT."""


@dataclass(frozen=True)
class Comparison:
    """Two runs and their metrics."""

    first: RunFolder
    second: RunFolder
    metrics: tuple[MetricChange, ...]

    @property
    def labels(self) -> tuple[str, str]:
        """Names of the two runs, told apart if they are equal."""
        one, two = self.first.title, self.second.title
        return (one, two) if one != two else (f"{one} (first)", f"{two} (second)")


def compare_runs(first: str | Path, second: str | Path) -> Comparison:
    """Compare two result folders. Raises InputError for a folder that cannot be read."""
    one, two = RunFolder.open(first), RunFolder.open(second)
    keys = dict.fromkeys([*one.metrics, *two.metrics])
    return Comparison(one, two, tuple(metric_change(key, one.metrics, two.metrics) for key in keys))


def compare_metrics(first: str | Path, second: str | Path) -> list[dict[str, Any]]:
    """The metrics of `compare_runs` as rows that JSON can hold: the fields of MetricChange."""
    return [
        {
            **vars(change),
            "first": _json_safe(change.first),
            "second": _json_safe(change.second),
        }
        for change in compare_runs(first, second).metrics
    ]


def _json_safe(value: Scalar) -> Scalar:
    """JSON has no NaN and no infinity."""
    return str(value) if isinstance(value, float) and finite_number(value) is None else value


def metric_change(key: str, one: Mapping[str, Scalar], two: Mapping[str, Scalar]) -> MetricChange:
    """How one metric differs between two sets of metrics."""
    first, second = one.get(key), two.get(key)
    before, after = finite_number(first), finite_number(second)
    if before is None or after is None:
        same = key in one and key in two and repr(first) == repr(second)
        return MetricChange(key, first, second, None, None, SAME if same else DIFFERENT)
    difference = after - before
    gain = difference * quantity(key).sense
    verdict = SAME if difference == 0 else DIFFERENT if gain == 0 else BETTER if gain > 0 else WORSE
    return MetricChange(key, first, second, difference, 100 * difference / abs(before) if before else None, verdict)


def scenario_difference(comparison: Comparison) -> list[str]:
    """Unified diff of the resolved scenarios without context, at most 400 lines of it."""
    runs = (comparison.first, comparison.second)
    one, two = (run.scenario_yaml.splitlines()[:MAX_SCENARIO_LINES] for run in runs)
    lines = list(difflib.unified_diff(one, two, "first", "second", lineterm="", n=0))
    more = [f"({len(lines) - MAX_DIFF_LINES} more lines)"] if len(lines) > MAX_DIFF_LINES else []
    return lines[:MAX_DIFF_LINES] + more
