"""The page of two runs: metrics side by side, latency distributions overlaid, and what differs in the scenarios."""

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from tiergarten.reports.compare import BETTER, WORSE, Comparison, compare_runs, scenario_difference
from tiergarten.reports.figures import NothingToDrawError
from tiergarten.reports.figures.latency_cdf import distribution, draw_distributions
from tiergarten.reports.html import document, figure_block, table
from tiergarten.reports.metrics import format_metric, quantity
from tiergarten.reports.render import Drawn, save, settled, write_bytes
from tiergarten.reports.style import context


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
    metrics = pd.DataFrame([vars(change) for change in comparison.metrics])
    write_bytes(folder / "compare.csv", metrics.to_csv(index=False, lineterminator="\n").encode())
    return write_bytes(folder / "compare.html", comparison_page(comparison, figure).encode())


def comparison_page(comparison: Comparison, figure: Drawn | None) -> str:
    """The page as text."""
    one, two = comparison.labels
    rows = [
        (
            quantity(change.metric).label,
            _shown(change.metric, change.first),
            _shown(change.metric, change.second),
            _percent(change.change_percent),
            change.verdict,
            change.metric,
        )
        for change in comparison.metrics
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


def _percent(change: float | None) -> str:
    return "" if change is None else f"{change:+.2f} %".replace("-", "−")
