"""Kinds of links against closed forms and a brute-force oracle: copies, engines, credits, switches, faults."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import logged
from machines import GB_PER_S, US, tier, two_tiers

from tiergarten.faults import fault_metrics, fault_rows
from tiergarten.sim.availability import ALWAYS, Availability, Fault
from tiergarten.sim.credits import Credits, send
from tiergarten.sim.dma import Dma
from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import InputError, TiergartenError
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.link_model import LinkEnd, LinkSetup, Wire, link_models
from tiergarten.sim.links.measured import read_copy_curves
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.server import SHARING
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec
from tiergarten.sim.transfer import Cause
from tiergarten.sim.units import NEVER_PS
from tiergarten.testing import check_link_model

EXAMPLES = {
    "pcie": {"generation": 4},
    "nvlink": {"generation": 4},
    "measured": {"curve": "gtx1080ti-migration"},
    "cxl": {"credits": 32},
}
"""Parameters of the kinds that need some."""


def wire_of(name: str, link: LinkSetup, /, **params: object) -> Wire:
    model = link_models.get(name)
    return model.build(link, model.Params(**params))


@pytest.mark.parametrize("name", link_models.names())
def test_every_kind_keeps_the_law(name: str) -> None:
    check_link_model(lambda setup: wire_of(name, setup, **EXAMPLES.get(name, {})))


def finish_times(system: System) -> dict[int, int]:
    system.engine.run()
    return {row.id: row.finished_ps for row in logged(system)}


# ---------------------------------------------------------------- what a copy costs

ENDS = (LinkEnd("hbm", "hbm"), LinkEnd("ddr", "ddr"))


def test_pcie_pays_for_coding_packets_and_start() -> None:
    # x1 of generation 1: 2.5 GT/s, 8b/10b = 0.25 GB/s = 4 ns a byte; 512 bytes are two packets of 256 + 24
    wire = wire_of("pcie", LinkSetup(ENDS), generation=1, lanes=1, share=1.0, setup="1 us")
    assert wire.duration_ps[0](512) == 1_000_000 + 560 * 4000
    assert wire.duration_ps[0](1) == 1_000_000 + 25 * 4000


def test_two_links_side_by_side_halve_the_bytes_and_not_the_start() -> None:
    one, two = (wire_of("pcie", LinkSetup(ENDS, count), generation=1, lanes=1, share=1.0) for count in (1, 2))
    assert two.duration_ps[0](1024) == one.duration_ps[0](512)


def test_c2c_is_faster_to_the_device() -> None:
    wire = wire_of("nvlink-c2c", LinkSetup(ENDS), setup="0 ps")  # between hbm and ddr: the second is the host
    assert wire.duration_ps[0](297 * 10**6) == 10**9
    assert wire.duration_ps[1](375 * 10**6) == 10**9
    swapped = wire_of("nvlink-c2c", LinkSetup(ENDS), setup="0 ps", host="hbm")
    assert swapped.duration_ps[0](375 * 10**6) == 10**9


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("pcie", {"generation": 9}, "PCIe 9 is not known"),
        ("pcie", {"generation": 4, "lanes": 3}, "no x3"),
        ("pcie", {"generation": 4, "payload": 300}, "a packet holds 128, 256"),
        ("nvlink", {"generation": 4, "links": 19}, "1 to 18 links"),
        ("nvlink-c2c", {"host": "drr"}, "Did you mean 'ddr'"),
        ("cxl", {"generation": 4}, "PCIe 5 or 6"),
        ("cxl", {}, "say which end's memory"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, params: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        wire_of(name, LinkSetup(ENDS), **params)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bytes,time_us\n", "two or more sizes, has 0"),
        ("size,time_us\n1,2\n", "needs the columns bytes and time_us or bandwidth_GBps"),
        ("bytes,time_us\n100,1\n200,0.5\n", "row.csv:3: 200 bytes take no longer"),
        ("# a comment\nbytes,time_us\n100,1\nx,2\n", "row.csv:4: is not a size and a number"),
        ("bytes,time_us\n100,1\n-5,2\n", "row.csv:3: bytes must be"),
        ("bytes,time_us\n100,1\n200,nan\n", "row.csv:3: time or bandwidth is out of range"),
        ("bytes,time_us\n100,1\n100,2\n", "row.csv:3: 100 bytes are given twice"),
        ("direction,bytes,time_us\nup,100,1\n", "row.csv:2: direction 'up'"),
        ("direction,bytes,time_us\nh2d,100,1\nh2d,200,2\n", "direction d2h needs two or more sizes"),
        ("bytes,time_us\n100\n", "row.csv:2: is not a size and a number"),
        ("\x00\x01", "row.csv"),
    ],
)
def test_broken_curves_are_refused_with_their_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "row.csv").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_copy_curves(tmp_path / "row.csv")


def test_a_measured_curve_goes_through_its_points(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("bytes,time_us\n1000,2\n3000,3\n")
    to_device, to_host = read_copy_curves(tmp_path / "curve.csv")
    assert [to_device.duration_ps(n) for n in (1000, 2000, 3000, 5000)] == [2 * US, 5 * US // 2, 3 * US, 4 * US]
    assert to_host == to_device
    assert to_device.setup_ps == 3 * US // 2


# ---------------------------------------------------------------- credits


def test_credits_bound_the_rate_by_littles_law() -> None:
    """4 credits of 64 bytes every 1 us are 256 bytes/us, whatever the wire does; with 40 the wire's 640 bytes/us decide."""
    few, many = (Credits(number, US, 64, 100_000) for number in (4, 40))
    assert few.duration_ps(64 * 400) == 99 * US + 4 * 100_000
    assert many.duration_ps(64 * 400) == 400 * 100_000


