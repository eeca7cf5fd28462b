"""Traces: record a kernel, make or convert address traces, print what a trace looks like."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tiergarten.sim.trace import AddressTrace, Trace
    from tiergarten.workloads.trace_statistics import TraceStatistics

app = typer.Typer(help="Traces: record kernels, make, convert and look at them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Format of the file: ramulator, dramsim3 or stl; told from the file when left out."),
]
Align = Annotated[int, typer.Option("--align", min=1, help="Bytes that every address must be a multiple of.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Root seed.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set a parameter; once per parameter.")
]


@app.command()
def stats(
    file: Annotated[Path, typer.Argument(help="A .trace file, or an address trace, plain or .gz.")],
    format_name: Format = None,
    block: Annotated[
        str | None, typer.Option(help="Block size, as in '64 B'; 64 B for address traces, 4 KiB for programs.")
    ] = None,
    align: Align = 32,
    plot: Annotated[Path | None, typer.Option(help="Folder that the figure (PNG, PDF, CSV) is written to.")] = None,
    as_json: Json = False,
) -> None:
    """Reuse distances, working-set curve, read share, run lengths and footprint.

    Example:  tiergarten trace stats decode.trace --plot figures
    """
    from tiergarten.sim.errors import Problem, TraceError
    from tiergarten.sim.trace_io import load_trace, trace_kind
    from tiergarten.workloads.addresses.files import NATIVE_SUFFIX, read_addresses
    from tiergarten.workloads.lowering import lower
    from tiergarten.workloads.trace_statistics import statistics

    is_program = format_name is None and file.suffix == NATIVE_SUFFIX and trace_kind(file) == "trace"
    block_bytes = _block_bytes(block, "4 KiB" if is_program else "64 B")
    addresses = lower(load_trace(file), block_bytes) if is_program else read_addresses(file, format_name, align)
    if len(addresses) == 0:
        raise TraceError(Problem("holds no access", str(file)))
    found = statistics(addresses, block_bytes)
    tables = _tables(found)
    if plot is not None:
        from tiergarten.reports.render import save
        from tiergarten.reports.trace_statistics import trace_figure

        plot.mkdir(parents=True, exist_ok=True)
        save(trace_figure(file.name, _summary(found), tables), plot)
    if as_json:
        print(json.dumps({**_summary(found), **{name: table.to_dict("list") for name, table in tables.items()}}))
    else:
        _print(file.name, found, tables)


@app.command()
def kernel(
    name: Annotated[str, typer.Argument(help="A kernel; see `tiergarten trace kernels`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .trace file to write.")],
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run a kernel, check its result and its bytes, and write the trace of what it touched. Exit code 1 if a check fails.

    Example:  tiergarten trace kernel paged_decode -s block_tokens=32 --out decode.trace
    """
    from tiergarten.sim.errors import ConservationError
    from tiergarten.sim.trace_io import save_trace
    from tiergarten.workloads.kernel import KERNELS, check_kernel
    from tiergarten.workloads.traffic import traffic

    chosen = _configured(KERNELS.get(name), name, settings or [])
    try:
        outcome, trace = check_kernel(chosen, seed)
    except ConservationError as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(1) from error
    except (ValueError, IndexError, ArithmeticError, MemoryError) as error:
        from tiergarten.sim.errors import TiergartenError

        raise TiergartenError(f"{chosen}: this shape cannot be run: {error}") from error
    save_trace(trace, out)
    moved = {
        key: {"read_bytes": value.read_bytes, "written_bytes": value.written_bytes}
        for key, value in traffic(trace).items()
    }
    found = {
        "kernel": str(chosen), "trace": str(out), "relative_error": outcome.error(), "recall": outcome.recall,
        "operations": len(trace.ops), "accesses": len(trace.accesses), "objects": moved,
    }  # fmt: skip
    if as_json:
        print(json.dumps(found))
    else:
        _print_kernel(found)


