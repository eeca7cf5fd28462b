"""Latencies of single requests against sums that can be done by hand, all in ns."""

from dataclasses import replace

import numpy as np
import pytest

from tiergarten.sim.flash.config import CacheMode, DramCache, ModernFeatures
from tiergarten.sim.flash.drive import run_requests
from tiergarten.sim.flash.mqsim import drive_from_mqsim

DOORBELL = 8  # (2 + 28) bytes over 4 lanes at 1 byte/ns, rounded up
READ_REQUEST = 8  # 32 bytes
ENTRY = 25  # 72 + 28 bytes
COMPLETION = 11  # 16 + 28 bytes
HANDSHAKE = DOORBELL + READ_REQUEST + ENTRY + COMPLETION


def payload(num_bytes: int) -> int:
    """128-byte packets with 28 bytes of overhead each, on 4 lanes at 1 GB/s."""
    return num_bytes // 128 * 156 // 4


def latency(config, trace, num_sectors: int, is_write: bool, sector: int = 0) -> int:
    result = run_requests(config, trace([1], [sector], [num_sectors], [is_write]))
    return int(result.completions_ns[0] - result.arrivals_ns[0])


def mlc(**fields):
    return drive_from_mqsim("mlc", {"Block_No_Per_Plane": 64, "Ideal_Mapping_Table": True, **fields}, "TURNED_OFF")


def test_one_page_read_is_command_array_ready_data_and_link(trace) -> None:
    expected = HANDSHAKE + 290 + 75_000 + 20 + 8192 * 3 + payload(8192)
    assert latency(mlc(), trace, 16, False) == expected == 102_434


def test_read_of_half_a_page_sends_half_but_reads_all(trace) -> None:
    assert latency(mlc(), trace, 8, False) == HANDSHAKE + 290 + 75_000 + 20 + 4096 * 3 + payload(4096)


def test_miss_in_the_mapping_cache_costs_a_second_read(trace) -> None:
    config = mlc(Ideal_Mapping_Table=False)
    expected = HANDSHAKE + 2 * (290 + 75_000 + 20) + 512 * 3 + 4096 * 3 + payload(4096)
    assert latency(config, trace, 8, False) == expected == 165_744


def test_two_planes_read_together_share_the_array_time(trace) -> None:
    config = mlc(Plane_Allocation_Scheme="PCWD")
    expected = HANDSHAKE + (290 + 650) + 75_000 + 20 + 2 * 8192 * 3 + payload(16384)
    assert latency(config, trace, 32, False) == expected


def test_two_channels_read_at_the_same_time(trace) -> None:
    assert latency(mlc(), trace, 32, False) == HANDSHAKE + 290 + 75_000 + 20 + 8192 * 3 + payload(16384)


def test_uncached_write_waits_for_the_program(trace) -> None:
    expected = HANDSHAKE + READ_REQUEST + payload(8192) + 361 + 8192 * 3 + 750_000
    assert latency(mlc(), trace, 16, True) == expected


def test_cached_write_waits_for_the_dram_only(trace) -> None:
    config = drive_from_mqsim("mlc", {"Block_No_Per_Plane": 64, "Ideal_Mapping_Table": True}, "WRITE_CACHE")
    dram = 13 + 13 + 8192 // 2 * 10  # 10 ns per pair of bytes at 100 MT/s
    assert latency(config, trace, 16, True) == HANDSHAKE + READ_REQUEST + payload(8192) + dram


def test_partial_overwrite_reads_the_rest_of_the_page_first(trace) -> None:
    requests = trace([1, 10_000_000], [0, 0], [16, 8], [True, True])
    result = run_requests(mlc(), requests)
    rest_of_page = 290 + 75_000 + 20 + 4096 * 3
    program = 361 + 4096 * 3 + 750_000
    handshake = HANDSHAKE + READ_REQUEST + payload(4096)
    assert result.completions_ns[1] - result.arrivals_ns[1] == handshake + rest_of_page + program


@pytest.mark.parametrize(("cell", "page", "expected"), [("MLC", 0, 10), ("MLC", 1, 30), ("TLC", 5, 10), ("TLC", 6, 20), ("TLC", 12, 30)])
def test_read_time_follows_the_page_type(trace, cell: str, page: int, expected: int) -> None:
    config = drive_from_mqsim(
        "x",
        {
            "Flash_Technology": cell, "Flash_Channel_Count": 1, "Chip_No_Per_Channel": 1, "Die_No_Per_Chip": 1, "Plane_No_Per_Die": 1,
            "Page_Read_Latency_LSB": 10_000, "Page_Read_Latency_CSB": 20_000, "Page_Read_Latency_MSB": 30_000,
            "Block_No_Per_Plane": 64, "Ideal_Mapping_Table": True,
        },
        "TURNED_OFF",
    )  # fmt: skip
    gap = 1_000_000
    count = page + 1
    requests = trace(np.arange(count) * gap + 1, np.arange(count) * 16, [16] * count, [False] * count)
    result = run_requests(config, requests)
    got = int(result.completions_ns[page] - result.arrivals_ns[page])
    assert got == HANDSHAKE + 290 + expected * 1000 + 20 + 8192 * 3 + payload(8192)


def test_controller_adds_its_latency_and_serialises_commands(tiny_drive, trace) -> None:
    plain = tiny_drive()
    slow = replace(plain, modern=ModernFeatures(controller_read_ns=7_000, controller_command_ns=5_000))
    requests = trace([1, 1], [0, 8], [8, 8], [False, False])
    before = run_requests(plain, requests).completions_ns
    after = run_requests(slow, requests).completions_ns
    assert after[0] - before[0] == 12_000
    assert after[1] - after[0] == 5_000  # more than the 1248 ns of the link


def test_dram_access_longer_than_a_row(trace) -> None:
    cache = DramCache(mode=CacheMode.WRITE, row_bytes=4096, rate_mts=1000, burst_bytes=8)
    config = replace(mlc(), cache=cache)
    rows = int(4096 // 8 // 2 * 1.0 + 13) * (16384 // 4096 // 2)
    dram = 26 + rows + 26 + 0
    assert latency(config, trace, 32, True) == HANDSHAKE + READ_REQUEST + payload(16384) + dram
