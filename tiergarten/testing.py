"""Conformance kits: the contract of each kind of plug-in as something you run against your own class."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tiergarten.sim.availability import Availability, Fault
from tiergarten.sim.chooser import Decision
from tiergarten.sim.contracts import AccessBatch, MemoryModel
from tiergarten.sim.dma import Dma
from tiergarten.sim.engine import Engine
from tiergarten.sim.eviction import EvictionPolicy, EvictionSetup, FutureUses
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.link_model import LinkEnd, LinkSetup, Wire
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec
from tiergarten.sim.transfer import Transfer
from tiergarten.sim.units import NEVER_PS, PS_PER_US


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


def any_candidate(decision: Decision) -> int:
    """A chooser for tests: its choice changes from time to time and repeats from run to run."""
    return decision.hits % decision.num_candidates


def _setup(keys: list[int], capacity: int, seed: int) -> EvictionSetup:
    return EvictionSetup(capacity, FutureUses(enumerate(keys)), np.random.default_rng(seed), chooser=any_candidate)


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


def check_memory_model(make: Callable[[], MemoryModel], seed: int = 0, num_batches: int = 30) -> None:
    """Raise AssertionError, saying what broke, unless the model made by `make` keeps the law of `MemoryModel`.

    Random batches at random times: every access completes exactly once, not before its submission; completions come in order
    of time; `next_completion_ps` is when the next one falls; looking on in small or large steps gives the same completions.
    """
    rng = np.random.default_rng(seed)
    plan = _random_plan(rng, num_batches)
    fine = _drive_model(make(), plan, steps=4)
    coarse = _drive_model(make(), plan, steps=1)
    assert fine == coarse, "advancing in smaller steps changed the completions"
    submitted = {ident: now for now, accesses in plan for ident in accesses.ids.tolist()}
    assert sorted(ident for ident, _ in fine) == sorted(submitted), "an access was lost or completed twice"
    assert all(time >= submitted[ident] for ident, time in fine), "an access completed before it was submitted"


def _random_plan(rng: np.random.Generator, num_batches: int) -> list[tuple[int, AccessBatch]]:
    plan, now, ident = [], 0, 0
    for _ in range(num_batches):
        now += int(rng.choice([0, 1, 10_000, 1_000_000]))
        count = int(rng.integers(1, 6))
        addresses = rng.integers(0, 2**16, count) * 64
        sizes = rng.choice([64, 256, 4096], count)
        plan.append((now, AccessBatch(np.arange(ident, ident + count), addresses, sizes, rng.random(count) < 0.3)))
        ident += count
    return plan


def _drive_model(model: MemoryModel, plan: list[tuple[int, AccessBatch]], steps: int) -> list[tuple[int, int]]:
    """(id, time) of every completion, in the order in which the model gives them."""
    done: list[tuple[int, int]] = []

    def advance(until_ps: int) -> None:
        expected = model.next_completion_ps()
        completions = model.advance(until_ps)
        times = completions.times_ps.tolist()
        assert times == sorted(times), "completions are out of order"
        assert all(time <= until_ps for time in times), "a completion lies beyond the time advanced to"
        assert (min(times) if times else NEVER_PS) == (expected if expected <= until_ps else NEVER_PS), (
            f"next_completion_ps said {expected}, advance to {until_ps} gave {times[:3]}"
        )
        done.extend(zip(completions.ids.tolist(), times, strict=True))

    last = 0
    for now, accesses in plan:
        for step in range(1, steps + 1):
            advance(last + (now - last) * step // steps)
        model.submit(now, accesses)
        last = now
    while (following := model.next_completion_ps()) != NEVER_PS:
        assert following >= last, "the next completion lies in the past"
        advance(following)
    assert not len(model.advance(NEVER_PS - 1).ids), "completions came although none was due"
    return done


def check_link_model(make: Callable[[LinkSetup], Wire], setup: LinkSetup | None = None, seed: int = 0) -> None:
    """Raise AssertionError, saying what broke, unless the link model keeps the law of `LinkModel` and its links carry every byte.

    Times grow with the size and set-up is part of them; two links side by side are no slower; transfers at random times over a
    link of it, both ways, with and without copy engines, faults and half duplex, all arrive, none sooner than alone; a link
    is never busy for longer than the run; without engines they arrive in order; a fault never makes anything earlier.
    """
    setup = setup or LinkSetup((LinkEnd("near", "ddr"), LinkEnd("far", "cxl", 100_000)), bytes_per_s=(2e9, 1e9))
    wire, doubled = make(setup), make(replace(setup, count=2))
    for way in (0, 1):
        times = [wire.duration_ps[way](size) for size in _LINK_SIZES]
        assert times == sorted(times), f"a longer copy takes less time: {times}"
        assert times[0] > 0, "a copy takes no time"
        assert 0 <= wire.setup_ps[way] <= times[0], f"set-up of {wire.setup_ps[way]} ps is no part of {times[0]} ps"
        assert doubled.duration_ps[way](_LINK_SIZES[-1]) <= times[-1], "two links side by side are slower than one"
    outage = Availability([Fault(20 * PS_PER_US, 60 * PS_PER_US, 0.0), Fault(90 * PS_PER_US, 200 * PS_PER_US, 0.25)])
    for full_duplex in (True, False):
        for dma in (None, Dma(1, 4096), Dma(3, 4096)) if wire.credits is None else (None,):
            spec = _link_spec(wire, full_duplex=full_duplex, dma=dma)
            whole = _drive_link(spec, seed)
            broken = _drive_link(replace(spec, availability=outage), seed)
            if dma is None:
                pairs = zip(sorted(whole.items()), sorted(broken.items()), strict=True)
                assert all(late[1] >= early[1] for early, late in pairs), "a fault made a transfer earlier"


_LINK_SIZES = (1, 64, 100, 4096, 5000, 65536, 300_000, 2**20, 3 * 2**22)


def _link_spec(wire: Wire, **rest: Any) -> LinkSpec:
    return LinkSpec(
        "wire",
        ("near", "far"),
        wire.duration_ps,
        wire.latency_ps,
        setup_ps=wire.setup_ps,
        credits=wire.credits,
        **rest,
    )


def _drive_link(spec: LinkSpec, seed: int) -> dict[int, int]:
    """Arrival of each of some random transfers over the link, by id; checks what holds for each and for the link."""
    engine = Engine()
    memory = [TierSpec(name, "ddr", 2**40, 1e18, 1e18) for name in spec.ends]
    link = Link(engine, spec)
    system = System(engine, [Tier(engine, tier, AnalyticModel(tier)) for tier in memory], [link])
    rng = np.random.default_rng(seed)
    made: list[Transfer] = []
    for time_ps in np.cumsum(rng.choice([0, 1, 2_000_000, 30_000_000], 40)).tolist():
        ends = spec.ends if rng.random() < 0.6 else spec.ends[::-1]
        size = int(rng.choice(_LINK_SIZES[:-1]))
        engine.call_at(time_ps, lambda e=ends, n=size: made.append(system.transfer(e[0], e[1], n)))  # type: ignore[misc]
    engine.run()
    assert not system.unfinished(), "a transfer was lost"
    assert all(transfer.finished_ps >= 0 for transfer in made), "a transfer never arrived"
    for transfer in made:
        way = 0 if transfer.route.source == spec.ends[0] or not spec.full_duplex else 1
        alone_ps = spec.duration_ps[way](transfer.num_bytes) + spec.latency_ps
        took_ps = transfer.finished_ps - transfer.requested_ps
        assert took_ps >= alone_ps - 1, f"{transfer.num_bytes} bytes took {took_ps} ps, alone {alone_ps}"
    for name, server in link.directions().items():
        assert 0 < server.busy_ps <= engine.now_ps, f"{name} was busy for {server.busy_ps} of {engine.now_ps} ps"
    if spec.dma is None:
        for source in spec.ends if spec.full_duplex else (None,):
            arrivals = [t.finished_ps for t in made if source in (None, t.route.source)]
            assert arrivals == sorted(arrivals), "a transfer overtook another on a first-come-first-served link"
    return {transfer.id: transfer.finished_ps for transfer in made}
