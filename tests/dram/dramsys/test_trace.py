"""Reading `.stl` traces: the format, and files that are not what they should be."""

import gzip
from pathlib import Path

import pytest

from tiergarten.dram.dramsys import read_stl
from tiergarten.sim.errors import TraceError

GOOD = "# comment\n0:\tread\t0x40\n\n3:\t(64)\twrite\t0x3B22EDC0\t0x00ff\n3:\tread\t0x0 # late\n"


@pytest.mark.parametrize("packed", [False, True])
def test_lines_comments_lengths_and_data_are_read(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "t.stl"
    file.write_bytes(gzip.compress(GOOD.encode()) if packed else GOOD.encode())
    trace = read_stl(file, 833)
    assert trace.ticks.tolist() == [0, 3, 3]
    assert trace.addresses.tolist() == [0x40, 0x3B22EDC0, 0]
    assert trace.is_write.tolist() == [False, True, False]
    assert trace.tick_ps == 833


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x: read 0x0", ":2: tick 'x' is not a whole number"),
        ("-1: read 0x0", ":2: tick '-1'"),
        ("99999999999999999999: read 0x0", ":2: tick"),
        ("5: fetch 0x0", ":2: 'fetch' is neither"),
        ("5: read", ":2: needs 'TICK: read"),
        ("5: read 0xZZ", ":2: address '0xZZ' is not a hexadecimal"),
        ("5: read -0x40", ":2: address '-0x40' is negative"),
        ("5: read 0x40000000000000000", ":2: address"),
        ("3: read 0x0", ":2: tick 3 lies before the previous one, 4"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "bad.stl"
    file.write_text(f"4: read 0x0\n{line}\n")
    with pytest.raises(TraceError) as error:
        read_stl(file, 1000)
    assert message in str(error.value)
    assert str(file) in str(error.value)


def test_all_bad_lines_are_reported_up_to_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "bad.stl"
    file.write_text("oops\n" * 3 + "1: read 0x0\n")
    with pytest.raises(TraceError) as error:
        read_stl(file, 1000)
    assert [problem.line for problem in error.value.problems] == [1, 2, 3]
    file.write_text("oops\n" * 500)
    with pytest.raises(TraceError) as error:
        read_stl(file, 1000)
    assert len(error.value.problems) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no request"),
        (b"# only\n", "holds no request"),
        (gzip.compress(GOOD.encode())[:-9], "damaged or cut short"),
        (b"\x1f\x8b\x08\x00garbage", "damaged or cut short"),
        (b"0: read 0x\xff\n", "not a text file"),
    ],
)
def test_files_that_are_no_traces(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.stl.gz"
    file.write_bytes(content)
    with pytest.raises(TraceError, match=message):
        read_stl(file, 1000)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_stl(tmp_path / "none.stl", 1000)
