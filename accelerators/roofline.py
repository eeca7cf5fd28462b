"""The roofline of a device and a memory: time is the larger of flops over the compute rate and bytes over the bandwidth.

Williams, Waterman and Patterson, Roofline: An Insightful Visual Performance Model, CACM 52(4), 2009.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Roofline:
    """Rates that software reaches, peaks times efficiencies."""

    flops_per_s: float
    bytes_per_s: float

    @property
    def ridge_flop_per_byte(self) -> float:
        """Operational intensity above which compute, not memory, is the bound."""
        return self.flops_per_s / self.bytes_per_s

    def time_s(self, flops: float, num_bytes: float) -> float:
        """Seconds of a kernel that computes `flops` and moves `num_bytes`, perfectly overlapped."""
        return max(flops / self.flops_per_s, num_bytes / self.bytes_per_s)

    def bound(self, flops: float, num_bytes: float) -> str:
        """Either "compute" or "memory", whichever takes longer; "memory" on the ridge."""
        return "compute" if flops / self.flops_per_s > num_bytes / self.bytes_per_s else "memory"
