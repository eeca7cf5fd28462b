"""Fits recover what made the data; intervals cover it; the score is on rows that the fit has not seen."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiergarten.calibration.affine import fit, law_of, relative_errors
from tiergarten.calibration.affine_law import solve
from tiergarten.calibration.fitted_file import write_fitted
from tiergarten.calibration.measured import Measured, read_measured
from tiergarten.scenario.fitted import read_fitted
from tiergarten.sim.errors import InputError


def noisy(rng: np.random.Generator, rows: int = 200, noise: float = 0.02) -> Measured:
    """0.8 us + n / (12 GB/s), with multiplicative noise."""
    sizes = 2.0 ** rng.integers(10, 28, rows)
    times = (0.8e6 + sizes * 1e12 / 12e9) * (1 + noise * rng.standard_normal(rows))
    return Measured(sizes, times, "made.csv", "0")


def test_exact_data_gives_the_exact_law() -> None:
    sizes = np.array([1e3, 1e5, 1e7, 1e9])
    law = solve(sizes, 5e5 + sizes * 100)
    assert law.per_copy_ps == pytest.approx(5e5)
    assert law.ps_per_byte == pytest.approx(100)


def test_a_negative_constant_is_not_believed() -> None:
    sizes = np.array([1e6, 2e6, 3e6])
    law = solve(sizes, sizes * 100 - 1e7)
    assert law.per_copy_ps == 0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(40):
        parameters, _ = fit(noisy(np.random.default_rng(seed), 80), 0.25, seed)
        interval = parameters.bandwidth_interval
        assert interval is not None
        covered += float(interval.low.split()[0]) <= 12 <= float(interval.high.split()[0])
    assert covered >= 33  # 95 % of 40 is 38; under 33 has a chance of 1 in 500


def test_held_out_rows_are_not_in_the_fit() -> None:
    measured = noisy(np.random.default_rng(3))
    parameters, held_out = fit(measured, 0.25, 3)
    assert held_out.sum() == parameters.rows_held_out == 50
    spoiled = Measured(
        measured.num_bytes, np.where(held_out, measured.times_ps * 5, measured.times_ps), "made.csv", "0"
    )
    again, _ = fit(spoiled, 0.25, 3)
    assert (again.per_copy, again.bandwidth) == (parameters.per_copy, parameters.bandwidth)
    assert again.error.held_out_mape is not None
    assert again.error.held_out_mape > 0.7  # 1/5 of the time is predicted: an error of 80 %


def test_a_written_file_reads_back(tmp_path: Path) -> None:
    parameters, _ = fit(noisy(np.random.default_rng(1)), 0.25, 1)
    write_fitted(parameters, tmp_path / "f.yaml")
    again = read_fitted(tmp_path / "f.yaml")
    assert again.per_copy == parameters.per_copy
    assert again.bandwidth == pytest.approx(parameters.bandwidth, rel=1e-8)
    assert again.error == parameters.error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "exactly one of the columns"),
        ("bytes,kib,time_us\n1,1,1\n", "exactly one"),
        ("bytes,time_us\n1,2\n", "at least 4"),
        ("bytes,time_us\nx,2\n1,-1\n1,nan\n", ":2: bytes and time_us must be numbers"),
        ("bytes,time_us\n" + "8,1\n" * 9, "single size"),
    ],
)
def test_bad_measurements_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        fit(read_measured(tmp_path / "m.csv"), 0.25, 0)


def test_a_scenario_runs_with_the_fitted_link_and_reports_its_error(tmp_path: Path) -> None:
    """64 copies of 1 MiB over a link that was fitted take the time of the fitted law."""
    parameters, _ = fit(noisy(np.random.default_rng(1)), 0.25, 1)
    write_fitted(parameters, tmp_path / "f.yaml")
    (tmp_path / "s.yaml").write_text(
        """schema_version: 1
name: fitted
tiers:
  a: {kind: ddr, capacity: 1 GB, bandwidth: 1 TB/s}
  b: {kind: ddr, capacity: 1 GB, bandwidth: 1 TB/s}
links:
  wire: {between: [a, b], calibration: f.yaml}
workload: {kind: copies, copies: [{source: a, destination: b, bytes: 1 MiB, count: 64}]}
"""
    )
    code = (
        "import json, tiergarten as tg; r = tg.run('s.yaml');"
        "print(r.metrics['elapsed_s']); print(json.dumps(r.manifest['links']['wire']['calibration']))"
    )
    out = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    expected = 64 * law_of(read_fitted(tmp_path / "f.yaml")).times_ps(np.array([2.0**20]))[0] / 1e12
    assert float(out[0]) == pytest.approx(expected, rel=1e-6)
    assert f"{parameters.error.held_out_mape:.6f}"[:6] in out[1]


def test_errors_are_relative() -> None:
    measured = Measured(np.array([1e6, 2e6]), np.array([2e8, 2e8]), "", "")
    assert relative_errors(solve(np.array([1e6, 2e6, 4e6]), np.array([1e8, 2e8, 4e8])), measured) == pytest.approx(
        [0.5, 0.0]
    )
