"""Bins, tracks and routes: the laws that keep a reduced picture true."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.reports.binning import MAX_BINS, bin_edges, busiest, rebin, spread, wide_edges
from tiergarten.reports.lanes import lay_out
from tiergarten.reports.routes import link_hops

intervals = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 300), st.integers(0, 10**6)), min_size=1, max_size=30
)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, length, amount = np.array(rows, np.int64).T
    return start, start + length, amount.astype(float)


def test_an_amount_is_spread_evenly_over_its_interval() -> None:
    starts, ends, amounts = np.array([5]), np.array([25]), np.array([200.0])
    assert spread(starts, ends, amounts, np.array([0, 10, 20, 30])).tolist() == [50.0, 100.0, 50.0]


def test_an_instant_falls_whole_into_its_bin() -> None:
    at = np.array([10])
    assert spread(at, at, np.array([7.0]), np.array([0, 10, 20])).tolist() == [0.0, 7.0]


@given(intervals)
def test_spread_agrees_with_overlaps_taken_one_by_one(rows: list[tuple[int, int, int]]) -> None:
    starts, ends, amounts = columns(rows)
    edges = np.arange(0, 1401, 70, dtype=np.int64)
    expected = np.zeros(len(edges) - 1)
    for start, end, amount in zip(starts, ends, amounts, strict=True):
        for index in range(len(expected)):
            low, high = edges[index], edges[index + 1]
            if start == end:
                expected[index] += amount * (low <= start < high)
            else:
                expected[index] += amount * max(0, min(end, high) - max(start, low)) / (end - start)
    np.testing.assert_allclose(spread(starts, ends, amounts, edges), expected, atol=1e-3)


@given(intervals)
def test_spread_conserves_what_lies_inside(rows: list[tuple[int, int, int]]) -> None:
    starts, ends, amounts = columns(rows)
    edges = bin_edges(int(starts.min()), int(ends.max()) + 1, 9)
    np.testing.assert_allclose(spread(starts, ends, amounts, edges).sum(), amounts.sum(), atol=1e-3)


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(1, 400))
def test_edges_cover_the_span_in_few_bins(start: int, span: int, num_bins: int) -> None:
    edges = bin_edges(start, start + span, num_bins)
    assert edges[0] == start
    assert edges[-1] >= start + span
    assert 1 <= len(edges) - 1 <= num_bins
    assert len(set(np.diff(edges).tolist())) == 1


@given(st.integers(1, 1000), st.integers(1, 10**13), st.integers(1, 50))
def test_rebinning_conserves_sums_time_and_borders(bins: int, elapsed: int, limit: int) -> None:
    elapsed = max(elapsed, bins)
    borders = np.linspace(0, elapsed, bins + 1).astype(np.int64)  # as a run bins: widths differ by one
    table = pd.DataFrame(
        {"key": "a", "bin_start_ps": borders[:-1], "bin_ps": np.diff(borders), "bytes": np.arange(bins)}
    )
    wide = rebin(table, ["key"], ["bytes"], limit)
    assert len(wide) <= limit
    assert wide["bytes"].sum() == table["bytes"].sum()
    assert wide["bin_ps"].sum() == elapsed
    assert set(wide["bin_start_ps"]) <= set(borders.tolist())
    np.testing.assert_array_equal(wide["bin_start_ps"] + wide["bin_ps"], wide_edges(table, limit)[1:])


def test_the_busiest_are_kept_in_order_of_appearance() -> None:
    table = pd.DataFrame({"name": ["a", "b", "c", "a"], "bytes": [1, 9, 5, 5]})
    assert busiest(table, "name", "bytes", 2) == (["a", "b"], 1)
    assert MAX_BINS < 1000


@given(intervals)
def test_tracks_never_overlap_and_are_as_few_as_can_be(rows: list[tuple[int, int, int]]) -> None:
    starts, ends, _ = columns(rows)
    ends = np.maximum(ends, starts + 1)
    tracks = lay_out(starts, ends)
    for track in set(tracks.tolist()):
        on = np.flatnonzero(tracks == track)
        on = on[np.argsort(starts[on], kind="stable")]
        assert (ends[on][:-1] <= starts[on][1:]).all()
    deepest = max(((starts <= start) & (ends > start)).sum() for start in starts)
    assert tracks.max() + 1 == deepest


def test_a_route_is_walked_from_its_source() -> None:
    links = pd.DataFrame({
        "link": ["pcie", "pcie", "nvme", "nvme", "bus"],
        "direction": ["ddr>hbm", "hbm>ddr", "ddr>ssd", "ssd>ddr", "both"],
    })  # fmt: skip
    hops = link_hops(links)
    assert hops("hbm", "ssd", "pcie>nvme") == [("pcie", "hbm>ddr"), ("nvme", "ddr>ssd")]
    assert hops("ssd", "hbm", "nvme>pcie") == [("nvme", "ssd>ddr"), ("pcie", "ddr>hbm")]
    assert hops("hbm", "ddr", "bus") == [("bus", "both")]
    assert hops("hbm", "ddr", "unknown") == []