def oracle(number: int, jobs: list[tuple[int, int]], flit_ps: int, round_trip_ps: int) -> list[tuple[int, int]]:
    """(first start, end) of each (arrival, flits), flit by flit from the definition."""
    starts: list[int] = []
    spans = []
    for arrival_ps, flits in jobs:
        first = len(starts)
        for _ in range(flits):
            earliest = arrival_ps
            if starts:
                earliest = max(earliest, starts[-1] + flit_ps)
            if len(starts) >= number:
                earliest = max(earliest, starts[-number] + round_trip_ps)
            starts.append(earliest)
        spans.append((starts[first], starts[-1] + flit_ps))
    return spans


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), min_size=1, max_size=6),
    st.integers(1, 20),
    st.integers(0, 200),
)
def test_credits_and_their_laps_equal_the_definition(
    number: int, gaps: list[tuple[int, int]], flit_ps: int, round_trip_ps: int
) -> None:
    arrivals = np.cumsum([gap for gap, _ in gaps]).tolist()
    jobs = list(zip(arrivals, [flits for _, flits in gaps], strict=True))
    for kernel in (send, send.py_func):
        returns, cursor, free_ps, spans = np.full(number, -round_trip_ps), 0, 0, []
        for arrival_ps, flits in jobs:
            sent, first_ps, cursor, free_ps = kernel(
                returns, cursor, free_ps, arrival_ps, NEVER_PS, flits, flit_ps, round_trip_ps
            )
            assert sent == flits
            spans.append((first_ps, free_ps))
        assert spans == oracle(number, jobs, flit_ps, round_trip_ps)


def test_a_large_transfer_costs_laps_and_not_flits() -> None:
    """A terabyte is 16 G flits; flit by flit that would be a minute."""
    credits = Credits(100, 250_000, 64, 2000)
    assert credits.duration_ps(10**12) == pytest.approx(10**12 / (100 * 64) * 250_000, rel=1e-6)


def credited(**rest) -> System:
    credits = Credits(4, US, 64, 100_000)
    engine = Engine()
    spec = LinkSpec(
        "wire", ("near", "far"), (credits.duration_ps, credits.duration_ps), credits=(credits, credits), **rest
    )
    return System(engine, [tier(engine, "near"), tier(engine, "far")], [Link(engine, spec)])


