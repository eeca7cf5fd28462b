"""The reader of result folders against damaged, foreign and hostile ones."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from result_folders import write_table

from tiergarten.reports.folder import RunFolder, finite_number
from tiergarten.sim.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text('{"name": "n"}')
    (tmp_path / "metrics.json").write_text('{"ttft_p50_ms": 1.5}')
    (tmp_path / "scenario.resolved.yaml").write_text("schema_version: 1\n")
    return tmp_path


def test_an_open_folder_holds_its_small_files(folder: Path) -> None:
    run = RunFolder.open(folder)
    assert (run.manifest, run.metrics, run.scenario_yaml) == (
        {"name": "n"},
        {"ttft_p50_ms": 1.5},
        "schema_version: 1\n",
    )
    assert run.title == "n"


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, make: bool) -> None:
    target = tmp_path / "run"
    if make:
        target.mkdir()
    with pytest.raises(InputError, match="result folder"):
        RunFolder.open(target)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("manifest.json", b"{", "not JSON"),
        ("manifest.json", b"[1]", "must be a JSON object"),
        ("manifest.json", b"\xff\xfe", "cannot be read as text"),
        ("manifest.json", b"[" * 200_000, "not JSON"),
        ("metrics.json", b'{"a": {"b": 1}}', "a metric is one value"),
        ("scenario.resolved.yaml", b"\x80", "cannot be read as text"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, content: bytes, message: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        RunFolder.open(folder)
    assert file in str(error.value)


def test_all_damaged_files_are_reported_at_once(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    (folder / "metrics.json").write_text("}")
    with pytest.raises(InputError) as error:
        RunFolder.open(folder)
    assert len(error.value.problems) == 2


def test_a_table_comes_back_with_its_declared_kinds(folder: Path) -> None:
    table = pa.table({
        "resource": pa.array(["gpu", "gpu"]).dictionary_encode(), "state": ["busy", "idle"], "ps": pa.array([3, 4], pa.uint32())
    })  # fmt: skip
    pq.write_table(table, folder / "breakdown.parquet")
    frame = RunFolder.open(folder).table("breakdown")
    assert frame["ps"].dtype == np.int64
    assert frame.to_dict("list") == {"resource": ["gpu", "gpu"], "state": ["busy", "idle"], "ps": [3, 4]}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["3", "4"]), "must be a number"),
        (pa.array([3, None]), "holds nulls"),
        (pa.array([3.5, 4.0]), "must be int64"),
        (pa.array([2**63, 1], pa.uint64()), "must be int64"),
        (pa.array([[1], [2]]), "must be a number"),
    ],
)
def test_a_column_of_the_wrong_kind_is_named(folder: Path, column: pa.Array, message: str) -> None:
    pq.write_table(
        pa.table({"resource": ["a", "b"], "state": ["busy"] * 2, "ps": column}), folder / "breakdown.parquet"
    )
    with pytest.raises(InputError, match=message) as error:
        RunFolder.open(folder).table("breakdown")
    assert "breakdown.parquet: ps" in str(error.value)


@pytest.mark.parametrize("keep", [0, 3, 0.5, -9])
def test_a_truncated_table_is_named(folder: Path, keep: float) -> None:
    write_table(folder, "breakdown", pd.DataFrame({"resource": ["gpu"] * 99, "state": "busy", "ps": range(99)}))
    path = folder / "breakdown.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else int(keep)])
    with pytest.raises(InputError, match=r"breakdown\.parquet"):
        RunFolder.open(folder).table("breakdown")


def test_a_flipped_byte_is_never_a_crash(folder: Path) -> None:
    write_table(folder, "breakdown", pd.DataFrame({"resource": ["gpu"] * 99, "state": "busy", "ps": range(99)}))
    path = folder / "breakdown.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), 29):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        run = RunFolder.open(folder)
        try:
            run.missing("breakdown") or run.table("breakdown")
        except InputError:
            continue


def test_batches_are_the_table_in_pieces(folder: Path) -> None:
    frame = pd.DataFrame({"resource": "gpu", "state": "busy", "ps": np.arange(600_000)})
    write_table(folder, "breakdown", frame)
    run = RunFolder.open(folder)
    pieces = list(run.batches("breakdown", ["ps"]))
    assert max(map(len, pieces)) < len(frame)
    assert pd.concat(pieces)["ps"].tolist() == frame["ps"].tolist() == run.table("breakdown")["ps"].tolist()


def test_what_a_figure_lacks_is_said(folder: Path) -> None:
    run = RunFolder.open(folder)
    assert run.missing("breakdown") == "no breakdown.parquet"
    write_table(folder, "breakdown", pd.DataFrame({"resource": ["gpu"], "ps": [1]}))
    assert run.missing("breakdown") == "breakdown.parquet has no column state"
    write_table(folder, "breakdown", pd.DataFrame({"resource": ["gpu"], "state": ["busy"], "ps": [1]}).head(0))
    assert run.missing("breakdown") == "breakdown.parquet is empty"
    write_table(folder, "breakdown", pd.DataFrame({"resource": ["gpu"], "state": ["busy"], "ps": [1]}))
    assert run.missing("breakdown") is None


def test_a_table_over_the_row_limit_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(folder, "breakdown", pd.DataFrame({"resource": ["gpu"] * 11, "state": "busy", "ps": 1}))
    monkeypatch.setattr("tiergarten.reports.folder.MAX_ROWS", 10)
    with pytest.raises(InputError, match="11 rows"):
        RunFolder.open(folder).table("breakdown")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (2.5, 2.5),
        (True, None),
        ("3", None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_only_finite_numbers_are_numbers(value: object, number: float | None) -> None:
    assert finite_number(value) == number


def test_reading_a_folder_loads_no_drawing_library(folder: Path) -> None:
    import subprocess
    import sys

    code = "import sys; from tiergarten.reports.compare import compare_metrics; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
    assert json.loads((folder / "manifest.json").read_text())["name"] == "n"
