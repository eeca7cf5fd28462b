"""Flash as a tier's memory, at its three levels."""

from dataclasses import replace

import numpy as np
import pytest

from tiergarten.sim.contracts import AccessBatch
from tiergarten.sim.flash.config import CacheMode, DramCache, FlashTiming, Mapping, ModernFeatures
from tiergarten.sim.flash.drive import table
from tiergarten.sim.flash.kernel.layout import Lpn, Param
from tiergarten.sim.flash.memory_model import HORIZON_BYTES, Array, FlashModel
from tiergarten.sim.models.flash import FlashAnalyticModel, FlashCurveModel, FlashCycleModel
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import NEVER_PS
from tiergarten.testing import check_memory_model

TIER = TierSpec("flash", "flash", 4 * 2**30, 7e9, 7e9)


@pytest.mark.parametrize("ideal", [True, False])
@pytest.mark.parametrize("mode", list(CacheMode))
def test_protocol_holds_for_one_drive(tiny_drive, mode: CacheMode, ideal: bool) -> None:
    config = tiny_drive(
        cache=DramCache(mode=mode, capacity_bytes=8 * 4096), mapping=Mapping(ideal, 256, overprovisioning=0.45)
    )
    check_memory_model(lambda: FlashModel(Array(config)), seed=int(ideal))


@pytest.mark.parametrize(
    "array",
    [
        {"num_drives": 3, "stripe_bytes": 8192, "max_command_bytes": 4096},
        {"bounce_bytes_per_s": 1e9, "bounce_ps": 1000},
        {"num_drives": 2, "stripe_bytes": 4096, "bounce_bytes_per_s": 2e8},
    ],
)
def test_protocol_holds_for_arrays_and_bounces(tiny_drive, array: dict) -> None:
    modern = ModernFeatures(
        die_interleaving=True, independent_planes=True, suspend_program_ns=5_000, controller_read_ns=3_000
    )
    config = tiny_drive(modern=modern, mapping=Mapping(overprovisioning=0.45))
    check_memory_model(lambda: FlashModel(Array(config, **array)), seed=2)


@pytest.mark.parametrize("model", [FlashCycleModel, FlashCurveModel, FlashAnalyticModel])
def test_registered_models_keep_the_protocol(model) -> None:
    check_memory_model(lambda: model.build(TIER, model.Params(), 0), num_batches=12)


def last_completion_ps(model, num_accesses: int, num_bytes: int, is_write: bool = False) -> int:
    ids = np.arange(num_accesses)
    model.submit(
        0, AccessBatch(ids, ids * num_bytes, np.full(num_accesses, num_bytes), np.full(num_accesses, is_write))
    )
    last = 0
    while (following := model.next_completion_ps()) != NEVER_PS:
        last = max([last, *model.advance(following).times_ps.tolist()])
    return last


@pytest.mark.parametrize(("count", "num_bytes"), [(1, 4096), (64, 4096), (16, 2**20), (1, 2**24)])
def test_analytic_level_is_a_lower_bound(count: int, num_bytes: int) -> None:
    for drive in ("pcie4-tlc", "pcie5-tlc", "tlc-gen4"):
        bound = FlashAnalyticModel.build(TIER, FlashAnalyticModel.Params(drive=drive), 0)
        exact = FlashCycleModel.build(TIER, FlashCycleModel.Params(drive=drive), 0)
        assert last_completion_ps(bound, count, num_bytes) <= last_completion_ps(exact, count, num_bytes)


def test_long_read_comes_close_to_the_bound() -> None:
    bound = FlashAnalyticModel.build(TIER, FlashAnalyticModel.Params(), 0)
    exact = FlashCycleModel.build(TIER, FlashCycleModel.Params(), 0)
    assert last_completion_ps(exact, 64, 2**20) < 1.1 * last_completion_ps(bound, 64, 2**20)


def test_four_striped_drives_read_almost_four_times_as_fast() -> None:
    one = FlashCycleModel.build(TIER, FlashCycleModel.Params(), 0)
    four = FlashCycleModel.build(TIER, FlashCycleModel.Params(drives=4), 0)
    ratio = last_completion_ps(one, 64, 2**20) / last_completion_ps(four, 64, 2**20)
    assert 3.5 < ratio <= 4.05


def test_bounce_through_host_dram_costs_the_copy(tiny_drive) -> None:
    config = tiny_drive()
    direct = last_completion_ps(FlashModel(Array(config)), 1, 4096)
    bounced = last_completion_ps(FlashModel(Array(config, bounce_bytes_per_s=1e9, bounce_ps=500)), 1, 4096)
    assert bounced - direct == 500 + 4096 * 1000


