"""The decode loop predicted from the other tables, written down before it is measured, and its score afterwards.

A step is, for each layer, its four products (affine law in the bytes of the weights, fitted to the products of small batch),
its attention (affine law in the bytes of keys and values), and its small operators (each the time of the smallest one
measured). Keys and values on the host add a copy to each layer (affine law of pinned copies): before the layer, or beside the
layer before it. Nothing of the decode loop itself enters.
"""

import csv
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from tiergarten.calibration.affine_law import Affine, solve
from tiergarten.calibration.measure.decode_points import model_and_points
from tiergarten.calibration.measure.item import Item
from tiergarten.calibration.measure.manifest import read_manifest, replace_text
from tiergarten.sim.errors import InputError, Problem

FILE: Final = "decode_prediction.json"
MEASURED: Final = "decode_loop.csv"
SMALL_OPERATORS: Final = 22
"""Launches of one layer beside its products and attention, counted in `decode_model`: two norms, seven each for the
rotation of queries and of keys, two writes of the cache, two additions, the gate and its product."""
TABLES: Final = ("gemm.csv", "attention_dense.csv", "operators.csv", "host_device_copies.csv")


def predict_before(item: Item, folder: Path) -> None:
    """Write the prediction when the decode loop is about to start; where it cannot be made, the reason."""
    if item.name != "decode_loop":
        return
    try:
        write_prediction(folder)
    except InputError as error:
        replace_text(
            folder / FILE, json.dumps({"no_prediction": [problem.message for problem in error.problems]}) + "\n"
        )


def write_prediction(folder: Path) -> dict[str, Any]:
    """Predict every point of the decode loop and write the file. InputError if tables are missing or it is too late."""
    if (folder / MEASURED).exists():
        raise InputError(
            Problem("the decode loop is measured already: a prediction now would not be one", str(folder / MEASURED))
        )
    old = folder / FILE
    if old.exists() and "rows" in json.loads(old.read_text(encoding="utf-8")):
        raise InputError(Problem("a prediction stands already and is not replaced", str(old)))
    tables = _tables(folder)
    manifest = read_manifest(folder)
    kind = manifest["kind"] if manifest else "full"
    prediction = {
        "written_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in TABLES},
        "rows": _predict(tables, kind),
    }
    replace_text(folder / FILE, json.dumps(prediction, indent=1) + "\n")
    return prediction


def _tables(folder: Path) -> dict[str, list[dict[str, str]]]:
    missing = [name for name in TABLES if not (folder / name).is_file()]
    if missing:
        raise InputError([Problem(f"{name} is missing; measure it first", str(folder)) for name in missing])
    tables = {}
    for name in TABLES:
        with (folder / name).open(newline="", encoding="utf-8") as file:
            tables[name] = list(csv.DictReader(file))
    return tables


def _law(rows: list[dict[str, str]], what: str) -> Affine:
    if len({row["bytes"] for row in rows}) < 2:
        raise InputError(Problem(f"{what}: fewer than two sizes, so no law can be told"))
    return solve(np.array([float(r["bytes"]) for r in rows]), np.array([1e6 * float(r["time_us"]) for r in rows]))


def _predict(tables: dict[str, list[dict[str, str]]], kind: str) -> list[dict[str, Any]]:
    sizes, points = model_and_points(kind)
    products = _law([row for row in tables["gemm.csv"] if int(row["m"]) <= 16], "gemm.csv, m up to 16")
    attention = _law([row for row in tables["attention_dense.csv"] if row["phase"] == "decode"], "attention, decode")
    copies = _law(
        [r for r in tables["host_device_copies.csv"] if r["memory"] == "pinned" and r["direction"] == "to_device"],
        "pinned copies to the device",
    )
    small_ps = 1e6 * min(float(row["time_us"]) for row in tables["operators.csv"])
    hidden, inner, layers = sizes["hidden"], sizes["inner"], sizes["layers"]
    kv_width = sizes["kv_heads"] * hidden // sizes["heads"]
    weights = 2 * hidden * np.array([hidden + 2 * kv_width, hidden, 2 * inner, inner], np.float64)
    products_ps = float(products.times_ps(weights).sum())
    head_ps = float(products.times_ps(np.array([2.0 * hidden * sizes["vocabulary"]]))[0])
    rows = []
    for placement, batch, context in points:
        kv_bytes = np.array([4.0 * batch * context * kv_width])
        compute_ps = products_ps + float(attention.times_ps(kv_bytes)[0]) + SMALL_OPERATORS * small_ps
        copy_ps = float(copies.times_ps(kv_bytes)[0])
        if placement == "device":
            total_ps = layers * compute_ps
        elif placement == "host_waiting":
            total_ps = layers * (copy_ps + compute_ps)
        else:
            total_ps = copy_ps + (layers - 1) * max(copy_ps, compute_ps) + compute_ps
        rows.append(
            {"placement": placement, "batch": batch, "context": context, "predicted_ms": (total_ps + head_ps) / 1e9}
        )
    return rows


def score_prediction(folder: Path) -> list[dict[str, Any]]:
    """Predicted and measured milliseconds of every point that has both. InputError if either is missing."""
    try:
        prediction = json.loads((folder / FILE).read_text(encoding="utf-8"))
        with (folder / MEASURED).open(newline="", encoding="utf-8") as file:
            measured = {(r["placement"], int(r["batch"]), int(r["context"])): r for r in csv.DictReader(file)}
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(Problem(f"cannot be scored: {error}", str(folder))) from error
    if "rows" not in prediction:
        raise InputError(Problem(f"no prediction was made: {prediction.get('no_prediction')}", str(folder / FILE)))
    scores = []
    for row in prediction["rows"]:
        found = measured.get((row["placement"], row["batch"], row["context"]))
        if found is not None:
            measured_ms = float(found["time_us"]) / 1e3
            scores.append({**row, "measured_ms": measured_ms, "error": row["predicted_ms"] / measured_ms - 1})
    return scores
