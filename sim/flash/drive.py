"""One drive: its state, and running it over a list of requests."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import DeadlockError, InputError, Problem
from tiergarten.sim.flash.config import POLICIES, DriveConfig
from tiergarten.sim.flash.geometry import SECTOR_BYTES, plane_strides
from tiergarten.sim.flash.kernel.engine import Status, run
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.garbage import RESERVED_BLOCKS
from tiergarten.sim.flash.kernel.host import COMMAND_IDS
from tiergarten.sim.flash.kernel.layout import (
    NONE,
    NUM_DATA_QUEUES,
    NUM_QUEUES,
    Block,
    Cached,
    CacheSlot,
    Chan,
    Glob,
    Lpn,
    MapPage,
    Param,
    Plane,
    Req,
    Slot,
    State,
    Unit,
)
from tiergarten.sim.flash.kernel.pcie import payload_ns
from tiergarten.sim.flash.mrg32k3a import Mrg32k3a

DOORBELL_BYTES = 2
SUBMISSION_ENTRY_BYTES = 72
"""As MQSim models the entry (NVMe has 64)."""
COMPLETION_ENTRY_BYTES = 16
READ_REQUEST_EXTRA_BYTES = 4
"""A read request is one packet's overhead and these."""
COLLECTION_SEED = 432
"""MQSim's constructor default, which its configuration does not reach."""
FOREVER_NS = 2**62
_INT = np.int64


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


