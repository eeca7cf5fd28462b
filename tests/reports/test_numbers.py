"""Latency quantiles, metric names, sweeps and formats against values that can be checked in the head."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.reports import style
from tiergarten.reports.compare import BETTER, DIFFERENT, SAME, WORSE, metric_change
from tiergarten.reports.figures import names
from tiergarten.reports.figures.learning_curve import STUDENT_T
from tiergarten.reports.latency import cdf_points, latencies, quantile
from tiergarten.reports.metrics import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    NEITHER_IS_BETTER,
    format_metric,
    quantity,
)
from tiergarten.reports.sweeps import knee, pareto_front, sort_values
from tiergarten.reports.tables import TABLES

small = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25)


def test_latencies_by_hand() -> None:
    requests = pd.DataFrame({
        "arrival_ps": [0, 10, 20, 30], "first_token_ps": [5, 14, 23, -1], "finished_ps": [25, 14, -1, -1], "output_tokens": [5, 1, 9, 9],
    })  # fmt: skip
    found = {name: values.tolist() for name, values in latencies(requests).items()}
    # 4 tokens follow the first one in 20 ps; a request of one token has no TPOT; the third never ended, the fourth never began
    assert found == {"TTFT": [3.0, 4.0, 5.0], "TPOT": [5.0], "E2E": [4.0, 25.0]}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_inverse_of_the_empirical_distribution(values: list[int], share: float) -> None:
    ordered = np.sort(np.array(values, float))
    found = quantile(ordered, share)
    assert found in ordered
    assert np.mean(ordered <= found) >= share - 1e-9
    assert found == ordered[0] or np.mean(ordered < found) < share


@pytest.mark.parametrize("count", [1, 3, 100, 5000])
def test_a_distribution_keeps_its_marked_quantiles(count: int) -> None:
    ordered = np.arange(1, count + 1).astype(float)
    points = cdf_points(ordered)
    assert len(points) <= 403
    for share in (0.5, 0.9, 0.99, 1.0):
        assert points.loc[points["share"] == share, "value_ps"].tolist() == [np.ceil(share * count - 1e-9)]


@pytest.mark.parametrize(
    ("key", "label", "unit", "sense"),
    [
        ("ttft_p99_ms", "TTFT p99", "ms", LOWER_IS_BETTER),
        ("goodput_requests_per_s", "Goodput", "requests/s", HIGHER_IS_BETTER),
        ("hit_rate_tokens_hbm", "Hit rate tokens HBM", "", HIGHER_IS_BETTER),
        ("link_pcie_bytes", "Link PCIe", "B", NEITHER_IS_BETTER),
        ("memory_energy_j", "Memory energy", "J", LOWER_IS_BETTER),
        ("transfers", "Transfers", "", NEITHER_IS_BETTER),
        ("_", "_", "", NEITHER_IS_BETTER),
    ],
)
def test_a_key_tells_label_unit_and_sense(key: str, label: str, unit: str, sense: int) -> None:
    found = quantity(key)
    assert (found.label, found.unit, found.sense) == (label, unit, sense)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("ttft_ms", 1500.0, "1.5 s"), ("ttft_ms", 0, "0 ms"), ("kv_bytes", 80 * 2**30, "80 GiB"), ("hit_rate", 0.43125, "0.4313"),
        ("requests", 12031, "12,031"), ("x_bytes_per_s", 3.35e12, "3.35 TB/s"), ("policy", "lru", "lru"), ("ok", True, "True"),
        ("ttft_ms", float("nan"), "nan"), ("ttft_ms", None, "none"), ("huge_ms", 10**400, str(10**400)),
    ],
)  # fmt: skip
def test_a_value_is_written_with_its_unit(key: str, value: object, text: str) -> None:
    assert format_metric(key, value) == text


@given(small)
def test_the_front_holds_exactly_the_points_that_none_dominates(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, float).T
    expected = [not any((a <= c and b <= d) and (a < c or b < d) for a, b in points) for c, d in points]
    assert pareto_front(x, y).tolist() == expected


def test_the_knee_is_nearest_to_the_best_of_both() -> None:
    assert knee(np.array([0.0, 1.0, 10.0]), np.array([100.0, 10.0, 0.0])) == 1
    assert knee(np.array([3.0]), np.array([4.0])) == 0


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["96 GiB", "8 GiB"], [96 * 2**30, 8 * 2**30]), (["2 TB/s", "500 GB/s"], [2e12, 5e11]), (["5 us", "7 ns"], [5e6, 7e3]),
        (["4", "2.5"], [4.0, 2.5]), (["lru", "fifo", "lru"], [0.0, 1.0, 0.0]), (["nan", "1"], [0.0, 1.0]),
    ],
)  # fmt: skip
def test_swept_values_are_ordered_as_quantities(texts: list[str], values: list[float]) -> None:
    assert sort_values(pd.Series(texts)).tolist() == values


@pytest.mark.parametrize(
    ("key", "first", "second", "change", "verdict"),
    [
        ("ttft_ms", 100.0, 150.0, 50.0, WORSE), ("goodput_requests_per_s", 4, 5, 25.0, BETTER), ("ttft_ms", 2.0, 2.0, 0.0, SAME),
        ("link_bytes", 4, 5, 25.0, DIFFERENT), ("ttft_ms", 0.0, 1.0, None, WORSE), ("policy", "lru", "arc", None, DIFFERENT),
        ("policy", "lru", "lru", None, SAME), ("ttft_ms", float("nan"), 1.0, None, DIFFERENT),
    ],
)  # fmt: skip
def test_a_metric_of_two_runs(key: str, first: object, second: object, change: float | None, verdict: str) -> None:
    found = metric_change(key, {key: first}, {key: second})  # type: ignore[dict-item]
    assert (found.change_percent, found.verdict) == (change, verdict)


def test_a_metric_that_one_run_lacks_is_different() -> None:
    assert metric_change("a", {}, {"a": None}).verdict == DIFFERENT


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.5, "0.5"), (20.0, "20"), (10_000.0, "10000"), (99_999.9, "1e5"), (100_000.0, "1e5"), (2.5e6, "2.5e6"),
     (1e-5, "1e-5"), (-3e-7, "-3e-7"), (1e100, "1e100")],
)  # fmt: skip
def test_axis_numbers_are_plain(value: float, text: str) -> None:
    assert style.plain_number(value) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\x00c", "a b c"),
        ("_hidden", "\u2009_hidden"),
        ("", "(no name)"),
        ("x" * 99, "x" * 35 + "…"),
        ("a\u202eb", "a b"),
    ],
)
def test_labels_are_one_short_visible_line(text: str, shown: str) -> None:
    assert style.label(text) == shown


def test_no_two_series_look_alike() -> None:
    names = ["busy", "demand", *(f"s{i}" for i in range(20))]
    looks = [(swatch.color, swatch.hatch) for swatch in style.swatches(names).values()]
    assert len(set(looks[2:])) >= 20 - 1
    assert all(colour != style.BLUE for colour, _ in looks[2:])


def test_students_quantiles() -> None:
    stats = pytest.importorskip("scipy.stats", reason="checks the table against scipy")
    np.testing.assert_allclose(STUDENT_T, stats.t.ppf(0.975, np.arange(1, 31)), atol=6e-4)


def test_the_documentation_names_every_figure_and_every_series() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text()
    for name in [*names(), *(table for table in TABLES if table.startswith("series/"))]:
        assert f"`{name}`" in text, name
    for table, columns in TABLES.items():
        if table.startswith("series/"):
            row = next(line for line in text.splitlines() if line.startswith(f"| `{table}`"))
            assert all(column in row for column in columns), table
