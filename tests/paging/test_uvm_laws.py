"""Laws of the paging kernels: no page is lost, an independent model agrees, the compiled code does what the Python text says."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.accelerators.paging import costs
from tiergarten.accelerators.paging.eviction import EVICTORS
from tiergarten.accelerators.paging.hints import HINTS
from tiergarten.accelerators.paging.patterns import make_lanes
from tiergarten.accelerators.paging.prefetch import PREFETCHERS, NoPrefetch, TreePrefetch
from tiergarten.accelerators.paging.replay_policy import REPLAYS
from tiergarten.accelerators.paging.service import sort_entries
from tiergarten.accelerators.paging.state import DEVICE, Count, Now
from tiergarten.accelerators.paging.thrashing import ThrashDetection
from tiergarten.accelerators.paging.tree import climb, mark_dense, sparse_subtree
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine
from tiergarten.sim.errors import ConservationError
from tiergarten.sim.seeds import stream

sys.path.insert(0, str(Path(__file__).parent))
from reference_uvm import ReferenceUvm

BLOCK = 2 << 20
HARDWARE = FaultHardware(utlbs=3, parked_per_utlb=4, buffer_entries=16, batch_entries=8)


def small_config(**changes) -> UvmConfig:
    return replace(UvmConfig(device_bytes=3 * BLOCK, hardware=HARDWARE), **changes)


page_lists = st.lists(st.integers(0, 5 * 512 - 1), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(
    lanes=st.lists(page_lists, min_size=1, max_size=6),
    prefetcher=st.sampled_from(PREFETCHERS.names()),
    evictor=st.sampled_from(EVICTORS.names()),
    replay=st.sampled_from(REPLAYS.names()),
    hint=st.sampled_from([None, *HINTS.names()]),
    is_write=st.booleans(),
    thrash=st.booleans(),
    counters=st.sampled_from([0, 2]),
)
def test_every_policy_completes_every_touch_and_loses_no_page(
    lanes, prefetcher, evictor, replay, hint, is_write, thrash, counters
):
    config = small_config(
        prefetcher=PREFETCHERS.get(prefetcher)(),
        evictor=EVICTORS.get(evictor)(),
        replay=REPLAYS.get(replay)(),
        thrash=ThrashDetection() if thrash else None,
        counter_threshold=counters,
    )
    machine = UvmMachine(config, [5 * BLOCK])
    if hint:
        machine.advise(0, HINTS.get(hint))
    result = machine.touch(make_lanes([np.array(lane) for lane in lanes], HARDWARE, is_write=is_write))
    machine.check()
    assert result["touches"] == sum(len(lane) for lane in lanes)
    assert machine.resident_bytes() <= config.device_bytes
    on_device = int(np.count_nonzero(machine.state.pages & DEVICE))
    assert result["h2d_pages"] - result["evicted_pages"] == on_device
    assert result["faulted_pages"] + result["prefetched_pages"] == result["h2d_pages"]
    held = int(np.count_nonzero(machine.state.chunk_held))
    assert held + machine.state.now[Now.FREE_CHUNKS] == config.device_bytes // config.evictor.chunk_bytes
    assert result.time_ps >= result["driver_ps"] + result["gpu_ps"]


@settings(max_examples=60, deadline=None)
@given(pages=st.lists(st.integers(0, 4 * 512 + 99), min_size=1, max_size=80), device_blocks=st.integers(1, 5))
def test_kernels_agree_with_an_independent_model(pages, device_blocks):
    hardware = FaultHardware(utlbs=1, parked_per_utlb=12, buffer_entries=64, batch_entries=8)
    num_pages = 4 * 512 + 100
    machine = UvmMachine(UvmConfig(device_bytes=device_blocks * BLOCK, hardware=hardware), [num_pages * 4096])
    result = machine.touch(make_lanes(np.array(pages)[:, None], hardware))
    oracle = ReferenceUvm(num_pages, device_blocks)
    oracle.touch(pages, slots=12, batch=8)
    ours = (
        result["batches"],
        result["faulted_pages"],
        result["h2d_pages"],
        result["evictions"],
        result["evicted_pages"],
    )
    assert ours == (oracle.batches, oracle.faulted, oracle.fetched, oracle.evictions, oracle.evicted)
    assert set(np.flatnonzero(machine.state.pages & DEVICE)) == oracle.resident


def digest() -> dict:
    """A run that uses most kernels, small enough to be interpreted."""
    draw = stream(7, "test.digest")
    hardware = FaultHardware(utlbs=2, parked_per_utlb=3, buffer_entries=8, batch_entries=4)
    totals = {}
    for evictor in EVICTORS.names():
        for replay in REPLAYS.names():
            config = UvmConfig(
                device_bytes=2 * BLOCK,
                hardware=hardware,
                evictor=EVICTORS.get(evictor)(),
                replay=REPLAYS.get(replay)(),
                thrash=ThrashDetection(),
                costs=replace(costs.TITAN_V, pipelined=True),
            )
            machine = UvmMachine(config, [3 * BLOCK, 5000])
            pages = draw.integers(0, 3 * 512, (4, 6))
            result = machine.touch(make_lanes(pages, hardware, width=2, is_write=True))
            totals[f"{evictor} {replay}"] = [
                machine.time_ps,
                *result.counts.values(),
                int(machine.state.pages.astype(int).sum()),
            ]
    return totals


def test_compiled_kernels_equal_the_interpreted_text():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import json, test_uvm_laws; print(json.dumps(test_uvm_laws.digest()))"
    command = [sys.executable, "-P", "-c", code, str(Path(__file__).parent)]
    answer = subprocess.run(
        command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(answer.stdout) == digest()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_leaf_kernels_equal_their_py_func(log_leaves, random):
    leaves = 2**log_leaves
    valid = np.array([random.randint(1, 16) for _ in range(leaves)])
    soon = np.array([random.randint(0, pages) for pages in valid])
    faulted = np.array([random.randint(0, 1) for _ in range(leaves)])
    leaf = random.randrange(leaves)
    assert climb(soon, valid, leaf, 51) == climb.py_func(soon, valid, leaf, 51)
    assert sparse_subtree(soon, valid, leaf, 50) == sparse_subtree.py_func(soon, valid, leaf, 50)
    compiled, interpreted = np.zeros(leaves, np.int64), np.ones(leaves, np.int64)
    mark_dense(soon, valid, faulted, 51, compiled)
    mark_dense.py_func(soon, valid, faulted, 51, interpreted)
    assert compiled.tolist() == interpreted.tolist()
    entries = np.array([random.randrange(100) for _ in range(40)], np.int64)
    expected = [*sorted(entries[:30].tolist()), *entries[30:].tolist()]
    sort_entries(entries, 30)
    assert entries.tolist() == expected


def test_conservation_check_finds_a_lost_and_a_doubled_page():
    machine = UvmMachine(small_config(), [BLOCK])
    machine.touch(make_lanes(np.array([[0, 20]]), HARDWARE))
    flags = machine.state.pages.copy()
    machine.state.pages[3] &= ~np.uint8(DEVICE)
    with pytest.raises(ConservationError, match=r"page 3 .* is nowhere"):
        machine.check()
    machine.state.pages[:] = flags
    machine.state.pages[4] |= 1
    with pytest.raises(ConservationError, match=r"page 4 .* two places"):
        machine.check()


def test_same_run_gives_the_same_bytes():
    def run():
        machine = UvmMachine(small_config(evictor=EVICTORS.get("random")(), seed=3), [5 * BLOCK])
        machine.touch(make_lanes(stream(1, "t").integers(0, 5 * 512, (6, 50)), HARDWARE))
        return machine.time_ps, machine.state.pages.tobytes(), machine.state.counts.tobytes()

    assert run() == run()


class AskingTree:
    """The built-in tree as a plug-in: asks nothing new, so it must give the same run."""

    kind = PREFETCHERS.get("tree").kind.__class__.PLUGIN

    def fetch(self, view):
        from reference_uvm import tree_fetch

        resident, faulted, valid = (set(np.flatnonzero(x)) for x in (view.on_device, view.faulted, view.valid))
        answer = np.zeros(512, bool)
        answer[sorted(tree_fetch(resident, faulted, valid))] = True
        return answer


class AskingOldest:
    """Least recently allocated as a plug-in."""

    kind = EVICTORS.get("lra").kind.__class__.PLUGIN
    chunk_bytes = BLOCK

    def victim(self, view):
        return int(view.candidates[0])


@settings(max_examples=25, deadline=None)
@given(pages=st.lists(st.integers(0, 5 * 512 - 1), min_size=1, max_size=60), device_blocks=st.integers(2, 4))
def test_plug_ins_that_copy_the_built_in_policies_give_the_same_run(pages, device_blocks):
    def run(prefetcher, evictor):
        config = small_config(device_bytes=device_blocks * BLOCK, prefetcher=prefetcher, evictor=evictor)
        machine = UvmMachine(config, [5 * BLOCK])
        result = machine.touch(make_lanes([np.array(pages)], HARDWARE))
        machine.check()
        return result

    assert run(TreePrefetch(), EVICTORS.get("lra")()) == run(AskingTree(), AskingOldest())


def test_counts_name_every_field():
    result = UvmMachine(small_config(), [BLOCK]).touch(make_lanes(np.array([[0]]), HARDWARE))
    assert set(result.counts) == {count.name.lower() for count in Count if count != Count.SIZE}


@pytest.mark.parametrize(("touch_ps", "batch_ps"), [(1_000_000, 10_000_000), (10_000, 50_000_000)])
def test_the_driver_works_beside_a_gpu_that_raises_whole_batches(touch_ps, batch_ps):
    """Resident pages before each fault keep the GPU touching; the run lasts as long as both only where batches are not full."""
    hardware = FaultHardware(utlbs=1, parked_per_utlb=8, buffer_entries=64, batch_entries=4, touch_ps=touch_ps)
    free = costs.UvmCosts(batch_ps, 0, 0, 1e18, 1e18)
    config = UvmConfig(16 * BLOCK, free, hardware, prefetcher=NoPrefetch())
    machine = UvmMachine(config, [8 * BLOCK])
    machine.touch(make_lanes([np.arange(512)], hardware))  # the first VABlock is resident from now on
    lanes = [np.array([number, 512 + number]) for number in range(64)]
    result = machine.touch(make_lanes(lanes, hardware))
    machine.check()
    serial = result["gpu_ps"] + result["driver_ps"]
    assert result.time_ps == serial - result["hidden_ps"]
    assert max(result["gpu_ps"], result["driver_ps"]) <= result.time_ps < serial
    one_at_a_time = machine.touch(make_lanes([np.arange(1024, 1088)], hardware))
    assert one_at_a_time["hidden_ps"] <= one_at_a_time["gpu_ps"]
