"""controller evaluate, controller verify: designs of the DRAMGym controller space on address traces."""

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tiergarten.cli.console import console

app = typer.Typer(
    help="Evaluate DRAM controller designs (DRAMSys and DRAMGym's ten knobs) on address traces.", no_args_is_help=True
)

PartName = Annotated[
    str, typer.Option("--part", help="Memory channel: DDR4-2400, DDR4-2400-brc, DDR4-1866, DDR3-1600.")
]
Meaning = Annotated[str, typer.Option("--semantics", help="ours, dramsys-2026 or dramsys-2021.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]


@app.command()
def evaluate(
    trace: Annotated[Path, typer.Argument(help="Trace in DRAMSys's .stl format, plain or gzip.")],
    part: PartName = "DDR4-2400",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KNOB=VALUE, may be repeated: PagePolicy=Closed.")
    ] = None,
    tick: Annotated[str, typer.Option(help="Length of a tick of the trace; the part's clock if left out.")] = "",
    semantics: Meaning = "ours",
    as_json: Json = False,
) -> None:
    """Replay a trace through one controller design and print time, energy, latency and commands.

    Example:  tiergarten controller evaluate random.stl.gz --set PagePolicy=Closed --set RequestBufferSize=32
    """
    from tiergarten.dram.dramsys import ControllerDesign, read_stl
    from tiergarten.dram.dramsys import evaluate as evaluate_design
    from tiergarten.dram.dramsys import part as find_part
    from tiergarten.dram.dramsys import semantics as find_semantics

    memory, meaning = find_part(part), find_semantics(semantics)
    design = ControllerDesign.from_knobs(_knobs(settings or []))
    result = evaluate_design(design, read_stl(trace, _tick_ps(tick)), memory, meaning)
    figures: dict[str, Any] = {
        "time_ps": result.time_ps,
        "energy_pj": result.energy_pj,
        "power_w": result.power_w,
        "mean_latency_ps": result.mean_latency_ps,
        "p50_latency_ps": result.p50_latency_ps,
        "p99_latency_ps": result.p99_latency_ps,
        "max_latency_ps": result.max_latency_ps,
        "bandwidth_bytes_per_s": result.bandwidth_bytes_per_s,
        "num_requests": result.num_requests,
        "num_row_hits": result.num_row_hits,
        "refreshes_due": result.refreshes_due,
        "refreshes_owed": result.refreshes_owed,
        "refresh_debt_ps": result.refresh_debt_ps,
        "refresh_debt_pj": result.refresh_debt_pj,
        "energy_by_cause_pj": result.energy_by_cause_pj,
        "commands": result.commands,
    }
    if as_json:
        knobs = design.to_knobs()
        print(json.dumps({"part": part, "semantics": meaning.name, "design": knobs, **figures}))
        return
    table = Table("figure", "value", box=None)
    for name, value in figures.items():
        if isinstance(value, dict):
            for cause, share in value.items():
                table.add_row(f"{name}.{cause}", f"{share:,.6g}")
        else:
            table.add_row(name, f"{value:,.6g}" if isinstance(value, float) else f"{value:,}")
    console().print(table)


@app.command()
def verify(
    table: Annotated[
        Path, typer.Argument(help="CSV of DRAMSys results: the ten knobs, workload, mapping, clk_mhz, ...")
    ],
    traces: Annotated[Path, typer.Option(help="Folder with WORKLOAD.stl.gz.")],
    semantics: Meaning = "dramsys-2026",
    tolerance: Annotated[float, typer.Option(min=0, help="Relative difference that still counts as equal.")] = 1e-5,
    as_json: Json = False,
) -> None:
    """Replay every row of a table of DRAMSys results and compare time, core energy and latency. Exits with 1 on a miss.

    Example:  tiergarten controller verify dramsys_points.csv --traces traces
    """
    from tiergarten.cli.progress import Bar
    from tiergarten.dram.dramsys import KNOBS, ControllerDesign, read_stl
    from tiergarten.dram.dramsys import evaluate as evaluate_design
    from tiergarten.dram.dramsys import part as find_part
    from tiergarten.dram.dramsys import semantics as find_semantics

    rows, meaning = _rows(table), find_semantics(semantics)
    checked = {"time": 0, "energy": 0, "latency": 0}
    first_miss = ""
    loaded: dict[tuple[str, int], Any] = {}
    with Bar("replaying", silent=as_json) as bar:
        for number, row in enumerate(rows, start=2):
            key = (row["workload"], round(1e6 / float(row["clk_mhz"])))
            if key not in loaded:
                loaded[key] = read_stl(traces / f"{key[0]}.stl.gz", key[1])
            memory = find_part("DDR4-2400" if row["mapping"] == "rbc" else "DDR4-2400-brc")
            design = ControllerDesign.from_knobs({knob.name: row[knob.name] for knob in KNOBS})
            result = evaluate_design(design, loaded[key], memory, meaning)
            for name, ours, theirs in (
                ("time", result.time_ps / 1e6, row["total_time_us"]),
                ("energy", result.energy_pj / 1e6, row["core_energy_uJ"]),
                ("latency", result.mean_latency_ps / 1e3, row["avg_latency_ns"]),
            ):
                if abs(ours / float(theirs) - 1) <= tolerance:
                    checked[name] += 1
                elif not first_miss:
                    first_miss = f"{table}:{number}: {name} is {ours:.6g}, the table says {theirs}"
            bar.update((number - 1) / len(rows))
    total = len(rows)
    if as_json:
        print(json.dumps({"total": total, "matched": checked, "first_miss": first_miss}))
    else:
        for name, matched in checked.items():
            print(f"{name:8} {matched}/{total}")
        if first_miss:
            print(f"first miss: {first_miss}")
    if any(matched < total for matched in checked.values()):
        raise typer.Exit(1)


_COLUMNS = ("workload", "mapping", "clk_mhz", "total_time_us", "core_energy_uJ", "avg_latency_ns")


def _rows(table: Path) -> list[dict[str, str]]:
    """Rows of the CSV; InputError names what is missing."""
    from tiergarten.dram.dramsys import KNOBS
    from tiergarten.sim.errors import InputError, Problem

    try:
        with table.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(Problem(f"cannot be read: {error}", file=str(table))) from None
    if not rows:
        raise InputError(Problem("holds no row", file=str(table)))
    problems = [
        Problem(f"column {name!r} is missing", file=str(table))
        for name in (*_COLUMNS, *(knob.name for knob in KNOBS))
        if name not in rows[0]
    ]
    for number, row in enumerate(rows, start=2):
        for name in _COLUMNS[2:] if not problems else ():
            try:
                if not float(row[name]) > 0:
                    raise ValueError
            except (TypeError, ValueError):
                problems.append(
                    Problem(f"needs a number above 0, got {row[name]!r}", file=str(table), line=number, path=name)
                )
    if problems:
        raise InputError(problems[:20])
    return rows


def _knobs(settings: list[str]) -> dict[str, str]:
    from tiergarten.sim.errors import InputError, Problem

    knobs = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign:
            raise InputError(Problem(f"write --set KNOB=VALUE, got {setting!r}"))
        knobs[name.strip()] = value.strip()
    return knobs


def _tick_ps(tick: str) -> int:
    """Picoseconds of a tick, 0 for the part's clock."""
    from tiergarten.sim.errors import InputError, Problem
    from tiergarten.sim.units import parse_ps

    if not tick:
        return 0
    try:
        return parse_ps(tick)
    except ValueError as error:
        raise InputError(Problem(str(error), path="--tick")) from None
