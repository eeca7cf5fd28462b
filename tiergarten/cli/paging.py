"""GPU demand paging: replay touches, draw sweeps, compare with measurements."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tiergarten.cli.console import console

app = typer.Typer(help="GPU demand paging and explicit memory schemes.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that figures are written to.")]


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(help="CSV with columns page, is_write and lane (the last two optional).")],
    memory: Annotated[str, typer.Option(help="GPU memory for managed pages.")] = "8 GiB",
    driver: Annotated[str, typer.Option(help="Driver times: gtx-1080-ti, titan-v or rtx-5090.")] = "titan-v",
    prefetch: Annotated[str, typer.Option(help="Prefetcher: tree, none, region, random_page, whole_block.")] = "tree",
    eviction: Annotated[str, typer.Option(help="Evictor: lra, lru, lfu, random, tree.")] = "lra",
    replay_policy: Annotated[str, typer.Option(help="Replay policy: batch_flush, batch, block, once.")] = "batch_flush",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replay a trace of page touches on a GPU with managed memory.

    Example:  tiergarten paging replay touches.csv --memory "512 MiB" --eviction lru --json
    """
    from tiergarten.accelerators.paging.costs import DRIVERS
    from tiergarten.accelerators.paging.eviction import EVICTORS
    from tiergarten.accelerators.paging.prefetch import PREFETCHERS
    from tiergarten.accelerators.paging.replay_policy import REPLAYS
    from tiergarten.accelerators.paging.touch_file import read_touches
    from tiergarten.accelerators.paging.uvm import Geometry, UvmConfig, UvmMachine
    from tiergarten.sim.errors import InputError, Problem, did_you_mean
    from tiergarten.sim.units import format_ps

    named: list[tuple[str, str, Any]] = [
        ("--driver", driver, DRIVERS),
        ("--prefetch", prefetch, PREFETCHERS.names()),
        ("--eviction", eviction, EVICTORS.names()),
        ("--replay-policy", replay_policy, REPLAYS.names()),
    ]
    problems = [
        Problem(f"unknown name {name!r}. {did_you_mean(name, known)}", path=option)
        for option, name, known in named
        if name not in known
    ]
    device_bytes = _bytes(memory, "--memory")
    if device_bytes < Geometry().block_bytes:
        problems.append(Problem(f"holds no VABlock (2 MiB), got {memory!r}; give at least one", path="--memory"))
    if problems:
        raise InputError(problems)
    config = UvmConfig(
        device_bytes=device_bytes,
        costs=DRIVERS[driver],
        prefetcher=PREFETCHERS.get(prefetch)(),
        evictor=EVICTORS.get(eviction)(),
        replay=REPLAYS.get(replay_policy)(),
    )
    touches = read_touches(trace)
    machine = UvmMachine(config, [touches.num_pages * config.geometry.page_bytes])
    result = machine.touch(touches.as_lanes(config.hardware))
    machine.check()
    if as_json:
        print(json.dumps({"time_ps": result.time_ps, **result.counts}))
    elif not quiet:
        table = Table(title=str(trace), show_header=False)
        table.add_row("time", format_ps(result.time_ps))
        for name, count in result.counts.items():
            if count:
                text = format_ps(count) if name.endswith("_ps") else f"{count:,}"
                table.add_row(name.removesuffix("_ps").replace("_", " "), text)
        console().print(table)


@app.command()
def figure(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep over a paging scenario.")],
    measured: Annotated[
        Path | None, typer.Option(help="Reference file whose section `rtx5090_oversub` is drawn as points.")
    ] = None,
    out: Out = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw a sweep of over-subscription, vAttention or weight streaming (PNG, PDF and CSV).

    Example:  tiergarten paging figure runs/oversubscription-sweep-0123abcd --measured reference/paging.yaml
    """
    import pandas as pd

    from tiergarten.accelerators.paging.verification import PATTERN_NAMES, read_reference
    from tiergarten.reports.folder import RunFolder
    from tiergarten.reports.paging import DRAWERS, MEASURED, kind_of, oversubscription
    from tiergarten.reports.render import save
    from tiergarten.sim.errors import InputError, Problem

    sweep = RunFolder.open(folder)
    kind = kind_of(sweep)
    if kind not in DRAWERS:
        message = f"is a sweep of kind {kind!r}; there are figures for {', '.join(DRAWERS)}"
        raise InputError(Problem(message, file=str(folder)))
    if measured is None:
        drawn = DRAWERS[kind](sweep)
    elif kind == "uvm":
        points = [
            {"pattern": PATTERN_NAMES[name], "factor": float(size), "pass_ms": float(value)}
            for ident, value in read_reference(measured).get("rtx5090_oversub", {}).items()
            for name, _, size in [ident.partition("_")]
            if name in PATTERN_NAMES
        ]
        drawn = oversubscription(sweep, pd.DataFrame(points, columns=MEASURED))
    else:
        raise InputError(Problem(f"there are no measured points for a sweep of kind {kind!r}", path="--measured"))
    out.mkdir(parents=True, exist_ok=True)
    picture = save(drawn, out)
    if as_json:
        print(json.dumps({"figure": str(picture), "points": json.loads(drawn.data.to_json(orient="records"))}))
    elif not quiet:
        console().print(f"Figure: {picture}", highlight=False)


@app.command()
def verify(
    reference: Annotated[Path, typer.Argument(help="YAML of measurements, sections of rows with `id` and `value`.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare the paging models with measurements; exit code 1 if a figure is outside its band.

    Example:  tiergarten paging verify reference/paging.yaml
    """
    from tiergarten.accelerators.paging.verification import compare, means_outside, read_reference
    from tiergarten.cli.progress import Bar
    from tiergarten.sim.errors import InputError, Problem

    sections = read_reference(reference)
    with Bar("comparing", quiet or as_json) as bar:
        found = compare(sections, bar.update)
    if not found:
        raise InputError(Problem("has no section that can be compared", str(reference)))
    within = sum(comparison.is_within for comparison in found)
    means = means_outside(found)
    if as_json:
        rows = [{**vars(c), "error": c.error, "is_within": c.is_within} for c in found]
        print(json.dumps({"within": within, "total": len(found), "means_outside": means, "comparisons": rows}))
    elif not quiet:
        _print_comparisons(found)
        for section, mean in means.items():
            console().print(f"outside: mean error of {section} is {mean:.1%}", highlight=False)
        console().print(f"{within} of {len(found)} within their bands")
    raise typer.Exit(0 if within == len(found) and not means else 1)


def _print_comparisons(found: list[Any]) -> None:
    """Sections with their mean and worst error, then every figure outside its band."""
    table = Table("section", "figures", "mean error", "worst", "outside")
    for section in dict.fromkeys(c.section for c in found):
        mine = [c for c in found if c.section == section]
        errors = [abs(c.error) for c in mine]
        outside = sum(not c.is_within for c in mine)
        mean, worst = f"{sum(errors) / len(errors):.1%}", f"{max(errors):.1%}"
        table.add_row(section, str(len(mine)), mean, worst, str(outside))
    screen = console()
    screen.print(table)
    for c in found:
        if not c.is_within:
            screen.print(
                f"outside: {c.section}, {c.name}: {c.ours:.4g} {c.unit}, reference {c.theirs:.4g}", highlight=False
            )


def _bytes(text: str, option: str) -> int:
    from tiergarten.sim.errors import InputError, Problem
    from tiergarten.sim.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise InputError(Problem(str(error), path=option)) from error
