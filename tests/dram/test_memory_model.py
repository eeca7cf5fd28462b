"""The cycle and sampled levels of a tier: the protocol's law, known times, agreement with a replay and with each other."""

import numpy as np
import pytest

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.interleave import Interleave, expand_bursts
from tiergarten.dram.memory_model import CycleMemory
from tiergarten.dram.resolve import resolve
from tiergarten.dram.sampled import SampledMemory
from tiergarten.dram.simulate import DramConfig, simulate
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


def test_channels_share_the_load_evenly() -> None:
    interleave = Interleave(num_channels=5, block_bytes=256)
    addresses, owners = expand_bursts(np.array([0]), np.array([5 * 256 * 7]), 32)
    channels, local = interleave.place(addresses)
    assert np.bincount(channels).tolist() == [7 * 8] * 5
    assert len(np.unique(channels * (1 << 40) + local)) == len(addresses)
    assert owners.tolist() == [0] * len(addresses)


def test_unaligned_access_touches_every_burst_it_overlaps() -> None:
    addresses, owners = expand_bursts(np.array([30, 64]), np.array([4, 1]), 32)
    assert addresses.tolist() == [0, 32, 64]
    assert owners.tolist() == [0, 0, 1]


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
