"""One drive: its state, and running it over a list of requests."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import DeadlockError, InputError, Problem
from tiergarten.sim.flash.config import POLICIES, DriveConfig
from tiergarten.sim.flash.geometry import plane_strides
from tiergarten.sim.flash.kernel.blocks import next_page, plane_of_lpn
from tiergarten.sim.flash.kernel.engine import Status, run
from tiergarten.sim.flash.kernel.events import EVENT_WORDS, LANE_WORDS, Event, no_events, push_event
from tiergarten.sim.flash.kernel.garbage import DRAW_BITS, RESERVED_BLOCKS
from tiergarten.sim.flash.kernel.host import COMMAND_IDS
from tiergarten.sim.flash.kernel.layout import (
    FIXED_WORDS,
    NONE,
    Block,
    Channel,
    Entry,
    Glob,
    Lpn,
    MapPage,
    Memory,
    Param,
    Plane,
    Req,
    Slot,
    Txn,
    Unit,
)
from tiergarten.sim.flash.kernel.pcie import payload_ns
from tiergarten.sim.flash.mrg32k3a import Mrg32k3a
from tiergarten.sim.units import format_bytes

DOORBELL_BYTES = 2
SUBMISSION_ENTRY_BYTES = 72
"""As MQSim models the entry (NVMe has 64)."""
COMPLETION_ENTRY_BYTES = 16
READ_REQUEST_EXTRA_BYTES = 4
"""A read request is one packet's overhead and these."""
COLLECTION_SEED = 432
"""MQSim's constructor default, which its configuration does not reach."""
JOURNAL_ENTRIES = 2**20
JOURNAL_SPARE = 2**20
"""What a single event may add beyond the limit."""
FOREVER_NS = 2**62
LINE_BYTES = 64


@dataclass(frozen=True)
class Requests:
    """Requests to a drive, in order of generation. Letters: R requests."""

    is_write: NDArray[np.bool_]
    """bool[R]."""
    first_sectors: NDArray[np.int64]
    """int64[R]."""
    num_sectors: NDArray[np.int64]
    """int64[R], > 0."""
    arrivals_ns: NDArray[np.int64]
    """int64[R], not decreasing; empty for a closed loop."""
    queue_depth: int = 0
    """Closed loop: requests kept outstanding; 0 for a trace."""

    def __len__(self) -> int:
        return len(self.is_write)

    def problems(self, config: DriveConfig) -> list[Problem]:
        """What makes these requests unusable for that drive."""
        found = []
        bad = np.flatnonzero((self.num_sectors <= 0) | (self.num_sectors > 65535))
        if len(bad):
            found.append(
                Problem(f"a request has 1 to 65535 sectors, this one {self.num_sectors[bad[0]]}", path=f"row {bad[0]}")
            )
        bad = np.flatnonzero((self.first_sectors < 0) | (self.first_sectors >= config.logical_sectors))
        if len(bad):
            limit = config.logical_sectors
            found.append(
                Problem(f"sector {self.first_sectors[bad[0]]} is not on the drive of {limit}", path=f"row {bad[0]}")
            )
        if self.queue_depth == 0 and len(self.arrivals_ns) != len(self):
            found.append(Problem("a trace needs the arrival of every request"))
        elif self.queue_depth == 0 and np.any(np.diff(self.arrivals_ns) < 0):
            row = int(np.argmax(np.diff(self.arrivals_ns) < 0)) + 1
            found.append(Problem("arrivals must not go back", path=f"row {row}"))
        return found


@dataclass(frozen=True)
class DriveResult:
    """What a drive did with its requests. Times in ns."""

    arrivals_ns: NDArray[np.int64]
    submits_ns: NDArray[np.int64]
    completions_ns: NDArray[np.int64]
    """int64[R]; -1 = never completed."""
    failed: NDArray[np.bool_]
    """bool[R]: refused by a worn-out drive."""
    counters: dict[str, int]

    @property
    def makespan_ns(self) -> int:
        """First arrival to last completion."""
        return int(self.completions_ns.max() - self.arrivals_ns.min())


