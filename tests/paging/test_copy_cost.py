"""Copy costs: closed forms, the measured curves, link tables, bad numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.sim.copy_cost import (
    ArctanCopyCost,
    LinearCopyCost,
    TableCopyCost,
    nvlink_bytes_per_s,
    pcie_copy_cost,
    pcie_payload_bytes_per_s,
    pcie_raw_bytes_per_s,
)
from tiergarten.sim.errors import InputError
from tiergarten.sim.links.measured import bundled_curves, read_copy_curves

COSTS = {
    "linear": LinearCopyCost(800_000, 12e9),
    "table": read_copy_curves(bundled_curves()["gtx1080ti-migration"])[0],
    "arctan": ArctanCopyCost(12e9),
}


def test_linear_cost_is_start_plus_bytes_over_rate():
    assert LinearCopyCost(1_000_000, 1e9).duration_ps(1000) == 2_000_000


def test_table_from_a_straight_line_gives_the_line_back_inside_and_outside():
    line = LinearCopyCost(800_000, 1e9)
    sizes = (4096, 65536, 1 << 20)
    table = TableCopyCost(sizes, tuple(line.duration_ps(size) for size in sizes))
    for size in (1000, 4096, 10_000, 1 << 20, 1 << 24):
        assert table.duration_ps(size) == line.duration_ps(size)


@given(st.sampled_from(sorted(COSTS)), st.integers(1, 1 << 30), st.integers(0, 1 << 20))
def test_a_longer_copy_never_takes_less_time(name, num_bytes, more):
    cost = COSTS[name]
    assert 0 < cost.duration_ps(num_bytes) <= cost.duration_ps(num_bytes + more)


@pytest.mark.parametrize(
    ("generation", "lanes", "rate"), [(1, 1, 0.25e9), (3, 16, 15.754e9), (4, 16, 31.508e9), (5, 8, 31.508e9)]
)
def test_pcie_table_matches_the_well_known_rates(generation, lanes, rate):
    assert pcie_raw_bytes_per_s(generation, lanes) == pytest.approx(rate, rel=1e-3)


def test_pcie_generation_6_beats_5_and_payload_is_less_than_raw():
    assert pcie_raw_bytes_per_s(6, 16) > 1.8 * pcie_raw_bytes_per_s(5, 16)
    assert pcie_payload_bytes_per_s(3, 16) == pytest.approx(15.754e9 * 256 / 280, rel=1e-3)


def test_pcie_4_copies_reach_the_measured_24_to_26_gb_per_s():
    """cuda_vmm.host_pcie of the reference; the share of the link is that measured on generation 3."""
    cost = pcie_copy_cost(4, 16)
    rate = (1 << 30) * 1e12 / cost.duration_ps(1 << 30)
    assert 0.95 * 24e9 < rate < 26e9


def test_nvlink_4_has_18_links_of_25_gb_per_s():
    assert nvlink_bytes_per_s(4) == pytest.approx(450e9 * 256 / 272)
    assert nvlink_bytes_per_s(4, 9) == pytest.approx(nvlink_bytes_per_s(4) / 2)


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: LinearCopyCost(-1, 1e9), "copy_cost.start_ps"),
        (lambda: LinearCopyCost(0, 0), "copy_cost.bytes_per_s"),
        (lambda: LinearCopyCost(0, float("nan")), "copy_cost.bytes_per_s"),
        (lambda: LinearCopyCost(0, 1e9).duration_ps(0), "num_bytes"),
        (lambda: TableCopyCost((1,), (1,)), "copy_cost.table"),
        (lambda: TableCopyCost((2, 1), (1, 2)), "copy_cost.sizes_bytes row 1"),
        (lambda: TableCopyCost.from_rates({1: 0.0, 2: 1.0}), "copy_cost.rates"),
        (lambda: ArctanCopyCost(0), "copy_cost.peak"),
        (lambda: pcie_copy_cost(7, 16), "generation"),
        (lambda: pcie_copy_cost(3, 3), "lanes"),
        (lambda: pcie_payload_bytes_per_s(3, 16, 300), "payload"),
        (lambda: nvlink_bytes_per_s(9), "generation"),
        (lambda: nvlink_bytes_per_s(4, 19), "links"),
    ],
)
def test_impossible_links_are_refused_with_the_place(make, place):
    with pytest.raises(InputError, match=place.replace(".", r"\.")):
        make()
