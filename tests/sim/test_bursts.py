"""A burst equals its accesses issued one by one: log, queues, busy times and the instant of its end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import logged
from machines import GB_PER_S, US, tier, two_tiers

from tiergarten.sim.burst import Bursts, Program, Ways, serve_burst
from tiergarten.sim.engine import Engine
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.memory import memory_models
from tiergarten.sim.server import SHARING
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause

NAMES = ("near", "middle", "far")


def chain(chunks, latencies, rates, full_duplex) -> System:
    """near - middle - far, with a tier of their own speed each."""
    engine = Engine()
    tiers = [
        tier(engine, name, rate, latency, full_duplex=duplex)
        for name, rate, latency, duplex in zip(NAMES, rates[:3], latencies[:3], full_duplex[:3], strict=True)
    ]
    links = [
        Link(
            engine,
            LinkSpec.at_bandwidth(
                f"l{i}", (NAMES[i], NAMES[i + 1]), rates[3 + i], latency_ps=latencies[3 + i],
                full_duplex=full_duplex[3 + i], chunk_bytes=chunks[i],
            ),
        )
        for i in range(2)
    ]  # fmt: skip
    return System(engine, tiers, links)


shapes = st.fixed_dictionaries(
    {
        "chunks": st.lists(st.sampled_from([0, 100, 4096]), min_size=2, max_size=2),
        "latencies": st.lists(st.integers(0, 3 * US), min_size=5, max_size=5),
        "rates": st.lists(st.sampled_from([3e8, 1e9, 7e9, 3.35e12]), min_size=5, max_size=5),
        "full_duplex": st.lists(st.booleans(), min_size=5, max_size=5),
    }
)
access = st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(1, 10_000), st.sampled_from(list(Role)))
groups = st.lists(
    st.tuples(st.integers(0, 20 * US), st.lists(access, min_size=1, max_size=8)), min_size=1, max_size=6
).map(lambda drawn: sorted(drawn, key=lambda group: group[0]))
between = st.lists(st.tuples(st.integers(0, 20 * US), st.integers(1, 9000), st.booleans()), max_size=4)


def replayed(system: System, work, copies, issue) -> list[tuple[int, int]]:
    """Issue the groups of accesses and, beside them, copies between tiers; (time, group) of each group's end."""
    ends: list[tuple[int, int]] = []
    for time_ps, num_bytes, forward in copies:
        route = ("near", "far") if forward else ("far", "middle")
        system.engine.call_at(time_ps, lambda r=route, b=num_bytes: system.transfer(*r, b))

    def run(group: int):
        yield system.engine.wait_until(work[group][0])
        yield issue(group)
        ends.append((system.engine.now_ps, group))

    for group in range(len(work)):
        system.engine.process(run(group))
    system.engine.run()
    return ends


def state(system: System) -> list[int]:
    servers = [t.server for t in system.tiers.values()]
    servers += [server for link in system.links.values() for server in link.directions().values()]
    return [server.busy_ps for server in servers]


@settings(max_examples=80, deadline=None)
@given(shapes, groups, between)
def test_a_burst_is_its_accesses_one_by_one(shape, work, copies) -> None:
    single, together = chain(**shape), chain(**shape)

    def one_by_one(group: int):
        under_way = [
            single.begin(single.access_route("near", name, is_write), num_bytes, Cause.DEMAND, role, group)
            for name, is_write, num_bytes, role in work[group][1]
        ]
        return max(under_way, key=lambda transfer: transfer.finished_ps)

    accesses = [a for _, some in work for a in some]
    bursts = Bursts(together, np.array([a[2] for a in accesses]), np.array([a[3] for a in accesses]))
    numbers = {
        (name, way): bursts.add_route(together.access_route("near", name, way)) for name in NAMES for way in (0, 1)
    }
    firsts = np.cumsum([0] + [len(some) for _, some in work])

    def burst(group: int):
        routes = np.array([numbers[name, is_write] for name, is_write, _, _ in work[group][1]])
        return bursts.issue(int(firsts[group]), routes, group)

    assert replayed(single, work, copies, one_by_one) == replayed(together, work, copies, burst)
    assert logged(single) == logged(together)
    assert state(single) == state(together)


def test_the_slowest_access_is_named_the_first_of_equals() -> None:
    system = two_tiers()
    bursts = Bursts(system, np.array([10, 1000, 1000, 20]), np.zeros(4))
    read, write = (bursts.add_route(system.access_route("near", "far", is_write)) for is_write in (False, True))
    burst = bursts.issue(0, np.array([read, read, write, read]), 7)
    assert (burst.slowest, burst.finished_ps) == (3, 1030 * 1000)  # three reads queue, 1 GB/s
    equal = two_tiers()
    bursts = Bursts(equal, np.array([1000, 1000]), np.zeros(2))
    both = np.array([bursts.add_route(equal.access_route("near", "far", is_write)) for is_write in (True, False)])
    assert bursts.issue(0, both, 7).slowest == 0


@pytest.mark.parametrize("sharing", sorted(SHARING))
def test_links_that_can_be_overtaken_take_no_bursts(sharing: str) -> None:
    system = two_tiers(sharing=sharing)
    bursts = Bursts(system, np.array([1]), np.zeros(1))
    assert (bursts.add_route(system.access_route("near", "far", False)) is None) == (sharing != "fifo")
    assert bursts.add_route(system.access_route("near", "near", False)) is not None


def test_only_models_that_are_plain_queues_take_bursts() -> None:
    spec = TierSpec("t", "sram", 2**20, GB_PER_S, GB_PER_S)
    engine = Engine()
    sram = memory_models.get("sram")
    system = System(engine, [Tier(engine, spec, sram(spec, sram.Params()))], [])
    assert Bursts(system, np.array([1]), np.zeros(1)).add_route(system.access_route("t", "t", True)) is None


def test_the_kernel_equals_its_python() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, num_routes, num_stages, num_queues, num_sizes = 12, 4, 3, 2, 5
        ways = Ways(
            rng.integers(-1, num_stages, (num_routes, 3)),
            rng.integers(0, num_queues, num_stages),
            rng.integers(0, 100, num_stages),
            rng.integers(1, 1000, (num_stages, num_sizes)),
            rng.integers(0, 100, (num_routes, num_sizes)),
            rng.integers(0, 9, num_routes),
        )
        program = Program(rng.integers(1, 99, n), rng.integers(0, num_sizes, n), rng.integers(0, 8, n))
        routes, free = rng.integers(0, num_routes, n - 3), rng.integers(0, 5000, num_queues)
        outcomes = []
        for run in (serve_burst, serve_burst.py_func):
            free_ps, busy_ps, log = free.copy(), np.zeros(num_queues, np.int64), np.zeros((9, n), np.int64)
            last = run(ways, program, 3, routes, (2000, 5, 1), free_ps, busy_ps, log, 1)
            outcomes.append((tuple(map(int, last)), free_ps.tolist(), busy_ps.tolist(), log.tolist()))
        assert outcomes[0] == outcomes[1]
