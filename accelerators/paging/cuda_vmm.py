"""What CUDA's virtual memory management calls cost: per handle, not per byte.

Mapping one physical handle of any size takes about as long as one of 2 MiB, so many small handles are what hurts.
"""

from dataclasses import dataclass
from typing import Final

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import PS_PER_US


@dataclass(frozen=True)
class HandleCosts:
    """Time of the calls for one physical handle mapped into a reserved range."""

    map_ps: int
    set_access_ps: int
    unmap_ps: int
    per_mib_ps: int = 0
    """Growth with the handle's size."""

    def __post_init__(self) -> None:
        problems = [
            Problem(f"must not be negative, got {value}", path=f"handle_costs.{name}")
            for name, value in vars(self).items()
            if value < 0
        ]
        if problems:
            raise InputError(problems)

    def grow_ps(self, handles: int, handle_bytes: int = 2 << 20) -> int:
        """Map and open access to `handles` handles."""
        return handles * (self.map_ps + self.set_access_ps + self.per_mib_ps * handle_bytes // (1 << 20))

    def shrink_ps(self, handles: int) -> int:
        """Unmap `handles` handles."""
        return handles * self.unmap_ps

    def cycle_ps(self, handles: int, handle_bytes: int = 2 << 20) -> int:
        """Map, open access to and unmap."""
        return self.grow_ps(handles, handle_bytes) + self.shrink_ps(handles)


MANY_HANDLES: Final = HandleCosts(
    round(69 / 64 * PS_PER_US), round(3473 / 64 * PS_PER_US), round(1749 / 64 * PS_PER_US)
)
"""64 handles of 2 MiB: map 69, set access 3473, unmap 1749 us in all (independent measurement, reference `cuda_vmm.n_handles_128M`)."""
ONE_HANDLE: Final = HandleCosts(
    round(1.1 * PS_PER_US), round(60.3 * PS_PER_US), round(27.3 * PS_PER_US), round(0.0135 * PS_PER_US)
)
"""One handle from 2 to 128 MiB: 88.7 to 90.4 us for the cycle (`cuda_vmm.one_handle_*`); split between the calls as for many handles."""
VATTENTION_2M: Final = HandleCosts(2 * PS_PER_US, 38 * PS_PER_US, 34 * PS_PER_US)
"""cuMemMap 2, cuMemSetAccess 38, cuMemUnmap 34 us for a 2 MiB page group (vAttention, ASPLOS'25)."""
VATTENTION_SMALL: Final = HandleCosts(9 * PS_PER_US, 0, 9 * PS_PER_US)
"""Page group below 2 MiB in vAttention's changed driver: one call of about 9 us maps and opens it (arXiv v1, by a translation; 64 KiB in
9 us agrees with the 7.6 GB/s of the paper). Its latencies for 128 and 256 KiB were not found, so they share this figure, and unmapping is
taken to cost the same: estimates."""
