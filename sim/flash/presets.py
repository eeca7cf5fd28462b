"""Drives by name. Every number that is not published is an estimate; each preset says which, and what it was fitted to.

Common to all presets but MQSim's: packets of 256 bytes with 24 of overhead (PCIe 3 and later: 4 framing, 12 to 16 header, 4 LCRC; the
payload size is what hosts commonly set). Drives have 64 to 128 GB of flash here, fewer blocks per plane than sold, because timing depends
on dies and planes, not on blocks; `with_capacity` gives a drive the blocks for a capacity.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil

from tiergarten.sim.errors import InputError, Problem, UnknownNameError, did_you_mean
from tiergarten.sim.flash.config import (
    Collection,
    DramCache,
    DriveConfig,
    FlashTiming,
    HostQueues,
    Mapping,
    ModernFeatures,
    PcieLink,
)
from tiergarten.sim.flash.geometry import CellType, FlashGeometry

PCIE_4 = PcieLink(1.969, 4, 256, 24)
PCIE_5 = PcieLink(3.938, 4, 256, 24)
"""16 and 32 GT/s per lane with 128b/130b coding, in GB/s."""


def _ns_per_byte(mbytes_per_s: float) -> float:
    """Time of one byte on a channel."""
    return 1000.0 / mbytes_per_s


def _dram(capacity_mib: int) -> DramCache:
    """Write buffer behind one DDR4-3200-like channel, 8 bytes wide: MQSim's formula takes half the bytes of a burst pair."""
    return DramCache(capacity_bytes=capacity_mib * 2**20, rate_mts=3200, burst_bytes=8)


def pcie4_tlc() -> DriveConfig:
    """PCIe 4 x4 TLC, 4 TB class: 32 dies on 4 channels of 2400 MT/s. Estimates: dies, planes, latencies.

    Fitted to the Lexar NM790 4 TB at 4 KiB (KitGuru review, p. 11): controller latency and host time per I/O to queue depths 1 and 8 on
    one thread; four threads, sequential reads (Samsung 990 Pro) and writes follow.
    """
    return DriveConfig(
        name="pcie4-tlc",
        geometry=FlashGeometry(4, 8, 1, 4, 64, 384, 16384, CellType.TLC),
        pcie=PCIE_4,
        host=HostQueues(cpu_ns_per_io=7000),
        cache=_dram(64),
        mapping=Mapping(ideal=True, plane_order="PCWD", overprovisioning=0.07),
        timing=FlashTiming(
            read_ns=(27_000, 31_000, 36_000, 36_000),
            program_ns=(150_000,) * 4,
            erase_ns=3_500_000,
            data_grain_bytes=1,
            data_grain_ns=_ns_per_byte(2400),
        ),
        modern=ModernFeatures(
            die_interleaving=True,
            independent_planes=True,
            suspend_program_ns=10_000,
            suspend_erase_ns=30_000,
            controller_read_ns=8_000,
            controller_write_ns=7_000,
            controller_command_ns=1_000,
        ),
    )


def p5_plus() -> DriveConfig:
    """PCIe 4 x4 TLC, 1 TB class: 16 dies on 8 channels of 1600 MT/s (Micron 176-layer: tt-hardware.com). Estimates: the rest.

    Fitted to the Crucial P5 Plus 1 TB at 4 KiB (KitGuru review, p. 8): time per command to 256 reads in flight.
    """
    base = pcie4_tlc()
    return replace(
        base,
        name="p5-plus",
        geometry=replace(base.geometry, channels=8, chips_per_channel=2, blocks_per_plane=128),
        timing=replace(
            base.timing, read_ns=(70_000, 80_000, 90_000, 90_000), data_grain_bytes=1, data_grain_ns=_ns_per_byte(1600)
        ),
        modern=replace(base.modern, controller_command_ns=2_250, controller_read_ns=20_000),
    )


def pcie5_tlc() -> DriveConfig:
    """PCIe 5 x4 TLC data-centre drive, 7.68 TB class: 64 dies on 16 channels of 2400 MT/s. Estimates: dies, planes, latencies.

    Held against a Solidigm D7-PS1010 array (gds-report.pages.dev: 53.0 GiB/s read and 39.5 GiB/s written by four drives).
    """
    base = pcie4_tlc()
    return replace(
        base,
        name="pcie5-tlc",
        geometry=FlashGeometry(16, 4, 1, 4, 64, 384, 16384, CellType.TLC),
        pcie=PCIE_5,
        cache=_dram(256),
        timing=replace(
            base.timing, read_ns=(45_000, 50_000, 58_000, 58_000), program_ns=(200_000, 350_000, 520_000, 520_000)
        ),
        modern=replace(base.modern, controller_read_ns=10_000, controller_command_ns=400),
    )


def qlc() -> DriveConfig:
    """PCIe 4 x4 QLC, 8 TB class: 32 dies on 8 channels of 1600 MT/s. All latencies are estimates, made before any published point was looked at.

    Read and program times scale AnandTech's general values for SLC, MLC, TLC (840 review, p. 2) one step further.
    """
    base = pcie4_tlc()
    return replace(
        base,
        name="qlc",
        geometry=FlashGeometry(8, 4, 1, 4, 64, 512, 16384, CellType.QLC),
        timing=FlashTiming(
            read_ns=(60_000, 85_000, 110_000, 140_000),
            program_ns=(600_000, 1_400_000, 2_200_000, 3_000_000),
            erase_ns=8_000_000,
            data_grain_bytes=1,
            data_grain_ns=_ns_per_byte(1600),
        ),
    )


def tlc_gen4() -> DriveConfig:
    """MQSim mode: the TLC_GEN4 preset of the golden cases (no controller latency, one die per chip)."""
    return DriveConfig(
        name="tlc-gen4",
        geometry=FlashGeometry(8, 4, 1, 4, 96, 384, 16384, CellType.TLC),
        pcie=PcieLink(1.969, 4),
        cache=DramCache(rate_mts=3200, burst_bytes=4),
        mapping=Mapping(ideal=True),
        collection=Collection(policy="RGA"),
        timing=FlashTiming(
            read_ns=(40_000, 55_000, 65_000, 65_000),
            program_ns=(200_000, 350_000, 520_000, 520_000),
            erase_ns=3_500_000,
            data_grain_bytes=12,
            data_grain_ns=10.0,
        ),
    )


PRESETS: dict[str, Callable[[], DriveConfig]] = {
    "pcie4-tlc": pcie4_tlc,
    "p5-plus": p5_plus,
    "pcie5-tlc": pcie5_tlc,
    "qlc": qlc,
    "tlc-gen4": tlc_gen4,
}


def preset(name: str) -> DriveConfig:
    """The drive of that name; UnknownNameError with the nearest names otherwise."""
    if name not in PRESETS:
        raise UnknownNameError(f"unknown drive {name!r}. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]()


def with_capacity(config: DriveConfig, capacity_bytes: int) -> DriveConfig:
    """The drive with as many blocks per plane as `capacity_bytes` of data need, at least 32."""
    if capacity_bytes <= 0:
        raise InputError(Problem(f"must be above 0, is {capacity_bytes}", path="capacity"))
    geometry = config.geometry
    per_block = (
        geometry.num_planes * geometry.pages_per_block * geometry.page_bytes * (1 - config.mapping.overprovisioning)
    )
    blocks = max(32, ceil(capacity_bytes / per_block) + 1)
    return replace(config, geometry=replace(geometry, blocks_per_plane=blocks))
