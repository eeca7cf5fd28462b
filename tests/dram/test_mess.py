"""Bandwidth-latency curves: formulas at both ends, and the published run of the same protocol."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from tiergarten.dram.curves import bundled_curve, bundled_curves
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.mess import measure_point, refresh_limit_bytes_per_s, unloaded_ps
from tiergarten.dram.mess_compare import compare_curves, read_reference
from tiergarten.dram.mess_setups import SETUPS, published_setup
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig
from tiergarten.dram.standard import STANDARDS
from tiergarten.sim.errors import InputError, UnknownNameError
from tiergarten.sim.models.curve import read_curves

READ_PERCENTS = (100, 90, 80, 70, 60, 50)
MAXIMA_GBPS = {
    "ddr5-4800": (281.1, 267.3, 261.2, 256.7, 254.4, 253.4),
    "ddr4-2666": (114.2, 108.4, 107.3, 106.5, 105.9, 105.4),
}
UNLOADED_NS = {"ddr5-4800": 46.07, "ddr4-2666": 48.22}
PUBLISHED = {"ddr5-4800": "ddr5_4800an_16ch", "ddr4-2666": "ddr4_2666v_6ch"}


@pytest.mark.parametrize("name", SETUPS)
def test_features_are_those_of_the_published_run(name: str) -> None:
    """Within 1 % at light load and 2 % at the maxima, where Ramulator 2.0 loses ticks (docs/dram.md)."""
    setup = published_setup(name)
    light = measure_point(setup.config, 100, 10000, 6000, 1)
    assert light.latency_ps / 1e3 == pytest.approx(UNLOADED_NS[name], rel=0.01)
    for read_percent, maximum in zip(READ_PERCENTS, MAXIMA_GBPS[name], strict=True):
        points = [measure_point(setup.config, read_percent, pause, 1000, 1) for pause in (2, 3, 4)]
        rate = max(point.bandwidth_bytes_per_s for point in points) * setup.channels
        assert rate / 1e9 == pytest.approx(maximum, rel=0.02)
        assert rate / setup.channels <= refresh_limit_bytes_per_s(setup.config) * 1.002


@pytest.mark.parametrize("name", SETUPS)
def test_points_follow_the_published_curves(name: str, shared: Path) -> None:
    setup = published_setup(name)
    with open(shared / "reference/mess/ramulator2_mess_curves.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["config"] == PUBLISHED[name]]
    compared = 0
    for row in rows:
        if row["nop"] not in ("1", "6", "10", "30", "100") or row["read_percent"] not in ("100", "50"):
            continue
        point = measure_point(setup.config, int(row["read_percent"]), int(row["nop"]), 1500, 1)
        rate = point.bandwidth_bytes_per_s * setup.channels / 1e9
        assert rate == pytest.approx(float(row["bandwidth_GBps"]), rel=0.025), row
        if row["nop"] != "1":
            assert point.latency_ps / 1e3 == pytest.approx(float(row["latency_ns"]), rel=0.04), row
        compared += 1
    assert compared == 10


def family(points: dict[int, list[tuple[float, float]]], **columns: str) -> pd.DataFrame:
    rows = [(share, *point) for share, curve in points.items() for point in curve]
    return pd.DataFrame(rows, columns=["read_percent", "bandwidth_GBps", "latency_ns"]).assign(**columns)


def test_comparison_of_a_family_with_a_shifted_and_a_stretched_one() -> None:
    curve = [(80.0, 300.0), (100.0, 200.0), (60.0, 90.0), (10.0, 50.0)]
    ours = family({100: curve, 50: curve})
    shifted = ours.assign(latency_ns=ours["latency_ns"] + 25)
    rows = compare_curves(ours, shifted)
    assert rows["read_percent"].tolist() == [100, 50]
    assert (rows["max_difference_pct"] == 0).all()
    assert rows["unloaded_difference_pct"].tolist() == [pytest.approx(100 * (50 / 75 - 1))] * 2
    assert rows["latency_error_one_constant_pct"].tolist() == [pytest.approx(0)] * 2
    assert (rows["latency_error_pct"] > 5).all()
    wider = compare_curves(ours, ours.assign(bandwidth_GBps=ours["bandwidth_GBps"] * 1.25))
    assert wider["max_difference_pct"].tolist() == [pytest.approx(-20)] * 2


def test_reference_files_that_cannot_be_used_are_said_so(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    two = pd.concat([family({100: [(1.0, 2.0)]}, config=name) for name in ("first", "second")])
    two.to_csv(path, index=False)
    assert len(read_reference(path, "second")) == 1
    with pytest.raises(InputError, match="choose one of first, second"):
        read_reference(path)
    with pytest.raises(InputError, match="Did you mean 'first'"):
        read_reference(path, "fist")
    for text, said in (
        ("", "not a CSV"),
        ("a,b\n1,2\n", "read_percent: column is missing"),
        ("read_percent,bandwidth_GBps,latency_ns\n1,2,x\n", "2: latency_ns: must be a number"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_reference(path)
    with pytest.raises(InputError, match="No such file"):
        read_reference(tmp_path / "absent.csv")
    with pytest.raises(UnknownNameError, match="ddr5-4800"):
        published_setup("ddr5-480")


@pytest.mark.parametrize("standard", STANDARDS.names())
def test_curve_lies_between_its_formulas(standard: str) -> None:
    config = DramConfig(resolve(standard, *default_presets(standard)))
    light = measure_point(config, 100, 3000, 300, 1)
    heavy = measure_point(config, 100, 1, 600, 1)
    # less than the formula where refresh has closed the bank (no precharge), more where a refresh is under way
    assert light.latency_ps == pytest.approx(unloaded_ps(config), rel=0.12)
    assert heavy.bandwidth_bytes_per_s <= refresh_limit_bytes_per_s(config) * 1.005
    assert heavy.latency_ps > 1.5 * light.latency_ps


def test_bundled_families_load_in_the_curve_level() -> None:
    assert sorted(bundled_curves()) == STANDARDS.names()
    for standard in STANDARDS.names():
        family = read_curves(bundled_curve(standard))
        device = resolve(standard, *default_presets(standard))
        assert list(family.read_percents) == [50, 60, 70, 80, 90, 100]
        assert 0.5 * device.peak_bytes_per_s < family.max_bytes_per_s(100) < device.peak_bytes_per_s
    with pytest.raises(UnknownNameError, match="HBM3"):
        bundled_curve("HBM33")