def test_credits_are_still_out_when_the_next_transfer_comes() -> None:
    # four flits at 0, 0.1, 0.2, 0.3 us use all credits; the next transfer waits until the first is back at 1 us
    system = credited()
    system.transfer("near", "far", 256)
    system.transfer("near", "far", 64)
    assert finish_times(system) == {0: 400_000, 1: 1_100_000}


def test_credits_while_the_link_is_down() -> None:
    # two of eight flits are gone at 0.15 us; up again at 5 us all credits are back, then four each us
    system = credited(availability=Availability([Fault(150_000, 5 * US, 0.0)]))
    system.transfer("near", "far", 512)
    assert finish_times(system) == {0: 6 * US + 200_000}


# ---------------------------------------------------------------- copy engines


def with_engines(engines: int, chunk_bytes: int, setup_ps: int = US, **rest) -> System:
    """1 GB/s and a start of 1 us."""
    engine = Engine()

    def copy(num_bytes: int) -> int:
        return setup_ps + num_bytes * 1000

    spec = LinkSpec(
        "wire",
        ("near", "far"),
        (copy, copy),
        setup_ps=(setup_ps, setup_ps),
        dma=Dma(engines, chunk_bytes) if engines else None,
        **rest,
    )
    return System(engine, [tier(engine, "near"), tier(engine, "far")], [Link(engine, spec)])


def test_one_engine_is_first_come_first_served() -> None:
    for sizes in ([1000, 3000, 500], [5000] * 4):
        plain, one = with_engines(0, 0), with_engines(1, 1000)
        for size in sizes:
            plain.transfer("near", "far", size)
            one.transfer("near", "far", size)
        assert finish_times(one) == finish_times(plain)


def test_a_second_engine_hides_the_start() -> None:
    # starts at 0 and 0 us, both ready at 1; the copies take turns by 1000 bytes
    system = with_engines(2, 1000)
    system.transfer("near", "far", 1000)
    system.transfer("near", "far", 1000)
    assert finish_times(system) == {0: 2 * US, 1: 3 * US}


