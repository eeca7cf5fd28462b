"""Set-ups of which bandwidth-latency curves by the Mess protocol have been published or recorded, for comparison.

Both drive Ramulator 2.0 (branch `mess` of CMU-SAFARI/ramulator2, 24f7d3d8) as in arXiv 2510.15744: FR-FCFS, open rows,
all-bank refresh, queues of 32 that take 33, and every command one clock long.
"""

import dataclasses
from typing import Final

from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.resolve import DramDevice, resolve
from tiergarten.dram.simulate import DramConfig
from tiergarten.sim.errors import UnknownNameError, did_you_mean


@dataclasses.dataclass(frozen=True)
class MessSetup:
    """A channel and how many of them work alike."""

    config: DramConfig
    channels: int
    source: str


def one_clock_commands(device: DramDevice) -> DramDevice:
    """The device with commands of one clock, so that constraints count from the clock in which a command is sent."""
    extra = [ticks - 1 for ticks in device.command_ticks]
    constraints = tuple(
        rule._replace(ticks=rule.ticks - extra[rule.preceding] + extra[rule.following]) for rule in device.constraints
    )
    return dataclasses.replace(device, constraints=constraints, command_ticks=(1,) * len(extra))


def _setup(device: DramDevice, channels: int, source: str) -> MessSetup:
    controller = ControllerConfig(read_buffer_size=33, write_buffer_size=33)
    return MessSetup(DramConfig(one_clock_commands(device), controller), channels, source)


SETUPS: Final = {
    "ddr5-4800": _setup(
        resolve("DDR5", "DDR5_16Gb_x8", "DDR5_4800AN", {"nFAW": 32}),
        16,
        "arXiv 2510.15744, figure 3: 8 DIMM channels of DDR5-4800 as 16 subchannels; tFAW 32 clocks",
    ),
    "ddr4-2666": _setup(
        resolve("DDR4", "DDR4_8Gb_x8", "DDR4_2666V"),
        6,
        "the same driver on 6 channels of DDR4-2666, as in the Skylake server of the Mess paper (MICRO 2024)",
    ),
}


def published_setup(name: str) -> MessSetup:
    """A set-up by name. UnknownNameError if there is none of that name."""
    if name not in SETUPS:
        raise UnknownNameError(f"unknown set-up {name!r}. {did_you_mean(name, SETUPS)}")
    return SETUPS[name]
