"""Bad input is named by file and row, all at once, and never hangs or leaves a traceback."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig, check_trace, simulate
from tiergarten.dram.traces import read_address_trace
from tiergarten.sim.errors import DeadlockError, InputError, TiergartenError, TraceError
from tiergarten.sim.trace import AddressTrace

DDR4 = resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2400R")


def problems_of(path: Path, text: str | bytes) -> list[str]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TraceError) as caught:
        read_address_trace(path)
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def test_three_forms_give_the_same_trace(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t_min,op,addr,dep\n0,R,64,0\n0,W,0x80,0\n")
    (tmp_path / "b.trace").write_text("LD 0x40\nST 128\n")
    (tmp_path / "c.trace.gz").write_bytes(gzip.compress(b"0x40 READ 0\n0x80 WRITE 0\n"))
    for name in ("a.csv", "b.trace", "c.trace.gz"):
        trace = read_address_trace(tmp_path / name)
        assert trace.addresses.tolist() == [64, 128]
        assert trace.is_write.tolist() == [False, True]
        assert trace.ticks.tolist() == [0, 0]


def test_rows_at_fault_are_named(tmp_path: Path) -> None:
    found = problems_of(tmp_path / "x.csv", "t_min,op,addr,dep\n0,R,64,0\n0,X,64,0\n-1,R,64,0\n0,R,6.5,7\n")
    assert found == [
        ":3: row 2: operation must be R or W, got 'X'",
        ":5: row 4: address must be a whole number, not negative, got '6.5'",
        ":4: row 3: time must be a whole number, not negative, got '-1'",
        ":5: row 4: dep must be 0 or 1, got '7'",
    ]


def test_wrong_files_are_named(tmp_path: Path) -> None:
    assert "Did you mean 'addr'" in problems_of(tmp_path / "x.csv", "t_min,op,adr,dep\n0,R,64,0\n")[0]
    assert "the file is empty" in problems_of(tmp_path / "x.csv", "")[0]
    assert "cut off" in problems_of(tmp_path / "x.csv.gz", gzip.compress(b"t_min,op,addr,dep\n" * 1000)[:-20])[0]
    assert "not a text file" in problems_of(tmp_path / "x.csv", b"\xff\xfe\x00\x01")[0]
    assert "holds no request" in problems_of(tmp_path / "x.csv", "t_min,op,addr,dep\n")[0]
    assert ":2: row 1: wrong number of columns" in problems_of(tmp_path / "x.csv", "op,addr\nR,64,1,2\n")[0]
    assert "unknown form" in problems_of(tmp_path / "x.txt", "hello world of traces\n")[0]
    assert ":2: expected 2 words" in problems_of(tmp_path / "x.txt", "LD 5\nLD\n")[0]
    with pytest.raises(TraceError, match="No such file"):
        read_address_trace(tmp_path / "absent.csv")


def trace_of(ticks: list[int], addresses: list[int]) -> AddressTrace:
    count = len(ticks)
    return AddressTrace(np.array(ticks), np.array(addresses), np.zeros(count, bool), np.full(count, -1))


def test_impossible_requests_are_refused_by_row() -> None:
    with pytest.raises(TraceError) as caught:
        check_trace(trace_of([0, 5, 3, 10**12 + 1], [64, -64, 65, 64]), DDR4, "x.csv")
    assert [str(problem) for problem in caught.value.problems] == [
        "x.csv: row 2: address is negative",
        "x.csv: row 3: address is no multiple of the transaction of 64 bytes",
        "x.csv: row 3: time is before that of the row above",
        "x.csv: row 4: time is beyond tick 1000000000000",
    ]


def test_empty_trace_takes_no_time() -> None:
    result = simulate(DramConfig(DDR4), trace_of([], []), record="commands")
    assert result.total_ticks == 0
    assert len(result.commands.ticks) == 0


@pytest.mark.parametrize(
    "overrides",
    [
        {"column": 4}, {"row": 3}, {"rank": 1 << 30}, {"row": 1 << 60}, {"bank": 0}, {"rank": True}, {"rank": 2.0}, {"nBL": 0},
        {"nREFI": 0}, {"tCK_ps": 0}, {"nRCD": -1}, {"nRCD": 10**12}, {"nRDC": 5}, {"channel": 2},
    ],
)  # fmt: skip
def test_sizes_and_timings_that_no_channel_has_are_refused(overrides: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(overrides))}|DDR4"):
        resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2400R", overrides)


def test_a_burst_below_a_byte_is_refused() -> None:
    with pytest.raises(InputError, match="channel_width"):
        resolve("HBM1", "HBM1_4Gb", "HBM1_2Gbps", {"channel_width": 2})


def test_a_channel_that_only_refreshes_is_a_deadlock() -> None:
    """Refreshes go on while reads wait for ever: the reference never leaves write mode with a low watermark of 0."""
    addresses = [64 * n for n in range(40)]
    trace = AddressTrace(np.arange(40), np.array(addresses), np.arange(40) < 5, np.full(40, -1))
    config = ControllerConfig(wr_low_watermark=0.0)
    assert simulate(DramConfig(DDR4, config), trace).counters["reads_issued"] == 35
    with pytest.raises(DeadlockError, match="requests wait that can never be served") as caught:
        simulate(DramConfig(DDR4, dataclasses.replace(config, compat="ramulator-2.1")), trace)
    assert "reads wait for Rank 0" in str(caught.value)


def test_row_policy_waits_for_room_in_a_small_priority_queue() -> None:
    rng = np.random.default_rng(3)
    trace = AddressTrace(
        np.zeros(600, np.int64), rng.integers(0, 1 << 20, 600) * 64, rng.random(600) < 0.4, np.full(600, -1)
    )
    config = ControllerConfig(row_policy="ClosedCAP", cap=1, priority_buffer_size=2)
    assert simulate(DramConfig(DDR4, config), trace).counters["maintenance_served"] > 100


def test_settings_at_fault_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        ControllerConfig(scheduler="FCFS", cap=0, wr_low_watermark=0.9)
    assert [problem.path for problem in caught.value.problems] == [
        "controller.scheduler",
        "controller.cap",
        "controller.wr_low_watermark",
    ]
    with pytest.raises(InputError, match="Did you mean 'scheduler'"):
        ControllerConfig.from_mapping({"schedular": "FRFCFS"})
    with pytest.raises(InputError, match="not a number"):
        ControllerConfig.from_texts({"cap": "four"})
    for wrong in ({"refresh": "PerBank"}, {"refresh": "HBM34PerBankRefresh"}, {"controller": "HBM34"}):
        with pytest.raises(InputError):
            simulate(DramConfig(DDR4, ControllerConfig(**wrong)), trace_of([0], [0]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "trace.csv"
    for text in (data, b"t_min,op,addr,dep\n" + data, b"LD " + data):
        path.write_bytes(text)
        try:
            trace = read_address_trace(path)
        except TiergartenError:
            continue
        assert len(trace.ticks) == len(trace.addresses) == len(trace.is_write)
