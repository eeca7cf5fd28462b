"""DRAM channels that the DRAMSys controller space drives: organisation, timings in clock cycles, address mapping.

One rank per channel. Timing names are those of the JEDEC tables with n for clock cycles. The numbers are those of the
memory specification files of DRAMSys (tukl-msd/DRAMSys 2107966, `configs/memspec/<file>.json`), which name the Micron
part that they describe; DRAMGym's reference results were made with the first two parts.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem, UnknownNameError, did_you_mean


@dataclass(frozen=True)
class TimingCycles:
    """Timings of one speed bin in clock cycles. Standards without bank groups have equal short and long values."""

    tCK_ps: int
    nBL: int
    """Cycles of a burst on the data bus."""
    nCL: int
    """Read latency (RL)."""
    nCWL: int
    """Write latency (WL)."""
    nRCD: int
    nRP: int
    nRAS: int
    nRC: int
    nRRDS: int
    nRRDL: int
    nFAW: int
    nCCDS: int
    nCCDL: int
    nRTP: int
    nWR: int
    nWTRS: int
    nWTRL: int
    nRTW: int
    """Read command to write command: RL + burst + 2 - WL (JESD79-3F 4.13.2; JESD79-4B 4.25 with a 1 tCK preamble)."""
    nRFC: int
    nREFI: int

    def __post_init__(self) -> None:
        problems = [
            Problem(f"must be a whole number above 0, got {getattr(self, field.name)!r}", path=field.name)
            for field in fields(self)
            if not isinstance(getattr(self, field.name), int) or getattr(self, field.name) < 1
        ]
        if not problems and self.nREFI <= self.nRFC + self.nRP + self.nRC:
            problems.append(
                Problem("refreshes leave no time for accesses: needs more than nRFC + nRP + nRC", path="nREFI")
            )
        if problems:
            raise InputError(problems)


@dataclass(frozen=True)
class BitField:
    """`num_bits` address bits from `lowest_bit` up."""

    lowest_bit: int
    num_bits: int

    def of(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Value of the field in each address."""
        return (addresses >> self.lowest_bit) & ((1 << self.num_bits) - 1)


@dataclass(frozen=True)
class AddressMapping:
    """Where row, bank group and bank lie in a byte address; all other bits are column and byte."""

    row: BitField
    bank_group: BitField
    bank: BitField

    @property
    def capacity_bytes(self) -> int:
        """First address that the mapping cannot hold."""
        return 1 << max(field.lowest_bit + field.num_bits for field in (self.row, self.bank_group, self.bank))


@dataclass(frozen=True)
class Part:
    """A memory channel of one rank."""

    name: str
    timing: TimingCycles
    num_bank_groups: int
    banks_per_group: int
    num_devices: int
    """Devices that make up the rank; energies are sums over them."""
    bytes_per_burst: int
    mapping: AddressMapping
    power: str
    """Name of its current and voltage table in `tiergarten.dram.power`."""

    @property
    def num_banks(self) -> int:
        """Banks of the channel."""
        return self.num_bank_groups * self.banks_per_group

    @property
    def peak_bytes_per_s(self) -> float:
        """Bytes/s with a burst on the data bus in every cycle."""
        return self.bytes_per_burst * 1e12 / (self.timing.nBL * self.timing.tCK_ps)


NO_FIELD: Final = BitField(0, 0)

# fmt: off
_DDR3_1600 = TimingCycles(
    tCK_ps=1250, nBL=4, nCL=10, nCWL=8, nRCD=10, nRP=10, nRAS=28, nRC=38, nRRDS=5, nRRDL=5, nFAW=24, nCCDS=4, nCCDL=4,
    nRTP=6, nWR=12, nWTRS=6, nWTRL=6, nRTW=8, nRFC=88, nREFI=6240,
)
_DDR4_2400 = TimingCycles(
    tCK_ps=833, nBL=4, nCL=16, nCWL=16, nRCD=16, nRP=16, nRAS=39, nRC=55, nRRDS=4, nRRDL=6, nFAW=26, nCCDS=4, nCCDL=6,
    nRTP=12, nWR=18, nWTRS=3, nWTRL=9, nRTW=6, nRFC=313, nREFI=4680,
)
_DDR4_1866 = TimingCycles(
    tCK_ps=1072, nBL=4, nCL=13, nCWL=12, nRCD=13, nRP=13, nRAS=32, nRC=45, nRRDS=4, nRRDL=5, nFAW=22, nCCDS=4, nCCDL=5,
    nRTP=8, nWR=14, nWTRS=3, nWTRL=7, nRTW=7, nRFC=243, nREFI=3644,
)
# fmt: on

_DDR4_ROW_BANK_COLUMN = AddressMapping(row=BitField(17, 15), bank_group=BitField(13, 2), bank=BitField(15, 2))
_DDR4_BANK_ROW_COLUMN = AddressMapping(row=BitField(13, 15), bank_group=BitField(28, 2), bank=BitField(30, 2))

PARTS: Final = {
    part.name: part
    for part in (
        Part(  # MICRON_1Gb_DDR3-1600_8bit_G, am_ddr3_8x1Gbx8_dimm_p1KB_rbc
            name="DDR3-1600",
            timing=_DDR3_1600,
            num_bank_groups=1,
            banks_per_group=8,
            num_devices=8,
            bytes_per_burst=64,
            mapping=AddressMapping(row=BitField(16, 14), bank_group=NO_FIELD, bank=BitField(13, 3)),
            power="DDR3-1600-1Gb-x8",
        ),
        Part(  # MICRON_4Gb_DDR4-2400_8bit_A, rows above banks above columns
            name="DDR4-2400",
            timing=_DDR4_2400,
            num_bank_groups=4,
            banks_per_group=4,
            num_devices=8,
            bytes_per_burst=64,
            mapping=_DDR4_ROW_BANK_COLUMN,
            power="DDR4-2400-4Gb-x8",
        ),
        Part(  # the same part, am_ddr4_8x4Gbx8_dimm_p1KB_brc: banks above rows above columns
            name="DDR4-2400-brc",
            timing=_DDR4_2400,
            num_bank_groups=4,
            banks_per_group=4,
            num_devices=8,
            bytes_per_burst=64,
            mapping=_DDR4_BANK_ROW_COLUMN,
            power="DDR4-2400-4Gb-x8",
        ),
        Part(  # MICRON_4Gb_DDR4-1866_8bit_A
            name="DDR4-1866",
            timing=_DDR4_1866,
            num_bank_groups=4,
            banks_per_group=4,
            num_devices=8,
            bytes_per_burst=64,
            mapping=_DDR4_ROW_BANK_COLUMN,
            power="DDR4-1866-4Gb-x8",
        ),
    )
}


def part(name: str) -> Part:
    """The part of that name. Raises UnknownNameError with the nearest names."""
    if name not in PARTS:
        raise UnknownNameError(f"unknown part {name!r}. {did_you_mean(name, PARTS)}")
    return PARTS[name]
