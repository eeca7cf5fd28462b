"""A drive's parameters as frozen data. Times in ns, link rates in GB/s (bytes per ns), channel rates in MB/s.

The defaults are MQSim's where MQSim has the parameter; what only modern drives have is in `ModernFeatures` and off by default.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.flash.geometry import PLANE_ORDERS, CellType, FlashGeometry


class CacheMode(Enum):
    """What the drive's DRAM holds besides the mapping."""

    OFF = "TURNED_OFF"
    WRITE = "WRITE_CACHE"
    READ = "READ_CACHE"
    READ_WRITE = "WRITE_READ_CACHE"

    @property
    def holds_writes(self) -> bool:
        return self in (CacheMode.WRITE, CacheMode.READ_WRITE)

    @property
    def holds_reads(self) -> bool:
        return self in (CacheMode.READ, CacheMode.READ_WRITE)


@dataclass(frozen=True)
class PcieLink:
    """The drive's link, full duplex. Per packet: 20 bytes of header, 6 of data link, 2 of physical layer, as in MQSim."""

    lane_gbytes_per_s: float = 1.0
    lanes: int = 4
    packet_payload_bytes: int = 128
    packet_overhead_bytes: int = 28


@dataclass(frozen=True)
class HostQueues:
    """NVMe queue pair and the host that serves it."""

    depth: int = 65535
    fetch_size: int = 512
    """Commands that the drive holds at a time."""
    cpu_ns_per_io: int = 0
    """Time that a host thread needs for one I/O, in which it does nothing else."""
    threads: int = 1


@dataclass(frozen=True)
class DramCache:
    """The drive's DRAM buffer and its one channel."""

    mode: CacheMode = CacheMode.WRITE
    capacity_bytes: int = 256 * 2**20
    row_bytes: int = 8192
    rate_mts: int = 100
    burst_bytes: int = 1
    tRCD_ns: int = 13
    tCL_ns: int = 13
    tRP_ns: int = 13
    write_through_window_ns: int = 10**9
    """The first write of a page in this window goes to flash at once."""


@dataclass(frozen=True)
class Mapping:
    """Page-level address mapping."""

    ideal: bool = True
    """The whole table is in DRAM; otherwise `table_bytes` of entries are cached."""
    table_bytes: int = 2 * 2**20
    plane_order: str = "CWDP"
    overprovisioning: float = 0.07


@dataclass(frozen=True)
class Collection:
    """Garbage collection."""

    policy: str = "GREEDY"
    threshold: float = 0.05
    """Share of a plane's blocks below which collection starts (never below 10 blocks)."""
    hard_threshold: float = 0.005
    preemptible: bool = False
    copyback: bool = False
    min_invalid_share: float = 0.5
    """RANDOM_PP takes blocks with at least this share of invalid pages."""


@dataclass(frozen=True)
class FlashTiming:
    """Array and channel. Latencies by page type: LSB, CSB, MSB, top."""

    read_ns: tuple[int, int, int, int] = (75_000,) * 4
    program_ns: tuple[int, int, int, int] = (750_000,) * 4
    erase_ns: int = 3_800_000
    ready_ns: int = 20
    """tRR, between the end of a read in the array and the first data."""
    data_grain_bytes: int = 2
    data_grain_ns: float = 6.0
    """Data take `data_grain_ns` per whole `data_grain_bytes` on the channel."""
    endurance_cycles: int = 0
    """Erases after which a block is retired; 0 = never."""


@dataclass(frozen=True)
class ModernFeatures:
    """What current drives have and MQSim lacks or has but does not use."""

    die_interleaving: bool = False
    """Dies of a chip work at the same time."""
    independent_planes: bool = False
    """Planes of a die read different pages at different times; programs and erases hold the whole die."""
    suspend_program_ns: int = 0
    """Time in which a program gives way to a read; 0 = it does not."""
    suspend_erase_ns: int = 0
    max_suspensions: int = 8
    controller_read_ns: int = 0
    """Latency of firmware and error correction per read; commands overlap in it."""
    controller_write_ns: int = 0
    controller_command_ns: int = 0
    """Time that each command holds the controller alone: 1 / this is the most commands per second."""
    write_patience_ns: int = 10_000_000
    """A write that has waited this long stops further reads of its die."""