def _parameters(m: Memory, config: DriveConfig, queue_depth: int) -> None:
    geometry, modern, cache, collection = config.geometry, config.modern, config.cache, config.collection
    dies_apart = modern.die_interleaving
    m[Param.CHANNELS] = geometry.channels
    m[Param.CHIPS] = geometry.chips_per_channel
    m[Param.DIES] = geometry.dies_per_chip
    m[Param.PLANES_PER_DIE] = geometry.planes_per_die
    m[Param.UNITS_PER_CHANNEL] = geometry.chips_per_channel * (geometry.dies_per_chip if dies_apart else 1)
    m[Param.PLANES_PER_UNIT] = geometry.planes_per_die * (1 if dies_apart else geometry.dies_per_chip)
    m[Param.PLANES] = geometry.num_planes
    m[Param.BLOCKS] = geometry.blocks_per_plane
    m[Param.PAGES] = geometry.pages_per_block
    m[Param.SECTORS] = geometry.sectors_per_page
    m[Param.SECTOR_SHIFT] = geometry.sectors_per_page.bit_length() - 1
    m[Param.PAGE_BYTES] = geometry.page_bytes
    m[Param.CELL] = geometry.cell
    m[Param.STRIDE_C : Param.STRIDE_P + 1] = plane_strides(config.mapping.plane_order, geometry)
    m[Param.LAST_SECTOR] = config.logical_sectors - 1
    m[Param.PCIE_PAYLOAD] = config.pcie.packet_payload_bytes
    m[Param.PCIE_OVERHEAD] = config.pcie.packet_overhead_bytes
    m[Param.PCIE_LANES] = config.pcie.lanes
    m[Param.QUEUE_DEPTH] = config.host.depth
    m[Param.FETCH_SIZE] = config.host.fetch_size
    m[Param.HOST_NS] = config.host.cpu_ns_per_io
    m[Param.HOST_THREADS] = config.host.threads
    m[Param.CLOSED_LOOP] = queue_depth
    m[Param.CACHE_WRITES] = cache.mode.holds_writes
    m[Param.CACHE_READS] = cache.mode.holds_reads
    m[Param.CACHE_ROW_BYTES] = cache.row_bytes
    m[Param.CACHE_BURST_BYTES] = cache.burst_bytes
    m[Param.CACHE_T_RCD_CL] = cache.tRCD_ns + cache.tCL_ns
    m[Param.CACHE_T_RP] = cache.tRP_ns
    m[Param.CACHE_LIMIT_SECTORS] = geometry.num_planes * geometry.sectors_per_page
    m[Param.WINDOW] = cache.write_through_window_ns
    m[Param.IDEAL_MAPPING] = config.mapping.ideal
    address_bits = math.log2(geometry.num_pages)
    m[Param.CMT_ENTRIES] = max(
        1, config.mapping.table_bytes // math.ceil((2 * address_bits + geometry.sectors_per_page) / 8)
    )
    m[Param.ENTRIES_PER_MAP_PAGE] = geometry.page_bytes // math.ceil((address_bits + geometry.sectors_per_page) / 8)
    m[Param.GC_POLICY] = POLICIES.index(collection.policy)
    m[Param.GC_THRESHOLD] = max(int(collection.threshold * geometry.blocks_per_plane), RESERVED_BLOCKS)
    m[Param.GC_HARD_THRESHOLD] = max(int(collection.hard_threshold * geometry.blocks_per_plane), 1)
    m[Param.GC_PREEMPTIBLE] = collection.preemptible
    m[Param.GC_COPYBACK] = collection.copyback
    m[Param.GC_SAMPLE] = int(math.log2(geometry.blocks_per_plane))
    m[Param.GC_MIN_INVALID] = int(collection.min_invalid_share * geometry.pages_per_block)
    floats = m[Param.LANE_BYTES_PER_NS : Param.DRAM_PAIR_NS + 1].view(np.float64)
    floats[0] = config.pcie.lane_gbytes_per_s
    floats[1] = 1e9 / (cache.rate_mts * 1e6)
    _timing_parameters(m, config)