@app.command()
def kernels(as_json: Json = False) -> None:
    """All kernels with a line each.

    Example:  tiergarten trace kernels
    """
    from tiergarten.sim.registry import summary
    from tiergarten.workloads.kernel import KERNELS

    found = {name: summary(entry) for name, entry in KERNELS.items()}
    if as_json:
        print(json.dumps(found))
        return
    _table("Kernels", ["kernel", "what it is"], [[name, text] for name, text in found.items()])


@app.command()
def torch(
    program: Annotated[
        str, typer.Argument(help="FILE.py:FUNCTION; the function gives (model, args) or (model, args, kwargs).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .trace file to write.")],
    meta: Annotated[
        bool, typer.Option("--meta", help="Build and run on the meta device: sizes only, no memory.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Forward, backward and an AdamW step, instead of a forward.")
    ] = False,
    repeat: Annotated[
        str | None,
        typer.Option(metavar="MODULES=DEPTH", help="Repeat the last layer of a list of modules: model.layers=80."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record a PyTorch program. The file is run: record only what you trust.

    Two layers of a model are enough with --repeat: the last one is repeated to the depth given.

    Example:  tiergarten trace torch my_model.py:build --meta --repeat model.layers=80 --out llama.trace
    """
    from tiergarten.sim.trace_io import save_trace
    from tiergarten.workloads.recorders.program import record_program

    trace = record_program(program, meta=meta, train=train, repeat=repeat)
    save_trace(trace, out)
    _print_program(trace, out, as_json=as_json)


@app.command()
def generate(
    pattern: Annotated[str, typer.Argument(help="stream, stride, random, pointer_chase, hot_set or llm_decode.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .trace, or text with --format.")],
    settings: Settings = None,
    format_name: Format = None,
    seed: Seed = 0,
) -> None:
    """Make a synthetic address trace.

    Example:  tiergarten trace generate hot_set -s accesses=1000000 --out hot.trace
    """
    from tiergarten.workloads.addresses import address_patterns
    from tiergarten.workloads.addresses.files import write_addresses

    chosen = _configured(address_patterns.get(pattern), pattern, settings or [])
    write_addresses(_generated(chosen, seed), out, format_name)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="The trace to read.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .trace, or text with --format; .gz compresses.")
    ],
    format_name: Format = None,
    align: Align = 32,
) -> None:
    """Convert an address trace between formats.

    Example:  tiergarten trace convert app.stl --format ramulator --out app.txt
    """
    from tiergarten.workloads.addresses.files import read_addresses, write_addresses

    write_addresses(read_addresses(file, align_bytes=align), out, format_name)


@app.command("export")
def export_program(
    file: Annotated[Path, typer.Argument(help="A .trace file of a program.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Chakra execution trace to write, .et; .gz compresses.")],
) -> None:
    """Write a program's trace as a Chakra execution trace, memory nodes included.

    Example:  tiergarten trace export decode.trace --out decode.et
    """
    from tiergarten.sim.trace_io import load_trace
    from tiergarten.workloads.exchange.chakra import write_chakra

    write_chakra(load_trace(file), out)


@app.command("import")
def import_program(
    file: Annotated[
        Path,
        typer.Argument(help="A profile of torch.profiler or a file of its observer (.json), or Chakra (.et); or .gz."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .trace file to write.")],
    observer: Annotated[
        Path | None,
        typer.Option(help="With a profile: the ExecutionTraceObserver's file of the same run, which names storages."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read another tool's program trace; the form is told from the file.

    Of torch.profiler (Kineto), operators with their streams, shapes and memory events; of the observer, operators and
    their tensors; of Chakra, nodes become operations and memory nodes accesses.

    Example:  tiergarten trace import profile.json --observer observer.json --out step.trace
    """
    from tiergarten.sim.trace_io import save_trace
    from tiergarten.workloads.exchange.program_files import read_program

    trace = read_program(file, observer)
    save_trace(trace, out)
    _print_program(trace, out, as_json=as_json)


def _print_program(trace: "Trace", out: Path, *, as_json: bool) -> None:
    found = {"trace": str(out), "operations": len(trace.ops), "accesses": len(trace.accesses),
             "objects": len(trace.objects), "flops": float(trace.ops.flops.sum())}  # fmt: skip
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{out}: {len(trace.ops)} operations, {len(trace.accesses)} accesses, {len(trace.objects)} objects")


def _block_bytes(text: str | None, default: str) -> int:
    from tiergarten.sim.errors import TiergartenError
    from tiergarten.sim.units import parse_bytes

    try:
        size = parse_bytes(text or default)
    except ValueError as error:
        raise TiergartenError(f"--block: {error}") from error
    if size < 1:
        raise TiergartenError("--block: a block has at least 1 byte")
    return size


def _configured(kind: Any, name: str, settings: list[str]) -> Any:
    """A dataclass with the given fields set; TiergartenError names what is wrong."""
    from dataclasses import fields

    from tiergarten.sim.errors import TiergartenError
    from tiergarten.sim.params import configured

    texts = {field.name for field in fields(kind) if isinstance(field.default, str)}
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise TiergartenError(f"--set {setting}: write it as PARAMETER=VALUE")
        values[key] = text if key in texts else _value(text)
    try:
        return configured(kind, values)
    except ValueError as error:
        raise TiergartenError(f"--set: {name}: {error}") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _generated(pattern: Any, seed: int) -> "AddressTrace":
    from tiergarten.sim.errors import TiergartenError

    try:
        generated: AddressTrace = pattern.generate(seed)
        return generated
    except (ValueError, MemoryError) as error:
        raise TiergartenError(str(error)) from error


def _summary(found: "TraceStatistics") -> dict[str, Any]:
    return {
        "accesses": found.accesses,
        "block_bytes": found.block_bytes,
        "footprint_bytes": found.footprint_bytes,
        "read_share": found.read_share,
        "first_touches": found.first_touches,
    }


def _tables(found: "TraceStatistics") -> dict[str, Any]:
    import pandas as pd

    return {
        "reuse": pd.DataFrame({"reuse_distance_blocks": found.reuse_bins, "accesses": found.reuse_counts}),
        "working_set": pd.DataFrame({"window_accesses": found.windows, "working_set_bytes": found.working_set_bytes}),
        "runs": pd.DataFrame({"run_blocks": found.run_bins, "runs": found.run_counts}),
    }


def _print(name: str, found: "TraceStatistics", tables: dict[str, Any]) -> None:
    from tiergarten.sim.units import format_bytes

    rows = [
        ["accesses", f"{found.accesses:,}"],
        ["block", format_bytes(found.block_bytes)],
        ["footprint", format_bytes(found.footprint_bytes)],
        ["read share", f"{found.read_share:.4f}"],
        ["first touches", f"{found.first_touches:,}"],
    ]
    _table(f"Statistics of {name}", ["what", "value"], rows)
    reuse = zip(found.reuse_bins.tolist(), found.reuse_counts.tolist(), strict=True)
    _table("Reuse distance", ["blocks, from", "accesses"], [[f"{edge:,}", f"{count:,}"] for edge, count in reuse])
    sets = zip(found.windows.tolist(), found.working_set_bytes.tolist(), strict=True)
    _table("Working set", ["window, accesses", "mean size"], [[f"{w:,}", format_bytes(size)] for w, size in sets])
    runs = zip(found.run_bins.tolist(), found.run_counts.tolist(), strict=True)
    _table("Runs", ["blocks, from", "runs"], [[f"{edge:,}", f"{count:,}"] for edge, count in runs])


def _print_kernel(found: dict[str, Any]) -> None:
    from tiergarten.sim.units import format_bytes

    rows = [
        [name, format_bytes(m["read_bytes"]), format_bytes(m["written_bytes"])] for name, m in found["objects"].items()
    ]
    recall = "" if found["recall"] is None else f", needle recall {found['recall']:.2f}"
    _table(found["kernel"], ["object", "read", "written"], rows)
    typer.echo(
        f"{found['trace']}: {found['operations']} operations, {found['accesses']} accesses; "
        f"relative error {found['relative_error']:.1e}{recall}"
    )


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    from tiergarten.cli.console import console

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 or column == "what it is" else "right")
    for row in rows:
        table.add_row(*row)
    console().print(table)
