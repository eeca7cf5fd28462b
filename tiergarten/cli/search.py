"""search: let an agent look for the best values or the best policy."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tiergarten.cli.console import console

TOP_LEVEL = True
app = typer.Typer()


@app.command()
def search(
    job: Annotated[Path, typer.Argument(help="A search job, YAML.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that the result folder is written to.")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Run a search job: random, tpe (Bayesian optimisation) over declared fields, or ppo, which learns an eviction policy.

    Example:  tiergarten search docs/examples/jobs/ddr-size.yaml
    """
    from tiergarten.cli.progress import Bar
    from tiergarten.reports import make_report
    from tiergarten.rl_agents import require_rl

    require_rl()
    from tiergarten.rl_agents.search import run_job

    with Bar(f"searching with {job.stem}", quiet or as_json) as bar:
        folder, _, summary = run_job(job, out, bar.update)
    make_report(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), **summary}))
    elif not quiet:
        screen = console()
        screen.print(
            f"best {summary['metric']} {summary['best_value']:.6g} in {summary['evaluations']} evaluations",
            highlight=False,
        )
        for key, value in summary["best"].items():
            screen.print(f"  {key} = {value}", highlight=False)
        for name, value in summary["baselines"].items():
            screen.print(f"  {name:10} {value:.6g}", highlight=False)
        screen.print(f"run it again: tiergarten run {folder / 'best.yaml'}", highlight=False)
