"""The table of a parity figure, in a folder that the reports can read."""

from pathlib import Path

import pyarrow as pa

from tiergarten.calibration.affine_law import Affine
from tiergarten.calibration.measured import Measured
from tiergarten.result import write_json, write_parquet


def write_parity(folder: Path, law: Affine, measured: Measured, same_rows: bool) -> None:
    """Write `series/parity.parquet` and a manifest: predicted against measured times in microseconds.

    `same_rows` says that the fit has seen these rows.
    """
    (folder / "series").mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "quantity": ["transfer time"] * len(measured),
            "unit": ["us"] * len(measured),
            "measured": measured.times_ps / 1e6,
            "predicted": law.times_ps(measured.num_bytes) / 1e6,
            "held_out": [not same_rows] * len(measured),
        }
    )
    write_parquet(table, folder / "series" / "parity.parquet")
    write_json(folder / "manifest.json", {"name": "parity", "title": f"Score on {measured.file}"})
    write_json(folder / "metrics.json", {})