def test_a_small_copy_comes_between_the_chunks_of_a_large_one() -> None:
    # the large copy's chunk of 1000 bytes is on the wire at 3.5 us and ends at 4; then the small one, then the rest
    system = with_engines(2, 1000, setup_ps=0)
    system.transfer("near", "far", 10_000)
    system.engine.call_at(7 * US // 2, lambda: system.transfer("near", "far", 1000))
    assert finish_times(system) == {1: 5 * US, 0: 11 * US}


def test_copies_beyond_the_engines_wait_and_both_ways_share_them() -> None:
    system = with_engines(2, 1000, setup_ps=0)
    for ends in (("near", "far"), ("far", "near"), ("far", "near")):
        system.transfer(*ends, 1000)
    assert finish_times(system) == {0: US, 1: US, 2: 2 * US}
    assert {row.id: row.started_ps // US for row in logged(system)} == {0: 0, 1: 0, 2: 1}


def test_with_priority_demand_gets_the_engine_and_the_next_chunk() -> None:
    system = with_engines(2, 1000, setup_ps=0, sharing="priority")
    system.transfer("near", "far", 4000, Cause.WRITEBACK)
    system.transfer("near", "far", 4000, Cause.WRITEBACK)
    system.transfer("near", "far", 1000, Cause.WRITEBACK)
    system.engine.call_at(US // 2, lambda: system.transfer("near", "far", 1000, Cause.DEMAND))
    # demand gets the engine that is free at 7 us, when the other's last chunk has the wire; the write-back waits for longer
    assert finish_times(system) == {0: 7 * US, 1: 8 * US, 3: 9 * US, 2: 10 * US}


def test_with_priority_demand_takes_the_wire_at_the_next_chunk() -> None:
    system = with_engines(2, 1000, setup_ps=0, sharing="priority")
    system.transfer("near", "far", 4000, Cause.WRITEBACK)
    system.engine.call_at(US // 2, lambda: system.transfer("near", "far", 2000, Cause.DEMAND))
    assert finish_times(system) == {1: 3 * US, 0: 6 * US}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20 * US), st.integers(1, 30_000)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.sampled_from([1000, 4096, 10**6]),
)
def test_engines_lose_nothing_and_keep_the_wire_busy(jobs, engines: int, chunk_bytes: int) -> None:
    system = with_engines(engines, chunk_bytes, setup_ps=0)
    for time_ps, num_bytes in jobs:
        system.engine.call_at(time_ps, lambda n=num_bytes: system.transfer("near", "far", n))
    finished = finish_times(system)
    assert sorted(row.num_bytes for row in logged(system)) == sorted(size for _, size in jobs)
    free = 0
    for arrival, num_bytes in sorted(jobs):
        free = max(free, arrival) + num_bytes * 1000
    assert max(finished.values()) == free  # without set-up the wire rests only when there is nothing to do


# ---------------------------------------------------------------- faults


faults = st.lists(
    st.builds(
        lambda start, length, share: Fault(start, start + length, share),
        st.integers(0, 50),
        st.integers(1, 40),
        st.sampled_from([0.0, 0.25, 0.5]),
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(faults, st.integers(0, 60), st.integers(1, 80))
def test_work_and_time_are_inverse(given_faults: list[Fault], start: int, work: int) -> None:
    availability = Availability(given_faults)

    def share(time: int) -> float:
        return min((fault.share for fault in given_faults if fault.start_ps <= time < fault.end_ps), default=1.0)

    end, done = start, 0.0
    while done < work:
        done += share(end)
        end += 1
    assert availability.after(start, work) == end
    assert availability.work_ps(start, end) == pytest.approx(sum(share(t) for t in range(start, end)))
    assert availability.down_ps(start, end) == sum(share(t) == 0 for t in range(start, end))
    assert availability.degraded_ps(start, end) == sum(0 < share(t) < 1 for t in range(start, end))


def test_a_link_that_is_always_up() -> None:
    assert ALWAYS.after(5, 10) == 15
    assert ALWAYS.next_change_ps(0) == NEVER_PS


@pytest.mark.parametrize("sharing", sorted(SHARING))
def test_a_transfer_under_way_waits_for_its_link(sharing: str) -> None:
    # 1000 of 3000 bytes are through when the link fails at 1 us; the rest follows at 5 us, at half rate from 6 us on
    outage = Availability([Fault(US, 5 * US, 0.0), Fault(6 * US, 100 * US, 0.5)])
    system = two_tiers(sharing=sharing, availability=outage)
    system.transfer("near", "far", 3000)
    assert finish_times(system) == {0: 8 * US}
    server = system.links["wire"].server("near", "far")
    assert server.busy_ps == 4 * US


@pytest.mark.parametrize("sharing", sorted(SHARING))
def test_what_a_dead_link_holds_is_known(sharing: str) -> None:
    system = two_tiers(sharing=sharing, availability=Availability([Fault(3 * US // 2, NEVER_PS, 0.0)]))
    for _ in range(3):
        system.transfer("near", "far", 1000)
    done = finish_times(system)
    left = {transfer.id for transfer in system.unfinished()["wire"]}
    assert set(done) | left == {0, 1, 2}
    assert not set(done) & left
    assert done == ({} if sharing == "fair" else {0: US})


def test_new_transfers_go_round_a_link_that_is_down_and_come_back() -> None:
    engine = Engine()
    outage = Availability([Fault(10 * US, 20 * US, 0.0)])
    links = [
        Link(engine, LinkSpec.at_bandwidth("fast", ("a", "b"), 2 * GB_PER_S, availability=outage)),
        Link(engine, LinkSpec.at_bandwidth("slow", ("a", "b"), GB_PER_S)),
    ]
    system = System(engine, [tier(engine, "a"), tier(engine, "b")], links)
    for time_ps in (0, 12 * US, 20 * US):
        engine.call_at(time_ps, lambda: system.transfer("a", "b", 2000))
    engine.run()
    assert [(row.route, row.finished_ps) for row in logged(system)] == [
        ("fast", US),
        ("slow", 14 * US),
        ("fast", 21 * US),
    ]


def test_a_degraded_link_is_avoided_where_another_is_quicker() -> None:
    engine = Engine()
    slow_half = Availability([Fault(0, NEVER_PS, 0.4)])
    links = [
        Link(engine, LinkSpec.at_bandwidth("fast", ("a", "b"), 2 * GB_PER_S, availability=slow_half)),
        Link(engine, LinkSpec.at_bandwidth("slow", ("a", "b"), GB_PER_S)),
    ]
    system = System(engine, [tier(engine, "a"), tier(engine, "b")], links)
    assert system.transfer("a", "b", 1000).route.name == "slow"


# ---------------------------------------------------------------- switches


def test_peer_to_peer_goes_through_a_switch_without_the_hosts_memory() -> None:
    engine = Engine()
    ends = {"up": ("switch", "host"), "left": ("gpu0", "switch"), "right": ("switch", "gpu1")}
    links = [Link(engine, LinkSpec.at_bandwidth(name, pair, GB_PER_S)) for name, pair in ends.items()]
    system = System(engine, [tier(engine, name) for name in ("gpu0", "gpu1", "host")], links, {"switch": 150_000})
    transfer = system.transfer("gpu0", "gpu1", 1000)
    engine.run()
    assert transfer.route.name == "left>right"
    assert transfer.finished_ps == US + 150_000
    assert system.tiers["host"].server.busy_ps == 0
    with pytest.raises(TiergartenError, match="is a switch: it keeps nothing"):
        system.transfer("gpu0", "switch", 1)


# ---------------------------------------------------------------- what the kit and the events must notice


@pytest.mark.parametrize(
    ("duration_ps", "setup_ps", "complaint"),
    [
        (lambda n: 10**9 - n, 0, "a longer copy takes less time"),
        (lambda n: n - 1, 0, "a copy takes no time"),
        (lambda n: 10 + n, 12, "set-up of 12 ps is no part of 11 ps"),
        (lambda n: n, 0, ""),
    ],
)
def test_the_kit_refuses_what_is_no_link(duration_ps, setup_ps: int, complaint: str) -> None:
    def make(setup: LinkSetup) -> Wire:
        return Wire((duration_ps, duration_ps), (setup_ps, setup_ps))

    if not complaint:
        check_link_model(make)
    else:
        with pytest.raises(AssertionError, match=complaint):
            check_link_model(make)


class WornMemory(AnalyticModel):
    """Refuses writes from 3 us on."""

    worn_out_ps = 3 * US

    def refuses_writes(self, now_ps: int) -> bool:
        return now_ps >= self.worn_out_ps

    def metrics(self, now_ps: int) -> dict[str, float]:
        return {}


def test_a_memory_that_wears_out_is_an_event_and_takes_no_writes() -> None:
    engine = Engine()
    spec = TierSpec("ssd", "flash", 10**9, 1e9, 1e9)
    worn = Tier(engine, spec, WornMemory(spec))
    system = System(engine, [worn, tier(engine, "ddr")], [])
    assert worn.takes_writes(3 * US - 1)
    assert not worn.takes_writes(3 * US)
    assert fault_rows(system, 3 * US) == []
    rows = fault_rows(system, 10 * US)
    assert [(row.resource, row.event, row.start_ps, row.end_ps) for row in rows] == [
        ("ssd", "worn out", 3 * US, 10 * US)
    ]
    no_transfers = pa.table(
        {"requested_ps": [0], "finished_ps": [0], "bytes": [0], "route": pa.array([""]).dictionary_encode()}
    )
    found = fault_metrics(system, no_transfers, rows)
    assert found["tier_ssd_read_only_s"] == 7e-6
