"""Conformance kits: the contract of each kind of plug-in as something you run against your own class."""

import numpy as np

from tiergarten.sim.eviction import EvictionPolicy, EvictionSetup, FutureUses


def check_eviction_policy(policy: type[EvictionPolicy], seed: int = 0, num_accesses: int = 400) -> None:
    """Raise AssertionError, saying what broke, unless `policy` keeps the law of `EvictionPolicy` on random accesses.

    Victims are present and unpinned and stable until something changes; sizes are accounted for; pins hold while other keys
    come and go; a fully pinned cache has no victim; the same accesses give the same victims; hits do not exceed Belady's.
    """
    rng = np.random.default_rng(seed)
    for capacity in (1, 2, 5, 16):
        keys = np.minimum(rng.zipf(1.3, num_accesses), 3 * capacity + 2).tolist()
        hits, victims = _drive(policy, keys, capacity, seed)
        again = _drive(policy, keys, capacity, seed)
        assert (hits, victims) == again, "the same accesses gave different victims"
        best = _belady_hits(keys, capacity)
        assert hits <= best, f"{hits} hits where Belady's policy gets {best}"
        _check_pins(policy, keys, capacity, seed)


def _setup(keys: list[int], capacity: int, seed: int) -> EvictionSetup:
    return EvictionSetup(capacity, FutureUses(enumerate(keys)), np.random.default_rng(seed))


def _drive(policy: type[EvictionPolicy], keys: list[int], capacity: int, seed: int) -> tuple[int, list[int]]:
    """Hits and victims of a cache that looks one key up at a time."""
    made = policy(_setup(keys, capacity, seed))
    cached: set[int] = set()
    hits, victims = 0, []
    for now, key in enumerate(keys):
        assert (key in made) == (key in cached), f"`in` is wrong about key {key}"
        if key in cached:
            hits += 1
            made.access(key, now)
            continue
        if len(cached) == capacity:
            victim = made.victim(key, now)
            assert victim == made.victim(key, now), "asking for the victim twice gave two answers"
            if victim is None:
                continue
            assert victim in cached, f"victim {victim} is not cached"
            made.remove(victim)
            cached.remove(victim)
            victims.append(victim)
        made.insert(key, now)
        cached.add(key)
        assert len(made) == len(cached), f"{len(cached)} keys are cached, the policy counts {len(made)}"
    return hits, victims


def _check_pins(policy: type[EvictionPolicy], keys: list[int], capacity: int, seed: int) -> None:
    """Pins at random; victims are asked for without an incoming key, so that none may be refused."""
    rng = np.random.default_rng(seed + 1)
    made = policy(_setup(keys, capacity, seed))
    cached: set[int] = set()
    pinned: set[int] = set()
    for now, key in enumerate(keys):
        for other in sorted(cached):
            if rng.random() < 0.2:
                if other in pinned:
                    made.unpin(other)
                    pinned.discard(other)
                else:
                    made.pin(other)
                    pinned.add(other)
        if key in cached:
            made.access(key, now)
            continue
        if len(cached) == capacity:
            victim = made.victim()
            if pinned == cached:
                assert victim is None, f"victim {victim} though every key is pinned"
                continue
            assert victim in cached, f"victim {victim} is not cached"
            assert victim not in pinned, f"victim {victim} is pinned"
            made.remove(victim)
            cached.discard(victim)
        made.insert(key, now)
        cached.add(key)
    for key in sorted(cached):
        made.remove(key)
    assert len(made) == 0, "keys are left after the last was removed"
    assert made.victim() is None, "an empty cache has a victim"


def _belady_hits(keys: list[int], capacity: int) -> int:
    """Hits of the optimal policy with bypass, by definition: keep the keys whose next uses come first."""
    hits = 0
    cached: set[int] = set()
    upcoming = {key: [now for now, other in enumerate(keys) if other == key] for key in set(keys)}
    for now, key in enumerate(keys):
        hits += key in cached
        cached.add(key)
        if len(cached) > capacity:
            cached.remove(
                max(cached, key=lambda other: next((t for t in upcoming[other] if t > now), len(keys) + other))
            )
    return hits
