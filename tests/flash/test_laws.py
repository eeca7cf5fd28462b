"""What must hold whatever the requests are: nothing is lost, every page is where the map says, books balance."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.flash.config import CacheMode, Collection, DramCache, Mapping, ModernFeatures
from tiergarten.sim.flash.drive import FOREVER_NS, Requests, empty_drive, load_requests, run_requests, run_until, table
from tiergarten.sim.flash.kernel.layout import Block, Glob, Lpn, Param, Plane, Req, Unit

POLICIES = ("GREEDY", "RGA", "RANDOM", "RANDOM_P", "RANDOM_PP", "FIFO")
MODERN = ModernFeatures(
    die_interleaving=True, independent_planes=True, suspend_program_ns=5_000, suspend_erase_ns=20_000, write_patience_ns=1_000_000
)


def random_requests(config, count: int, seed: int, read_share: float, gap_ns: int) -> Requests:
    draws = np.random.default_rng(seed)
    sizes = draws.choice([1, 3, 8, 16, 40], count)
    last = config.logical_sectors - 40
    return Requests(
        is_write=draws.random(count) >= read_share,
        first_sectors=draws.integers(0, last, count),
        num_sectors=sizes,
        arrivals_ns=np.sort(draws.integers(1, count * gap_ns, count)),
    )


def finished_drive(config, requests: Requests):
    m = empty_drive(config, len(requests), 64)
    load_requests(m, requests)
    run_until(m, FOREVER_NS)
    return m


def check_books(m, config, requests: Requests) -> None:
    """Every page ever touched has one valid physical page that names it; counts of blocks and pools follow from the pages."""
    geometry = config.geometry
    pages = geometry.pages_per_block
    lpn = table(m, Param.LPN_AT, Lpn.WORDS, int(m[Param.NUM_LPNS]))
    owner = table(m, Param.OWNER_AT, 1, geometry.num_pages)[:, 0]
    block = table(m, Param.BLOCK_AT, Block.WORDS, geometry.num_planes * geometry.blocks_per_plane)
    touched = {
        page
        for first, count in zip(requests.first_sectors.tolist(), requests.num_sectors.tolist(), strict=True)
        for page in range(first // geometry.sectors_per_page, (first + count - 1) // geometry.sectors_per_page + 1)
    }
    mapped = np.flatnonzero(lpn[:, Lpn.PPN_1])
    cached = set(np.flatnonzero(lpn[:, Lpn.SLOT_1]).tolist())
    assert set(mapped.tolist()) | cached == touched
    assert np.array_equal(owner[lpn[mapped, Lpn.PPN_1] - 1], mapped + 1)
    assert np.count_nonzero(owner > 0) == len(mapped)
    assert not lpn[:, Lpn.LOCKED].any()
    assert not lpn[:, Lpn.BEHIND_HEAD_1].any()
    valid = (owner.reshape(-1, pages) != 0).sum(axis=1)
    assert np.array_equal(valid, block[:, Block.WRITTEN] - block[:, Block.INVALID])
    assert not block[:, Block.PROGRAMS].any()
    assert not block[:, Block.READS].any()
    assert not block[:, Block.IN_GC].any()
    plane = table(m, Param.PLANE_AT, Plane.WORDS, geometry.num_planes)
    pool = (block[:, Block.IN_POOL] > 0).reshape(geometry.num_planes, -1).sum(axis=1)
    assert np.array_equal(pool, plane[:, Plane.FREE_BLOCKS])
    unit = table(m, Param.UNIT_AT, Unit.WORDS, int(m[Param.CHANNELS] * m[Param.UNITS_PER_CHANNEL]))
    assert not unit[:, Unit.BUSY].any()
    assert not unit[:, Unit.QUEUED].any()
    assert m[Glob.LIVE_TXN] == 0
    assert m[Glob.IN_DEVICE] == 0
    assert block[:, Block.ERASES].sum() == m[Glob.BLOCKS_ERASED] == m[Glob.GC_RUNS]
    programmed = m[Glob.PAGES_PROGRAMMED]
    assert programmed == m[Glob.HOST_PAGES_WRITTEN] + m[Glob.GC_MOVED_PAGES] + m[Glob.MAPPING_WRITES]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    policy=st.sampled_from(POLICIES),
    mode=st.sampled_from(list(CacheMode)),
    ideal=st.booleans(),
    preemptible=st.booleans(),
    copyback=st.booleans(),
    modern=st.booleans(),
)
def test_nothing_is_lost_and_the_books_balance(tiny_drive, seed, policy, mode, ideal, preemptible, copyback, modern) -> None:
    config = tiny_drive(
        mapping=Mapping(ideal=ideal, table_bytes=64, overprovisioning=0.6),
        cache=DramCache(mode=mode, capacity_bytes=8 * 4096),
        collection=Collection(policy=policy, preemptible=preemptible, copyback=copyback),
        modern=MODERN if modern else ModernFeatures(),
    )
    requests = random_requests(config, 900, seed, 0.3, 100_000)
    m = finished_drive(config, requests)
    assert m[Glob.COMPLETED] == len(requests)
    rows = table(m, Param.REQUEST_AT, Req.WORDS, len(requests))
    assert (rows[:, Req.COMPLETE] > rows[:, Req.ARRIVAL]).all()
    check_books(m, config, requests)


@pytest.mark.parametrize("policy", POLICIES)
def test_collection_happens_and_every_policy_amplifies(tiny_drive, policy: str) -> None:
    config = tiny_drive(collection=Collection(policy=policy), mapping=Mapping(overprovisioning=0.55))
    requests = random_requests(config, 3000, 7, 0.0, 400_000)
    result = run_requests(config, requests)
    assert result.counters["gc_runs"] > 50
    assert result.counters["pages_programmed"] > result.counters["host_pages_written"]


def test_greedy_moves_fewer_pages_than_random(tiny_drive) -> None:
    def moved(policy: str) -> float:
        config = tiny_drive(collection=Collection(policy=policy), mapping=Mapping(overprovisioning=0.55))
        counters = run_requests(config, random_requests(config, 3000, 7, 0.0, 400_000)).counters
        return counters["gc_moved_pages"] / counters["gc_runs"]

    assert moved("GREEDY") < moved("RGA") < moved("RANDOM_P")


def test_same_requests_same_times(tiny_drive) -> None:
    config = tiny_drive(collection=Collection(policy="RGA"))
    requests = random_requests(config, 1500, 3, 0.3, 100_000)
    first, second = run_requests(config, requests), run_requests(config, requests)
    assert np.array_equal(first.completions_ns, second.completions_ns)
    assert first.counters == second.counters


def test_running_in_pieces_changes_nothing(tiny_drive) -> None:
    config = tiny_drive()
    requests = random_requests(config, 600, 5, 0.4, 100_000)
    whole = run_requests(config, requests).completions_ns
    m = empty_drive(config, len(requests), 64)
    load_requests(m, requests)
    for until in np.random.default_rng(1).integers(0, whole.max(), 200).tolist():
        run_until(m, max(until, int(m[Glob.NOW])))
    run_until(m, FOREVER_NS)
    assert np.array_equal(table(m, Param.REQUEST_AT, Req.WORDS, len(requests))[:, Req.COMPLETE], whole)


UNCOMPILED = """
import json, sys
import numpy as np
from tiergarten.sim.flash.config import *
from tiergarten.sim.flash.drive import *
from tiergarten.sim.flash.geometry import CellType, FlashGeometry
from tiergarten.sim.flash.kernel.engine import process_events
from tiergarten.sim.flash.kernel.layout import Glob

