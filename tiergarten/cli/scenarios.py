"""run, validate, show, list, sweep, compare, report."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tiergarten.cli.console import console

TOP_LEVEL = True
app = typer.Typer()

Scenario = Annotated[str, typer.Argument(help="A bundled scenario (see `tiergarten list scenarios`) or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key: tiers.hbm.capacity='96 GiB'."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that result folders are written to.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
SHOWN_METRICS = 7
"""Columns of metrics that the table of a sweep has room for; the rest is in its folder."""
PERCENTILE = re.compile(r"_(mean|p\d+)(?=_|$)")


@app.command()
def run(
    scenario: Scenario,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(help="Root seed; short for --set run.seed=N.")] = None,
    out: Out = Path("runs"),
    figures: Annotated[bool, typer.Option(help="Draw figures and report.html.")] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a scenario and write its result folder.

    Example:  tiergarten run kv-tiers --set policies.eviction=s3fifo --set tiers.nvme.capacity='1 TB'
    """
    from tiergarten.api import run_scenario
    from tiergarten.cli.progress import Bar
    from tiergarten.scenario import load_scenario

    all_overrides = [*(overrides or []), *([f"run.seed={seed}"] if seed is not None else [])]
    loaded = load_scenario(scenario, all_overrides)
    with Bar(f"simulating {loaded.name}", quiet or as_json) as bar:
        result, folder = run_scenario(loaded, out, figures, bar.update)
    if as_json:
        print(json.dumps({"folder": str(folder), "metrics": result.metrics}, allow_nan=False))
    elif not quiet:
        screen = console()
        screen.print(metrics_table(result.metrics, loaded.schema.title or loaded.name))
        page = folder / "report.html"
        screen.print(
            f"{len(result.laws)} conservation laws hold. Results: {page if page.exists() else folder}", highlight=False
        )


@app.command()
def validate(scenario: Scenario, overrides: Overrides = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Check a scenario without running it; every problem is printed with its file, line and key.

    Example:  tiergarten validate my.yaml
    """
    from tiergarten.scenario import load_scenario

    loaded = load_scenario(scenario, overrides or [])
    if as_json:
        print(json.dumps({"valid": True, "name": loaded.name, "hash": loaded.hash}))
    elif not quiet:
        print(f"{loaded.name} is valid ({loaded.hash[:8]})")


@app.command()
def show(
    scenario: Scenario,
    overrides: Overrides = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the file itself, to start your own from.")] = False,
    as_json: Json = False,
) -> None:
    """Print a scenario: the tier graph as text and the resolved values.

    Example:  tiergarten show kv-tiers --yaml > mine.yaml
    """
    from tiergarten.scenario import load_scenario
    from tiergarten.scenario.merge import find_scenario, strip_provenance
    from tiergarten.scenario.show import tier_graph

    if yaml:
        path = find_scenario(scenario)
        if not overrides:
            sys.stdout.write(path.read_text(encoding="utf-8"))
            return
    loaded = load_scenario(scenario, overrides or [])
    if yaml:
        sys.stdout.write(loaded.to_yaml())
    elif as_json:
        print(json.dumps({"hash": loaded.hash, "scenario": strip_provenance(loaded.tree.value)}))
    else:
        console().print(tier_graph(loaded.schema), markup=False, highlight=False)


@app.command("list")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(help="devices, tiers, links, policies, workloads, kernels or scenarios; all when left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what can be named in a scenario, one line each.

    Example:  tiergarten list devices
    """
    from tiergarten.catalogue import catalogue

    listing = catalogue(what)
    if as_json:
        print(json.dumps(listing))
        return
    screen = console()
    for kind, entries in listing.items():
        table = Table(title=kind, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2))
        table.add_column(no_wrap=True, style="cyan")
        table.add_column()
        for name, text in entries.items():
            table.add_row(name, text)
        screen.print(table)


