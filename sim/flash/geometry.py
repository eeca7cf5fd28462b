"""How a drive's flash is organised, and on which plane a logical page lies (static allocation in any of the 24 orders)."""

from dataclasses import dataclass
from enum import IntEnum
from itertools import permutations

from tiergarten.sim.errors import InputError, Problem, did_you_mean

SECTOR_BYTES = 512
MAX_SECTORS_PER_PAGE = 64
"""The written sectors of a page are the bits of one 64-bit word."""

PLANE_ORDERS = tuple("".join(letters) for letters in permutations("CWDP"))
"""Channel, way (chip), die, plane; the first letter varies fastest from one logical page to the next."""


class CellType(IntEnum):
    """Bits per cell; decides how page numbers map to page types."""

    SLC = 1
    MLC = 2
    TLC = 3
    QLC = 4


@dataclass(frozen=True)
class FlashGeometry:
    """Counts of everything on the drive. Planes are numbered channel-major: ((channel * chips + chip) * dies + die) * planes + plane."""

    channels: int
    chips_per_channel: int
    dies_per_chip: int
    planes_per_die: int
    blocks_per_plane: int
    pages_per_block: int
    page_bytes: int
    cell: CellType = CellType.TLC

    @property
    def sectors_per_page(self) -> int:
        return self.page_bytes // SECTOR_BYTES

    @property
    def num_chips(self) -> int:
        return self.channels * self.chips_per_channel

    @property
    def num_planes(self) -> int:
        return self.num_chips * self.dies_per_chip * self.planes_per_die

    @property
    def pages_per_plane(self) -> int:
        return self.blocks_per_plane * self.pages_per_block

    @property
    def num_pages(self) -> int:
        return self.num_planes * self.pages_per_plane

    @property
    def raw_bytes(self) -> int:
        return self.num_pages * self.page_bytes

    def logical_sectors(self, overprovisioning: float) -> int:
        """Sectors that the host sees: per plane, the product with (1 - overprovisioning) rounded down."""
        per_plane = self.blocks_per_plane * self.pages_per_block * self.sectors_per_page * (1.0 - overprovisioning)
        return self.num_planes * int(per_plane)

    def problems(self) -> list[Problem]:
        """Everything that makes this geometry impossible."""
        found = [
            Problem(f"must be at least 1, is {value}", path=name)
            for name, value in vars(self).items()
            if name not in ("cell", "page_bytes") and value < 1
        ]
        if self.planes_per_die > 4:
            found.append(Problem(f"at most 4 (the multi-plane command times end there), is {self.planes_per_die}", path="planes_per_die"))
        if self.page_bytes < SECTOR_BYTES or self.page_bytes & (self.page_bytes - 1):
            found.append(Problem(f"must be a power of two of at least {SECTOR_BYTES} bytes, is {self.page_bytes}", path="page_bytes"))
        elif self.sectors_per_page > MAX_SECTORS_PER_PAGE:
            limit = MAX_SECTORS_PER_PAGE * SECTOR_BYTES
            found.append(Problem(f"at most {limit} bytes, is {self.page_bytes}", path="page_bytes"))
        return found


def plane_strides(order: str, geometry: FlashGeometry) -> tuple[int, int, int, int]:
    """Divisors (channel, way, die, plane): the coordinate of logical page n is (n // divisor) % count.

    Raises InputError for an order that is not a permutation of CWDP.
    """
    if order not in PLANE_ORDERS:
        raise InputError(Problem(f"unknown plane allocation order {order!r}. {did_you_mean(order, PLANE_ORDERS)}", path="plane_order"))
    counts = {
        "C": geometry.channels,
        "W": geometry.chips_per_channel,
        "D": geometry.dies_per_chip,
        "P": geometry.planes_per_die,
    }
    strides = {}
    stride = 1
    for letter in order:
        strides[letter] = stride
        stride *= counts[letter]
    return strides["C"], strides["W"], strides["D"], strides["P"]
