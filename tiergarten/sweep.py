"""Sweeps: the points of a grid or zip of values, run in parallel processes, resumable after a kill.

Each point is a run in a folder of its own below `points/`; a point whose folder is complete is not run again. The table
`sweep.parquet` has one row per point, in the order of the sweep, whatever finished first.
"""

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tiergarten.result import write_json, write_parquet
from tiergarten.scenario.load import Scenario, with_values
from tiergarten.scenario.schema import RangeConfig, SweepConfig
from tiergarten.scenario.yaml_tree import parse_yaml
from tiergarten.sensitivity import base_values, sensitivity
from tiergarten.sim.errors import Problem, ScenarioError, TiergartenError
from tiergarten.simulate import simulate

MAX_POINTS = 100_000

Point = dict[str, Any]
"""Values by dotted key."""


def overrides_for_vary(texts: Sequence[str]) -> list[str]:
    """`KEY=[a, b]` arguments of the command line as one override of the scenario's sweep; none when there are none."""
    columns: dict[str, Any] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        parsed = parse_yaml(values, "--vary").value if equals and values.strip() else None
        if not isinstance(parsed, list) or not key.strip():
            raise ScenarioError(Problem(f"write it as dotted.key=[first, second], got {text!r}", "--vary"))
        columns[key.strip()] = parsed
    return [f"sweep={json.dumps({'set': columns})}"] if columns else []


def points(sweep: SweepConfig, base: Point) -> list[Point]:
    """Every point of a sweep. ScenarioError when lists of a zip differ in length or the grid is too large.

    `base` holds the values that keys have where they are not varied; only one-at-a-time sweeps use it.
    """
    columns = {
        key: range_values(values) if isinstance(values, RangeConfig) else list(values)
        for key, values in sweep.set.items()
    }
    empty = [key for key, values in columns.items() if not values]
    if empty:
        raise ScenarioError(Problem(f"has no values: {', '.join(empty)}", path="sweep.set"))
    if sweep.mode == "one-at-a-time":
        return [
            base,
            *({**base, key: value} for key, values in columns.items() for value in values if value != base[key]),
        ]
    lengths = {key: len(values) for key, values in columns.items()}
    if sweep.mode == "zip":
        if len(set(lengths.values())) > 1:
            raise ScenarioError(Problem(f"a zip needs lists of one length, got {lengths}", path="sweep.set"))
        rows = list(zip(*columns.values(), strict=True))
    else:
        if np.prod(list(lengths.values()), dtype=float) > MAX_POINTS:
            raise ScenarioError(Problem(f"the grid has more than {MAX_POINTS} points: {lengths}", path="sweep.set"))
        rows = list(product(*columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def range_values(config: RangeConfig) -> list[Any]:
    """The values of a range; with a unit when its ends have one (the same on both)."""
    (start, unit), (stop, stop_unit) = _number(config.start), _number(config.stop)
    if unit != stop_unit:
        raise ScenarioError(
            Problem(f"start and stop need the same unit, got {config.start!r} and {config.stop!r}", path="sweep.set")
        )
    if config.scale == "log":
        if start <= 0 or stop <= 0:
            raise ScenarioError(Problem("a log range needs ends greater than zero", path="sweep.set"))
        values = np.geomspace(start, stop, config.steps)
    else:
        values = np.linspace(start, stop, config.steps)
    rounded = [float(f"{value:.12g}") for value in values]
    whole = [int(value) if value.is_integer() else value for value in rounded]
    return [f"{value} {unit}" for value in whole] if unit else whole


def _number(text: str | float) -> tuple[float, str]:
    if isinstance(text, (int, float)):
        return float(text), ""
    number, _, unit = text.strip().partition(" ")
    try:
        return float(number), unit.strip()
    except ValueError:
        raise ScenarioError(Problem(f"cannot read {text!r}; write it as in '32 GiB'", path="sweep.set")) from None


def run_sweep(
    scenario: Scenario, out: Path, workers: int, progress: Callable[[float], None] | None = None
) -> tuple[Path, pa.Table]:
    """Run what is missing of the scenario's sweep.

    All points are validated before the first one runs. Returns the sweep's folder and its table; the table has the columns
    `set.<key>` of the point, then its metrics, and `error` for a point that could not be run.
    """
    if scenario.schema.sweep is None:
        raise ScenarioError(scenario.tree.problem((), "has no `sweep:`; add one, or give --vary KEY=[...]"))
    sweep = scenario.schema.sweep
    turns_knobs = sweep.mode == "one-at-a-time"
    todo = points(sweep, base_values(scenario, list(sweep.set)) if turns_knobs else {})
    scenarios = _validated(scenario, todo)
    identity = hashlib.sha256(json.dumps([scenario.hash, todo], sort_keys=True).encode()).hexdigest()
    folder = out / f"{scenario.name}-sweep-{identity[:8]}"
    (folder / "points").mkdir(parents=True, exist_ok=True)
    for leftover in (folder / "points").glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)
    missing = [point for point in scenarios if not _point_folder(folder, point).exists()]
    done = len(scenarios) - len(missing)
    errors: dict[str, str] = {}

    def tell() -> None:
        if progress is not None:
            progress(done / len(scenarios))

    if workers == 1 or len(missing) <= 1:
        for point in missing:
            _note(errors, point, _run_point(point, folder))
            done += 1
            tell()
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(missing)), mp_context=context) as pool:
            futures = {pool.submit(_run_point, point, folder): point for point in missing}
            waiting = set(futures)
            while waiting:
                finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in finished:
                    _note(errors, futures[future], future.result())
                    done += 1
                tell()
    table = _table(folder, scenarios, todo, errors)
    write_json(
        folder / "manifest.json",
        {"name": scenario.name, "title": scenario.schema.title, "sweep": identity, "points": len(todo)},
    )
    if turns_knobs:
        (folder / "series").mkdir(exist_ok=True)
        write_parquet(sensitivity(list(sweep.set), table.to_pylist()), folder / "series" / "sensitivity.parquet")
    staging = folder / ".sweep.parquet"
    write_parquet(table, staging)
    staging.replace(folder / "sweep.parquet")
    return folder, table


