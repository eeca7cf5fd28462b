"""Compositions of experts: compare systems over the number of experts, and count the nodes that hold them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tiergarten.cli.console import console

app = typer.Typer(help="Compositions of experts: many models behind a router on one node.", no_args_is_help=True)

SYSTEMS = ["dgx-a100-coe", "dgx-h100-coe", "sn40l-coe"]

Systems = Annotated[
    list[str] | None,
    typer.Argument(help="Scenarios with a workload of kind `experts`; the three bundled ones when left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command()
def compare(
    systems: Systems = None,
    experts: Annotated[str, typer.Option(help="Numbers of experts, first:last:step.")] = "5:200:5",
    batch_size: Annotated[list[int] | None, typer.Option(help="Batch sizes; give it once per size.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key in every scenario.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that run points side by side.")] = 2,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that sweeps and figure are written to.")] = Path(
        "runs"
    ),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Latency against the number of experts on several systems, as a figure (PNG, PDF and CSV).

    A number of experts that does not fit is marked as out of memory; the other points go on.

    Example:  tiergarten experts compare --experts 10:200:10 --batch-size 8 --set workload.output_tokens=200
    """
    from tiergarten.api import run_sweep
    from tiergarten.cli.progress import Bar
    from tiergarten.reports.experts import latency_against_experts
    from tiergarten.reports.folder import RunFolder
    from tiergarten.reports.render import save
    from tiergarten.scenario import load_scenario

    numbers = expert_numbers(experts)
    sweep = {"set": {"workload.batch_size": batch_size or [8, 1], "workload.experts": numbers}}
    folders = {}
    for name in systems or SYSTEMS:
        scenario = load_scenario(name, [*(overrides or []), f"sweep={json.dumps(sweep)}"])
        with Bar(f"sweeping {scenario.name}", quiet or as_json) as bar:
            folder, _ = run_sweep(scenario, out, workers, bar.update)
        folders[scenario.name] = RunFolder.open(folder)
    drawn = latency_against_experts(folders)
    picture = save(drawn, out)
    if as_json:
        print(json.dumps({"figure": str(picture), "points": json.loads(drawn.data.to_json(orient="records"))}))
    elif not quiet:
        screen = console()
        screen.print(_steps_table(drawn.data))
        screen.print(f"Figure: {picture}", highlight=False)


@app.command()
def footprint(
    systems: Systems = None,
    experts: Annotated[str, typer.Option(help="Numbers of experts, first:last:step.")] = "10:850:10",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that the figure is written to.")] = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Nodes that hold all experts, beside the devices or in the home tier.

    Example:  tiergarten experts footprint sn40l-coe dgx-h100-coe --experts 10:1000:10
    """
    import pandas as pd

    from tiergarten.drivers.experts import nodes_needed
    from tiergarten.reports.experts import nodes_against_experts
    from tiergarten.reports.render import save
    from tiergarten.scenario import load_scenario

    numbers = expert_numbers(experts)
    rows = [row for name in systems or SYSTEMS for row in nodes_needed(load_scenario(name), numbers)]
    drawn = nodes_against_experts(pd.DataFrame(rows))
    out.mkdir(parents=True, exist_ok=True)
    picture = save(drawn, out)
    if as_json:
        print(json.dumps({"figure": str(picture), "points": rows}))
    elif not quiet:
        screen = console()
        screen.print(_nodes_table(drawn.data))
        screen.print(f"Figure: {picture}", highlight=False)


def expert_numbers(text: str) -> list[int]:
    """The numbers of `first:last:step`. TiergartenError if it is not of that form."""
    from tiergarten.sim.errors import InputError, Problem

    try:
        first, last, step = (int(part) for part in text.split(":"))
    except ValueError:
        raise InputError(Problem(f"write it as first:last:step, as in 5:200:5; got {text!r}", "--experts")) from None
    if not 0 < first <= last or step <= 0 or (last - first) // step > 10_000:
        raise InputError(Problem(f"needs 0 < first <= last and a positive step; got {text!r}", "--experts"))
    return list(range(first, last + 1, step))


def _steps_table(data: "object") -> Table:
    """Where the latency of each system changes: one row per level."""
    import pandas as pd

    assert isinstance(data, pd.DataFrame)
    table = Table(box=None, title="Mean batch latency", title_justify="left", title_style="bold")
    for column in ("system", "batch size", "experts", "latency"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for (system, batch_size), group in data.groupby(["system", "batch_size"], sort=False):
        rounded = group["batch_latency_mean_ms"].round(1)
        level = rounded.ne(rounded.shift()) & ~(rounded.isna() & rounded.shift().isna())
        for _, rows in group.groupby(level.cumsum()):
            latency = rows["batch_latency_mean_ms"].iloc[0]
            span = f"{rows['experts'].iloc[0]} to {rows['experts'].iloc[-1]}"
            table.add_row(
                str(system), str(batch_size), span, "out of memory" if pd.isna(latency) else f"{latency:,.1f} ms"
            )
    return table


def _nodes_table(data: "object") -> Table:
    """First number of experts at which each number of nodes is needed."""
    import pandas as pd

    assert isinstance(data, pd.DataFrame)
    table = Table(
        box=None, title="Nodes needed, from this number of experts on", title_justify="left", title_style="bold"
    )
    for column in ("system", "experts live", "nodes: from"):
        table.add_column(column)
    for (system, role), group in data.groupby(["system", "tier_role"], sort=False):
        firsts = group.groupby("nodes")["experts"].min()
        table.add_row(str(system), str(role), ", ".join(f"{nodes}: {first}" for nodes, first in firsts.items()))
    return table