@dataclass(frozen=True)
class DriveConfig:
    """A drive, complete. Construction raises InputError with every problem found."""

    name: str
    geometry: FlashGeometry
    pcie: PcieLink = field(default_factory=PcieLink)
    host: HostQueues = field(default_factory=HostQueues)
    cache: DramCache = field(default_factory=DramCache)
    mapping: Mapping = field(default_factory=Mapping)
    collection: Collection = field(default_factory=Collection)
    timing: FlashTiming = field(default_factory=FlashTiming)
    modern: ModernFeatures = field(default_factory=ModernFeatures)

    def __post_init__(self) -> None:
        found = _problems(self)
        if found:
            raise InputError([Problem(p.message, path=f"{self.name}.{p.path}") for p in found])

    @property
    def logical_sectors(self) -> int:
        return self.geometry.logical_sectors(self.mapping.overprovisioning)

    @property
    def capacity_bytes(self) -> int:
        """What the host can store."""
        return self.logical_sectors * 512

    @property
    def is_modern(self) -> bool:
        """Any feature beyond MQSim is on."""
        m = self.modern
        return bool(m.die_interleaving or m.independent_planes or m.suspend_program_ns or m.suspend_erase_ns)


POLICIES = ("GREEDY", "RGA", "RANDOM", "RANDOM_P", "RANDOM_PP", "FIFO")
_MAY_BE_ZERO = {
    "cpu_ns_per_io", "overprovisioning", "threshold", "hard_threshold", "min_invalid_share", "ready_ns", "endurance_cycles",
    "suspend_program_ns", "suspend_erase_ns", "max_suspensions", "controller_read_ns", "controller_write_ns", "controller_command_ns",
    "write_patience_ns", "packet_overhead_bytes", "tRCD_ns", "tCL_ns", "tRP_ns", "write_through_window_ns", "data_grain_ns",
    "ideal", "preemptible", "copyback", "die_interleaving", "independent_planes",
}  # fmt: skip


def _problems(config: DriveConfig) -> list[Problem]:
    found = [Problem(p.message, path=f"geometry.{p.path}") for p in config.geometry.problems()]
    for part in fields(config):
        value = getattr(config, part.name)
        if not is_dataclass(value) or part.name == "geometry":
            continue
        for entry in fields(value):
            found += _number_problems(f"{part.name}.{entry.name}", entry.name, getattr(value, entry.name))
    if config.mapping.plane_order not in PLANE_ORDERS:
        found.append(Problem(f"unknown order {config.mapping.plane_order!r}; use a permutation of CWDP", path="mapping.plane_order"))
    if config.collection.policy not in POLICIES:
        known = ", ".join(POLICIES)
        found.append(Problem(f"unknown policy {config.collection.policy!r}; known: {known}", path="collection.policy"))
    if config.mapping.overprovisioning >= 1:
        found.append(Problem("must be below 1", path="mapping.overprovisioning"))
    return found if found else _size_problems(config)


def _number_problems(path: str, name: str, value: object) -> list[Problem]:
    values = value if isinstance(value, tuple) else (value,)
    return [
        Problem(f"must be {'at least' if name in _MAY_BE_ZERO else 'above'} 0, is {number}", path=path)
        for number in values
        if isinstance(number, int | float) and (number < 0 or (number == 0 and name not in _MAY_BE_ZERO))
    ]


def _size_problems(config: DriveConfig) -> list[Problem]:
    geometry = config.geometry
    if geometry.blocks_per_plane < 14:
        return [Problem("a plane needs at least 14 blocks: 3 open ones, 10 in reserve, 1 for data", path="geometry.blocks_per_plane")]
    if config.logical_sectors < geometry.sectors_per_page:
        return [Problem("nothing is left for data", path="mapping.overprovisioning")]
    if config.cache.capacity_bytes < geometry.page_bytes:
        return [Problem("must hold at least one page", path="cache.capacity_bytes")]
    if geometry.cell == CellType.SLC and len(set(config.timing.read_ns)) > 1:
        return [Problem("an SLC drive has one page type: give one latency four times", path="timing.read_ns")]
    return []
