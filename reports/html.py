"""One page per run that holds everything: figures, metrics, fidelity, provenance and the resolved scenario.

The page loads nothing, runs no script (its content security policy forbids both) and escapes every text that came
from a scenario or a trace. The same result folder gives the same bytes.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from tiergarten.reports.folder import RunFolder, finite_number
from tiergarten.reports.metrics import format_metric, quantity
from tiergarten.reports.perfetto import write_trace
from tiergarten.reports.render import Drawn, Options, Skipped, draw_all, encode, save_all, write_bytes
from tiergarten.reports.svg import inline_svg
from tiergarten.reports.sweeps import Points

MAX_SVG_BYTES: Final = 700_000
"""A figure whose SVG is larger is shown as PNG."""
MAX_METRICS: Final = 2000
MAX_SCENARIO_CHARS: Final = 500_000
HEADLINES: Final = 6
LONG_TEXT: Final = 60
"""Characters above which a cell of a table may wrap, but not into a narrow column."""
MAX_POINTS: Final = 500
MAX_POINT_METRICS: Final = 12

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_HEADLINE_ORDER: Final = (
    "ttft_p50", "ttft_p99", "tpot_p50", "e2e_p99", "latency_mean", "latency_p99", "switch_mean", "goodput_re", "hit_rate",
    "tokens_per_s", "elapsed", "energy", "cost",
)  # fmt: skip


def make_report(
    folder: str | Path, options: Options | None = None, progress: Callable[[float], None] | None = None
) -> Path:
    """Write `report.html`, `figures/` and, for a run with transfers, `trace.perfetto.json` into a result folder.

    Returns the path of the page. Raises InputError that names every table that cannot be read.
    """
    tell = progress or (lambda share: None)
    run = RunFolder.open(folder)
    results = draw_all(run, options=options)
    tell(0.3)
    save_all(run, results)
    tell(0.75)
    write_trace(run)
    tell(0.85)
    return write_bytes(run.path / "report.html", page(run, results).encode())


def page(run: RunFolder, results: Iterable[Drawn | Skipped]) -> str:
    """The whole page as text."""
    results = list(results)
    drawn = [result for result in results if isinstance(result, Drawn)]
    skipped = [result for result in results if isinstance(result, Skipped)]
    sections = [
        _header(run),
        _headlines(run.metrics),
        _error_note(run.manifest),
        _section(
            "figures", "Figures", "".join(figure_block(result) for result in drawn) or _none("No table for any figure.")
        ),
        _section("points", "Points", _points(run)) if run.missing("sweep") is None else "",
        _section("fidelity", "Fidelity and error", _fidelity(run.manifest)) if "tiers" in run.manifest else "",
        _section("metrics", "Metrics", _metrics(run.metrics)) if run.metrics else "",
        _section("provenance", "Provenance", _provenance(run.manifest)),
        _section("scenario", "Resolved scenario", _scenario(run.scenario_yaml)) if run.scenario_yaml else "",
        _section("left-out", "Figures left out", _skipped(skipped)) if skipped else "",
    ]
    return document(run.title, "".join(sections))


def document(title: str, body: str) -> str:
    """A self-contained HTML document; the title is escaped, the body is taken as it is."""
    css = (files("tiergarten.reports") / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        f"{body}</main>\n</body>\n</html>\n"
    )


def table(head: Iterable[str], rows: Iterable[Iterable[str]], numbers: frozenset[int] = frozenset()) -> str:
    """A table that scrolls by itself when it is too wide. All texts are escaped; columns in `numbers` align right."""

    def cell(tag: str, index: int, text: str) -> str:
        look = "long" if len(text) > LONG_TEXT and tag == "td" else "number" if index in numbers else ""
        mark = f' class="{look}"' if look else ""
        return f"<{tag}{mark}>{escape(text)}</{tag}>"

    def cells(tag: str, row: Iterable[str]) -> str:
        return "".join(cell(tag, index, str(text)) for index, text in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    header = f"<thead><tr>{cells('th', head)}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table>{header}\n<tbody>\n{body}</tbody></table></div>\n'


def figure_block(result: Drawn) -> str:
    """A figure with its title and caption."""
    svg = encode(result.figure, "svg")
    name = "".join(char if char.isalnum() else "-" for char in result.name)
    if len(svg) <= MAX_SVG_BYTES:
        picture = inline_svg(svg, f"f-{name}", f"{result.title}. {result.caption}")
    else:
        png = base64.b64encode(encode(result.figure, "png")).decode()
        picture = f'<img alt="{escape(f"{result.title}. {result.caption}")}" src="data:image/png;base64,{png}">'
    width = "narrow" if result.figure.get_figwidth() < 5 else "wide"
    return (
        f'<figure id="figure-{escape(name)}" class="{width}">\n<h3>{escape(result.title)}</h3>\n'
        f'<div class="picture">{picture}</div>\n<figcaption>{escape(result.caption)}</figcaption>\n</figure>\n'
    )


def _section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}">\n<h2>{title}</h2>\n{body}</section>\n'


def _none(text: str) -> str:
    return f'<p class="none">{escape(text)}</p>\n'


def _header(run: RunFolder) -> str:
    manifest = run.manifest
    facts = [
        ("run", manifest.get("name")),
        ("scenario", _shorten(manifest.get("scenario_hash"))),
        ("trace", _shorten(manifest.get("trace_hash"))),
        ("seed", manifest.get("seed")),
        ("tiergarten", manifest.get("tiergarten") or manifest.get("code_version")),
    ]
    items = "".join(
        f"<span><b>{escape(name)}</b> {escape(str(value))}</span>\n" for name, value in facts if value not in (None, "")
    )
    return f'<header>\n<h1>{escape(run.title)}</h1>\n<p class="facts">{items}</p>\n</header>\n'


def _shorten(value: object) -> str | None:
    return str(value)[:12] if value else None


def _headlines(metrics: Mapping[str, Any]) -> str:
    whole = [
        key for key in metrics if not key.startswith(("tier_", "link_")) and finite_number(metrics[key]) is not None
    ]
    chosen: dict[str, Any] = {}
    for wanted in _HEADLINE_ORDER:
        found = next((key for key in whole if wanted in key and key not in chosen), None)
        if found and len(chosen) < HEADLINES:
            chosen[found] = metrics[found]
    tiles = "".join(
        f"<div><dt>{escape(quantity(key).label)}</dt><dd>{escape(format_metric(key, value))}</dd></div>\n"
        for key, value in chosen.items()
    )
    return f'<dl class="tiles">\n{tiles}</dl>\n' if tiles else ""


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = [
        (quantity(key).label, format_metric(key, value), key, json.dumps(value, ensure_ascii=False))
        for key, value in list(metrics.items())[:MAX_METRICS]
    ]
    return table(("Metric", "Value", "Key", "Raw value"), rows, frozenset({1, 3}))


def _points(run: RunFolder) -> str:
    """Every point of a sweep: what was set, what came out, and why not where nothing did."""
    points = Points.read(run)
    varying = [name for name in points.metrics if points.metrics[name].nunique() > 1]
    varying = sorted(varying, key=_importance)[:MAX_POINT_METRICS]
    columns = [*points.parameters, *varying]
    rows = []
    for index in points.parameters.index[:MAX_POINTS]:
        values = [format_metric(name, float(points.metrics[name][index])) for name in varying]
        rows.append(
            [
                *points.parameters.loc[index],
                *("" if value == "nan" else value for value in values),
                points.errors[index],
            ]
        )
    more = len(points.parameters) - len(rows)
    note = _none(f"{more} more points are in sweep.parquet.") if more > 0 else ""
    numbers = frozenset(range(len(columns)))
    return table([*points.parameters, *map(_heading, varying), "Error"], rows, numbers) + note


def _importance(metric: str) -> int:
    """Place of a metric among the headlines; those of single tiers and links last."""
    if metric.startswith(("tier_", "link_")):
        return len(_HEADLINE_ORDER) + 1
    return next((place for place, wanted in enumerate(_HEADLINE_ORDER) if wanted in metric), len(_HEADLINE_ORDER))


def _heading(metric: str) -> str:
    return quantity(metric).label


def _parts(manifest: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, facts) of every tier and link that the manifest names."""
    named: list[tuple[str, Mapping[str, Any]]] = []
    for kind in ("tiers", "links"):
        parts = manifest.get(kind)
        if isinstance(parts, Mapping):
            named += [
                (str(name), {"kind": kind[:-1], **(facts if isinstance(facts, Mapping) else {"fidelity": facts})})
                for name, facts in parts.items()
            ]
    return named


