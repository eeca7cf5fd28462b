"""measure: time the memory, copies and kernels of the machine at hand; predict the decode loop before it is measured."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tiergarten.cli.console import console

if TYPE_CHECKING:
    from tiergarten.calibration.measure.item import Item

app = typer.Typer(
    help="Measure this machine: memory, copies, files and, where there is an NVIDIA GPU, the device and its kernels.\n\n"
    "Example:  tiergarten measure --quick --out measured/",
)

Folder = Annotated[Path, typer.Argument(help="Folder that `tiergarten measure` wrote.", exists=True, file_okay=False)]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]


@app.callback(invoke_without_command=True)
def measure(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer points: under a minute.")] = False,
    list_items: Annotated[bool, typer.Option("--list", help="List the items and what they need, and stop.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Walk every item at tiny sizes with a stand-in device; measures nothing.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; items it already holds are not run again.")] = Path(
        "measured"
    ),
    items: Annotated[list[str] | None, typer.Option("--items", "-i", help="Item or group; may be repeated.")] = None,
    oversubscribe: Annotated[
        float,
        typer.Option(
            min=0, max=2, help="Also touch managed memory of this share of the free device memory. It can hang a GPU."
        ),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Run the suite: each item warmed up, checked, timed many times, in a process of its own with a time limit.

    Leaves the settings of a card alone. Run it again with the same folder to go on after an interruption.
    """
    if context.invoked_subcommand is not None:
        return
    from tiergarten.calibration.measure.decode_prediction import predict_before
    from tiergarten.calibration.measure.items import chosen_items
    from tiergarten.calibration.measure.runner import Suite, run_suite
    from tiergarten.calibration.measure.summary import summary
    from tiergarten.cli.progress import Bar

    names = [name.strip() for entry in items or [] for name in entry.split(",") if name.strip()]
    chosen = chosen_items(names)
    if list_items:
        _print_list(chosen, as_json)
        return
    command = shlex.join(["tiergarten", "measure", *_arguments()])
    suite = Suite(chosen, out, quick, dry_run, oversubscribe, command, predict_before)
    with Bar("measuring", silent=as_json) as bar:
        manifest = run_suite(suite, lambda name, share: bar.update(share))
    if as_json:
        print(json.dumps(manifest))
        return
    table = Table("item", "status", "rows", "seconds", "best figure, or why there is none")
    for line in summary(out, manifest):
        table.add_row(line.name, line.status, str(line.rows), f"{line.seconds:.1f}", line.figure)
    console().print(table)
    if dry_run:
        print("dry run: tiny sizes on a stand-in device; none of these numbers is a measurement")
    print(f"written to {out}")


def _arguments() -> list[str]:
    """The command line without the output folder, which is nobody's business but the machine's."""
    kept, skip = [], False
    for word in sys.argv[1:]:
        if skip or word == "measure":
            skip = False
        elif word in ("--out", "-o"):
            skip = True
        elif not word.startswith("--out="):
            kept.append(word)
    return kept


def _print_list(items: "tuple[Item, ...]", as_json: bool) -> None:
    if as_json:
        listed = [{"name": i.name, "group": i.group, "summary": i.summary, "needs": list(i.needs)} for i in items]
        print(json.dumps(listed))
        return
    table = Table("item", "group", "needs", "limit s (quick)", "measures")
    for item in items:
        limits = f"{item.limit_s} ({item.quick_limit_s})"
        table.add_row(item.name, item.group, ", ".join(item.needs), limits, item.summary)
    console().print(table)


@app.command("predict-decode")
def predict_decode(folder: Folder, as_json: Json = False) -> None:
    """Predict the decode loop from the other tables and write `decode_prediction.json`; refuses once it is measured.

    `tiergarten measure` does so by itself before it starts the decode loop.

    Example:  tiergarten measure predict-decode measured/
    """
    from tiergarten.calibration.measure.decode_prediction import write_prediction

    prediction = write_prediction(folder)
    print(json.dumps(prediction, indent=None if as_json else 1))


@app.command("score-decode")
def score_decode(folder: Folder, as_json: Json = False) -> None:
    """Compare the prediction with the measured decode loop.

    Example:  tiergarten measure score-decode measured/
    """
    from tiergarten.calibration.measure.decode_prediction import score_prediction

    scores = score_prediction(folder)
    if as_json:
        print(json.dumps(scores))
        return
    table = Table("placement", "context", "batch", "predicted ms", "measured ms", "error")
    for row in scores:
        table.add_row(
            row["placement"], str(row["context"]), str(row["batch"]), f"{row['predicted_ms']:.3f}",
            f"{row['measured_ms']:.3f}", f"{row['error']:+.1%}",
        )  # fmt: skip
    console().print(table)