def _validated(scenario: Scenario, todo: list[Point]) -> list[Scenario]:
    scenarios: list[Scenario] = []
    problems: list[Problem] = []
    for index, point in enumerate(todo):
        try:
            scenarios.append(with_values(scenario, point, f"sweep point {index}"))
        except ScenarioError as error:
            problems += error.problems
            if len(problems) >= 20:
                break
    if problems:
        raise ScenarioError(problems)
    return scenarios


def _point_folder(folder: Path, scenario: Scenario) -> Path:
    return folder / "points" / f"{scenario.name}-{scenario.hash[:8]}"


def _run_point(scenario: Scenario, folder: Path) -> str:
    """Run one point into its folder; returns the message of an error that is the input's."""
    try:
        simulate(scenario).save(folder / "points")
    except TiergartenError as error:
        return str(error)
    return ""


def _note(errors: dict[str, str], scenario: Scenario, message: str) -> None:
    if message:
        errors[scenario.hash] = message


def _table(folder: Path, scenarios: list[Scenario], todo: list[Point], errors: dict[str, str]) -> pa.Table:
    rows = []
    for scenario, point in zip(scenarios, todo, strict=True):
        metrics_file = _point_folder(folder, scenario) / "metrics.json"
        metrics = json.loads(metrics_file.read_text(encoding="utf-8")) if metrics_file.exists() else {}
        rows.append(
            {**{f"set.{key}": value for key, value in point.items()}, **metrics, "error": errors.get(scenario.hash, "")}
        )
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in columns})


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return pa.array([float(v) if kinds == {int, float} and v is not None else v for v in values])
    return pa.array([None if value is None else str(value) for value in values])
