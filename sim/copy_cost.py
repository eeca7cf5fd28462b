"""What one copy over a link costs: the data side of links, as pure functions and frozen values.

A copy takes a fixed time (doorbell, descriptor, completion) plus its bytes at the link's rate, or follows a measured table of
rate against size. Sharing, queues and direction belong to `Link`; this module only answers "how long does a copy of n bytes take
alone". Sources are named beside every number.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Protocol

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import PS_PER_S


class CopyCost(Protocol):
    """How long a copy takes on an idle link."""

    def duration_ps(self, num_bytes: int) -> int:
        """Picoseconds of one copy of `num_bytes` > 0; never decreases with the size."""
        ...


@dataclass(frozen=True)
class LinearCopyCost:
    """`start_ps + num_bytes / bytes_per_s`, rounded up so that no rate is exceeded."""

    start_ps: int
    bytes_per_s: float

    def __post_init__(self) -> None:
        problems = []
        if self.start_ps < 0:
            problems.append(Problem(f"must not be negative, got {self.start_ps}", path="copy_cost.start_ps"))
        problems += _rate_problems(self.bytes_per_s, "copy_cost.bytes_per_s")
        if problems:
            raise InputError(problems)

    def duration_ps(self, num_bytes: int) -> int:
        return self.start_ps + math.ceil(_size(num_bytes) * PS_PER_S / self.bytes_per_s)


@dataclass(frozen=True)
class TableCopyCost:
    """A measured curve: the time at each listed size, straight lines between them, the outer slopes beyond.

    Times and not rates are interpolated, so that a table made from `a + bytes / B` gives that formula back exactly.
    """

    sizes_bytes: tuple[int, ...]
    """At least two, strictly increasing, > 0."""
    times_ps: tuple[int, ...]
    """Strictly increasing, > 0."""

    def __post_init__(self) -> None:
        problems = []
        if len(self.sizes_bytes) < 2 or len(self.sizes_bytes) != len(self.times_ps):
            message = f"needs two or more sizes and as many times, got {len(self.sizes_bytes)} and {len(self.times_ps)}"
            problems.append(Problem(message, path="copy_cost.table"))
        for name, column in (("sizes_bytes", self.sizes_bytes), ("times_ps", self.times_ps)):
            for row, (before, after) in enumerate(zip((0, *column), column, strict=False)):
                if after <= before:
                    problems.append(Problem(f"{after} does not lie above {before}", path=f"copy_cost.{name} row {row}"))
        if problems:
            raise InputError(problems)

    @classmethod
    def from_rates(cls, rates_bytes_per_s: dict[int, float]) -> "TableCopyCost":
        """A curve from measured rates, {bytes: bytes/s}."""
        problems = [
            p for size, rate in rates_bytes_per_s.items() for p in _rate_problems(rate, f"copy_cost.rates[{size}]")
        ]
        if problems:
            raise InputError(problems)
        sizes = tuple(sorted(rates_bytes_per_s))
        return cls(sizes, tuple(round(size * PS_PER_S / rates_bytes_per_s[size]) for size in sizes))

    @property
    def setup_ps(self) -> int:
        """Time in which no byte moves: the first slope drawn on to zero bytes, never below zero."""
        size_0, size_1, time_0, time_1 = *self.sizes_bytes[:2], *self.times_ps[:2]
        return max(0, math.floor(time_0 - size_0 * (time_1 - time_0) / (size_1 - size_0)))

    def duration_ps(self, num_bytes: int) -> int:
        right = min(max(bisect_left(self.sizes_bytes, _size(num_bytes)), 1), len(self.sizes_bytes) - 1)
        size_0, size_1 = self.sizes_bytes[right - 1], self.sizes_bytes[right]
        time_0, time_1 = self.times_ps[right - 1], self.times_ps[right]
        return max(1, math.ceil(time_0 + (num_bytes - size_0) * (time_1 - time_0) / (size_1 - size_0)))


@dataclass(frozen=True)
class ArctanCopyCost:
    """Rate that grows with size as `2 peak / pi * atan(knee * KiB)`: the curve inside the UVMSmart simulator.

    Source: DebashisGanguly/gpgpu-sim_UVMSmart bafab5d, src/gpgpu-sim/gpu-sim.cc (knee 0.07292 per KiB; peak 12, 24 and 48 GB/s
    for nominal 16, 32 and 64 GB/s). It is their fit to a GTX 1080 Ti and too slow below 16 KiB; kept for their mode only.
    """

    peak_bytes_per_s: float
    knee_per_kib: float = 0.07292

    def __post_init__(self) -> None:
        problems = _rate_problems(self.peak_bytes_per_s, "copy_cost.peak_bytes_per_s")
        problems += _rate_problems(self.knee_per_kib, "copy_cost.knee_per_kib")
        if problems:
            raise InputError(problems)

    def bytes_per_s(self, num_bytes: int) -> float:
        """Rate of a copy of that size."""
        return 2 * self.peak_bytes_per_s / math.pi * math.atan(self.knee_per_kib * num_bytes / 1024)

    def duration_ps(self, num_bytes: int) -> int:
        return math.ceil(_size(num_bytes) * PS_PER_S / self.bytes_per_s(num_bytes))


def _size(num_bytes: int) -> int:
    if num_bytes <= 0:
        raise InputError(Problem(f"a copy needs at least one byte, got {num_bytes}", path="num_bytes"))
    return num_bytes


def _rate_problems(rate: float, path: str) -> list[Problem]:
    if not (math.isfinite(rate) and rate > 0):
        return [Problem(f"a rate must be finite and above zero, got {rate}", path=path)]
    return []


# fmt: off
PCIE_GT_PER_S: Final = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
"""Transfers per second and lane, 1e9 (PCI Express Base Specification 6.0, table of data rates)."""
PCIE_ENCODING: Final = {1: 8 / 10, 2: 8 / 10, 3: 128 / 130, 4: 128 / 130, 5: 128 / 130, 6: 236 / 256}
"""Share of the raw bits that carry packets: 8b/10b, 128b/130b, and for 6.0 the 236 bytes of a 256-byte flit that hold TLPs (same source)."""
# fmt: on
PCIE_LANES: Final = (1, 2, 4, 8, 12, 16, 32)
PCIE_PAYLOADS_BYTES: Final = (128, 256, 512, 1024, 2048, 4096)
PCIE_MAX_PAYLOAD_BYTES: Final = 256
PCIE_PACKET_OVERHEAD_BYTES: Final = 24
"""Framing, sequence number, 12- or 16-byte header and LCRC of a memory write of one payload (PCIe 3.0: 2+2+16+4)."""


def pcie_raw_bytes_per_s(generation: int, lanes: int) -> float:
    """One direction of a link after line coding, before packets: 15.75 GB/s for generation 3 with 16 lanes.

    Raises InputError for a generation or a width that does not exist.
    """
    problems = []
    if generation not in PCIE_GT_PER_S:
        problems.append(Problem(f"PCIe {generation} is not known; use one of {list(PCIE_GT_PER_S)}", path="generation"))
    if lanes not in PCIE_LANES:
        problems.append(Problem(f"PCIe has no x{lanes}; use one of {list(PCIE_LANES)}", path="lanes"))
    if problems:
        raise InputError(problems)
    return PCIE_GT_PER_S[generation] * 1e9 * PCIE_ENCODING[generation] / 8 * lanes


def pcie_packet_overhead_bytes(generation: int, payload_bytes: int = PCIE_MAX_PAYLOAD_BYTES) -> int:
    """What a packet carries beside its payload: in flit mode (generation 6) the header only, framing being in the flit's overhead.

    Raises InputError for a payload that the specification does not know.
    """
    if payload_bytes not in PCIE_PAYLOADS_BYTES:
        known = ", ".join(map(str, PCIE_PAYLOADS_BYTES))
        raise InputError(Problem(f"a packet holds {known} bytes, got {payload_bytes}", path="payload"))
    return 16 if generation >= 6 else PCIE_PACKET_OVERHEAD_BYTES


def pcie_payload_bytes_per_s(generation: int, lanes: int, payload_bytes: int = PCIE_MAX_PAYLOAD_BYTES) -> float:
    """Payload rate: raw rate times payload / (payload + header). An upper bound; DMA engines reach 80 to 97 % of it."""
    overhead = pcie_packet_overhead_bytes(generation, payload_bytes)
    return pcie_raw_bytes_per_s(generation, lanes) * payload_bytes / (payload_bytes + overhead)


DMA_START_PS: Final = 815_000
"""Start of one DMA copy, 0.8 us: mean of the two fitted directions below. Driver and engine time, so kept for every generation."""
PCIE3_X16_H2D: Final = LinearCopyCost(826_000, 2**20 / 89.585e-6)
"""Host to device on a GTX 1080 Ti: 0.826 us + 89.6 us/MiB = 11.7 GB/s (least squares over 17 nvprof runs, paging reference
`our_fits.h2d_us`: mean error 1.1 %)."""
PCIE3_X16_D2H: Final = LinearCopyCost(805_000, 2**20 / 79.617e-6)
"""Device to host on the same card: 0.805 us + 79.6 us/MiB = 13.2 GB/s (`our_fits.d2h_us`)."""
PCIE3_X16_SHARE: Final = 0.813
"""11.7 GB/s of the 14.4 GB/s of payload that PCIe 3 x16 can carry: the share that `pcie_copy_cost` assumes of any generation.
It gives 23.4 GB/s for generation 4 (24 to 26 measured, `cuda_vmm.host_pcie`)."""


def pcie_copy_cost(generation: int, lanes: int) -> LinearCopyCost:
    """DMA copies over PCIe: 0.8 us + bytes at 81 % of the payload rate (as measured on generation 3)."""
    return LinearCopyCost(DMA_START_PS, PCIE3_X16_SHARE * pcie_payload_bytes_per_s(generation, lanes))


NVLINK_BYTES_PER_S: Final = {1: 20e9, 2: 25e9, 3: 25e9, 4: 25e9, 5: 50e9}
"""One link, one direction (NVIDIA P100, V100, A100, H100 and B200 white papers)."""
NVLINK_LINKS: Final = {1: 4, 2: 6, 3: 12, 4: 18, 5: 18}
"""Links of the generation's data-centre GPU (same sources)."""
NVLINK_PACKET_SHARE: Final = 256 / (256 + 16)
"""256 bytes of data per packet with one 16-byte header flit (P100 white paper, NVLink packet format)."""


def nvlink_bytes_per_s(generation: int, links: int | None = None) -> float:
    """Payload each way over NVLink, all links of the generation's GPU unless fewer are given. InputError for what does not exist."""
    if generation not in NVLINK_BYTES_PER_S:
        known = list(NVLINK_BYTES_PER_S)
        raise InputError(Problem(f"NVLink {generation} is not known; use one of {known}", path="generation"))
    count = NVLINK_LINKS[generation] if links is None else links
    if not 0 < count <= NVLINK_LINKS[generation]:
        message = f"NVLink {generation} has 1 to {NVLINK_LINKS[generation]} links, got {count}"
        raise InputError(Problem(message, path="links"))
    return count * NVLINK_BYTES_PER_S[generation] * NVLINK_PACKET_SHARE


C2C_H2D: Final = LinearCopyCost(DMA_START_PS, 375e9)
"""NVLink-C2C of GH200, CPU to GPU: 375 of 450 GB/s (Schieffer et al. 2024, arXiv 2407.07850, by a summary page)."""
C2C_D2H: Final = LinearCopyCost(DMA_START_PS, 297e9)
"""NVLink-C2C of GH200, GPU to CPU: 297 of 450 GB/s (same source)."""
