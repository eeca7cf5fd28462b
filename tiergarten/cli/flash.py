"""`tiergarten flash`: check the flash model against MQSim, measure its speed, make curves from it."""

import json
import sys
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
    from rich.console import Console
    from rich.progress import track

    from tiergarten.sim.flash.verify import read_manifest, select_cases, verify_case

    content = read_manifest(manifest)
    names = select_cases(content, case or [])
    progress = track(names, description="replaying", console=Console(stderr=True), transient=True)
    reports = [verify_case(content, manifest.parent, name) for name in progress]
    missed = [report for report in reports if not report.passed]
    if as_json:
        print(json.dumps({"passed": len(reports) - len(missed), "cases": [asdict(report) for report in reports]}, indent=1))
    else:
        _print_reports(reports)
    if missed:
        raise typer.Exit(1)


def _print_reports(reports: list) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "requests", "compared by", "result")
    for report in reports:
        worst = ", ".join(f"{what} {value:+.2%}" for what, value in report.deviations.items())
        table.add_row(
            report.name,
            f"{report.matched} / {report.total}",
            "request" if report.is_exact else worst,
            "[green]ok[/]" if report.passed else "[red]MISS[/]",
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for report in reports:
        if not report.passed:
            console.print(f"[bold]{report.name}[/]\n{report.difference}", highlight=False)
    exact = [report for report in reports if report.is_exact]
    print(
        f"{sum(r.passed for r in reports)} / {len(reports)} cases pass; "
        f"request by request {sum(r.passed for r in exact)} / {len(exact)} cases, "
        f"{sum(r.matched for r in exact)} / {sum(r.total for r in exact)} requests."
    )
