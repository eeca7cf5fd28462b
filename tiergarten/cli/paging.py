"""GPU demand paging: replay touches, sweep the working set, compare with measurements, draw vAttention's growth."""

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
    from tiergarten.accelerators.paging.uvm import UvmConfig, UvmMachine
    from tiergarten.sim.errors import InputError, Problem, did_you_mean
    from tiergarten.sim.units import format_ps

    if driver not in DRIVERS:
        raise InputError(Problem(f"unknown driver {driver!r}. {did_you_mean(driver, DRIVERS)}", path="--driver"))
    config = UvmConfig(
        device_bytes=_bytes(memory, "--memory"),
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
def sweep(
    pattern: Annotated[
        list[str] | None, typer.Option(help="Patterns; give it once per pattern. All when left out.")
    ] = None,
    factor: Annotated[list[float] | None, typer.Option(help="Working set over memory; give it once per value.")] = None,
    prefetch: Annotated[list[str] | None, typer.Option(help="on, off or both (default).")] = None,
    measured: Annotated[
        Path | None, typer.Option(help="Reference file whose section `rtx5090_oversub` is drawn as points.")
    ] = None,
    out: Out = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time of a pass against the working set on an RTX 5090, as a figure (PNG, PDF and CSV).

    Example:  tiergarten paging sweep --pattern sequential --factor 0.75 --factor 1.25 --prefetch on
    """
    from dataclasses import replace

    import pandas as pd

    from tiergarten.accelerators.paging.oversubscription import PREFETCHING, SweepMachine, run_point
    from tiergarten.accelerators.paging.patterns import PATTERNS
    from tiergarten.accelerators.paging.verification import PATTERN_NAMES, read_reference
    from tiergarten.cli.progress import Bar
    from tiergarten.reports.paging import oversubscription
    from tiergarten.reports.render import save
    from tiergarten.sim.errors import InputError, Problem, did_you_mean

    for choice in prefetch or []:
        if choice not in PREFETCHING:
            message = f"unknown value {choice!r}. {did_you_mean(choice, PREFETCHING)}"
            raise InputError(Problem(message, path="--prefetch"))
    patterns = pattern or list(ORDER)
    for name in patterns:
        PATTERNS.get(name)
    sections = read_reference(measured) if measured else {}
    wanted = [(p, x, f) for x in prefetch or list(PREFETCHING) for p in patterns for f in factor or FACTORS]
    rows: list[dict[str, Any]] = []
    with Bar("paging", quiet or as_json) as bar:
        for name, choice, size in wanted:
            machine = SweepMachine()
            machine = replace(machine, config=replace(machine.config, prefetcher=PREFETCHING[choice]))
            point = run_point(name, size, machine, passes=2)
            rows.append({"pattern": name, "prefetch": choice, "factor": size, "pass_ms": point.pass_ps / 1e9})
            bar.update(len(rows) / len(wanted))
    points = [
        {"pattern": PATTERN_NAMES[kind], "factor": float(size), "pass_ms": float(value)}
        for ident, value in sections.get("rtx5090_oversub", {}).items()
        for kind, _, size in [ident.partition("_")]
        if kind in PATTERN_NAMES
    ]
    drawn = oversubscription(pd.DataFrame(rows), pd.DataFrame(points, columns=["pattern", "factor", "pass_ms"]))
    out.mkdir(parents=True, exist_ok=True)
    picture = save(drawn, out)
    if as_json:
        print(json.dumps({"figure": str(picture), "points": rows, "measured": points}))
    elif not quiet:
        table = Table("pattern", "prefetch", "working set / memory", "ms per pass")
        for row in rows:
            table.add_row(row["pattern"], row["prefetch"], f"{row['factor']:g}", f"{row['pass_ms']:,.3f}")
        screen = console()
        screen.print(table)
        screen.print(f"Figure: {picture}", highlight=False)


FACTORS = [0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5]
ORDER = ("sequential", "strided", "random", "pointer_chase")


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


@app.command()
def vattention(
    group: Annotated[str, typer.Option(help="Size of a page group.")] = "2 MiB",
    requests: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests that decode together, three of each length.")
    ] = 30,
    iterations: Annotated[int, typer.Option(min=2, max=1_000_000, help="Decode iterations.")] = 150,
    compute: Annotated[str, typer.Option(help="Time that an iteration computes.")] = "40 ms",
    out: Out = Path("runs"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode iterations of Yi-34B on two GPUs while KV memory grows, mapped in time and ahead of time, as a figure.

    Example:  tiergarten paging vattention --group "64 KiB" --requests 32
    """
    import pandas as pd

    from tiergarten.accelerators.paging.vattention import (
        YI_34B_TP2,
        PageGroups,
        VAttention,
        growth_timeline,
        visible_iterations_ps,
    )
    from tiergarten.reports.paging import vattention_growth
    from tiergarten.reports.render import save
    from tiergarten.sim.errors import InputError, Problem
    from tiergarten.sim.units import parse_ps

    groups = PageGroups(YI_34B_TP2, _bytes(group, "--group"))
    try:
        compute_ps = parse_ps(compute)
    except ValueError as error:
        raise InputError(Problem(str(error), path="--compute")) from error
    prompts = [1920 + 12 * (number // 3) for number in range(requests)]
    memory = sum(groups.request_bytes(tokens + iterations) for tokens in prompts) + groups.request_bytes(1)
    mapping = growth_timeline(VAttention(groups, memory, requests + 1), prompts, iterations).mapping_ps
    frames = []
    for mode, overlapped in (("synchronous", False), ("overlapped", True)):
        wall = visible_iterations_ps([compute_ps] * iterations, mapping.tolist(), overlapped) / 1e9
        frames.append(pd.DataFrame({"mode": mode, "iteration": range(iterations), "wall_ms": wall}))
    data = pd.concat(frames, ignore_index=True)
    out.mkdir(parents=True, exist_ok=True)
    picture = save(vattention_growth(data), out)
    longest = {str(mode): float(mine["wall_ms"][mine["iteration"] > 0].max()) for mode, mine in data.groupby("mode")}
    if as_json:
        print(json.dumps({"figure": str(picture), "longest_decode_iteration_ms": longest}))
    elif not quiet:
        screen = console()
        for mode, ms in longest.items():
            screen.print(f"longest decode iteration, {mode}: {ms:.3g} ms", highlight=False)
        screen.print(f"Figure: {picture}", highlight=False)


def _bytes(text: str, option: str) -> int:
    from tiergarten.sim.errors import InputError, Problem
    from tiergarten.sim.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise InputError(Problem(str(error), path=option)) from error
