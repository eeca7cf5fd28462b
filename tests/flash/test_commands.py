"""`tiergarten flash` on the command line."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tiergarten.cli.flash import app
from tiergarten.sim.errors import InputError
from tiergarten.sim.flash.levels import COLUMNS, read_curves
from tiergarten.sim.flash.presets import PRESETS

CASE = "mlc3_randread_4k_qd1"


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_verify_passes_and_says_how_much(golden: Path) -> None:
    done = run("verify", str(golden), "--case", CASE)
    assert done.exit_code == 0
    assert "1 / 1 cases pass" in done.stdout
    assert "1000 / 1000 requests" in done.stdout


def test_verify_fails_with_exit_code_1_and_the_difference(golden: Path, tmp_path: Path) -> None:
    text = golden.read_text().replace("Page_Read_Latency_LSB: 75000", "Page_Read_Latency_LSB: 75100")
    (tmp_path / "manifest.yaml").write_text(text)
    for file in golden.parent.glob("*.csv.gz"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    done = run("verify", str(tmp_path / "manifest.yaml"), "--case", CASE)
    assert done.exit_code == 1
    assert "differs in" in done.stdout


def test_verify_prints_json(golden: Path) -> None:
    done = run("verify", str(golden), "--case", CASE, "--json")
    content = json.loads(done.stdout)
    assert content["passed"] == 1
    assert content["cases"][0]["matched"] == 1000


def test_verify_of_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    assert isinstance(run("verify", str(tmp_path / "none.yaml")).exception, InputError)


def test_bundled_curves_cover_every_drive_and_fall_nowhere() -> None:
    curves = read_curves()
    assert set(curves) == set(PRESETS)
    for curve in curves.values():
        assert (curve.latency_ns > 0).all()
        assert curve.at(False, 4096, 1) < curve.at(False, 4096, 256)
        assert curve.at(False, 4096, 16) < curve.at(False, 2**20, 16)
        assert curve.at(False, 4096, 512) == pytest.approx(2 * curve.at(False, 4096, 256))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "lacks the columns"),
        (",".join(COLUMNS) + "\nx,0,4096,1,0,1,fast,1\n", "positive numbers"),
        (",".join(COLUMNS) + "\nx,0,4096,1,0,1,5,1\n", "lacks write=1"),
    ],
)
def test_bad_curve_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_curves(path)


@pytest.mark.slow
def test_curve_command_makes_the_bundled_file_again(tmp_path: Path) -> None:
    out = tmp_path / "curves.csv"
    done = run("curve", "--drive", "tlc-gen4", "--requests", "1000", "-o", str(out))
    assert done.exit_code == 0
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 150
    mine, bundled = read_curves(out)["tlc-gen4"], read_curves()["tlc-gen4"]
    assert mine.latency_ns == pytest.approx(bundled.latency_ns)
