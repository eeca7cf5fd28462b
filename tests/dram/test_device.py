"""The device and the controller as a user drives them by hand."""

import pytest

from tiergarten.dram.commands import ACT, PRE, RD
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.controller import Controller
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.device import Device
from tiergarten.dram.resolve import resolve
from tiergarten.dram.simulate import DramConfig
from tiergarten.sim.errors import InputError, TraceError

DDR4 = resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2400R")
BANK = (0, 1, 2)


def test_probe_names_the_prerequisite_by_bank_state() -> None:
    device = Device(DDR4)
    assert device.probe("RD", (*BANK, 7, 0), 0) == ("ACT", True, False, False, False)
    device.issue("ACT", (*BANK, 7), 10)
    assert device.probe("RD", (*BANK, 7, 0), 25) == ("RD", False, False, True, True)
    assert device.probe("RD", (*BANK, 7, 0), 26) == ("RD", True, True, True, True)
    assert device.probe("RD", (*BANK, 8, 0), 26).prerequisite == "PREpb"
    assert device.probe("REFab", (0, -1, -1), 100).prerequisite == "PREab"
    device.issue("PREab", (0, -1, -1), 10 + 39)
    assert device.earliest("ACT", (*BANK, 8)) == 10 + 55
    assert device.probe("REFab", (0, -1, -1), 10 + 55).ready


def test_split_activate_goes_through_its_second_half() -> None:
    device = Device(resolve("LPDDR5", *default_presets("LPDDR5")))
    device.issue("ACT1", (0, 0, 0, 3), 5)
    assert device.probe("RD", (0, 0, 0, 3), 30).prerequisite == "ACT2"
    device.issue("ACT2", (0, 0, 0, 3), 7)
    assert device.probe("RD", (0, 0, 0, 3), 30).ready


def test_device_refuses_what_it_cannot_do() -> None:
    device = Device(DDR4)
    for command, place in (("REFpb", BANK), ("ACT", (0, 9, 0, 0)), ("ACT", (0,)), ("PREab", (2, -1, -1))):
        with pytest.raises(InputError):
            device.probe(command, place, 0)
    device.issue("ACT", (*BANK, 1), 10)
    with pytest.raises(InputError, match="first possible clock is 49"):
        device.issue("PREpb", BANK, 48)


def test_same_bank_refresh_takes_one_bank_of_every_group() -> None:
    ddr5 = resolve("DDR5", *default_presets("DDR5"))
    device = Device(ddr5)
    device.issue("ACT", (0, 3, 1, 5), 0)
    assert device.probe("REFsb", (0, -1, 1), 500).prerequisite == "PREpb"
    assert device.probe("REFsb", (0, -1, 2), 500).ready
    device.issue("REFsb", (0, -1, 2), 500)
    # ACT takes two clocks and counts from its last
    assert device.earliest("ACT", (0, 6, 2, 1)) == 500 + ddr5.timing["nRFCsb"] - 1
    assert device.earliest("ACT", (0, 6, 1, 1)) == 500 + ddr5.timing["nREFSBRD"] - 1


def controller(**settings) -> Controller:
    return Controller(DramConfig(DDR4, ControllerConfig(refresh="NoRefresh", **settings)))


def test_lone_read_takes_activate_and_read() -> None:
    channel = controller()
    assert channel.send(4096, is_write=False) == 0
    channel.tick(60)
    commands = channel.take_commands()
    assert list(zip(commands.ticks.tolist(), commands.commands.tolist(), strict=True)) == [(1, ACT), (17, RD)]
    assert channel.take_finished() == [(0, 0, 17 + 20, 37)]
    assert channel.take_finished() == []
    assert channel.waiting == 0


def test_conflict_costs_a_precharge() -> None:
    channel = controller()
    channel.send(0, is_write=False)
    channel.tick(100)
    channel.take_commands()
    channel.send(1 << 30, is_write=False)
    channel.tick(100)
    assert channel.take_commands().commands.tolist() == [PRE, ACT, RD]


def test_full_queue_refuses_and_forwarding_needs_no_room() -> None:
    channel = controller(read_buffer_size=2, write_buffer_size=2)
    assert [channel.send(64 * n, is_write=False) for n in range(3)] == [0, 1, None]
    assert channel.send(1 << 20, is_write=True) == 2
    assert channel.send(1 << 20, is_write=False) == 3
    assert channel.send(1 << 20, is_write=True) == 4
    channel.tick(1)
    assert [(f.request, f.done) for f in channel.take_finished()] == [(4, 0), (3, 1)]
    channel.tick(300)
    assert sorted(f.request for f in channel.take_finished()) == [0, 1, 2]


def test_bad_address_is_refused() -> None:
    channel = controller()
    for address in (-64, 32):
        with pytest.raises(TraceError):
            channel.send(address, is_write=False)
