"""calibrate fit, score, curve: model parameters from measurements, and how far off they are."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tiergarten.cli.console import console

app = typer.Typer(
    help="Fit model parameters to measurements and score them on rows that the fit has not seen.", no_args_is_help=True
)

Measured = Annotated[
    Path, typer.Argument(help="CSV with a size column (bytes) and a time column (time_us, ...), one row a transfer.")
]
Where = Annotated[list[str] | None, typer.Option("--where", help="Use only rows with COLUMN=VALUE; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]


@app.command()
def fit(
    measured: Measured,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; name it as a link's or tier's `calibration:`.")
    ] = Path("fitted.yaml"),
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the rows kept back for the score.")] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Decides which rows are kept back.")] = 0,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Fit time = per_copy + bytes / bandwidth, with 95 % intervals, and score it on the rows kept back.

    Example:  tiergarten calibrate fit copies.csv --where memory=pinned --where direction=to_device --out pcie.yaml
    """
    from tiergarten.calibration.affine import fit as fit_affine
    from tiergarten.calibration.fitted_file import write_fitted
    from tiergarten.calibration.measured import read_measured

    parameters, _ = fit_affine(read_measured(measured, _conditions(where)), held_out, seed)
    write_fitted(parameters, out)
    if as_json:
        print(json.dumps({"file": str(out), **parameters.model_dump(mode="json")}))
        return
    error, screen = parameters.error, console()
    screen.print(
        f"per copy   {parameters.per_copy / 1e6:.4g} us  (95 %: {_span(parameters.per_copy_interval)})", highlight=False
    )
    screen.print(
        f"bandwidth  {parameters.bandwidth / 1e9:.4g} GB/s  (95 %: {_span(parameters.bandwidth_interval)})",
        highlight=False,
    )
    screen.print(f"mean error {error.fitted_mape:.2%} on {parameters.rows_fitted} rows of the fit", highlight=False)
    if error.held_out_mape is not None and error.interval is not None:
        low, high = error.interval
        screen.print(
            f"mean error {error.held_out_mape:.2%} (95 %: {low:.2%} to {high:.2%}), worst {error.held_out_worst:.2%} "
            f"on {parameters.rows_held_out} rows it has not seen",
            highlight=False,
        )
    screen.print(f"written to {out}", highlight=False)


@app.command()
def score(
    fitted: Annotated[Path, typer.Argument(help="File written by `calibrate fit`.")],
    measured: Measured,
    figure: Annotated[Path | None, typer.Option(help="Also draw predicted against measured into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Score fitted parameters on other measurements.

    Example:  tiergarten calibrate score pcie.yaml other_copies.csv --figure parity/
    """
    from tiergarten.calibration.affine import law_of, relative_errors
    from tiergarten.calibration.measured import read_measured
    from tiergarten.calibration.parity import write_parity
    from tiergarten.scenario.fitted import read_fitted

    parameters, rows = read_fitted(fitted), read_measured(measured)
    errors = relative_errors(law_of(parameters), rows)
    if figure is not None:
        from tiergarten.reports import make_figures

        write_parity(figure, law_of(parameters), rows, same_rows=rows.sha256 == parameters.measured_sha256)
        make_figures(figure, ["parity"])
    if as_json:
        print(json.dumps({"rows": len(rows), "mape": float(errors.mean()), "worst": float(errors.max())}))
        return
    note = " (the file of the fit: not an independent score)" if rows.sha256 == parameters.measured_sha256 else ""
    print(f"mean error {errors.mean():.2%}, worst {errors.max():.2%} on {len(rows)} rows{note}")


@app.command()
def curve(
    measured: Annotated[Path, typer.Argument(help="CSV with read_percent, bandwidth_GBps and latency_ns.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Table to write; name it as a curve model's `table:`.")
    ] = Path("curve.csv"),
    held_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the points kept back for the score.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Decides which points are kept back.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a bandwidth-latency family to latency measured under load, and score it on the points kept back.

    Example:  tiergarten calibrate curve measured/host_loaded_latency.csv --out host.csv
    """
    from dataclasses import asdict

    from tiergarten.calibration.curves import fit_curves, read_loaded_latency, write_curves
    from tiergarten.calibration.model_parity import model_scores

    fitted = fit_curves(read_loaded_latency(measured), held_out, seed)
    write_curves(fitted, out)
    scores = {"curve, read off": fitted.curve_score, "constant latency": fitted.analytic_score}
    num_used = 0
    if len(fitted.held_out):
        scores["model: curve"], scores["model: analytic"], num_used = model_scores(fitted, fitted.held_out)
    if as_json:
        listed = {name: asdict(one) if one else None for name, one in scores.items()}
        print(
            json.dumps(
                {
                    "file": str(out), "points_fitted": fitted.num_fitted, "points_held_out": fitted.num_held_out,
                    "points_over_saturated": fitted.num_over_saturated, "points_below_saturation": num_used,
                    "fitted_error": fitted.fitted_error, "constant_latency_ns": fitted.analytic_latency_ns, **listed,
                }
            )
        )  # fmt: skip
        return
    screen = console()
    for one in fitted.curves:
        _line(
            screen,
            f"{one.read_percent:5.0f} % reads  {one.latencies_ns[0]:7.1f} ns at {one.bandwidths_GBps[0]:8.2f} GB/s to "
            f"{one.latencies_ns[-1]:7.1f} ns at {one.bandwidths_GBps[-1]:8.2f} GB/s",
        )
    if fitted.num_over_saturated:
        _line(screen, f"{fitted.num_over_saturated} over-saturated points are in neither fit nor score")
    _line(screen, f"mean error {fitted.fitted_error:.2%} on {fitted.num_fitted} points of the fit")
    for name, found in scores.items():
        if found is not None:
            low, high = found.interval
            points = num_used if name.startswith("model") else fitted.num_held_out
            _line(
                screen,
                f"{name:17}  mean error {found.mean:.2%} (95 %: {low:.2%} to {high:.2%}), worst {found.worst:.2%} "
                f"on {points} points it has not seen",
            )
    _line(screen, f"written to {out}")


def _line(screen: Console, text: str) -> None:
    screen.print(text, highlight=False, soft_wrap=True)


def _conditions(where: list[str] | None) -> dict[str, str]:
    """COLUMN=VALUE pairs. BadParameter otherwise."""
    pairs = [word.partition("=") for word in where or []]
    for column, separator, _ in pairs:
        if not column or not separator:
            raise typer.BadParameter("write it as COLUMN=VALUE", param_hint="--where")
    return {column: value for column, _, value in pairs}


def _span(interval: object) -> str:
    return f"{interval.low} to {interval.high}" if interval is not None else "unknown"  # type: ignore[attr-defined]
