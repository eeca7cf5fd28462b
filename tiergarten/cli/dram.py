"""`tiergarten dram`: replay address traces on one channel, verify recorded traces, measure curves and speed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tiergarten.cli.console import console
from tiergarten.cli.progress import Bar
from tiergarten.sim.errors import InputError, Problem

app = typer.Typer(
    help="Memory channels: replay, verify, bandwidth-latency curves, speed.\n\n"
    "Example:  tiergarten dram replay trace.csv.gz --standard HBM3",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Standard = Annotated[str, typer.Option(help="DRAM standard; `tiergarten dram list` names them.")]
Org = Annotated[str, typer.Option(help="Organisation preset; empty = the standard's default.")]
Timing = Annotated[str, typer.Option(help="Speed bin; empty = the standard's default.")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="controller.NAME=VALUE, a size (rank=2) or a timing in CK (nRCD=20); repeatable."),
]


FIGURE_FORMS = (".png", ".pdf", ".svg")


def _check_outputs(*paths: Path | None, figure: Path | None = None) -> None:
    """Refuse, before any work is done, files that cannot be written."""
    problems = []
    for path in (*paths, figure):
        if path is not None and path.is_dir():
            problems.append(Problem("is a folder; name a file", file=str(path)))
        elif path is not None and not path.parent.is_dir():
            problems.append(Problem(f"there is no folder {path.parent}", file=str(path)))
    if figure is not None and figure.suffix.lower() not in FIGURE_FORMS:
        problems.append(Problem(f"a figure's name must end in {', '.join(FIGURE_FORMS)}", file=str(figure)))
    if problems:
        raise InputError(problems)


def _config(standard: str, org: str, timing: str, settings: list[str]) -> Any:
    """DramConfig of the options; every bad one is reported."""
    from tiergarten.dram.config import ControllerConfig
    from tiergarten.dram.defaults import default_presets
    from tiergarten.dram.resolve import resolve
    from tiergarten.dram.simulate import DramConfig

    controller: dict[str, str] = {}
    overrides: dict[str, int] = {}
    problems = []
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            problems.append(Problem("write NAME=VALUE", path=setting))
        elif name.startswith("controller."):
            controller[name.removeprefix("controller.")] = value
        elif value.isdecimal():
            overrides[name] = int(value)
        else:
            problems.append(Problem(f"must be a whole number, got {value!r}", path=name))
    if problems:
        raise InputError(problems)
    usual_org, usual_timing = default_presets(standard)
    device = resolve(standard, org or usual_org, timing or usual_timing, overrides)
    return DramConfig(device, ControllerConfig.from_texts(controller))


@app.command("list")
def list_standards(as_json: Json = False) -> None:
    """List the standards with their organisations and speed bins.

    Example:  tiergarten dram list
    """
    from tiergarten.dram.standard import STANDARDS

    if as_json:
        print(json.dumps({name: {"orgs": list(s.orgs), "timings": list(s.bins)} for name, s in STANDARDS.items()}))
        return
    table = Table("standard", "organisations", "speed bins", "source")
    for name, standard in STANDARDS.items():
        table.add_row(name, "\n".join(standard.orgs), "\n".join(standard.bins), standard.source)
    console().print(table)


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(help="Address trace: CSV t_min,op,addr,dep or LD/ST lines, .gz or plain.")],
    standard: Standard = "DDR4",
    org: Org = "",
    timing: Timing = "",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    commands: Annotated[Path | None, typer.Option(help="Write every command to this CSV file.")] = None,
    as_json: Json = False,
) -> None:
    """Replay an address trace on one channel and print what it took.

    Example:  tiergarten dram replay trace.csv.gz --standard HBM3 --set controller.scheduler=FRFCFS-RowHit
    """
    from tiergarten.dram.report import result_summary, write_commands
    from tiergarten.dram.simulate import check_trace, simulate
    from tiergarten.dram.traces import read_address_trace

    _check_outputs(commands)
    config = _config(standard, org, timing, settings)
    accesses = read_address_trace(trace)
    check_trace(accesses, config.device, str(trace))
    result = simulate(config, accesses, record="commands" if commands else None)
    if commands:
        write_commands(result, commands)
    summary = result_summary(result)
    if as_json:
        print(json.dumps(summary))
        return
    table = Table("", "", title=config.device.name, show_header=False)
    for name, value in summary.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    console().print(table)


@app.command()
def verify(
    manifest: Annotated[Path, typer.Argument(help="Manifest of recorded traces (golden form).")],
    only: Annotated[str, typer.Option(help="Only the cases whose id contains this.")] = "",
    as_json: Json = False,
) -> None:
    """Replay every case of a manifest and compare all commands, requests and counters.

    Exits with 1 on any difference, with 2 if the manifest or one of its files cannot be used.

    Example:  tiergarten dram verify manifest.yaml --only hbm3
    """
    from tiergarten.dram.manifest import read_manifest
    from tiergarten.dram.verify import summarise, verify_cases

    cases = read_manifest(manifest, only)
    if not cases:
        raise InputError(Problem(f"no case's id contains {only!r}" if only else "no cases", file=str(manifest)))
    outcomes = []
    with Bar("verifying", silent=False) as bar:
        for outcome in verify_cases(cases):
            outcomes.append(outcome)
            bar.update(len(outcomes) / len(cases))
    summary = summarise(outcomes)
    if as_json:
        print(json.dumps(summary))
    else:
        screen = console()
        for outcome in outcomes:
            if not outcome.is_exact:
                screen.print(f"[red]{outcome.name}[/]")
                screen.print(outcome.difference, markup=False, highlight=False)
        for what in ("cases_exact", "commands_matched", "requests_matched", "counters_matched"):
            whole = what.removesuffix("_exact").removesuffix("_matched")
            screen.print(f"{whole}: {summary[what]:,} of {summary[whole]:,} equal", highlight=False)
    if summary["cases_exact"] != summary["cases"]:
        raise typer.Exit(1)


@app.command()
def curve(
    standard: Standard = "DDR5",
    org: Org = "",
    timing: Timing = "",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    channels: Annotated[int, typer.Option(min=1, help="Channels that work alike; multiplies the bandwidths.")] = 1,
    setup: Annotated[
        str, typer.Option(help="A published set-up, ddr5-4800 or ddr4-2666, in place of all options above.")
    ] = "",
    probes: Annotated[int, typer.Option(min=10, help="Reads of the pointer chase a point.")] = 4000,
    reference: Annotated[
        Path | None,
        typer.Option(help="CSV with read_percent, bandwidth_GBps, latency_ns to compare with and to draw dashed."),
    ] = None,
    reference_name: Annotated[
        str, typer.Option(help="Which `config` or `system` of the reference file, where it holds several.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Write the points to this CSV file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the curves into this file (png, pdf, svg).")] = None,
    as_json: Json = False,
) -> None:
    """Measure latency against bandwidth at several shares of reads by the Mess protocol.

    Example:  tiergarten dram curve --standard DDR5 --timing DDR5_4800AN --channels 16 --figure curves.png
    """
    from tiergarten.dram.mess import PAUSES, READ_PERCENTS, measure_curves, refresh_limit_bytes_per_s, unloaded_ps
    from tiergarten.dram.mess_compare import compare_curves, read_reference
    from tiergarten.dram.mess_output import curve_table, draw_curves, write_table
    from tiergarten.dram.mess_setups import published_setup

    _check_outputs(out, figure=figure)
    if setup:
        published = published_setup(setup)
        config, channels = published.config, published.channels
    else:
        config = _config(standard, org, timing, settings)
    others = read_reference(reference, reference_name) if reference else None
    points = []
    with Bar("measuring", silent=False) as bar:
        for point in measure_curves(config, probes=probes):
            points.append(point)
            bar.update(len(points) / (len(PAUSES) * len(READ_PERCENTS)))
    table = curve_table(points, channels)
    limit = refresh_limit_bytes_per_s(config) * channels
    if out:
        write_table(table, out)
    if figure:
        lines = {"peak": config.device.peak_bytes_per_s * channels, "refresh limit": limit}
        draw_curves(table, lines, f"{config.device.name}, {channels} channel(s)", figure, others)
    curves = table.groupby("read_percent")
    features: dict[str, Any] = {
        "unloaded_formula_ps": unloaded_ps(config),
        "peak_bytes_per_s": config.device.peak_bytes_per_s * channels,
        "refresh_limit_bytes_per_s": limit,
        "unloaded_ps": float(table["latency_ps"].min()),
        "max_bytes_per_s": {int(share): float(value) for share, value in curves["bandwidth_bytes_per_s"].max().items()},
        "max_latency_ps": {int(share): float(value) for share, value in curves["latency_ps"].max().items()},
    }
    compared = compare_curves(table, others) if others is not None else None
    if as_json:
        result = {"features": features, "points": table.to_dict("records")}
        print(json.dumps(result if compared is None else result | {"reference": compared.to_dict("records")}))
        return
    shown = Table("reads %", "max GB/s", "max latency ns", title=f"{config.device.name}, {channels} channel(s)")
    for share in sorted(features["max_bytes_per_s"], reverse=True):
        rate, latency = features["max_bytes_per_s"][share], features["max_latency_ps"][share]
        shown.add_row(str(share), f"{rate / 1e9:.1f}", f"{latency / 1e3:.1f}")
    screen = console()
    screen.print(shown)
    peak, lowest = features["peak_bytes_per_s"] / 1e9, features["unloaded_ps"] / 1e3
    screen.print(
        f"peak {peak:.1f} GB/s, refresh limit {limit / 1e9:.1f} GB/s, unloaded {lowest:.1f} ns", highlight=False
    )
    if compared is not None:
        screen.print(_comparison(compared))


def _comparison(compared: Any) -> Table:
    """Ours beside the reference, a row a read share."""
    columns = {
        "max GB/s": "max_GBps",
        "ref.": "reference_max_GBps",
        "%": "max_difference_pct",
        "unloaded ns": "unloaded_ns",
        "ref. ": "reference_unloaded_ns",
        "% ": "unloaded_difference_pct",
        "latency error %": "latency_error_pct",
        "less a constant": "latency_error_one_constant_pct",
    }
    table = Table("reads %", *columns, title="ours beside the reference")
    for row in compared.to_dict("records"):
        cells = [
            f"{row[key]:+.1f}" if key.endswith("difference_pct") else f"{row[key]:.1f}" for key in columns.values()
        ]
        table.add_row(f"{row['read_percent']:g}", *cells)
    return table


@app.command()
def bench(
    standards: Annotated[list[str] | None, typer.Argument(help="Standards to time; none = all.")] = None,
    requests: Annotated[int, typer.Option(help="Requests a pattern.", min=1000)] = 200_000,
    as_json: Json = False,
) -> None:
    """Time the simulator: requests per second of user CPU time by standard and pattern.

    Example:  tiergarten dram bench DDR4 HBM3
    """
    from tiergarten.dram.speed import measure_speed, speed_cases

    rows = []
    cases = speed_cases(standards)
    with Bar("timing", silent=False) as bar:
        for case in cases:
            rows.append(measure_speed(case, requests))
            bar.update(len(rows) / len(cases))
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("standard", "pattern", "requests/s", "with commands", "cycles/s", "Ramulator 2.1", "ratio")
    for row in rows:
        reference = row["reference_requests_per_s"]
        table.add_row(
            row["standard"],
            row["pattern"],
            f"{row['requests_per_s']:,.0f}",
            f"{row['requests_per_s_recorded']:,.0f}",
            f"{row['cycles_per_s']:,.0f}",
            f"{reference:,}" if reference else "-",
            f"{row['requests_per_s'] / reference:.1f}" if reference else "-",
        )
    console().print(table)
