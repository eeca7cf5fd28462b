"""Hints, thrash detection, access counters, ATS and HMM, replay policies, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from tiergarten.accelerators.paging import costs
from tiergarten.accelerators.paging.ats import ats_config, ats_machine, gh200_link
from tiergarten.accelerators.paging.costs import UvmCosts
from tiergarten.accelerators.paging.eviction import (
    LeastFrequentlyUsed,
    LeastRecentlyAllocated,
    LeastRecentlyUsed,
    TreeEviction,
)
from tiergarten.accelerators.paging.hints import (
    ACCESSED_BY_HINT,
    PREFER_DEVICE_HINT,
    PREFER_HOST_HINT,
    READ_MOSTLY_HINT,
)
from tiergarten.accelerators.paging.hmm import hmm_config
from tiergarten.accelerators.paging.oversubscription import run_point
from tiergarten.accelerators.paging.patterns import make_lanes
from tiergarten.accelerators.paging.prefetch import NoPrefetch, TreePrefetch
from tiergarten.accelerators.paging.replay_policy import REPLAYS
from tiergarten.accelerators.paging.thrashing import ThrashDetection
from tiergarten.accelerators.paging.uvm import FaultHardware, Geometry, UvmConfig, UvmMachine
from tiergarten.accelerators.paging.uvmsmart import SmartConfig
from tiergarten.sim.errors import InputError, UnknownNameError

BLOCK = 2 << 20
HARDWARE = FaultHardware(utlbs=2, parked_per_utlb=8, buffer_entries=64, batch_entries=16, touch_ps=10)
BASE = UvmConfig(device_bytes=4 * BLOCK, hardware=HARDWARE, prefetcher=NoPrefetch())
GH200 = replace(BASE, costs=gh200_link(BASE.costs))


def touch(machine: UvmMachine, pages, is_write=False):
    result = machine.touch(make_lanes([np.asarray(pages)], HARDWARE, is_write=is_write))
    machine.check()
    return result


def test_prefetch_moves_at_link_rate_and_leaves_nothing_to_fault():
    machine = UvmMachine(BASE, [2 * BLOCK])
    moved = machine.prefetch(0)
    machine.check()
    link_ps = 2 * BLOCK * 1e12 / BASE.costs.h2d_bytes_per_s
    assert moved.time_ps == pytest.approx(link_ps + 2 * (BASE.costs.setup_ps + BASE.costs.unmap_ps), rel=1e-3)
    assert touch(machine, range(1024))["fault_entries"] == 0


def test_read_mostly_pages_are_on_both_sides_and_cost_nothing_to_evict():
    machine = UvmMachine(BASE, [6 * BLOCK])
    machine.advise(0, READ_MOSTLY_HINT)
    result = touch(machine, np.arange(6) * 512)
    assert result["evictions"] == 2
    assert result["d2h_pages"] == 0


def test_a_write_to_a_read_mostly_page_gives_up_the_host_copy():
    machine = UvmMachine(BASE, [BLOCK])
    machine.advise(0, READ_MOSTLY_HINT)
    touch(machine, [5])
    assert touch(machine, [5], is_write=True)["invalidated_pages"] == 1
    assert touch(machine, [5], is_write=True)["fault_entries"] == 0


def test_prefer_host_maps_without_moving_and_accessed_by_does_not_even_fault():
    for hint, faults in ((PREFER_HOST_HINT, 1), (ACCESSED_BY_HINT, 0)):
        machine = UvmMachine(BASE, [BLOCK])
        machine.advise(0, hint)
        result = touch(machine, [7, 7, 7])
        assert (result["fault_entries"], result["remote_touches"], result["h2d_pages"]) == (faults, 3, 0)
        assert result["remote_ps"] == 3 * BASE.costs.remote_read_ps


def test_preferred_device_fetches_the_whole_block_at_first_touch():
    machine = UvmMachine(BASE, [BLOCK])
    machine.advise(0, PREFER_DEVICE_HINT)
    assert touch(machine, [100])["h2d_pages"] == 512


def test_a_busy_granule_migrates_after_256_remote_touches():
    config = ats_config(BASE)
    machine = ats_machine(config, [2 * BLOCK])
    few = touch(machine, list(range(255)))
    assert (few["counter_migrations"], few["h2d_pages"], few["fault_entries"]) == (0, 0, 0)
    assert touch(machine, [0])["counter_migrations"] == 1
    assert touch(machine, list(range(512)))["remote_touches"] == 0
    assert touch(machine, [600])["remote_touches"] == 1


def test_ats_touches_run_at_the_links_rate():
    """A 4 KiB page read line by line over NVLink-C2C: 375 GB/s."""
    machine = ats_machine(ats_config(GH200, bytes_per_touch=4096, counter_threshold=0), [BLOCK])
    result = touch(machine, range(512))
    assert BLOCK * 1e12 / result["remote_ps"] == pytest.approx(375e9, rel=0.01)


def test_hmm_pays_page_by_page_and_stops_at_the_region():
    uvm = UvmMachine(replace(BASE, prefetcher=TreePrefetch()), [BLOCK])
    hmm = UvmMachine(hmm_config(replace(BASE, prefetcher=TreePrefetch())), [BLOCK])
    one_uvm, one_hmm = touch(uvm, [0]), touch(hmm, [0])
    assert one_hmm["h2d_pages"] == one_uvm["h2d_pages"] == 16
    assert one_hmm.time_ps < one_uvm.time_ps
    assert touch(hmm, range(512))["h2d_pages"] == 512 - 16


def test_thrash_detection_throttles_then_pins_and_pins_run_out():
    detection = ThrashDetection()
    config = replace(BASE, device_bytes=BLOCK, thrash=detection, costs=replace(costs.TITAN_V, setup_ps=0, unmap_ps=0))
    machine = UvmMachine(config, [2 * BLOCK])
    ping_pong = np.tile([0, 512], 40)
    result = touch(machine, ping_pong)
    assert result["throttled"] > 0
    assert result["pinned_pages"] > 0
    assert result["remote_touches"] > 0
    free = UvmMachine(replace(config, thrash=None), [2 * BLOCK])
    assert touch(free, ping_pong)["evictions"] > result["evictions"]
    machine.state.now[0] += 400 * detection.lapse_ps
    assert touch(machine, [0, 512])["faulted_pages"] > 0


def test_cpu_touch_brings_pages_back_and_its_chunk_is_reused_first():
    machine = UvmMachine(replace(BASE, device_bytes=2 * BLOCK), [3 * BLOCK])
    touch(machine, [0, 512])
    assert machine.touch_on_host(0, 512, 1) == 1
    machine.check()
    result = touch(machine, [1024])
    assert (result["evictions"], result["evicted_pages"]) == (0, 0)
    assert touch(machine, [0])["fault_entries"] == 0


def test_eviction_orders_differ_where_they_should():
    """Blocks A, B fill memory, A is touched again, C needs room: LRA drops A, LRU and LFU drop B."""
    evicted = {}
    for policy in (LeastRecentlyAllocated(), LeastRecentlyUsed(), LeastFrequentlyUsed()):
        machine = UvmMachine(replace(BASE, device_bytes=2 * BLOCK, evictor=policy), [3 * BLOCK])
        touch(machine, [0, 512, 0, 0, 1024])
        evicted[type(policy).__name__] = touch(machine, [0])["fault_entries"]
    assert evicted == {"LeastRecentlyAllocated": 1, "LeastRecentlyUsed": 0, "LeastFrequentlyUsed": 0}


def test_tree_eviction_takes_the_sparse_neighbourhood_along():
    """One region of a two-region group is half of it, not less: it goes alone. With its sibling gone before, nothing is left."""
    machine = UvmMachine(
        replace(BASE, device_bytes=BLOCK, evictor=TreeEviction(), prefetcher=NoPrefetch()), [2 * BLOCK]
    )
    touch(machine, np.arange(32) * 16)
    result = touch(machine, [512])
    assert result["evicted_pages"] == 32  # one page in each of 32 regions: every sub-tree is nearly empty


def test_replay_policies_trade_duplicates_for_flushes():
    """Many accesses to few pages: without flush the old entries come back as duplicates, with it they are thrown away."""
    results = {}
    for name in REPLAYS.names():
        machine = UvmMachine(replace(BASE, replay=REPLAYS.get(name)()), [4 * BLOCK])
        lanes = make_lanes(np.arange(16)[:, None] % 2 + np.array([[0, 512, 1024, 1536]]), HARDWARE)
        results[name] = machine.touch(lanes)
        machine.check()
    assert results["batch_flush"]["flushed"] >= 0
    assert results["batch"]["flushed"] == 0
    assert results["block"]["replays"] >= results["batch_flush"]["replays"]
    assert len({result["touches"] for result in results.values()}) == 1


def test_a_lone_utlb_cannot_fill_a_batch():
    """SC'21: 56 outstanding faults per uTLB."""
    hardware = FaultHardware(utlbs=40)
    machine = UvmMachine(replace(BASE, hardware=hardware), [BLOCK])
    result = machine.touch(make_lanes(np.arange(500)[:, None], hardware, lanes_per_turn=500))
    assert result["fault_entries"] / result["batches"] <= 56


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: replace(BASE, geometry=Geometry(page_bytes=5000)), "geometry.page_bytes"),
        (lambda: replace(BASE, geometry=Geometry(region_bytes=0)), "geometry.region_bytes"),
        (lambda: replace(BASE, geometry=Geometry(region_bytes=4 << 20)), "geometry"),
        (lambda: replace(BASE, device_bytes=1 << 20), "device_bytes"),
        (lambda: replace(BASE, hardware=FaultHardware(utlbs=0)), "hardware.utlbs"),
        (lambda: replace(BASE, hardware=FaultHardware(touch_ps=-1)), "hardware.touch_ps"),
        (lambda: replace(BASE, evictor=LeastRecentlyUsed(3 << 20)), "evictor.chunk_bytes"),
        (lambda: replace(BASE, evictor=TreeEviction(chunk_bytes=BLOCK)), "evictor.chunk_bytes"),
        (lambda: replace(BASE, counter_threshold=-1), "counter_threshold"),
        (lambda: UvmCosts(0, 0, 0, 0, 1e9), "costs.h2d_bytes_per_s"),
        (lambda: UvmCosts(-1, 0, 0, 1e9, float("inf")), "costs.batch_ps"),
        (lambda: TreePrefetch(percent=0), "prefetch.percent"),
        (lambda: ThrashDetection(pin_events=2), "thrash.pin_events"),
        (lambda: ThrashDetection(lapse_ps=0), "thrash.lapse_ps"),
        (lambda: UvmMachine(BASE, []), "allocations"),
        (lambda: UvmMachine(BASE, [BLOCK, 0]), "allocations row 1"),
        (lambda: UvmMachine(replace(BASE, host_bytes=BLOCK), [6 * BLOCK]), "allocations"),
        (lambda: UvmMachine(BASE, [1 << 60]), "allocations"),
        (lambda: touch(UvmMachine(BASE, [4096]), [1]), "touches row 0"),
        (lambda: touch(UvmMachine(BASE, [4096]), [0, -3]), "touches row 1"),
        (lambda: UvmMachine(BASE, [4096]).touch(make_lanes([[0]], FaultHardware())), "lanes"),
        (lambda: make_lanes(np.zeros((2, 3)), HARDWARE, width=2), "touches"),
        (lambda: make_lanes([[0]], HARDWARE, lanes_per_turn=0), "lanes_per_turn"),
        (lambda: ats_config(BASE, bytes_per_touch=100), "bytes_per_touch"),
        (lambda: SmartConfig(BLOCK, prefetcher="tnb").lower(), "uvmsmart.prefetcher"),
        (lambda: run_point("sequential", 0), "sweep"),
    ],
)
def test_impossible_machines_are_refused_with_the_place(make, place):
    with pytest.raises(InputError) as caught:
        make()
    assert any(problem.path == place for problem in caught.value.problems), str(caught.value)


def test_all_problems_come_at_once_and_unknown_names_are_answered():
    with pytest.raises(InputError) as caught:
        replace(BASE, device_bytes=0, counter_threshold=-1, geometry=Geometry(page_bytes=3))
    assert len(caught.value.problems) == 3
    with pytest.raises(UnknownNameError, match="sequential"):
        run_point("sequentail", 1.0)


def test_nothing_to_touch_takes_no_time():
    assert UvmMachine(BASE, [BLOCK]).touch(make_lanes([], HARDWARE)).time_ps == 0
