"""Request traces: look at them, convert and generate them, and measure hit rates without running a machine."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tiergarten.cli.console import console

app = typer.Typer(help="Request traces: inspect, convert, generate, and measure hit rates.", no_args_is_help=True)

TracePath = Annotated[Path, typer.Argument(help="Trace file, plain, .gz or .zst.")]
Format = Annotated[str | None, typer.Option("--format", help="Request format; absent = recognised by the first line.")]
BlockTokens = Annotated[int, typer.Option(min=0, help="Tokens per prefix block where the file does not say.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]


@app.command()
def info(trace: TracePath, form: Format = None, block_tokens: BlockTokens = 0, as_json: Json = False) -> None:
    """What a trace holds: requests, duration, lengths, blocks, and how much of it is shared.

    Example:  tiergarten requests info conversation_trace.jsonl
    """
    from tiergarten.workloads.requests.files import read_requests

    _print(_summary(read_requests(trace, form, block_tokens)), as_json)


@app.command()
def convert(
    trace: TracePath,
    out: Annotated[Path, typer.Argument(help="File to write; gzipped if it ends in .gz.")],
    form: Format = None,
    to: Annotated[str, typer.Option(help="Request format to write.")] = "tiergarten",
    block_tokens: BlockTokens = 0,
) -> None:
    """Write a trace in another format. Formats without blocks drop them.

    Example:  tiergarten requests convert conversation_trace.jsonl trace.csv.gz
    """
    from tiergarten.workloads.requests.files import read_requests, write_requests

    write_requests(read_requests(trace, form, block_tokens), out, to)


@app.command()
def generate(
    out: Annotated[Path, typer.Argument(help="File to write; gzipped if it ends in .gz.")],
    seed: Annotated[int, typer.Option(min=0, help="Root seed.")] = 0,
    to: Annotated[str, typer.Option(help="Request format to write.")] = "tiergarten",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A key of `workload.requests`, as in duration='5 min'."),
    ] = None,
) -> None:
    """Generate conversations as a scenario with `requests: {source: generated}` does.

    Example:  tiergarten requests generate chat.csv.gz --seed 7 --set duration='5 min' --set mean_turns=6
    """
    from tiergarten.scenario.load import load_scenario
    from tiergarten.workloads.requests.files import write_requests

    scenario = load_scenario("kv-tiers", [f"workload.requests.{assignment}" for assignment in overrides or []])
    write_requests(scenario.driver.params.requests.trace(seed), out, to)


@app.command("hit-rate")
def hit_rate(
    trace: TracePath,
    capacity: Annotated[list[int] | None, typer.Option(help="Cache size in blocks; give it once per size.")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="Eviction policy; give it once per policy.")] = None,
    warm_up: Annotated[float, typer.Option(help="Share of the requests that only fill the cache.")] = 0.5,
    form: Format = None,
    block_tokens: BlockTokens = 0,
    as_json: Json = False,
) -> None:
    """Hit rate in tokens against cache size, without a clock, and that of a cache without bound.

    Example:  tiergarten requests hit-rate trace.csv --capacity 1000 --capacity 10000 --policy lru --policy opt
    """
    import numpy as np
    import pandas as pd

    from tiergarten.workloads.hit_rate import hit_rates, unbounded_hit_rate
    from tiergarten.workloads.requests.files import read_requests

    read = read_requests(trace, form, block_tokens)
    bottomless = unbounded_hit_rate(read, warm_up)
    needed = int(bottomless["capacity_blocks"][0])
    sizes = capacity or np.unique(np.geomspace(max(1, needed / 1024), needed, 11).astype(int)).tolist()
    frame = pd.concat([hit_rates(read, sizes, policy or ("fifo", "lru", "opt"), warm_up), bottomless])
    if as_json:
        typer.echo(frame.to_json(orient="records", indent=2))
        return
    table = Table("policy", *(name for name in frame.columns if name != "policy"))
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{value:.6f}" if isinstance(value, float) else str(value) for value in row))
    console().print(table)


def _summary(trace: Any) -> dict[str, Any]:
    """Figures that describe a request trace."""
    import numpy as np

    from tiergarten.sim.units import PS_PER_S
    from tiergarten.workloads.hit_rate import unbounded_hit_rate

    duration_s = float(trace.arrivals_ps[-1] / PS_PER_S)
    gaps = np.diff(trace.arrivals_ps)
    summary: dict[str, Any] = {
        "requests": len(trace),
        "duration_s": duration_s,
        "requests_per_s": len(trace) / duration_s if duration_s else None,
        "arrival_gap_cv": float(gaps.std() / gaps.mean()) if len(gaps) and gaps.mean() else None,
        "input_tokens_mean": float(trace.input_tokens.mean()),
        "input_tokens_p50": float(np.median(trace.input_tokens)),
        "input_tokens_p99": float(np.percentile(trace.input_tokens, 99)),
        "output_tokens_mean": float(trace.output_tokens.mean()),
        "output_tokens_p50": float(np.median(trace.output_tokens)),
        "output_tokens_p99": float(np.percentile(trace.output_tokens, 99)),
        "block_tokens": trace.block_tokens,
        "blocks_asked": len(trace.block_ids),
        "sha256": trace.digest(),
    }
    if len(trace.block_ids):
        row = unbounded_hit_rate(trace, warmup_share=0.0).iloc[0]
        summary["blocks_distinct"] = int(row.capacity_blocks)
        summary["hit_rate_unbounded"] = float(row.hit_rate)
    return summary


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else str(value))
    console().print(table)
