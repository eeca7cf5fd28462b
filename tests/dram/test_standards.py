"""Standards as data: the resolved integers equal the recorded ones, and mistakes fail where they are made."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pytest

from tiergarten.dram.defaults import default_presets
from tiergarten.dram.resolve import resolve
from tiergarten.dram.standard import STANDARDS, TimingNames, preset_table, rule
from tiergarten.sim.errors import InputError, UnknownNameError

from .recorded import bus_constraints, recorded_constraints, recorded_pairs

NAMES = ["DDR3", "DDR4", "DDR5", "GDDR6", "GDDR7", "HBM1", "HBM2", "HBM3", "HBM4", "LPDDR5", "LPDDR6"]
OURS = {"nRFCsb", "nREFIsb", "nREFSBRD"}
"""Timings that we have beyond the reference."""


def test_all_recorded_pairs_resolve_to_the_recorded_integers() -> None:
    assert len(recorded_pairs()) == 587
    for key, entry in recorded_pairs().items():
        device = resolve(*key.split("/"))
        same_bank = [n for n, name in enumerate(device.standard.commands) if name == "REFsb"]
        found = [c for c in device.constraints if c.preceding not in same_bank and c.following not in same_bank]
        wanted = recorded_constraints(device, with_buses=True)
        assert sorted([*found, *bus_constraints(device)]) == sorted(wanted), key
        assert {name: value for name, value in device.timing.items() if name not in OURS} == entry["timing"], key
        assert list(device.counts) == entry["counts"]
        assert device.read_latency == entry["read_latency"]
        assert device.transaction_bytes == entry["tx_bytes"]


def test_recorded_pairs_are_those_of_the_reference_data(shared: Path) -> None:
    recorded = json.loads(gzip.decompress((shared / "golden/ramulator2/resolved_all.json.gz").read_bytes()))
    assert recorded == recorded_pairs()


def test_every_standard_is_registered_with_its_document() -> None:
    assert STANDARDS.names() == NAMES
    for _, standard in STANDARDS.items():
        assert re.match(r"JEDEC JESD\d+", standard.source)


@pytest.mark.parametrize(
    ("standard", "gbit_per_s_per_pin"), [("DDR4", 2.4), ("DDR5", 4.8), ("HBM2", 2.0), ("HBM3", 6.4), ("LPDDR5", 6.4)]
)
def test_peak_bandwidth_is_width_times_rate(standard: str, gbit_per_s_per_pin: float) -> None:
    device = resolve(standard, *default_presets(standard))
    pins = device.channel_width * device.num_data_buses
    assert device.peak_bytes_per_s == pytest.approx(gbit_per_s_per_pin * 1e9 * pins / 8, rel=3e-3)


def test_capacity_of_ddr4_rank_is_eight_chips() -> None:
    assert resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2400R").capacity_bytes == 8 << 30


def test_misspelt_timing_fails_when_the_rule_is_written() -> None:
    t = TimingNames("nRCD nRP")
    assert rule("ACT", "RD", t.nRCD + t.nRP - 2).latency.evaluate({"nRCD": 5, "nRP": 7}) == 10
    with pytest.raises(AttributeError, match="Did you mean 'nRCD'"):
        rule("ACT", "RD", t.nRDC)


def test_standard_refuses_what_does_not_fit_together() -> None:
    ddr4 = STANDARDS.get("DDR4")
    t = ddr4.timings
    for change in (
        {"constraints": {"Rank": (rule("ACTT", "RD", t.nRCD),)}},
        {"constraints": {"Rnak": (rule("ACT", "RD", t.nRCD),)}},
        {"bins": {"x": {"nRCDD": 3}}},
        {"orgs": {"x": {"rank": 1}}},
        {"commands": ("ACT", "READ")},
    ):
        with pytest.raises(ValueError, match="DDR4"):
            dataclasses.replace(ddr4, **change)
    with pytest.raises(ValueError, match="has 1 values for 2 columns"):
        preset_table("a b", {"x": (1,)})


def test_unknown_names_and_bad_overrides_are_named() -> None:
    with pytest.raises(UnknownNameError, match="DDR4_2400R"):
        resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2400")
    with pytest.raises(UnknownNameError, match="HBM3"):
        resolve("HBM33", "x", "y")
    with pytest.raises(InputError) as caught:
        resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2400R", {"rank": 3, "nRCDD": 2, "channel": 2, "nRP": -1})
    assert [problem.path for problem in caught.value.problems] == ["rank", "nRCDD", "channel", "nRP"]


def test_timing_override_changes_only_itself() -> None:
    plain = resolve("HBM3", "HBM3_16Gb_8hi", "HBM3_6400Mbps")
    changed = resolve("HBM3", "HBM3_16Gb_8hi", "HBM3_6400Mbps", {"nRFC": 100})
    assert changed.timing["nRFC"] == 200
    assert changed.timing["nRFMab"] == plain.timing["nRFMab"]
