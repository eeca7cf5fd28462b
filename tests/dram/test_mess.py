"""Bandwidth-latency curves: formulas at both ends, and the published run of the same protocol."""

import csv
import dataclasses
from pathlib import Path

import pytest

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.curves import bundled_curve, bundled_curves
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.mess import measure_point, refresh_limit_bytes_per_s, unloaded_ps
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig
from tiergarten.dram.standard import STANDARDS
from tiergarten.sim.errors import UnknownNameError
from tiergarten.sim.models.curve import read_curves


def ddr5_of_the_reply() -> DramConfig:
    """DDR5-4800 as in the published run: tFAW 32 clocks, commands of one clock, 33 places in effect."""
    device = resolve("DDR5", "DDR5_16Gb_x8", "DDR5_4800AN", {"nFAW": 32})
    device = dataclasses.replace(device, command_ticks=(1,) * len(device.command_ticks))
    return DramConfig(device, ControllerConfig(read_buffer_size=33, write_buffer_size=33))


def test_ddr5_features_are_those_of_the_published_run() -> None:
    """Unloaded 46.1 ns, maxima 281.1 and 253.4 GB/s with 16 channels; 2 % for Ramulator 2.0's other order of choosing."""
    config = ddr5_of_the_reply()
    assert measure_point(config, 100, 10000, 1500, 1).latency_ps == pytest.approx(46_100, rel=0.02)
    for read_percent, maximum in ((100, 281.1e9), (50, 253.4e9)):
        points = [measure_point(config, read_percent, pause, 1500, 1) for pause in (1, 2, 3, 4)]
        assert max(p.bandwidth_bytes_per_s for p in points) * 16 == pytest.approx(maximum, rel=0.02)


def test_bandwidth_follows_the_published_curve(shared: Path) -> None:
    with open(shared / "reference/mess/ramulator2_mess_curves.csv", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["config"].startswith("ddr5") and row["read_percent"] == "100"
        ]
    rows = [row for row in rows if int(row["nop"]) in (1, 4, 6, 10, 30, 100)]
    assert len(rows) == 6
    config = ddr5_of_the_reply()
    for row in rows:
        point = measure_point(config, 100, int(row["nop"]), 1500, 1)
        assert point.bandwidth_bytes_per_s * 16 / 1e9 == pytest.approx(float(row["bandwidth_GBps"]), rel=0.02)


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
