"""The cycle and sampled levels of a tier: the protocol's law, known times, agreement with a replay and with each other."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from tiergarten.dram import parallel
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.intake import fill_from_parts, fill_from_trace
from tiergarten.dram.mapping import map_addresses, mapping_shifts
from tiergarten.dram.memory_model import CycleMemory
from tiergarten.dram.resolve import resolve
from tiergarten.dram.sampled import SampledMemory
from tiergarten.dram.simulate import DramConfig, simulate
from tiergarten.dram.speed import pattern_trace
from tiergarten.dram.standard import STANDARDS
from tiergarten.sim.contracts import AccessBatch
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.trace import AddressTrace
from tiergarten.sim.units import NEVER_PS
from tiergarten.testing import check_memory_model

FAST = ControllerConfig(addr_mapper="MOP4CLXOR", scheduler="FRFCFS-RowHit")
TIER = TierSpec("hbm", "hbm", 16 << 30, 0.8e12, 0.8e12)


def config(standard: str, controller: ControllerConfig = FAST) -> DramConfig:
    return DramConfig(resolve(standard, *default_presets(standard)), controller)


@pytest.mark.parametrize(("standard", "channels"), [("DDR4", 1), ("HBM3", 5), ("LPDDR5", 2)])
def test_cycle_memory_keeps_the_law(standard: str, channels: int) -> None:
    check_memory_model(lambda: CycleMemory(config(standard), channels))


def test_sampled_memory_keeps_the_law() -> None:
    check_memory_model(lambda: SampledMemory.build(TIER, SampledMemory.Params(), 0), num_batches=12)


def test_work_behind_a_sampled_transfer_waits_for_its_end() -> None:
    memory = SampledMemory.build(TIER, SampledMemory.Params(channels=2), 0)
    memory.submit(0, AccessBatch.one(1, 0, 64 << 20, False))
    end = memory.next_completion_ps()
    memory.submit(1000, AccessBatch.one(2, 0, 64, False))
    assert memory.next_completion_ps() == end
    assert memory.advance(end - 1).ids.tolist() == []
    assert memory.advance(end).ids.tolist() == [1]
    assert end < memory.next_completion_ps() < end + 200_000
    assert memory.advance(NEVER_PS - 1).ids.tolist() == [2]


def test_lone_read_takes_activate_plus_read_latency() -> None:
    memory = CycleMemory(config("DDR4"), 1)
    memory.submit(0, AccessBatch.one(7, 0, 64, False))
    # accepted at clock 0, ACT at 1, RD 16 later, data 20 later
    assert memory.next_completion_ps() == (1 + 16 + 20) * 833
    assert memory.advance(37 * 833 - 1).ids.tolist() == []
    assert memory.advance(37 * 833).ids.tolist() == [7]
    assert memory.next_completion_ps() == NEVER_PS


def test_one_channel_times_are_those_of_a_replay() -> None:
    setup = config("DDR5")
    rng = np.random.default_rng(2)
    addresses = rng.integers(0, 1 << 20, 400) * 64
    memory = CycleMemory(setup, 1, interleave_bytes=64)
    memory.submit(0, AccessBatch(np.arange(400), addresses, np.full(400, 64), np.zeros(400, bool)))
    done = memory.advance(NEVER_PS - 1)
    trace = AddressTrace(np.zeros(400, np.int64), addresses, np.zeros(400, bool), np.full(400, -1))
    result = simulate(setup, trace, record="requests")
    assert dict(zip(done.ids.tolist(), done.times_ps.tolist(), strict=True)) == {
        n: int(tick) * 416 for n, tick in enumerate(result.done)
    }


def test_submission_in_between_equals_the_same_trace_at_once() -> None:
    setup = config("DDR4")
    rng = np.random.default_rng(3)
    addresses = rng.integers(0, 1 << 20, 300) * 64
    ticks = np.sort(rng.integers(0, 2000, 300))
    memory = CycleMemory(setup, 1)
    times = {}
    for ident, (tick, address) in enumerate(zip(ticks.tolist(), addresses.tolist(), strict=True)):
        done = memory.advance(tick * 833 - 1)
        times.update(zip(done.ids.tolist(), done.times_ps.tolist(), strict=True))
        memory.submit(tick * 833, AccessBatch.one(ident, address, 64, ident % 4 == 0))
    done = memory.advance(NEVER_PS - 1)
    times.update(zip(done.ids.tolist(), done.times_ps.tolist(), strict=True))
    trace = AddressTrace(ticks, addresses, np.arange(300) % 4 == 0, np.full(300, -1))
    result = simulate(setup, trace, record="requests")
    late = np.where(trace.is_write, 12 + 4, 0)
    assert times == {n: int(tick) * 833 for n, tick in enumerate(result.done + late)}


def bursts_of_channel(accesses: AccessBatch, place: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """(address within the channel, index of the access) of the bursts that one channel gets, written out."""
    channel, num_channels, block, burst_bytes = place
    return [
        (burst // block // num_channels * block * burst_bytes + burst % block * burst_bytes, owner)
        for owner, (address, size) in enumerate(
            zip(accesses.addresses.tolist(), accesses.num_bytes.tolist(), strict=True)
        )
        for burst in range(address // burst_bytes, -(-(address + size) // burst_bytes))
        if burst // block % num_channels == channel
    ]


@pytest.mark.parametrize("fill", [fill_from_parts, fill_from_parts.py_func])
def test_tables_hold_the_bursts_of_their_channel_in_order(fill) -> None:
    rng = np.random.default_rng(5)
    accesses = AccessBatch(
        np.arange(30), rng.integers(0, 1 << 16, 30), rng.integers(1, 3000, 30), rng.integers(0, 2, 30).astype(bool)
    )
    memory = CycleMemory(config("DDR4"), num_channels := 3, interleave_bytes=256)
    parts, owners, channels = memory._parts(7, accesses)
    found_everywhere = 0
    for channel in range(num_channels):
        place = (channel, num_channels, 4, 64)
        cursor = np.array([0, at.NONE])
        own, own_owners = parts[channels == channel], owners[channels == channel]
        found: list[tuple[int, int]] = []
        while cursor[0] < len(own):
            table = np.zeros((11, at.REQUEST_COLUMNS), np.int64)
            rows = table[: fill(table, own, cursor, memory._mapping, place)]
            found += zip(
                rows[:, at.REQUEST_ADDRESS].tolist(), own_owners[rows[:, at.REQUEST_REPORT]].tolist(), strict=True
            )
            assert (rows[:, at.REQUEST_TICK] == 7).all()
            assert (rows[:, at.REQUEST_FLAGS] == accesses.is_write[own_owners[rows[:, at.REQUEST_REPORT]]]).all()
        assert found == bursts_of_channel(accesses, place)
        found_everywhere += len(found)
    assert found_everywhere == len(bursts_of_channel(accesses, (0, 1, 4, 64)))


@pytest.mark.parametrize("mapper", ["RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR"])
@pytest.mark.parametrize("standard", STANDARDS.names())
def test_shifts_map_addresses_as_the_mapper_does(standard: str, mapper: str) -> None:
    device = resolve(standard, *default_presets(standard))
    addresses = np.random.default_rng(1).integers(0, 1 << 50, 200) * device.transaction_bytes
    table = np.zeros((200, at.REQUEST_COLUMNS), np.int64)
    columns = (np.zeros(200, np.int64), addresses, np.zeros(200, bool), np.full(200, -1))
    assert fill_from_trace(table, columns, mapping_shifts(device, mapper), 0, device.transaction_bytes) == 200
    expected = map_addresses(device, mapper, addresses)
    assert table[:, at.REQUEST_BANK].tolist() == expected.banks.tolist()
    assert table[:, at.REQUEST_ROW].tolist() == expected.rows.tolist()


def test_threads_give_the_times_of_one_channel_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = AccessBatch.one(1, 0, 1 << 20, False), AccessBatch.one(2, 5000, 300_000, True)
    times = []
    for workers, worth in ((1, 0), (3, 0)):
        monkeypatch.setattr(parallel, "num_workers", lambda workers=workers: workers)
        monkeypatch.setattr(parallel, "WORTH_THREADS", worth)
        memory = CycleMemory(config("HBM3"), 6)
        for now_ps, accesses in zip((0, 1_000_000), batch, strict=True):
            memory.submit(now_ps, accesses)
        times.append(memory.advance(NEVER_PS - 1).times_ps.tolist())
    assert times[0] == times[1]


def peak_bytes(work: Callable[[], object]) -> int:
    """Most memory in use at once while `work` runs, above what was in use before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_a_transfer_does_not_grow_with_its_length() -> None:
    def transfer(num_bytes: int) -> None:
        memory = CycleMemory(config("HBM3"), 2)
        memory.submit(0, AccessBatch.one(1, 0, num_bytes, False))
        assert memory.advance(NEVER_PS - 1).ids.tolist() == [1]

    transfer(1 << 20)
    short, long = (peak_bytes(lambda size=size: transfer(size)) for size in (1 << 20, 16 << 20))
    assert long < 1.5 * short