def parameters(config: DriveConfig, queue_depth: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The kernel's constants: integers (Param) and the two real ones."""
    p = np.zeros(Param.TOTAL, _INT)
    geometry, modern, cache, collection = config.geometry, config.modern, config.cache, config.collection
    dies_apart = modern.die_interleaving
    p[Param.CHANNELS] = geometry.channels
    p[Param.CHIPS] = geometry.chips_per_channel
    p[Param.DIES] = geometry.dies_per_chip
    p[Param.PLANES_PER_DIE] = geometry.planes_per_die
    p[Param.UNITS_PER_CHANNEL] = geometry.chips_per_channel * (geometry.dies_per_chip if dies_apart else 1)
    p[Param.PLANES_PER_UNIT] = geometry.planes_per_die * (1 if dies_apart else geometry.dies_per_chip)
    p[Param.PLANES] = geometry.num_planes
    p[Param.BLOCKS] = geometry.blocks_per_plane
    p[Param.PAGES] = geometry.pages_per_block
    p[Param.SECTORS] = geometry.sectors_per_page
    p[Param.PAGE_BYTES] = geometry.page_bytes
    p[Param.CELL] = geometry.cell
    p[Param.STRIDE_C : Param.STRIDE_P + 1] = plane_strides(config.mapping.plane_order, geometry)
    p[Param.LAST_SECTOR] = config.logical_sectors - 1
    p[Param.PCIE_PAYLOAD] = config.pcie.packet_payload_bytes
    p[Param.PCIE_OVERHEAD] = config.pcie.packet_overhead_bytes
    p[Param.PCIE_LANES] = config.pcie.lanes
    p[Param.QUEUE_DEPTH] = config.host.depth
    p[Param.FETCH_SIZE] = config.host.fetch_size
    p[Param.HOST_NS] = config.host.cpu_ns_per_io
    p[Param.HOST_THREADS] = config.host.threads
    p[Param.CACHE_WRITES] = cache.mode.holds_writes
    p[Param.CACHE_READS] = cache.mode.holds_reads
    p[Param.CACHE_ROW_BYTES] = cache.row_bytes
    p[Param.CACHE_BURST_BYTES] = cache.burst_bytes
    p[Param.CACHE_T_RCD_CL] = cache.tRCD_ns + cache.tCL_ns
    p[Param.CACHE_T_RP] = cache.tRP_ns
    p[Param.CACHE_LIMIT_SECTORS] = geometry.num_planes * geometry.sectors_per_page
    p[Param.WINDOW] = cache.write_through_window_ns
    p[Param.IDEAL_MAPPING] = config.mapping.ideal
    address_bits = math.log2(geometry.num_pages)
    p[Param.CMT_ENTRIES] = max(
        1, config.mapping.table_bytes // math.ceil((2 * address_bits + geometry.sectors_per_page) / 8)
    )
    p[Param.ENTRIES_PER_MAP_PAGE] = geometry.page_bytes // math.ceil((address_bits + geometry.sectors_per_page) / 8)
    p[Param.GC_POLICY] = POLICIES.index(collection.policy)
    p[Param.GC_THRESHOLD] = max(int(collection.threshold * geometry.blocks_per_plane), RESERVED_BLOCKS)
    p[Param.GC_HARD_THRESHOLD] = max(int(collection.hard_threshold * geometry.blocks_per_plane), 1)
    p[Param.GC_PREEMPTIBLE] = collection.preemptible
    p[Param.GC_COPYBACK] = collection.copyback
    p[Param.GC_SAMPLE] = int(math.log2(geometry.blocks_per_plane))
    p[Param.GC_MIN_INVALID] = int(collection.min_invalid_share * geometry.pages_per_block)
    _timing_parameters(p, config)
    p[Param.CLOSED_LOOP] = queue_depth
    real = np.array([config.pcie.lane_gbytes_per_s, 1e9 / (cache.rate_mts * 1e6)])
    return p, real


def _timing_parameters(p: NDArray[np.int64], config: DriveConfig) -> None:
    timing, modern = config.timing, config.modern
    p[Param.READ_NS : Param.READ_NS + 4] = timing.read_ns
    p[Param.PROGRAM_NS : Param.PROGRAM_NS + 4] = timing.program_ns
    p[Param.ERASE_NS] = timing.erase_ns
    p[Param.READY_NS] = timing.ready_ns
    p[Param.ENDURANCE_CYCLES] = timing.endurance_cycles
    p[Param.DATA_GRAIN_BYTES] = timing.data_grain_bytes
    p[Param.DATA_NS_NUMERATOR] = round(timing.data_grain_ns * 2**20)
    p[Param.DATA_NS_DENOMINATOR] = 2**20
    p[Param.INDEPENDENT_PLANES] = modern.independent_planes
    p[Param.SUSPEND_PROGRAM_NS] = modern.suspend_program_ns
    p[Param.SUSPEND_ERASE_NS] = modern.suspend_erase_ns
    p[Param.SUSPEND_MIN_LEFT_NS] = modern.suspend_program_ns
    p[Param.MAX_SUSPENSIONS] = modern.max_suspensions
    p[Param.CONTROLLER_READ_NS] = modern.controller_read_ns
    p[Param.CONTROLLER_WRITE_NS] = modern.controller_write_ns
    p[Param.CONTROLLER_COMMAND_NS] = modern.controller_command_ns
    p[Param.WRITE_PATIENCE_NS] = modern.write_patience_ns
    p[Param.MODERN] = config.is_modern
    per_plane = config.logical_sectors // config.geometry.sectors_per_page // config.geometry.num_planes
    p[Param.LEAST_GOOD_BLOCKS] = min(
        config.geometry.blocks_per_plane, -(-per_plane // config.geometry.pages_per_block) + RESERVED_BLOCKS + 3
    )


def empty_state(config: DriveConfig, max_requests: int, max_sectors: int, queue_depth: int = 0) -> State:
    """A drive with nothing stored, its frontiers open, for at most `max_requests` requests of at most `max_sectors` sectors."""
    geometry = config.geometry
    p, real = parameters(config, queue_depth)
    units = geometry.channels * int(p[Param.UNITS_PER_CHANNEL])
    pages = max_sectors // geometry.sectors_per_page + 2
    per_event = 2 * (pages + 16) + (pages + geometry.num_planes + RESERVED_BLOCKS) * 2
    p[Param.TXN_MARGIN] = per_event + (min(pages, geometry.num_planes) + RESERVED_BLOCKS) * (
        geometry.pages_per_block + 2
    )
    p[Param.JOURNAL_MARGIN] = 64 * int(p[Param.TXN_MARGIN])
    lpns = -(-config.logical_sectors // geometry.sectors_per_page)
    map_pages = lpns // int(p[Param.ENTRIES_PER_MAP_PAGE]) + 1
    limited = not config.mapping.ideal
    glob = np.zeros(Glob.TOTAL, _INT)
    for column in (
        Glob.DONE_HEAD, Glob.DONE_TAIL, Glob.FREE_TXN, Glob.WAITING_HEAD, Glob.WAITING_TAIL, Glob.SLOT_FREE, Glob.SLOT_NEWEST,
        Glob.SLOT_OLDEST, Glob.CMT_NEWEST, Glob.CMT_OLDEST, Glob.WORN_OUT_AT, Glob.HOST_WAIT_HEAD, Glob.HOST_WAIT_TAIL,
    ):  # fmt: skip
        glob[column] = NONE
    glob[Glob.WINDOW_NUMBER] = 1
    unit = np.zeros((units, Unit.TOTAL), _INT)
    unit[:, Unit.PROGRAM_SLOT] = NONE
    unit[:, Unit.WRITE_SINCE] = NONE
    messages = 4 * min(COMMAND_IDS, max_requests) + 64
    state = State(
        param=p,
        real=real,
        random=Mrg32k3a(COLLECTION_SEED).uniform(4096 if config.collection.policy in ("GREEDY", "FIFO") else 2**18),
        glob=glob,
        heap=np.zeros(
            (geometry.channels + geometry.num_planes * 4 + 16 + 2 * min(config.host.depth, max_requests), 3), _INT
        ),
        txn=np.zeros((4 * int(p[Param.TXN_MARGIN]) + 1024, 16), _INT),
        req=np.zeros((max(1, max_requests), Req.TOTAL), _INT),
        queue=np.zeros((units * NUM_QUEUES + geometry.channels * NUM_DATA_QUEUES + geometry.num_planes + 1, 3), _INT),
        unit=unit,
        chan=np.zeros((geometry.channels, Chan.TOTAL), _INT),
        slot=np.zeros((geometry.num_planes, Slot.TOTAL), _INT),
        plane=np.zeros((geometry.num_planes, Plane.TOTAL), _INT),
        block=np.zeros((geometry.num_planes * geometry.blocks_per_plane, Block.TOTAL), _INT),
        lpn=np.zeros((lpns, Lpn.TOTAL), _INT),
        owner=np.zeros(geometry.num_pages, _INT),
        cached=np.zeros((lpns if limited else 1, Cached.TOTAL), _INT),
        map_page=np.zeros((map_pages if limited else 1, MapPage.TOTAL), _INT),
        cache=np.zeros((max(1, config.cache.capacity_bytes // geometry.page_bytes), CacheSlot.TOTAL), _INT),
        batch=np.zeros(pages + int(p[Param.GC_SAMPLE]) + 64, _INT),
        link=np.zeros((2, messages), _INT),
        link_ends=np.zeros((2, 2), _INT),
        thread=np.zeros(config.host.threads, _INT),
        journal=np.zeros((0, 4), _INT),
    )
    p[Param.T_DOORBELL] = payload_ns(state, DOORBELL_BYTES)
    p[Param.T_SQE] = payload_ns(state, SUBMISSION_ENTRY_BYTES)
    p[Param.T_CQE] = payload_ns(state, COMPLETION_ENTRY_BYTES)
    request_bytes = config.pcie.packet_overhead_bytes + READ_REQUEST_EXTRA_BYTES
    p[Param.T_READ_REQUEST] = int(-(-request_bytes // config.pcie.lanes) / config.pcie.lane_gbytes_per_s)
    _open_blocks(state)
    if limited:
        _store_mapping_table(state)
    return state


def _open_blocks(state: State) -> None:
    """All blocks are free, in order of number; the first three of each plane become its frontiers."""
    blocks = int(state.param[Param.BLOCKS])
    state.block[:, Block.IN_POOL] = np.tile(np.arange(1, blocks + 1), len(state.plane))
    state.glob[Glob.POOL_NUMBER] = blocks
    first = np.arange(len(state.plane)) * blocks
    for i, frontier in enumerate((Plane.DATA_BLOCK, Plane.MAPPING_BLOCK, Plane.GC_BLOCK)):
        state.plane[:, frontier] = first + i
        state.block[first + i, Block.IN_POOL] = 0
        state.block[first + i, Block.OPENED] = i + 1
    state.block[first + 1, Block.HOLDS_MAPPING] = 1
    state.plane[:, Plane.FREE_BLOCKS] = blocks - 3
    state.plane[:, Plane.GOOD_BLOCKS] = blocks


def _store_mapping_table(state: State) -> None:
    """The translation pages lie on flash from the start, placed like logical pages of the same number; the last, partial one is not
    stored."""
    p = state.param
    count = len(state.map_page) - 1
    page = np.arange(count)
    channel = page // p[Param.STRIDE_C] % p[Param.CHANNELS]
    chip = page // p[Param.STRIDE_W] % p[Param.CHIPS]
    die = page // p[Param.STRIDE_D] % p[Param.DIES]
    plane = page // p[Param.STRIDE_P] % p[Param.PLANES_PER_DIE]
    plane += ((channel * p[Param.CHIPS] + chip) * p[Param.DIES] + die) * p[Param.PLANES_PER_DIE]
    for number, target in zip(page.tolist(), plane.tolist(), strict=True):
        ppn, _ = next_page_of(state, target, Plane.MAPPING_BLOCK, -(number + 1))
        state.map_page[number, MapPage.PPN_1] = ppn + 1


def next_page_of(state: State, plane: int, frontier: int, owner: int) -> tuple[int, bool]:
    """`kernel.blocks.next_page` for set-up code."""
    from tiergarten.sim.flash.kernel.blocks import next_page

    ppn, full = next_page(state, plane, frontier, owner)
    return int(ppn), bool(full)


def load_requests(state: State, requests: Requests) -> None:
    """Put requests into the state's table and schedule the first."""
    n = len(requests)
    state.req[:n, Req.IS_WRITE] = requests.is_write
    state.req[:n, Req.FIRST_SECTOR] = requests.first_sectors
    state.req[:n, Req.SECTORS] = requests.num_sectors
    state.req[:n, Req.PAGES] = NONE
    state.req[:n, Req.COMPLETE] = NONE
    state.glob[Glob.NUM_REQUESTS] = n
    if requests.queue_depth:
        push_event(state, 1, Event.START, 0)
    elif n:
        state.req[:n, Req.ARRIVAL] = requests.arrivals_ns
        push_event(state, int(requests.arrivals_ns[0]), Event.ARRIVAL, 0)


def grown(state: State, status: int) -> State:
    """The state with the table enlarged that the kernel ran out of."""
    if status == Status.NEEDS_TXNS:
        return state._replace(txn=np.concatenate([state.txn, np.zeros_like(state.txn)]))
    more = max(len(state.journal), 2 * int(state.param[Param.JOURNAL_MARGIN]))
    return state._replace(journal=np.concatenate([state.journal, np.zeros((more, 4), _INT)]))


def run_until(state: State, until_ns: int, stop_at_completion: bool = False) -> tuple[State, int]:
    """Advance; returns the state (its tables may have been enlarged) and the kernel's status."""
    while True:
        status = run(state, until_ns, stop_at_completion)
        if status == Status.OUT_OF_BLOCKS:
            raise DeadlockError("the flash drive has no free block left to open; give it more over-provisioning")
        if status not in (Status.NEEDS_TXNS, Status.NEEDS_JOURNAL):
            return state, int(status)
        state = grown(state, status)


def counters(state: State) -> dict[str, int]:
    """What happened, by name."""
    first, last = Glob.READ_COMMANDS, Glob.USER_PAGES
    return {entry.name.lower(): int(state.glob[entry]) for entry in Glob if first <= entry <= last}


def run_requests(config: DriveConfig, requests: Requests, state: State | None = None) -> DriveResult:
    """Run a drive over requests until all are done.

    `state` is a prepared drive (see `precondition`), a fresh one otherwise. Raises InputError for requests that do not fit the drive and
    DeadlockError if requests are left that nothing can complete.
    """
    found = requests.problems(config)
    if found:
        raise InputError(found)
    if state is None:
        state = empty_state(config, len(requests), int(requests.num_sectors.max(initial=1)), requests.queue_depth)
    load_requests(state, requests)
    state, _ = run_until(state, FOREVER_NS)
    n = len(requests)
    left = int(n - state.glob[Glob.COMPLETED])
    if left:
        now = int(state.glob[Glob.NOW])
        raise DeadlockError(f"{left} of {n} flash requests can never complete; the drive stopped at {now} ns")
    return DriveResult(
        arrivals_ns=state.req[:n, Req.ARRIVAL].copy(),
        submits_ns=state.req[:n, Req.SUBMIT].copy(),
        completions_ns=state.req[:n, Req.COMPLETE].copy(),
        failed=state.req[:n, Req.FAILED] != 0,
        counters=counters(state),
    )


def bytes_to_sectors(num_bytes: int) -> int:
    """Whole sectors that hold so many bytes."""
    return -(-num_bytes // SECTOR_BYTES)
