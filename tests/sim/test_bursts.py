"""A burst equals its accesses passed from hop to hop one by one: log, queues, busy times and the instant of its end."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import logged
from machines import GB_PER_S, US, tier, two_tiers

from tiergarten.sim.burst import NONE, Bursts, Program, Spans, Ways, serve_ops
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
operation = st.tuples(st.integers(0, 9 * US), st.lists(access, max_size=8))
"""(compute_ps, accesses)."""
streams = st.lists(
    st.tuples(st.integers(0, 20 * US), st.lists(operation, min_size=1, max_size=5)), min_size=1, max_size=3
)
"""(start_ps, operations) of each."""
copies = st.lists(st.tuples(st.integers(0, 20 * US), st.integers(1, 9000), st.booleans()), max_size=4)
PLACES = [(name, is_write) for name in NAMES for is_write in (False, True)]


def program_of(operations) -> Program:
    accesses = [a for _, some in operations for a in some]
    return Program(
        np.array([compute_ps for compute_ps, _ in operations], np.int64),
        np.cumsum([0] + [len(some) for _, some in operations]),
        np.array([PLACES.index(a[:2]) for a in accesses], np.int64),
        np.array([a[2] for a in accesses], np.int64),
        np.array([a[3] for a in accesses], np.int64),
    )


def bursts_for(system: System, program: Program) -> tuple[Bursts, Spans]:
    spans = Spans.of(len(program.compute_ps))
    bursts = Bursts(system, program, len(PLACES), spans)
    for place, (name, is_write) in enumerate(PLACES):
        if name in system.tiers:
            bursts.ways[place] = bursts.way(system.access_route("near", name, is_write))
    return bursts, spans


def ends(system: System, work, others, run) -> list[tuple[int, int]]:
    """Run the streams and, beside them, copies between tiers; (time, stream) of each stream's end."""
    found: list[tuple[int, int]] = []
    for time_ps, num_bytes, forward in others:
        way = ("near", "far") if forward else ("far", "middle")
        system.engine.call_at(time_ps, lambda w=way, b=num_bytes: system.transfer(*w, b))

    def stream(number: int, first: int):
        yield system.engine.wait_until(work[number][0])
        yield from run(first, first + len(work[number][1]))
        found.append((system.engine.now_ps, number))

    first = 0
    for number, (_, operations) in enumerate(work):
        system.engine.process(stream(number, first))
        first += len(operations)
    system.engine.run()
    return found


def state(system: System) -> list[int]:
    servers = [t.server for t in system.tiers.values()]
    servers += [server for link in system.links.values() for server in link.directions().values()]
    return [server.busy_ps for server in servers]


@settings(max_examples=80, deadline=None)
@given(shapes, streams, copies)
def test_a_burst_is_its_accesses_one_by_one(shape, work, others) -> None:
    program = program_of([operation for _, operations in work for operation in operations])
    single, together = chain(**shape), chain(**shape)
    bursts, _ = bursts_for(together, program)

    def one_by_one(first: int, end: int):
        for op in range(first, end):
            waited = [single.engine.timeout(int(program.compute_ps[op]))]
            for row in range(program.accesses[op], program.accesses[op + 1]):
                name, is_write = PLACES[program.places[row]]
                route = replace(single.access_route("near", name, is_write), stages=None)  # through every server
                num_bytes, role = int(program.num_bytes[row]), int(program.roles[row])
                waited.append(single.begin(route, num_bytes, Cause.DEMAND, role, op))
            for event in waited:
                if not event.processed:
                    yield event

    def in_bursts(first: int, end: int):
        for op in range(first, end):
            yield bursts.issue(op, op + 1)

    assert sorted(ends(single, work, others, one_by_one)) == sorted(ends(together, work, others, in_bursts))
    assert logged(single) == logged(together)
    assert state(single) == state(together)


@settings(max_examples=40, deadline=None)
@given(shapes, st.lists(operation, min_size=1, max_size=12))
def test_operations_issued_together_run_as_if_issued_in_turn(shape, operations) -> None:
    program = program_of(operations)
    outcomes = []
    for step in (1, len(operations)):
        system = chain(**shape)
        bursts, spans = bursts_for(system, program)

        def run(first: int, end: int, bursts=bursts, step=step):
            for op in range(first, end, step):
                yield bursts.issue(op, op + step)

        found = ends(system, [(7, operations)], [], run)
        outcomes.append((found, logged(system), state(system), [column.tolist() for column in spans]))
    assert outcomes[0] == outcomes[1]


def test_an_operation_knows_what_it_waited_for() -> None:
    system = two_tiers()  # 1 GB/s between near and far: 1000 bytes in 1 us
    far = [("far", False, num_bytes, Role.KV) for num_bytes in (10, 1000, 20)]
    written = ("far", True, 1000, Role.KV)
    operations = [(0, far), (0, [written, far[1]]), (3 * US, far), (5, [])]
    bursts, spans = bursts_for(system, program_of(operations))
    bursts.issue(0, 4)
    system.engine.run()
    assert spans.ended_ps.tolist() == [1_030_000, 2_030_000, 5_030_000, 5_030_005]
    read, write = PLACES.index(("far", False)), PLACES.index(("far", True))
    assert spans.awaited.tolist() == [read, write, read, NONE]  # of two that end together the first


@pytest.mark.parametrize("sharing", sorted(SHARING))
def test_links_that_can_be_overtaken_take_no_bursts(sharing: str) -> None:
    bursts, _ = bursts_for(two_tiers(sharing=sharing), program_of([(0, [])]))
    is_taken = bursts.ways[PLACES.index(("far", False))] != NONE
    assert is_taken == (sharing == "fifo")
    assert bursts.ways[PLACES.index(("near", False))] != NONE


def test_only_models_that_are_plain_queues_take_bursts() -> None:
    spec = TierSpec("near", "sram", 2**20, GB_PER_S, GB_PER_S)
    engine = Engine()
    sram = memory_models.get("sram")
    system = System(engine, [Tier(engine, spec, sram(spec, sram.Params()))], [])
    assert bursts_for(system, program_of([(0, [])]))[0].ways.tolist() == [NONE] * len(PLACES)


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
        starts = np.sort(np.concatenate(([0, n], rng.integers(0, n, 4))))
        program = Program(
            rng.integers(0, 3000, 5), starts, rng.integers(0, 6, n), rng.integers(1, 99, n), rng.integers(0, 8, n)
        )
        sizes, way_of_place = rng.integers(0, num_sizes, n), rng.integers(0, num_routes, 6)
        free = rng.integers(0, 5000, num_queues)
        outcomes = []
        for run in (serve_ops, serve_ops.py_func):
            free_ps, busy_ps, log = free.copy(), np.zeros(num_queues, np.int64), np.zeros((9, n + 1), np.int64)
            spans, issued = Spans.of(5), (2000, 5, 1)
            end = run(program, sizes, way_of_place, ways, (0, 5), issued, free_ps, busy_ps, log, spans)
            columns = [column.tolist() for column in (free_ps, busy_ps, log, *spans)]
            outcomes.append((int(end), columns))
        assert outcomes[0] == outcomes[1]