@app.command()
def sweep(
    scenario: Scenario,
    overrides: Overrides = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            "-v",
            metavar="KEY=[...]",
            help="Values to try, instead of the file's `sweep:`; several make a grid.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that run points side by side.")] = 2,
    out: Out = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run every point of a sweep; points that are already there are not run again, so a killed sweep resumes.

    Example:  tiergarten sweep kv-tiers --vary tiers.nvme.capacity='[256 GB, 512 GB, 1 TB]'
    """
    from tiergarten.api import run_sweep
    from tiergarten.cli.progress import Bar
    from tiergarten.scenario import load_scenario
    from tiergarten.sweep import overrides_for_vary

    loaded = load_scenario(scenario, [*(overrides or []), *overrides_for_vary(vary or [])])
    with Bar(f"sweeping {loaded.name}", quiet or as_json) as bar:
        folder, table = run_sweep(loaded, out, workers, bar.update)
    if as_json:
        print(json.dumps({"folder": str(folder), "points": table.to_pylist()}))
    elif not quiet:
        screen = console()
        screen.print(points_table(table.to_pylist(), loaded.name))
        screen.print(f"{len(table)} points, every metric and figure: {folder / 'report.html'}", highlight=False)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A result folder.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write a page, a figure and a table to this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Two runs side by side: every metric, and how much the second differs.

    Example:  tiergarten compare runs/kv-tiers-1a2b3c4d runs/kv-tiers-5e6f7a8b
    """
    from tiergarten.reports import compare_metrics, write_comparison
    from tiergarten.reports.folder import RunFolder

    rows = compare_metrics(first, second)
    page = write_comparison(first, second, out) if out is not None else None
    if as_json:
        print(json.dumps({"metrics": rows, "page": str(page) if page else None}))
        return
    table = Table(title=f"{first.name}  against  {second.name}")
    for column in ("metric", "first", "second", "change", "second is"):
        justify = "left" if column in ("metric", "second is") else "right"
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        change = "" if row["change_percent"] is None else f"{row['change_percent']:+.2f}%"
        table.add_row(row["metric"], _number(row["first"]), _number(row["second"]), change, row["verdict"])
    console().print(table)
    for folder in (first, second):
        speed = RunFolder.open(folder).speed()
        if speed is not None:
            line = f"{folder.name}: simulated in {speed[0]:.3g} s, {speed[1]:.3g} simulated seconds per second"
            console().print(line, highlight=False)
    if page is not None:
        print(page)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A result folder.")], as_json: Json = False, quiet: Quiet = False
) -> None:
    """Draw the figures and report.html of a result folder again.

    Example:  tiergarten report runs/kv-tiers-1a2b3c4d
    """
    from tiergarten.cli.progress import Bar
    from tiergarten.reports import make_report

    with Bar("drawing", quiet or as_json) as bar:
        page = make_report(folder, progress=bar.update)
    if as_json:
        print(json.dumps({"report": str(page)}))
    elif not quiet:
        print(page)


def metrics_table(metrics: dict[str, Any], title: str) -> Table:
    """Metrics as a two-column table."""
    table = Table(title=title, title_style="bold", title_justify="left", box=None, show_header=False, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for name, value in metrics.items():
        table.add_row(name, _number(value))
    return table


def points_table(points: list[dict[str, Any]], title: str) -> Table:
    """The points of a sweep: what was set, and the first metrics that differ between points by more than 1 %.

    Of a mean and its percentiles only the first is shown.
    """
    keys = [name for name in points[0] if name.startswith("set.")]
    metrics = [name for name in points[0] if name not in keys and name != "error"]
    differing = [name for name in metrics if _differs([point[name] for point in points])]
    shown = list({PERCENTILE.sub("", name): name for name in reversed(differing)}.values())[: -SHOWN_METRICS - 1 : -1]
    failed = any(point["error"] for point in points)
    table = Table(title=title, title_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for key in keys:
        table.add_column(key.removeprefix("set."), overflow="fold", style="cyan")
    for name in shown:
        table.add_column(name, justify="right", overflow="fold")
    if failed:
        table.add_column("error", overflow="fold", style="red")
    for point in points:
        cells = [str(point[key]) for key in keys] + [_number(point[name]) for name in shown]
        table.add_row(*cells, *([point["error"]] if failed else []))
    return table


def _differs(values: list[Any]) -> bool:
    numbers = [value for value in values if isinstance(value, (int, float))]
    return bool(numbers) and max(numbers) - min(numbers) > 0.01 * max(abs(min(numbers)), abs(max(numbers)))


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