def test_a_rejected_look_ahead_leaves_no_trace(tiny_drive) -> None:
    """Asking for the next completion before every submission gives the same times as never asking."""
    config = tiny_drive(
        cache=DramCache(mode=CacheMode.WRITE, capacity_bytes=8 * 4096),
        mapping=Mapping(False, 256, overprovisioning=0.45),
    )
    draws = np.random.default_rng(4)
    plan = [(int(t), int(a) * 512, int(n), bool(w)) for t, a, n, w in zip(
        np.cumsum(draws.integers(0, 150_000_000, 400)), draws.integers(0, 4000, 400), draws.choice([512, 4096, 20_000], 400),
        draws.random(400) < 0.6, strict=True)]  # fmt: skip

    def times(look: bool) -> list[tuple[int, int]]:
        model = FlashModel(Array(config))
        done = []
        for ident, (now, address, num_bytes, is_write) in enumerate(plan):
            if look:
                model.next_completion_ps()
            completions = model.advance(now)
            done += zip(completions.ids.tolist(), completions.times_ps.tolist(), strict=True)
            model.submit(now, AccessBatch.one(ident, address, num_bytes, is_write))
            if look:
                model.next_completion_ps()
        completions = model.advance(10**15)
        return done + list(zip(completions.ids.tolist(), completions.times_ps.tolist(), strict=True))

    assert times(True) == times(False)
    assert len(times(False)) == 400


def test_curve_level_has_the_throughput_that_it_was_made_with() -> None:
    """A closed loop of 16 KiB reads, 16 in flight, over the curve: latency and throughput obey Little's law at the curve's point."""
    model = FlashCurveModel.build(TIER, FlashCurveModel.Params(), 0)
    for ident in range(16):
        model.submit(0, AccessBatch.one(ident, 0, 16384, False))
    done, last = 0, 0
    while done < 4000:
        last = model.next_completion_ps()
        for ident in model.advance(last).ids.tolist():
            done += 1
            model.submit(last, AccessBatch.one(ident, 0, 16384, False))
    latency_ps = model._curve.at(False, 16384, 16) * 1000
    assert done / last == pytest.approx(16 / latency_ps, rel=0.02)


def test_capacity_decides_the_blocks() -> None:
    tier = replace(TIER, capacity_bytes=200 * 10**9)
    model = FlashCycleModel.build(tier, FlashCycleModel.Params(drives=2), 0)
    assert 200e9 <= model._array.capacity_bytes < 215e9


@pytest.mark.parametrize(
    "values", [{"drive": "pcie4-tcl"}, {"drives": 0}, {"stripe": "3 KiB"}, {"max_command": "100 B"}, {"path": "x"}]
)
def test_bad_parameters_are_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        FlashCycleModel.Params(**values)


def worn_drive(tiny_drive):
    timing = FlashTiming(read_ns=(50_000,) * 4, program_ns=(300_000,) * 4, erase_ns=2_000_000, endurance_cycles=12)
    return tiny_drive(timing=timing, mapping=Mapping(overprovisioning=0.7))


def test_a_worn_out_drive_says_so_and_has_lost_nothing(tiny_drive) -> None:
    config = worn_drive(tiny_drive)
    model = FlashModel(Array(config))
    draws = np.random.default_rng(0)
    pages = Array(config).capacity_bytes // 4096
    accepted: set[int] = set()
    now = 0
    for ident in range(40_000):
        page = int(draws.integers(0, pages))
        if model.refuses_writes(now):
            break
        model.submit(now, AccessBatch.one(ident, page * 4096, 4096, True))
        now = model.next_completion_ps()
        assert model.advance(now).ids.tolist() == [ident]
        accepted.add(page)
    assert model.refuses_writes(now)
    assert 0 < model.worn_out_ps <= now
    m = model._drives[0].memory
    mapped = np.flatnonzero(table(m, Param.LPN_AT, Lpn.WORDS, int(m[Param.NUM_LPNS]))[:, Lpn.PPN_1])
    assert set(mapped.tolist()) == accepted
    model.submit(now, AccessBatch.one(0, next(iter(accepted)) * 4096, 4096, False))
    assert model.advance(now + 10**9).ids.tolist() == [0]


def test_wear_is_counted(tiny_drive) -> None:
    """Every page written once: no amplification. Twelve erases per block allowed, four used before: two thirds are left."""
    config = worn_drive(tiny_drive)
    model = FlashModel(Array(config, cycles_used=4))
    num_pages = Array(config).capacity_bytes // 4096
    for ident in range(num_pages):
        model.submit(0, AccessBatch.one(ident, ident * 4096, 4096, True))
    while model.next_completion_ps() != NEVER_PS:
        model.advance(model.next_completion_ps())
    wear = model.metrics(10**15)
    assert wear["host_written_bytes"] == wear["flash_programmed_bytes"] == num_pages * 4096
    assert wear["write_amplification"] == 1
    assert wear["pe_cycles_mean"] == wear["pe_cycles_max"] == 4
    assert wear["endurance_used_share"] == pytest.approx(1 / 3)
    assert wear["endurance_left_bytes"] == 8 * config.geometry.raw_bytes
    assert "worn_out_s" not in wear


def test_long_accesses_are_not_looked_through_at_once(tiny_drive) -> None:
    """Asked again at each time that it names, an access of many commands ends when it ends in one go."""
    array = Array(tiny_drive(), max_command_bytes=4096)
    size = 3 * HORIZON_BYTES // 2
    patient, hasty = FlashModel(array), FlashModel(array)
    for model in (patient, hasty):
        model.submit(0, AccessBatch.one(7, 0, size, False))
    asked = 0
    while not len(done := patient.advance(patient.next_completion_ps()).times_ps):
        asked += 1
    assert asked >= 1
    assert done.tolist() == hasty.advance(10**15).times_ps.tolist()