def test_memory_of_an_unrecorded_replay_does_not_grow_with_its_length() -> None:
    def replay(count: int) -> Callable[[], object]:
        trace = pattern_trace("random", count, 64)
        return lambda: simulate(config("DDR4"), trace)

    replay(10)()
    short, long = peak_bytes(replay(5_000)), peak_bytes(replay(50_000))
    assert long < 1.5 * short


def test_sequential_transfer_comes_near_the_peak() -> None:
    memory = CycleMemory.build(TIER, CycleMemory.Params(), 0)
    assert memory.num_channels == 16
    memory.submit(0, AccessBatch.one(1, 0, 4 << 20, False))
    (time_ps,) = memory.advance(NEVER_PS - 1).times_ps
    rate = (4 << 20) / time_ps * 1e12
    assert 0.8 * memory.peak_bytes_per_s < rate < memory.peak_bytes_per_s


@pytest.mark.parametrize("kind", ["sequential", "gather"])
def test_sampled_time_is_within_one_percent_of_the_full_one(kind: str) -> None:
    blocks = 256
    rng = np.random.default_rng(1)
    places = np.arange(blocks) if kind == "sequential" else rng.permutation(1 << 14)[:blocks]
    batch = AccessBatch(np.arange(blocks), places * 65536, np.full(blocks, 65536), np.zeros(blocks, bool))
    times = []
    # 64 MiB over 4 channels: as many bursts a channel as 1 GiB over 64
    small = TierSpec("hbm", "hbm", 16 << 30, 0.2e12, 0.2e12)
    for model in (CycleMemory, SampledMemory):
        params = model.Params(channels=4, **({"exact_bursts": 1000} if model is SampledMemory else {}))
        memory = model.build(small, params, 0)
        memory.submit(0, batch)
        times.append(int(memory.advance(NEVER_PS - 1).times_ps.max()))
    assert times[1] == pytest.approx(times[0], rel=0.01)
    assert memory.estimates[0].relative < 0.02
    assert "GB/s (95 %" in str(memory.estimates[0])
