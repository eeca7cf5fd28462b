"""The measurements that are shipped: whole, small, free of names of machines, and good for a fit."""

import csv
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tiergarten.calibration.curves import fit_curves, read_loaded_latency

FOLDER = Path(str(files("tiergarten.calibration"))) / "measurements"
EACH = pytest.mark.parametrize("folder", sorted(p for p in FOLDER.iterdir() if p.is_dir()), ids=lambda path: path.name)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@EACH
def test_folder_is_what_its_manifest_says(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kind"] == "full"
    tables = {entry["file"] for entry in manifest["items"].values() if "file" in entry}
    assert {path.name for path in folder.glob("*.csv")} == tables
    for entry in manifest["items"].values():
        assert entry["status"] in ("done", "left out", "failed", "timed out")
        assert entry["status"] == "done" or entry["reason"]
        if "file" in entry:
            assert len(rows(folder / entry["file"])) == entry["rows"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


@EACH
def test_no_names_of_machines_or_folders(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    assert not re.search(r'"[^"]*(/work|/root|/tmp|/home|hostname)', text)


@EACH
def test_host_latency_grows_through_the_caches(folder: Path) -> None:
    """Physics, not a number: each level is slower than the one before, by a factor that no noise makes."""
    latencies = {
        int(r["footprint_bytes"]): float(r["latency_ns"])
        for r in rows(folder / "host_latency.csv")
        if r["pages"] == "huge"
    }
    assert latencies[16384] * 2 < latencies[262144]
    assert latencies[262144] * 10 < latencies[max(latencies)]


@EACH
def test_host_curves_can_be_fitted(folder: Path) -> None:
    measured = read_loaded_latency(folder / "host_loaded_latency.csv")
    fit = fit_curves(measured, 0.25, 0)
    assert fit.num_held_out >= 15
    assert fit.curve_score is not None
    assert fit.curve_score.mean < 0.15
    assert np.all(measured.latencies_ns > 20)
