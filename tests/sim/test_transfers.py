"""Links, routes and transfers against hand-computed theory. 1 GB/s moves 1000 bytes in 1 us."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import logged
from machines import GB_PER_S, US, tier, two_tiers

from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import TiergartenError, UnknownNameError
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.server import SHARING
from tiergarten.sim.system import COMPUTE, System
from tiergarten.sim.transfer import Cause


def finish_times(system: System) -> dict[int, int]:
    system.engine.run()
    return {row.id: row.finished_ps for row in sorted(logged(system), key=lambda row: row.finished_ps)}


def test_a_lone_transfer_takes_latency_plus_bytes_over_bandwidth() -> None:
    system = two_tiers(latency_ps=3 * US)
    transfer = system.transfer("near", "far", 1000)
    system.engine.run()
    assert (transfer.requested_ps, transfer.started_ps, transfer.finished_ps) == (0, 0, 4 * US)


def test_latency_is_pipelined_so_the_pipe_holds_the_bandwidth_delay_product() -> None:
    system = two_tiers(latency_ps=3 * US)
    for _ in range(10):
        system.transfer("near", "far", 1000)
    assert list(finish_times(system).values()) == [(3 + i) * US for i in range(1, 11)]


def test_directions_of_a_full_duplex_link_do_not_meet() -> None:
    system = two_tiers()
    system.transfer("near", "far", 1000)
    system.transfer("far", "near", 1000)
    assert finish_times(system) == {0: US, 1: US}


def test_directions_of_a_half_duplex_link_share_it() -> None:
    system = two_tiers(full_duplex=False)
    system.transfer("near", "far", 1000)
    system.transfer("far", "near", 1000)
    assert finish_times(system) == {0: US, 1: 2 * US}


def test_fair_sharing_lets_a_short_transfer_overtake() -> None:
    # both get half the rate until the short one leaves at 2 us; the long one has 2000 of 3000 bytes left then
    system = two_tiers(sharing="fair")
    system.transfer("near", "far", 3000)
    system.transfer("near", "far", 1000)
    assert finish_times(system) == {1: 2 * US, 0: 4 * US}


def test_fair_sharing_with_a_late_arrival() -> None:
    # alone for 1 us (1000 of 2000 bytes), then shared: 1000 left for each at half rate = 2 us more
    system = two_tiers(sharing="fair")
    system.transfer("near", "far", 2000)
    system.engine.call_at(US, lambda: system.transfer("near", "far", 1000))
    assert finish_times(system) == {0: 3 * US, 1: 3 * US}


def test_priority_serves_demand_before_writeback_but_does_not_interrupt() -> None:
    system = two_tiers(sharing="priority")
    system.transfer("near", "far", 1000, Cause.WRITEBACK)
    system.transfer("near", "far", 1000, Cause.WRITEBACK)
    system.transfer("near", "far", 1000, Cause.DEMAND)
    assert finish_times(system) == {0: US, 2: 2 * US, 1: 3 * US}


def chain(chunk_bytes: int) -> System:
    engine = Engine()
    rates = (4 * GB_PER_S, GB_PER_S, 2 * GB_PER_S)
    names = ("a", "b", "c", "d")
    links = [
        Link(engine, LinkSpec.at_bandwidth(f"l{i}", (names[i], names[i + 1]), rate, chunk_bytes=chunk_bytes))
        for i, rate in enumerate(rates)
    ]
    return System(engine, [tier(engine, name) for name in names], links)


def test_hops_work_at_once_so_the_slowest_sets_the_time() -> None:
    system = chain(0)
    system.transfer("a", "d", 8000)
    assert finish_times(system) == {0: 8 * US}
    assert system.route("a", "d").name == "l0>l1>l2"


def test_a_pipeline_with_chunks_has_to_fill() -> None:
    # 1000-byte chunks need 0.25 us on the first link and 0.5 us on the third before the 1 GB/s link's 8 us count in full
    system = chain(1000)
    system.transfer("a", "d", 8000)
    assert finish_times(system) == {0: 8 * US + US // 4 + US // 2}


def test_a_slow_tier_is_the_bottleneck_of_its_route() -> None:
    engine = Engine()
    spec = LinkSpec.at_bandwidth("wire", ("near", "far"), 10 * GB_PER_S)
    system = System(engine, [tier(engine, "near"), tier(engine, "far", GB_PER_S, 2 * US)], [Link(engine, spec)])
    transfer = system.transfer("far", "near", 1000)
    engine.run()
    assert transfer.finished_ps == 3 * US


def test_an_access_by_the_tiers_own_device_uses_no_link() -> None:
    engine = Engine()
    system = System(engine, [tier(engine, "near", GB_PER_S)], [])
    system.read("near", 1000)
    system.write("near", 1000)
    assert finish_times(system) == {0: US, 1: 2 * US}
    assert [(row.source, row.destination) for row in logged(system)] == [("near", COMPUTE), (COMPUTE, "near")]


def test_the_route_is_the_quickest_not_the_shortest() -> None:
    engine = Engine()
    ends = {"slow": ("a", "c", 1e8), "fast1": ("a", "b", 1e10), "fast2": ("b", "c", 1e10)}
    links = [Link(engine, LinkSpec.at_bandwidth(name, (x, y), rate)) for name, (x, y, rate) in ends.items()]
    system = System(engine, [tier(engine, name) for name in "abc"], links)
    assert system.route("a", "c").name == "fast1>fast2"
    assert system.route("c", "a").name == "fast2>fast1"


def test_impossible_transfers_are_refused_by_name() -> None:
    engine = Engine()
    system = System(engine, [tier(engine, "hbm"), tier(engine, "ddr")], [])
    with pytest.raises(TiergartenError, match="no link joins 'hbm' and 'ddr'"):
        system.transfer("hbm", "ddr", 1)
    with pytest.raises(UnknownNameError, match="Did you mean 'hbm'"):
        system.transfer("hbn", "ddr", 1)
    with pytest.raises(TiergartenError, match="positive size"):
        two_tiers().transfer("near", "far", 0)


def test_mean_wait_of_random_arrivals_is_that_of_m_d_1() -> None:
    # Pollaczek-Khinchine for constant service s and load rho: W = rho s / (2 (1 - rho))
    rho, service_ps, n = 0.7, US, 40_000
    system = two_tiers()
    arrivals = np.cumsum(np.random.default_rng(1).exponential(service_ps / rho, n)).astype(int).tolist()
    for time_ps in arrivals:
        system.engine.call_at(time_ps, lambda: system.transfer("near", "far", 1000))
    system.engine.run()
    waits = [row.started_ps - row.requested_ps for row in logged(system)]
    assert np.mean(waits) == pytest.approx(rho * service_ps / (2 * (1 - rho)), rel=0.06)  # 3 sigma of this sample


jobs = st.lists(
    st.tuples(st.integers(0, 5 * US), st.integers(1, 5000), st.sampled_from(list(Cause)), st.booleans()),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(jobs, st.sampled_from(sorted(SHARING)), st.booleans())
def test_no_discipline_loses_bytes_or_exceeds_the_rate(work, sharing: str, full_duplex: bool) -> None:
    system = two_tiers(sharing=sharing, full_duplex=full_duplex)
    for time_ps, num_bytes, cause, forward in work:
        ends = ("near", "far") if forward else ("far", "near")
        system.engine.call_at(time_ps, lambda e=ends, b=num_bytes, c=cause: system.transfer(*e, b, c))
    system.engine.run()
    assert sorted(row.num_bytes for row in logged(system)) == sorted(job[1] for job in work)
    for row in logged(system):
        assert row.requested_ps <= row.started_ps <= row.finished_ps
        assert row.finished_ps - row.requested_ps >= row.num_bytes * 1000  # 1 GB/s = 1000 ps per byte
    # work conservation: all disciplines finish all work of a direction at the same instant as FIFO
    for ends in (("near", "far"), ("far", "near")) if full_duplex else (None,):
        rows = [row for row in logged(system) if ends is None or row.source == ends[0]]
        free = 0
        for arrival, num_bytes in sorted((row.requested_ps, row.num_bytes) for row in rows):
            free = max(free, arrival) + num_bytes * 1000
        if rows:
            assert max(row.finished_ps for row in rows) == pytest.approx(free, abs=len(rows))