def _timing_parameters(m: Memory, config: DriveConfig) -> None:
    timing, modern = config.timing, config.modern
    m[Param.READ_NS : Param.READ_NS + 4] = timing.read_ns
    m[Param.PROGRAM_NS : Param.PROGRAM_NS + 4] = timing.program_ns
    m[Param.ERASE_NS] = timing.erase_ns
    m[Param.READY_NS] = timing.ready_ns
    m[Param.ENDURANCE_CYCLES] = timing.endurance_cycles
    m[Param.DATA_GRAIN_BYTES] = timing.data_grain_bytes
    m[Param.DATA_NS_NUMERATOR] = round(timing.data_grain_ns * 2**20)
    m[Param.DATA_NS_SHIFT] = 20
    m[Param.DATA_BYTES_SEEN] = NONE
    m[Param.PAYLOAD_BYTES_SEEN] = NONE
    m[Param.INDEPENDENT_PLANES] = modern.independent_planes
    m[Param.SUSPEND_PROGRAM_NS] = modern.suspend_program_ns
    m[Param.SUSPEND_ERASE_NS] = modern.suspend_erase_ns
    m[Param.SUSPEND_MIN_LEFT_NS] = modern.suspend_program_ns
    m[Param.MAX_SUSPENSIONS] = modern.max_suspensions
    m[Param.CONTROLLER_READ_NS] = modern.controller_read_ns
    m[Param.CONTROLLER_WRITE_NS] = modern.controller_write_ns
    m[Param.CONTROLLER_COMMAND_NS] = modern.controller_command_ns
    m[Param.WRITE_PATIENCE_NS] = modern.write_patience_ns
    m[Param.MODERN] = config.is_modern
    geometry = config.geometry
    pages = config.logical_sectors // geometry.sectors_per_page // geometry.num_planes
    m[Param.LEAST_GOOD_BLOCKS] = min(
        geometry.blocks_per_plane, -(-pages // geometry.pages_per_block) + RESERVED_BLOCKS + 3
    )
    m[Param.T_DOORBELL] = payload_ns(m, DOORBELL_BYTES)
    m[Param.T_SQE] = payload_ns(m, SUBMISSION_ENTRY_BYTES)
    m[Param.T_CQE] = payload_ns(m, COMPLETION_ENTRY_BYTES)
    request_bytes = config.pcie.packet_overhead_bytes + READ_REQUEST_EXTRA_BYTES
    m[Param.T_READ_REQUEST] = int(-(-request_bytes // config.pcie.lanes) / config.pcie.lane_gbytes_per_s)


def _lay_out(config: DriveConfig, header: Memory, max_requests: int, max_sectors: int) -> Memory:
    """The memory of a drive, zeroed except for the constants: `header` with the addresses and sizes of the tables filled in."""
    geometry = config.geometry
    units = geometry.channels * int(header[Param.UNITS_PER_CHANNEL])
    pages = max_sectors // geometry.sectors_per_page + 2
    per_event = 4 * (pages + geometry.num_planes + 32)
    per_event += (min(pages, geometry.num_planes) + RESERVED_BLOCKS) * (geometry.pages_per_block + 2)
    lpns = -(-config.logical_sectors // geometry.sectors_per_page)
    map_pages = lpns // int(header[Param.ENTRIES_PER_MAP_PAGE]) + 1
    limited = not config.mapping.ideal
    num_random = 16 if config.collection.policy in ("GREEDY", "FIFO") else 2**18
    num_slots = max(1, config.cache.capacity_bytes // geometry.page_bytes)
    in_flight = min(config.host.fetch_size, max_requests) * pages
    txns = (
        in_flight * 3
        + geometry.num_planes * RESERVED_BLOCKS * (geometry.pages_per_block + 1)
        + 4 * num_slots
        + per_event
    )
    link_capacity = _power_of_two(4 * min(COMMAND_IDS, max_requests) + 64)
    request_capacity = _power_of_two(max_requests)
    heap = geometry.channels + 4 * geometry.num_planes + 16 + 2 * min(config.host.depth, max_requests)
    header[Param.TXN_LIMIT] = txns
    header[Param.NUM_RANDOM] = num_random
    header[Param.LINK_MASK] = link_capacity - 1
    header[Param.REQUEST_MASK] = request_capacity - 1
    header[Param.NUM_LPNS] = lpns
    header[Param.NUM_SLOTS] = num_slots
    at = FIXED_WORDS
    for name, words in (
        (Param.LANE_AT, LANE_WORDS),
        (Param.HEAP_AT, heap * EVENT_WORDS),
        (Param.UNIT_AT, units * Unit.WORDS),
        (Param.CHANNEL_AT, geometry.channels * Channel.WORDS),
        (Param.PLANE_AT, geometry.num_planes * Plane.WORDS),
        (Param.THREAD_AT, config.host.threads),
        (Param.PLANE_MAP_AT, geometry.num_planes),
        (Param.FIRST_READ_MAP_AT, geometry.num_planes),
        (Param.SAMPLE_AT, 64),
        (Param.BATCH_AT, pages + 64),
        (Param.LINK_AT, 2 * link_capacity),
        (Param.REQUEST_AT, request_capacity * Req.WORDS),
        (Param.TXN_AT, (txns + per_event) * Txn.WORDS),
        (Param.RANDOM_AT, num_random),
        (Param.BLOCK_AT, geometry.num_planes * geometry.blocks_per_plane * Block.WORDS),
        (Param.SLOT_AT, num_slots * Slot.WORDS),
        (Param.LPN_AT, (lpns + 1) * Lpn.WORDS),
        (Param.OWNER_AT, geometry.num_pages),
        (Param.ENTRY_AT, lpns * Entry.WORDS if limited else 0),
        (Param.MAP_PAGE_AT, map_pages * MapPage.WORDS if limited else 0),
        (Param.JOURNAL_AT, 2 * (JOURNAL_ENTRIES + JOURNAL_SPARE)),
    ):
        header[name] = at
        at += -(-int(words) // 16) * 16
    header[Param.JOURNAL_LIMIT] = JOURNAL_ENTRIES
    try:
        m = _aligned_zeros(at)
    except MemoryError as error:
        needed = format_bytes(8 * at)
        raise InputError(
            Problem(f"the drive's tables need {needed} of address space; model a smaller drive", path=config.name)
        ) from error
    m[:FIXED_WORDS] = header
    return m


def _aligned_zeros(num_words: int) -> Memory:
    """Zeroed words that begin with a cache line, so that records of a line's length lie in one."""
    words = np.zeros(num_words + LINE_BYTES // 8, np.int64)
    first = -words.ctypes.data % LINE_BYTES // 8
    return words[first : first + num_words]


def _power_of_two(at_least: int) -> int:
    return 1 << max(0, at_least - 1).bit_length()


def empty_drive(config: DriveConfig, max_requests: int, max_sectors: int, queue_depth: int = 0) -> Memory:
    """A drive with nothing stored, for at most `max_requests` requests at a time of at most `max_sectors` sectors."""
    header = np.zeros(FIXED_WORDS, np.int64)
    _parameters(header, config, queue_depth)
    m = _lay_out(config, header, max_requests, max_sectors)
    for column in (
        Glob.DONE_HEAD, Glob.DONE_TAIL, Glob.FREE_TXN, Glob.WAITING_HEAD, Glob.WAITING_TAIL, Glob.SLOT_FREE, Glob.SLOT_NEWEST,
        Glob.SLOT_OLDEST, Glob.CMT_NEWEST, Glob.CMT_OLDEST, Glob.WORN_OUT_AT, Glob.HOST_WAIT_HEAD, Glob.HOST_WAIT_TAIL,
        Glob.UNSENT_HEAD,
    ):  # fmt: skip
        m[column] = NONE
    no_events(m)
    m[Glob.WINDOW_NUMBER] = 1
    m[Glob.NEXT_TXN] = m[Param.TXN_AT]
    draws = Mrg32k3a(COLLECTION_SEED).uniform(int(m[Param.NUM_RANDOM]))
    table(m, Param.RANDOM_AT, 1, len(draws))[:, 0] = (draws * 2**DRAW_BITS).astype(np.int64)
    _wire(m)
    _place_first_reads(m, config)
    _open_blocks(m)
    if not config.mapping.ideal:
        _store_mapping_table(m)
    return m


def table(m: Memory, address: int, words: int, rows: int) -> Memory:
    """int64[rows, words], a view of a table in a drive's memory; `address` is a Param that holds its address."""
    start = int(m[address])
    return m[start : start + rows * words].reshape(rows, words)


def _wire(m: Memory) -> None:
    """Let units, channels, planes and blocks know each other."""
    channels, per_channel = int(m[Param.CHANNELS]), int(m[Param.UNITS_PER_CHANNEL])
    num_planes, blocks = int(m[Param.PLANES]), int(m[Param.BLOCKS])
    channel = table(m, Param.CHANNEL_AT, Channel.WORDS, channels)
    channel[:, Channel.FIRST_UNIT] = m[Param.UNIT_AT] + np.arange(channels) * per_channel * Unit.WORDS
    unit = table(m, Param.UNIT_AT, Unit.WORDS, channels * per_channel)
    unit[:, Unit.CHANNEL] = m[Param.CHANNEL_AT] + np.arange(len(unit)) // per_channel * Channel.WORDS
    unit[:, Unit.BIT] = 1 << (np.arange(len(unit)) % per_channel)
    unit[:, Unit.PROGRAM_PLANE] = NONE
    unit[:, Unit.WRITE_SINCE] = NONE
    plane = table(m, Param.PLANE_AT, Plane.WORDS, num_planes)
    number = np.arange(num_planes)
    plane[:, Plane.UNIT] = m[Param.UNIT_AT] + number // m[Param.PLANES_PER_UNIT] * Unit.WORDS
    plane[:, Plane.DIE] = number // m[Param.PLANES_PER_DIE]
    plane[:, Plane.BIT] = 1 << (number % m[Param.PLANES_PER_DIE])
    n = number
    channel_of, chip_of = n // m[Param.STRIDE_C] % channels, n // m[Param.STRIDE_W] % m[Param.CHIPS]
    die_of, plane_of = n // m[Param.STRIDE_D] % m[Param.DIES], n // m[Param.STRIDE_P] % m[Param.PLANES_PER_DIE]
    home = ((channel_of * m[Param.CHIPS] + chip_of) * m[Param.DIES] + die_of) * m[Param.PLANES_PER_DIE] + plane_of
    table(m, Param.PLANE_MAP_AT, 1, num_planes)[:, 0] = m[Param.PLANE_AT] + home * Plane.WORDS
    plane[:, Plane.FIRST_BLOCK] = m[Param.BLOCK_AT] + number * blocks * Block.WORDS
    block = table(m, Param.BLOCK_AT, Block.WORDS, num_planes * blocks)
    block[:, Block.PLANE] = m[Param.PLANE_AT] + np.arange(len(block)) // blocks * Plane.WORDS
    block[:, Block.FIRST_PPN] = np.arange(len(block)) * m[Param.PAGES]


def _place_first_reads(m: Memory, config: DriveConfig) -> None:
    """Pages read before they were written lie where a write would put them.

    Except for MQSim's order DWCP: there it takes the plane from its table of die numbers, past the end of it where a die has more
    planes than a chip has dies. Builds with the GNU C library find 0 there.
    """
    num_planes = int(m[Param.PLANES])
    home = table(m, Param.PLANE_MAP_AT, 1, num_planes)[:, 0]
    place = table(m, Param.FIRST_READ_MAP_AT, 1, num_planes)[:, 0]
    place[:] = home
    if config.mapping.plane_order == "DWCP" and not m[Param.MODERN]:
        plane_in_die = (home - m[Param.PLANE_AT]) // Plane.WORDS % m[Param.PLANES_PER_DIE]
        place[:] = home - np.where(plane_in_die < m[Param.DIES], 0, plane_in_die) * Plane.WORDS


def _open_blocks(m: Memory) -> None:
    """All blocks are free, in order of number; the first three of each plane become its frontiers."""
    blocks, num_planes = int(m[Param.BLOCKS]), int(m[Param.PLANES])
    block = table(m, Param.BLOCK_AT, Block.WORDS, num_planes * blocks)
    plane = table(m, Param.PLANE_AT, Plane.WORDS, num_planes)
    block[:, Block.IN_POOL] = np.tile(np.arange(1, blocks + 1), num_planes)
    m[Glob.POOL_NUMBER] = blocks
    for i, frontier in enumerate((Plane.DATA_BLOCK, Plane.MAPPING_BLOCK, Plane.GC_BLOCK)):
        plane[:, frontier] = plane[:, Plane.FIRST_BLOCK] + i * Block.WORDS
        block[i::blocks, Block.IN_POOL] = 0
        block[i::blocks, Block.OPENED] = i + 1
    block[1::blocks, Block.HOLDS_MAPPING] = 1
    plane[:, Plane.FREE_BLOCKS] = blocks - 3
    plane[:, Plane.GOOD_BLOCKS] = blocks


def _store_mapping_table(m: Memory) -> None:
    """The translation pages lie on flash from the start, placed like logical pages of the same number.

    A last page that would be only partly filled is not stored.
    """
    count = int(m[Param.NUM_LPNS]) // int(m[Param.ENTRIES_PER_MAP_PAGE])
    pages = table(m, Param.MAP_PAGE_AT, MapPage.WORDS, count)
    for number in range(count):
        ppn, _ = next_page(m, plane_of_lpn(m, number), Plane.MAPPING_BLOCK, -(number + 1))
        pages[number, MapPage.PPN_1] = ppn + 1


def load_requests(m: Memory, requests: Requests) -> None:
    """Put requests into the drive's table and schedule the first."""
    n = len(requests)
    rows = table(m, Param.REQUEST_AT, Req.WORDS, n)
    rows[:, Req.IS_WRITE] = requests.is_write
    rows[:, Req.FIRST_SECTOR] = requests.first_sectors
    rows[:, Req.SECTORS] = requests.num_sectors
    rows[:, Req.PAGES] = NONE
    rows[:, Req.COMPLETE] = NONE
    m[Glob.NUM_REQUESTS] = n
    if requests.queue_depth:
        push_event(m, 1, Event.START, 0)
    elif n:
        rows[:, Req.ARRIVAL] = requests.arrivals_ns
        push_event(m, int(requests.arrivals_ns[0]), Event.ARRIVAL, 0)


def run_until(m: Memory, until_ns: int, stop_at_completion: bool = False) -> Status:
    """Advance a drive; REACHED, COMPLETION or OUT_OF_JOURNAL. Raises DeadlockError when the drive itself has run out."""
    status = Status(run(m, until_ns, stop_at_completion))
    if status == Status.OUT_OF_BLOCKS:
        raise DeadlockError("the flash drive has no free block left to open; give it more over-provisioning")
    if status == Status.OUT_OF_TXNS:
        raise DeadlockError(
            f"the flash drive has {m[Glob.LIVE_TXN]} page transactions under way, more than it can hold"
        )
    return status


def counters(m: Memory) -> dict[str, int]:
    """What happened, by name."""
    first, last = Glob.READ_COMMANDS, Glob.USER_PAGES
    return {entry.name.lower(): int(m[entry]) for entry in Glob if first <= entry <= last}


def run_requests(config: DriveConfig, requests: Requests, drive: Memory | None = None) -> DriveResult:
    """Run a drive over requests until all are done.

    `drive` is a prepared one (see `precondition`), a fresh one otherwise. Raises InputError for requests that do not fit the drive and
    DeadlockError if requests are left that nothing can complete.
    """
    found = requests.problems(config)
    if found:
        raise InputError(found)
    n = len(requests)
    m = (
        drive
        if drive is not None
        else empty_drive(config, n, int(requests.num_sectors.max(initial=1)), requests.queue_depth)
    )
    load_requests(m, requests)
    run_until(m, FOREVER_NS)
    left = int(n - m[Glob.COMPLETED])
    if left:
        raise DeadlockError(f"{left} of {n} flash requests can never complete; the drive stopped at {m[Glob.NOW]} ns")
    rows = table(m, Param.REQUEST_AT, Req.WORDS, n)
    return DriveResult(
        arrivals_ns=rows[:, Req.ARRIVAL].copy(),
        submits_ns=rows[:, Req.SUBMIT].copy(),
        completions_ns=rows[:, Req.COMPLETE].copy(),
        failed=rows[:, Req.FAILED] != 0,
        counters=counters(m),
    )
