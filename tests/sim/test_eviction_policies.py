"""Every registered eviction policy keeps the contract; each one evicts what its definition says on cases done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import UnknownNameError
from tiergarten.sim.eviction import NEVER, EvictionSetup, FutureUses, GhostList, RankQueue
from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.policies.arc import Arc
from tiergarten.sim.policies.fifo import Fifo
from tiergarten.sim.policies.lfu import Lfu
from tiergarten.sim.policies.lru import Lru
from tiergarten.sim.policies.opt import Opt
from tiergarten.sim.policies.random_choice import RandomChoice
from tiergarten.sim.policies.s3fifo import S3Fifo
from tiergarten.testing import any_candidate, check_eviction_policy


def made(policy, capacity, keys):
    return policy(EvictionSetup(capacity, FutureUses(enumerate(keys)), np.random.default_rng(1), chooser=any_candidate))


def run(policy, capacity, keys):
    """(key, victim) of every miss in a full cache."""
    log, cached, cache = [], set(), made(policy, capacity, keys)
    for now, key in enumerate(keys):
        if key in cached:
            cache.access(key, now)
            continue
        if len(cached) == capacity:
            victim = cache.victim(key, now)
            log.append((key, victim))
            if victim is None:
                continue
            cache.remove(victim)
            cached.remove(victim)
        cache.insert(key, now)
        cached.add(key)
    return log


def test_registry_lists_all_policies():
    assert eviction_policies.names() == ["arc", "fifo", "learned", "lfu", "lru", "opt", "random", "s3fifo"]
    with pytest.raises(UnknownNameError, match="'lru'"):
        eviction_policies.get("lro")


@pytest.mark.parametrize("name", eviction_policies.names())
def test_policy_keeps_the_contract(name):
    for seed in range(4):
        check_eviction_policy(eviction_policies.get(name), seed)


def test_kit_catches_a_policy_that_evicts_pinned_keys():
    class Careless(Lru):
        def pin(self, key):
            pass

    with pytest.raises(AssertionError, match="pinned"):
        check_eviction_policy(Careless)


def test_kit_catches_a_policy_that_names_absent_keys():
    class Forgetful(Fifo):
        def remove(self, key):
            pass

    with pytest.raises(AssertionError):
        check_eviction_policy(Forgetful)


def test_kit_catches_a_policy_whose_victims_vary():
    class Moody(Lru):
        draws = np.random.default_rng(5)

        def access(self, key, now):
            if self.draws.random() < 0.5:
                super().access(key, now)

    with pytest.raises(AssertionError, match="different victims"):
        check_eviction_policy(Moody)


def test_fifo_ignores_uses():
    assert run(Fifo, 2, [1, 2, 1, 1, 3, 4]) == [(3, 1), (4, 2)]


def test_lru_evicts_the_longest_unused():
    assert run(Lru, 2, [1, 2, 1, 3, 4]) == [(3, 2), (4, 1)]


def test_lfu_evicts_the_least_used_and_the_older_of_equals():
    assert run(Lfu, 3, [1, 1, 2, 3, 4, 5]) == [(4, 2), (5, 3)]


def test_opt_evicts_the_latest_needed_and_refuses_what_is_needed_later():
    assert run(Opt, 2, [1, 2, 3, 1, 2, 3]) == [(3, None), (3, None)]
    assert run(Opt, 2, [1, 2, 3, 3, 1]) == [(3, 2)]


def test_opt_without_a_future_is_refused():
    with pytest.raises(ValueError, match="future"):
        Opt(EvictionSetup(2))
    with pytest.raises(ValueError, match="rng"):
        RandomChoice(EvictionSetup(2))


def test_random_is_uniform():
    victims = []
    for seed in range(600):
        cache = RandomChoice(EvictionSetup(3, rng=np.random.default_rng(seed)))
        for key in (1, 2, 3):
            cache.insert(key, 0)
        victims.append(cache.victim())
    # 600 draws over 3 keys: 200 expected, standard deviation 11.5; five of them
    assert all(abs(victims.count(key) - 200) < 58 for key in (1, 2, 3))


def test_s3fifo_promotes_what_was_used_twice_and_remembers_what_left():
    cache = made(S3Fifo, 10, [])
    for key in range(10):
        cache.insert(key, 0)
    for _ in range(2):
        cache.access(0, 0)
    cache.access(1, 0)
    assert cache.victim() == 1  # 0 was used twice and moved to the main queue; 1 only once
    cache.remove(1)
    cache.insert(1, 0)  # the ghost remembers 1: main queue, behind 0
    for expected in (2, 3, 4, 5, 6, 7, 8):
        assert cache.victim() == expected
        cache.remove(expected)
        cache.insert(100 + expected, 0)
    assert cache.victim() == 9
    assert 0 in cache
    assert 1 in cache


def test_s3fifo_gives_a_used_key_of_the_main_queue_another_round():
    cache = made(S3Fifo, 10, [])
    for key in (0, 1, 2):
        cache.insert(key, 0)
        cache.access(key, 0)
        cache.access(key, 0)
    cache.insert(3, 0)
    assert cache.victim() == 3  # 0, 1, 2 moved to main on the way
    cache.access(0, 0)
    cache.remove(3)
    assert cache.victim() == 1  # 0 was used in main and goes round
    cache.remove(1)
    cache.remove(2)
    assert cache.victim() == 0


def test_arc_keeps_what_was_seen_again_and_adapts_to_ghost_hits():
    # 1 and 2 are seen again and go to T2; a scan of 3, 4, 5 passes through T1 alone
    assert run(Arc, 3, [1, 2, 1, 2, 3, 4, 5]) == [(4, 3), (5, 4)]
    # a ghost hit on 3 raises p to 1, so that T1 (size 1, not above p) keeps 5 and T2 gives up 1
    assert run(Arc, 3, [1, 2, 1, 2, 3, 4, 5, 4])[-1] == (4, 1)


def test_arc_without_reuse_is_a_queue():
    assert run(Arc, 3, [1, 2, 3, 4, 5, 6]) == [(4, 1), (5, 2), (6, 3)]


def test_future_uses_are_strictly_after_now():
    future = FutureUses([(0, 7), (3, 7), (3, 8)])
    assert [future.next_use(7, now) for now in (-1, 0, 2, 3)] == [0, 3, 3, NEVER]
    assert future.next_use(9, 0) == NEVER


def test_ghost_forgets_the_oldest():
    ghost = GhostList(2)
    for key in (1, 2, 3):
        ghost.add(key)
    assert (1 in ghost, 2 in ghost, 3 in ghost, len(ghost)) == (False, True, True, 2)
    ghost.discard(2)
    ghost.add(4)
    assert (3 in ghost, 4 in ghost, len(ghost)) == (True, True, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "remove", "pin", "unpin"]), st.integers(0, 5), st.integers(0, 9)), max_size=80
    )
)
def test_rank_queue_equals_a_search_through_all_keys(steps):
    queue, ranks, pinned = RankQueue(), {}, set()
    for serial, (step, key, rank) in enumerate(steps):
        if step == "set":
            ranks[key] = (rank, serial)
            queue.set_rank(key, ranks[key])
        elif key in ranks:
            getattr(queue, step)(key)
            if step == "remove":
                del ranks[key]
            (pinned.add if step == "pin" else pinned.discard)(key)
        free = [key for key in ranks if key not in pinned]
        assert queue.lowest() == (min(free, key=ranks.__getitem__) if free else None)
        assert len(queue) == len(ranks)
