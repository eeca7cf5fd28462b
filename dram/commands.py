"""The DRAM commands that a standard may name, what each does to banks, and the number the kernels know it by.

State changes take effect when the command issues; refresh blocks through timing alone.
"""

from dataclasses import dataclass
from typing import Final

ACT: Final = 0
"""Activate; for parts with split activate its first half (ACT1)."""
PRE: Final = 1
PREA: Final = 2
RD: Final = 3
WR: Final = 4
RDA: Final = 5
WRA: Final = 6
REFAB: Final = 7
REFPB: Final = 8
RFMAB: Final = 9
RFMPB: Final = 10
ACT2: Final = 11
CAS_RD: Final = 12
CAS_WR: Final = 13
RCKSTRT: Final = 14
RCKSTOP: Final = 15
REFSB: Final = 16
NUM_COMMANDS: Final = 17


@dataclass(frozen=True)
class Command:
    """What a command does, independent of the standard that has it."""

    kernel_id: int
    opens: bool = False
    closes: bool = False
    accesses: bool = False
    refreshes: bool = False
    target: str = "bank"
    """`bank`, `all` (every bank below the wildcard) or `same` (one bank number in every bank group)."""


COMMANDS: Final[dict[str, Command]] = {
    "ACT": Command(ACT, opens=True),
    "ACT1": Command(ACT, opens=True),
    "ACT2": Command(ACT2),
    "PREpb": Command(PRE, closes=True),
    "PREab": Command(PREA, closes=True, target="all"),
    "CAS": Command(CAS_RD),
    "CAS_RD": Command(CAS_RD),
    "CAS_WR": Command(CAS_WR),
    "RD": Command(RD, accesses=True),
    "WR": Command(WR, accesses=True),
    "RDA": Command(RDA, accesses=True, closes=True),
    "WRA": Command(WRA, accesses=True, closes=True),
    "RD_S": Command(RD, accesses=True),
    "WR_S": Command(WR, accesses=True),
    "RDA_S": Command(RDA, accesses=True, closes=True),
    "WRA_S": Command(WRA, accesses=True, closes=True),
    "RD_L": Command(-1, accesses=True),
    "WR_L": Command(-1, accesses=True),
    "RDA_L": Command(-1, accesses=True, closes=True),
    "WRA_L": Command(-1, accesses=True, closes=True),
    "REFab": Command(REFAB, refreshes=True, target="all"),
    "REFpb": Command(REFPB, refreshes=True),
    "REFsb": Command(REFSB, refreshes=True, target="same"),
    "RFMab": Command(RFMAB, refreshes=True, target="all"),
    "RFMpb": Command(RFMPB, refreshes=True),
    "RCKSTRT": Command(RCKSTRT, target="all"),
    "RCKSTOP": Command(RCKSTOP, target="all"),
}
"""By the standards' own names. kernel_id -1: in the tables (LPDDR6 long bursts) but never issued by a controller."""
