"""`tiergarten flash`: check the flash model against MQSim, measure its speed, make curves from it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The flash tier: verify, measure, make curves.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def verify(
    manifest: Annotated[Path, typer.Argument(help="A manifest of cases recorded with MQSim.")],
    case: Annotated[list[str] | None, typer.Option("--case", help="Only this case; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Replay every case of a manifest and compare; exit code 1 if any case misses.

    Example: tiergarten flash verify golden/mqsim/manifest.yaml --case tlc4_randread_4k_qd32
    """
    from tiergarten.cli.progress import track
    from tiergarten.sim.flash.verify import read_manifest, select_cases, verify_case

    content = read_manifest(manifest)
    names = select_cases(content, case or [])
    reports = [verify_case(content, manifest.parent, name) for name in track("replaying", names, as_json)]
    missed = [report for report in reports if not report.passed]
    if as_json:
        print(
            json.dumps(
                {"passed": len(reports) - len(missed), "cases": [asdict(report) for report in reports]}, indent=1
            )
        )
    else:
        _print_reports(reports)
    if missed:
        raise typer.Exit(1)


def _print_reports(reports: list) -> None:
    from rich.table import Table

    from tiergarten.cli.console import console

    table = Table("case", "requests", "compared by", "result")
    for report in reports:
        worst = ", ".join(f"{what} {value:+.2%}" for what, value in report.deviations.items())
        table.add_row(
            report.name,
            f"{report.matched} / {report.total}",
            "request" if report.is_exact else worst,
            "[green]ok[/]" if report.passed else "[red]MISS[/]",
        )
    screen = console()
    screen.print(table)
    for report in reports:
        if not report.passed:
            screen.print(f"[bold]{report.name}[/]\n{report.difference}", highlight=False)
    exact = [report for report in reports if report.is_exact]
    print(
        f"{sum(r.passed for r in reports)} / {len(reports)} cases pass; "
        f"request by request {sum(r.passed for r in exact)} / {len(exact)} cases, "
        f"{sum(r.matched for r in exact)} / {sum(r.total for r in exact)} requests."
    )


@app.command()
def bench(as_json: Json = False) -> None:
    """Page transactions per second of user CPU, per workload, compilation apart.

    Example: tiergarten flash bench
    """
    from tiergarten.sim.flash.speed import measure_all

    rows = measure_all()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    from rich.table import Table

    from tiergarten.cli.console import console

    table = Table("workload", "requests", "pages", "CPU s", "requests/s", "pages/s")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.requests:,}",
            f"{row.pages:,}",
            f"{row.cpu_s:.3f}",
            f"{row.requests / row.cpu_s:,.0f}",
            f"{row.pages / row.cpu_s:,.0f}",
        )
    console().print(table)


@app.command()
def curve(
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")] = Path("flash-curves.csv"),
    drive: Annotated[list[str] | None, typer.Option("--drive", help="Only this drive; may be repeated.")] = None,
    requests: Annotated[int, typer.Option(min=100, help="Requests per point.")] = 3000,
    as_json: Json = False,
) -> None:
    """Throughput and latency against request size x queue depth x threads, by the event kernel, for every drive.

    Threads 0 is the drive alone; with threads, each I/O also takes its thread's time.

    Example: tiergarten flash curve --drive pcie4-tlc -o curves.csv
    """
    import csv
    import os

    from tiergarten.cli.progress import Bar
    from tiergarten.sim.flash.curve_grid import grid_points, measure_point
    from tiergarten.sim.flash.levels import COLUMNS, curve_rows
    from tiergarten.sim.flash.presets import PRESETS, preset

    names = drive or list(PRESETS)
    configs = {name: preset(name) for name in names}
    plan = [(name, load) for name in names for load in grid_points(requests)]
    rows = []
    with Bar("measuring", silent=as_json) as bar:
        for i, (name, load) in enumerate(plan):
            rows += curve_rows(name, [(load, measure_point(configs[name], load))])
            bar.update((i + 1) / len(plan))
    part = out.with_name(out.name + ".part")
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, out)
    print(json.dumps({"file": str(out), "rows": len(rows)}) if as_json else f"{len(rows)} points in {out}")


@app.command()
def points(
    published: Annotated[Path, typer.Argument(help="flash.yaml: published measurements with their sources.")],
    as_json: Json = False,
) -> None:
    """The presets of current drives against published measurements; exit code 1 if a point is off by more than 15 %.

    Example: tiergarten flash points reference/flash.yaml
    """
    from tiergarten.sim.flash.published import TOLERANCE, compare

    found = compare(published)
    if as_json:
        print(json.dumps([asdict(point) for point in found], indent=1))
    else:
        from rich.table import Table

        from tiergarten.cli.console import console

        table = Table("drive", "point", "published", "ours", "deviation", "source")
        for p in found:
            table.add_row(
                p.drive, p.what, f"{p.published:,.4g} {p.unit}", f"{p.ours:,.4g}", f"{p.deviation:+.1%}", p.source
            )
        console().print(table)
    if any(abs(point.deviation) > TOLERANCE for point in found):
        raise typer.Exit(1)
