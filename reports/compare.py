"""Two runs side by side: every metric with its difference, what differs in the scenarios, and latency
distributions overlaid."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import pandas as pd

from tiergarten.reports.figures import NothingToDrawError
from tiergarten.reports.figures.latency_cdf import distribution, draw_distributions
from tiergarten.reports.folder import RunFolder, finite_number
from tiergarten.reports.html import document, figure_block, table
from tiergarten.reports.metrics import format_metric, quantity
from tiergarten.reports.render import Drawn, save, settled, write_bytes
from tiergarten.reports.style import context

BETTER: Final = "better"
WORSE: Final = "worse"
SAME: Final = "same"
DIFFERENT: Final = "different"
MAX_DIFF_LINES: Final = 400


@dataclass(frozen=True)
class Comparison:
    """Two runs and the table of their metrics."""

    first: RunFolder
    second: RunFolder
    metrics: pd.DataFrame
    """One row per metric of either run: key, first, second (None where a run has none), difference, change (relative,
    NaN where the first is 0 or not a number), verdict ("better", "worse", "same", "different" of the second)."""

    @property
    def labels(self) -> tuple[str, str]:
        """Names of the two runs, told apart if they are equal."""
        one, two = self.first.title, self.second.title
        return (one, two) if one != two else (f"{one} (first)", f"{two} (second)")


def compare_runs(first: str | Path, second: str | Path) -> Comparison:
    """Compare two result folders. Raises InputError for a folder that cannot be read."""
    one, two = RunFolder.open(first), RunFolder.open(second)
    keys = [*one.metrics, *(key for key in two.metrics if key not in one.metrics)]
    rows = [(key, *_difference(key, one.metrics, two.metrics)) for key in keys]
    columns = ["key", "first", "second", "difference", "change", "verdict"]
    return Comparison(one, two, pd.DataFrame(rows, columns=columns).astype({"first": object, "second": object}))


def _difference(key: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[Any, Any, float, float, str]:
    first, second = one.get(key), two.get(key)
    before, after = finite_number(first), finite_number(second)
    nan = float("nan")
    if before is None or after is None:
        return first, second, nan, nan, SAME if first == second and key in one and key in two else DIFFERENT
    difference = after - before
    change = difference / abs(before) if before else nan
    gain = difference * quantity(key).sense
    verdict = SAME if difference == 0 else DIFFERENT if gain == 0 else BETTER if gain > 0 else WORSE
    return first, second, difference, change, verdict


def latency_figure(comparison: Comparison) -> Drawn | None:
    """TTFT, TPOT and E2E of both runs in one picture; None where a run has no requests."""
    runs = (comparison.first, comparison.second)
    if any(run.missing("requests") for run in runs):
        return None
    try:
        data = pd.concat(
            [distribution(run, name) for run, name in zip(runs, comparison.labels, strict=True)], ignore_index=True
        )
    except NothingToDrawError:
        return None
    caption = "Share of requests with at most that latency, of both runs; p50, p90 and p99 marked."
    with context():
        return Drawn("compare_latency_cdf", "Latency of requests", caption, data, settled(draw_distributions(data)))


def scenario_difference(comparison: Comparison) -> list[str]:
    """Unified diff of the resolved scenarios, without context; at most 400 lines."""
    one, two = (run.scenario_yaml.splitlines() for run in (comparison.first, comparison.second))
    lines = list(difflib.unified_diff(one[:20_000], two[:20_000], "first", "second", lineterm="", n=0))
    more = [f"({len(lines) - MAX_DIFF_LINES} more lines)"] if len(lines) > MAX_DIFF_LINES else []
    return lines[:MAX_DIFF_LINES] + more


def write_comparison(first: str | Path, second: str | Path, target: str | Path) -> Path:
    """Write `compare.html`, `compare.csv` and the overlaid figure into a folder, which is made if it is not there.

    Returns the path of the page.
    """
    comparison = compare_runs(first, second)
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    figure = latency_figure(comparison)
    if figure is not None:
        save(figure, folder)
    write_bytes(folder / "compare.csv", comparison.metrics.to_csv(index=False, lineterminator="\n").encode())
    return write_bytes(folder / "compare.html", comparison_page(comparison, figure).encode())


def comparison_page(comparison: Comparison, figure: Drawn | None) -> str:
    """The page as text."""
    one, two = comparison.labels
    rows = [
        (
            quantity(row.key).label,
            _shown(row.key, row.first),
            _shown(row.key, row.second),
            _change(row.change),
            row.verdict,
            row.key,
        )
        for row in comparison.metrics.itertuples(index=False)
    ]
    metrics = table(("Metric", one, two, "Change", "Second is", "Key"), rows, frozenset({1, 2, 3}))
    for verdict in (BETTER, WORSE):
        metrics = metrics.replace(f"<td>{verdict}</td>", f'<td class="{verdict}">{verdict}</td>')
    lines = scenario_difference(comparison)
    diff = (
        f'<pre tabindex="0">{escape(chr(10).join(lines))}</pre>'
        if lines
        else '<p class="none">The scenarios are equal.</p>'
    )
    picture = figure_block(figure) if figure is not None else '<p class="none">Not both runs served requests.</p>'
    return document(
        f"{one} against {two}",
        f"<header>\n<h1>{escape(one)} <span>against</span> {escape(two)}</h1>\n</header>\n"
        f'<section id="metrics">\n<h2>Metrics</h2>\n{metrics}</section>\n'
        f'<section id="figures">\n<h2>Latency</h2>\n{picture}</section>\n'
        f'<section id="scenario">\n<h2>What differs in the scenarios</h2>\n{diff}\n</section>\n',
    )


def _shown(key: str, value: Any) -> str:
    return "" if value is None else format_metric(key, value)


def _change(change: float) -> str:
    return "" if change != change else f"{100 * change:+.2f} %".replace("-", "−")