def _fidelity(manifest: Mapping[str, Any]) -> str:
    """Per tier and link: which model, and how far off it is known to be."""
    rows = [
        (name, str(facts["kind"]), str(facts.get("fidelity", "")), *calibration(facts.get("calibration")))
        for name, facts in _parts(manifest)
    ]
    if not rows:
        return _none("The manifest names no tiers.")
    return table(("Name", "Kind", "Model", "Calibrated with", "Mean error", "95 % interval"), rows, frozenset({4, 5}))


def _error_note(manifest: Mapping[str, Any]) -> str:
    """One line above the figures: what is calibrated and how well, and what is not."""
    known, unknown = [], []
    for name, facts in _parts(manifest):
        if facts.get("calibration"):
            source, error, _ = calibration(facts["calibration"])
            known.append(f"{name} within {error} on average ({source})")
        else:
            unknown.append(name)
    parts = ["Calibrated against measurements: " + "; ".join(known) + "."] if known else []
    if unknown:
        parts.append("Not calibrated against measurements: " + ", ".join(unknown) + ".")
    return f'<p class="note">{escape(" ".join(parts))}</p>\n' if parts else ""


def calibration(facts: object) -> tuple[str, str, str]:
    """(file, error, interval) as text; "not calibrated" where a tier has none."""
    if not facts:
        return "not calibrated", "unknown", ""
    if not isinstance(facts, Mapping):
        return str(facts), "not said", ""
    source = str(facts.get("file") or facts.get("source") or facts.get("name") or "yes")
    error = facts.get("error")
    if not isinstance(error, Mapping):
        return source, "not said", ""
    share = finite_number(error.get("mape"))
    interval = error.get("interval")
    ends = [finite_number(end) for end in interval] if isinstance(interval, list) else []
    known = [f"{100 * end:.3g} %" for end in ends if end is not None]
    return source, "not said" if share is None else f"{100 * share:.3g} %", " to ".join(known[:2])


def _provenance(manifest: Mapping[str, Any]) -> str:
    rows = [row for row in flatten(manifest) if not row[0].startswith(("tiers.", "links."))]
    return table(("Item", "Value"), rows) if rows else _none("The folder has no manifest.")


def flatten(value: Mapping[str, Any], prefix: str = "", depth: int = 6) -> list[tuple[str, str]]:
    """Nested values as (dotted key, text)."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item and depth:
            rows += flatten(item, f"{prefix}{key}.", depth - 1)
        else:
            rows.append((f"{prefix}{key}", item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)))
    return rows[:MAX_METRICS]


def _scenario(text: str) -> str:
    cut = "\n(cut here)" if len(text) > MAX_SCENARIO_CHARS else ""
    return f'<pre tabindex="0">{escape(text[:MAX_SCENARIO_CHARS] + cut)}</pre>\n'


def _skipped(skipped: Iterable[Skipped]) -> str:
    return table(("Figure", "Why"), [(result.title, result.reason) for result in skipped])