def outcome(modern, mode, ideal):
    config = DriveConfig("t", FlashGeometry(1, 2, 1, 2, 18, 4, 4096, CellType.TLC), cache=DramCache(mode=mode, capacity_bytes=8 * 4096),
        mapping=Mapping(ideal=ideal, table_bytes=64, overprovisioning=0.75), modern=modern, collection=Collection(policy="RGA"))
    draws = np.random.default_rng(11)
    n = 130
    requests = Requests(draws.random(n) < 0.85, draws.integers(0, config.logical_sectors - 40, n), draws.choice([1, 8, 16, 40], n),
        np.sort(draws.integers(1, n * 200_000, n)))
    m = empty_drive(config, n, 64)
    load_requests(m, requests)
    process_events(m, FOREVER_NS, False)
    rows = table(m, Param.REQUEST_AT, Req.WORDS, n)
    assert m[Glob.COMPLETED] == n
    return [int(x) for x in rows[:, Req.COMPLETE]] + [counters(m)]

modern = ModernFeatures(die_interleaving=True, independent_planes=True, suspend_program_ns=5_000, suspend_erase_ns=20_000)
print(json.dumps([outcome(ModernFeatures(), CacheMode.OFF, True), outcome(ModernFeatures(), CacheMode.READ_WRITE, False),
    outcome(modern, CacheMode.WRITE, True)]))
"""


def test_compiled_and_uncompiled_kernel_agree() -> None:
    def outcome(uncompiled: bool) -> list:
        environment = {**os.environ, "NUMBA_DISABLE_JIT": str(int(uncompiled))}
        done = subprocess.run([sys.executable, "-P", "-c", UNCOMPILED], env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    compiled = outcome(False)
    assert all(case[-1]["gc_runs"] > 0 for case in compiled)
    assert outcome(True) == compiled
