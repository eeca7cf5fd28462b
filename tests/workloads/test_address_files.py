"""Address files: round trips in every format, and every kind of bad line refused by file and line."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import InputError, TraceError
from tiergarten.sim.trace import AddressTrace
from tiergarten.workloads.addresses import address_formats
from tiergarten.workloads.addresses.files import read_addresses, write_addresses

TEXT = {
    "ramulator": "LD 0x40\nST 128\n",
    "dramsim3": "0x40 READ 5\n80 WRITE 9\n",
    "stl": "# a comment\n5: read 0x40\n\n9: (32) write 0x80 0xdeadbeef\n",
}


def trace(ticks, addresses, writes) -> AddressTrace:
    return AddressTrace(
        np.array(ticks, np.int64), np.array(addresses, np.int64), np.array(writes, bool), np.full(len(ticks), -1)
    )


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("suffix", ["txt", "gz"])
def test_known_text_is_read_and_its_format_told(tmp_path, name, suffix):
    path = tmp_path / f"x.{suffix}"
    content = TEXT[name].encode()
    path.write_bytes(gzip.compress(content) if suffix == "gz" else content)
    found = read_addresses(path)
    assert found.addresses.tolist() == [64, 128]
    assert found.is_write.tolist() == [False, True]
    assert found.ticks.tolist() == ([0, 0] if name == "ramulator" else [5, 9])


@pytest.mark.parametrize("name", TEXT)
@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**50), st.booleans()), min_size=1, max_size=20))
def test_round_trip(tmp_path_factory, name, rows):
    path = tmp_path_factory.mktemp("addresses") / "x.txt.gz"
    ticks, blocks, writes = zip(*rows, strict=True)
    written = trace(sorted(ticks), [32 * block for block in blocks], writes)
    write_addresses(written, path, name)
    found = read_addresses(path)
    assert np.array_equal(found.addresses, written.addresses)
    assert np.array_equal(found.is_write, written.is_write)
    assert name == "ramulator" or np.array_equal(found.ticks, written.ticks)


def test_own_format_keeps_dependencies(tmp_path):
    written = AddressTrace(np.array([0, 1]), np.array([0, 7]), np.array([False, True]), np.array([-1, 0]), 625)
    write_addresses(written, tmp_path / "x.trace")
    found = read_addresses(tmp_path / "x.trace")
    assert (found.depends_on.tolist(), found.tick_ps) == ([-1, 0], 625)


def test_long_request_becomes_bursts(tmp_path):
    (tmp_path / "x.stl").write_text("3: (128) read 0x100\n")
    assert read_addresses(tmp_path / "x.stl", align_bytes=64).addresses.tolist() == [0x100, 0x140]


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("ramulator", "LD -64", "address '-64' is negative"),
        ("ramulator", "LD 0x41", "not a multiple of 32 bytes"),
        ("ramulator", "LX 0x40", "needs 'LD ADDRESS'"),
        ("ramulator", "LD 0x40 7", "needs 'LD ADDRESS'"),
        ("ramulator", "LD 0xzz", "is not a hexadecimal number"),
        ("ramulator", "LD " + "9" * 5000, "LD|line of more than"),
        ("ramulator", "LD 0x1" + "0" * 16, "is beyond"),
        ("ramulator", "LD 1_0", "is not a whole number"),
        ("ramulator", "LD ٣٢", "is not text"),
        ("dramsim3", "0x40 READ 4", "cycle 4 lies before the previous one, 5"),
        ("dramsim3", "0x40 FETCH 9", "needs 'ADDRESS READ"),
        ("dramsim3", "0x40 READ 1.5", "is not a whole number"),
        ("stl", "4: read 0x40", "cycle 4 lies before the previous one, 5"),
        ("stl", "9: (0) read 0x40", "a length of 0 bytes"),
        ("stl", "9: (40) read 0x40", "not a multiple of 32"),
        ("stl", "9 read 0x40", "needs 'TICK: read"),
    ],
)
def test_bad_line_is_refused_by_file_and_line(tmp_path, name, line, said):
    path = tmp_path / "bad.txt"
    good = {"ramulator": "LD 0x40", "dramsim3": "0x40 READ 5", "stl": "5: read 0x40"}[name]
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(TraceError, match=said) as error:
        read_addresses(path)
    assert error.value.problems[-1].file == str(path)
    if "text" not in said and "line of more" not in said:
        assert error.value.problems[-1].line == 2


def test_all_problems_are_reported_up_to_twenty(tmp_path):
    (tmp_path / "x").write_text("LD 0x40\n" + "LD 1\nLD 0x80\n" * 3)
    with pytest.raises(InputError) as error:
        read_addresses(tmp_path / "x")
    assert [problem.line for problem in error.value.problems] == [2, 4, 6]
    (tmp_path / "x").write_text("LD 0x40\n" + "LD 1\n" * 1000)
    with pytest.raises(InputError) as error:
        read_addresses(tmp_path / "x")
    assert len(error.value.problems) == 20


@pytest.mark.parametrize(
    "content", [b"", b"# only a comment\n\n", b"hello world\n", b"\x00\x01\xff\xfe", b"PK\x03\x04"]
)
def test_foreign_and_empty_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(TraceError, match="x"):
        read_addresses(tmp_path / "x")


def test_absent_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(TraceError, match="cannot be read"):
        read_addresses(tmp_path / "gone")
    whole = gzip.compress(b"LD 0x40\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(whole[:-10])
    with pytest.raises(TraceError, match="damaged or cut short"):
        read_addresses(tmp_path / "cut.gz")
    (tmp_path / "bad.gz").write_bytes(whole[:15] + b"\xff\xff" + whole[17:])
    with pytest.raises(TraceError, match="damaged or cut short"):
        read_addresses(tmp_path / "bad.gz")


def test_text_needs_a_named_format_and_a_bad_trace_is_not_written(tmp_path):
    with pytest.raises(TraceError, match="name the format"):
        write_addresses(trace([0], [0], [False]), tmp_path / "x.txt")
    with pytest.raises(TraceError, match="goes back in time"):
        write_addresses(trace([1, 0], [0, 0], [False, False]), tmp_path / "x.txt", "stl")
    assert list(tmp_path.iterdir()) == []


def test_formats_do_not_claim_each_others_lines():
    lines = {"ramulator": "LD 0x40", "dramsim3": "0x40 READ 5", "stl": "5: read 0x40"}
    for name, kind in address_formats.items():
        assert [other for other, line in lines.items() if kind().recognises(line)] == [name]
