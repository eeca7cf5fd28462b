"""Statistics against counting by hand and by brute force; an LRU cache hits as the reuse distances say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import TraceError
from tiergarten.sim.trace import AddressTrace
from tiergarten.workloads import lowering
from tiergarten.workloads.kernel import KERNELS, record
from tiergarten.workloads.lowering import lower
from tiergarten.workloads.lru_cache import LruSlots, lru_misses
from tiergarten.workloads.trace_statistics import reuse_distances, run_lengths, statistics, working_sets
from tiergarten.workloads.traffic import traffic

blocks_list = st.lists(st.integers(0, 7), min_size=1, max_size=60)


def trace(blocks, writes=None) -> AddressTrace:
    blocks = np.asarray(blocks, np.int64)
    none = np.zeros(len(blocks), np.int64)
    return AddressTrace(
        none, blocks * 64, np.zeros(len(blocks), bool) if writes is None else np.array(writes), none - 1
    )


def brute_distances(blocks: list[int]) -> list[int]:
    found = []
    for now, block in enumerate(blocks):
        earlier = [i for i in range(now) if blocks[i] == block]
        found.append(len(set(blocks[earlier[-1] + 1 : now])) if earlier else -1)
    return found


@settings(deadline=None)
@given(blocks_list)
def test_reuse_distances_by_brute_force(blocks):
    array = np.array(blocks, np.int64)
    assert reuse_distances(array, 8).tolist() == brute_distances(blocks)
    assert reuse_distances.py_func(array, 8).tolist() == brute_distances(blocks)


@settings(deadline=None)
@given(blocks_list)
def test_working_sets_by_brute_force(blocks):
    windows = np.arange(1, len(blocks) + 1)
    _, dense = np.unique(blocks, return_inverse=True)
    found = working_sets(dense, len(set(blocks)), windows)
    wanted = [np.mean([len(set(blocks[i : i + w])) for i in range(len(blocks) - w + 1)]) for w in windows]
    assert found == pytest.approx(wanted)


@settings(deadline=None)
@given(blocks_list, st.sampled_from([1, 2, 4]))
def test_lru_cache_hits_below_its_size(blocks, capacity):
    cache = LruSlots(capacity)
    hits = [cache.use(block)[1] for block in blocks]
    wanted = sum(0 <= distance < capacity for distance in brute_distances(blocks))
    assert sum(hits) == wanted == len(blocks) - lru_misses(blocks, capacity)
    if len(set(blocks)) >= capacity:
        assert statistics(trace(blocks)).lru_hit_rate(capacity) == pytest.approx(wanted / len(blocks))


def test_lru_slots_stay_apart_and_evict_the_oldest():
    cache = LruSlots(2)
    assert [cache.use(key)[0] for key in "aba"] == [0, 1, 0]
    assert cache.use("c") == (1, False)
    assert "b" not in cache
    assert len(cache) == 2
    with pytest.raises(ValueError, match="0 slots"):
        LruSlots(0)


def test_run_lengths_by_hand():
    assert run_lengths(np.array([3, 4, 4, 5, 9, 8, 9])).tolist() == [3, 1, 2]


def test_numbers_of_a_small_trace():
    found = statistics(trace([0, 1, 0, 1, 2], [False, False, True, False, False]))
    assert (found.accesses, found.footprint_bytes, found.read_share, found.first_touches) == (5, 192, 0.8, 3)
    assert dict(zip(found.reuse_bins.tolist(), found.reuse_counts.tolist(), strict=True)) == {0: 0, 1: 2, 2: 0}
    assert found.windows.tolist() == [1, 2, 4]
    assert found.working_set_bytes.tolist() == [64, 128, 64 * 2.5]
    with pytest.raises(ValueError, match="not an edge"):
        found.lru_hit_rate(3)


@pytest.mark.parametrize("name", ["flash_prefill", "paged_decode", "memo_swap"])
def test_lowered_program_moves_the_bytes_of_the_program(name):
    """Single bytes: each byte of each access is one request."""
    example = KERNELS.get(name).examples()[2]
    _, program = record(example)
    low = lower(program, 1)
    moved = traffic(program).values()
    assert low.is_write.sum() == sum(part.written_bytes for part in moved)
    assert (~low.is_write).sum() == sum(part.read_bytes for part in moved)
    assert low.problems() == []
    assert low.addresses.max() < program.objects.num_bytes.sum()


def test_lowering_rounds_to_blocks_and_refuses_too_many(monkeypatch):
    _, program = record(KERNELS.get("flash_prefill").examples()[2])
    low = lower(program, 4096)
    assert (low.addresses % 4096 == 0).all()
    monkeypatch.setattr(lowering, "MAX_BLOCKS", 10)
    with pytest.raises(TraceError, match="take larger blocks"):
        lower(program, 4096)
