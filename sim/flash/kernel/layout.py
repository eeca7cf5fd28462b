"""The kernel's state: tables of 64-bit integers with named columns. Rows are linked by number; NONE ends a list.

Tables that grow with the drive's capacity (`lpn`, `owner`, `cached`) hold numbers plus one, so that fresh zeroed memory means "nothing" and
untouched parts of a large drive cost no memory. Letters: L logical pages, N physical pages, B blocks, P planes, U units.
"""

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE: Final = -1
NUM_QUEUES: Final = 8
NUM_DATA_QUEUES: Final = 4
Table = NDArray[np.int64]


class Param(IntEnum):
    """Constants of a drive, in `State.param`. Times in ns."""

    CHANNELS = 0
    UNITS_PER_CHANNEL = 1
    PLANES_PER_UNIT = 2
    PLANES_PER_DIE = 3
    PLANES = 4
    BLOCKS = 5
    PAGES = 6
    SECTORS = 7
    PAGE_BYTES = 8
    CELL = 9
    STRIDE_C = 10
    STRIDE_W = 11
    STRIDE_D = 12
    STRIDE_P = 13
    CHIPS = 14
    DIES = 15
    LAST_SECTOR = 16
    PCIE_PAYLOAD = 17
    PCIE_OVERHEAD = 18
    PCIE_LANES = 19
    T_DOORBELL = 20
    T_READ_REQUEST = 21
    T_SQE = 22
    T_CQE = 23
    QUEUE_DEPTH = 24
    FETCH_SIZE = 25
    CACHE_WRITES = 26
    CACHE_READS = 27
    CACHE_ROW_BYTES = 28
    CACHE_BURST_BYTES = 29
    CACHE_T_RCD_CL = 30
    CACHE_T_RP = 31
    CACHE_LIMIT_SECTORS = 32
    WINDOW = 33
    IDEAL_MAPPING = 34
    CMT_ENTRIES = 35
    ENTRIES_PER_MAP_PAGE = 36
    GC_POLICY = 37
    GC_THRESHOLD = 38
    GC_HARD_THRESHOLD = 39
    GC_PREEMPTIBLE = 40
    GC_COPYBACK = 41
    GC_SAMPLE = 42
    GC_MIN_INVALID = 43
    DATA_GRAIN_BYTES = 44
    DATA_NS_NUMERATOR = 45
    DATA_NS_DENOMINATOR = 46
    READ_NS = 47  # four page types follow
    PROGRAM_NS = 51  # four page types follow
    ERASE_NS = 55
    READY_NS = 56
    CLOSED_LOOP = 57
    INDEPENDENT_PLANES = 58
    SUSPEND_PROGRAM_NS = 59  # 0 = programs cannot be suspended
    SUSPEND_ERASE_NS = 60
    SUSPEND_MIN_LEFT_NS = 61
    MAX_SUSPENSIONS = 62
    CONTROLLER_READ_NS = 63
    CONTROLLER_WRITE_NS = 64
    CONTROLLER_COMMAND_NS = 65
    HOST_NS = 66
    HOST_THREADS = 67
    ENDURANCE_CYCLES = 68  # 0 = blocks never wear out
    WRITE_PATIENCE_NS = 69
    MODERN = 70
    LEAST_GOOD_BLOCKS = 71
    TXN_MARGIN = 72
    JOURNAL_MARGIN = 73
    TOTAL = 74


class Glob(IntEnum):
    """Drive-wide counters, in `State.glob`."""

    NOW = 0
    EVENT_NUMBER = 1
    HEAP_SIZE = 2
    NUM_REQUESTS = 3
    NEXT_ARRIVAL = 4
    TAIL_AT_HOST = 5
    HEAD_AT_HOST = 6
    TAIL_AT_DEVICE = 7
    FETCHED = 8
    ENTRIES_ARRIVED = 9
    IN_DEVICE = 10
    COMPLETED = 11
    DONE_HEAD = 12
    DONE_TAIL = 13
    NEXT_TXN = 14
    FREE_TXN = 15
    OPEN_BATCHES = 16
    HAS_NEW_WORK = 17
    COMMAND_HEAD = 18
    COMMAND_TAIL = 19
    COMMAND_COUNT = 20
    BATCH_COUNT = 21
    DRAM_BUSY = 22
    OUTSTANDING_SECTORS = 23
    WINDOW_END = 24
    WINDOW_NUMBER = 25
    WAITING_HEAD = 26
    WAITING_TAIL = 27
    SLOTS_USED = 28
    SLOT_FREE = 29
    SLOT_NEWEST = 30
    SLOT_OLDEST = 31
    CMT_COUNT = 32
    CMT_NEWEST = 33
    CMT_OLDEST = 34
    POOL_NUMBER = 35
    RANDOM_NEXT = 36
    CONTROLLER_FREE_AT = 37
    WORN_OUT_AT = 38
    LIVE_TXN = 39
    LOOKING_AHEAD = 59
    JOURNAL_LENGTH = 60
    HOST_WAIT_HEAD = 61
    HOST_WAIT_TAIL = 62
    OUT_OF_BLOCKS = 63
    # what happened
    READ_COMMANDS = 40
    MULTIPLANE_READS = 41
    PROGRAM_COMMANDS = 42
    MULTIPLANE_PROGRAMS = 43
    ERASE_COMMANDS = 44
    MAPPING_READS = 45
    MAPPING_WRITES = 46
    GC_RUNS = 47
    GC_MOVED_PAGES = 48
    PAGES_READ = 49
    PAGES_PROGRAMMED = 50
    HOST_PAGES_WRITTEN = 51
    BLOCKS_ERASED = 52
    BLOCKS_RETIRED = 53
    FAILED_WRITES = 54
    PROGRAM_SUSPENSIONS = 55
    ERASE_SUSPENSIONS = 56
    EVENTS = 57
    USER_PAGES = 58
    TOTAL = 72


class Txn(IntEnum):
    """A page transaction (or, with op DRAM, one access to the drive's DRAM)."""

    OP = 0
    SOURCE = 1
    LPN = 2
    PLANE = 3
    BLOCK = 4  # over the whole drive
    PAGE = 5
    BYTES = 6
    SECTORS = 7  # bit mask
    REQUEST = 8
    NEXT = 9
    COMMAND_NEXT = 10
    RELATED = 11
    STAMP = 12
    WAITS_FOR = 13  # things that must be done before it may be issued
    PLACED = 14
    AFTER = 15


class Op(IntEnum):
    READ = 0
    PROGRAM = 1
    ERASE = 2
    COPYBACK = 3
    DRAM = 4


class Source(IntEnum):
    USER = 0
    MAPPING = 1
    GC = 2
    CACHE = 3


class After(IntEnum):
    """What follows when a DRAM access is over."""

    REQUEST = 0
    WRITE_BACK = 1
    NOTHING = 2


class Queue(IntEnum):
    """Transaction queues of a unit, in `State.queue` at row unit * NUM_QUEUES + queue."""

    MAPPING_READ = 0
    GC_READ = 1
    USER_READ = 2
    URGENT_WRITE = 3
    USER_WRITE = 4
    GC_WRITE = 5
    MAPPING_WRITE = 6
    ERASE = 7


class Link(IntEnum):
    """Columns of `State.queue`."""

    HEAD = 0
    TAIL = 1
    COUNT = 2


class Req(IntEnum):
    """A host request."""

    IS_WRITE = 0
    FIRST_SECTOR = 1
    SECTORS = 2
    ARRIVAL = 3
    SUBMIT = 4
    COMPLETE = 5
    PENDING = 6  # page transactions and DRAM accesses that it waits for
    PAGES = 7  # first of the pages that are not yet in the write cache
    NEXT = 8
    FAILED = 9
    THREAD = 10
    ORDER = 11  # of the row-th submission: its request
    HEAD = 12  # submission-queue head told with its completion
    TOTAL = 14


class Unit(IntEnum):
    """What takes commands: a chip in MQSim mode, a die with die interleaving."""

    BUSY = 0  # commands under way plus pages whose data are still to be sent
    QUEUED = 1
    PROGRAM_SLOT = 2  # plane that leads the program or erase under way
    SUSPENDED_AT = 3
    SUSPENSIONS = 4
    READS_UNDER_WAY = 5
    WRITE_SINCE = 6
    PHASE = 7  # 1 = the program or erase is in the array, 2 = suspended
    TOTAL = 8


class Chan(IntEnum):
    BUSY = 0
    TURN = 1
    SENDING = 2
    TOTAL = 3


class Slot(IntEnum):
    """The command led by this plane."""

    TXN = 0
    COUNT = 1
    END = 2
    EVENT = 3
    LEFT = 4
    BUSY = 5
    TOTAL = 6


class Plane(IntEnum):
    DATA_BLOCK = 0
    MAPPING_BLOCK = 1
    GC_BLOCK = 2
    FREE_BLOCKS = 3
    GC_RUNNING = 4
    GOOD_BLOCKS = 5
    TOTAL = 6


class Block(IntEnum):
    WRITTEN = 0  # pages programmed or promised
    INVALID = 1
    ERASES = 2
    IN_POOL = 3  # order of arrival in the free pool, 0 = not in it
    IN_GC = 4
    PROGRAMS = 5
    READS = 6
    HOLDS_MAPPING = 7
    OPENED = 8  # order of allocation, for FIFO collection
    RETIRED = 9
    TOTAL = 10


class Lpn(IntEnum):
    """A logical page. Fields named _1 hold a number plus one."""

    PPN_1 = 0
    SECTORS = 1
    LOCKED = 2
    BEHIND_HEAD_1 = 3
    BEHIND_TAIL_1 = 4
    SLOT_1 = 5
    WINDOW = 6
    TOTAL = 8


class Cached(IntEnum):
    """A logical page's entry in the cached mapping table."""

    STATE = 0  # 0 absent, 1 on its way, 2 there
    DIRTY = 1
    NEWER_1 = 2
    OLDER_1 = 3
    ARRIVING_NEXT_1 = 4
    WAITING_HEAD_1 = 5
    WAITING_TAIL_1 = 6
    TOTAL = 8


class MapPage(IntEnum):
    """A translation page."""

    PPN_1 = 0
    ARRIVING_HEAD_1 = 1
    ARRIVING_TAIL_1 = 2
    DEPARTING = 3
    TOTAL = 4


class CacheSlot(IntEnum):
    """A page in the drive's DRAM."""

    LPN = 0
    SECTORS = 1
    STAMP = 2
    DIRTY = 3  # 1 = the only copy, 2 = also on its way to flash, 0 = clean
    NEWER = 4
    OLDER = 5
    TOTAL = 6


class State(NamedTuple):
    """Everything that the kernel knows; copying the arrays copies the drive."""

    param: Table
    """int64[Param.TOTAL]."""
    real: NDArray[np.float64]
    """float64[2]: bytes per ns of a PCIe lane, ns per DRAM burst pair."""
    random: NDArray[np.float64]
    """float64[...], draws in [0, 1) for the collection policies, used in turn."""
    glob: Table
    """int64[Glob.TOTAL]."""
    heap: Table
    """int64[H, 3]: time, number, code of every event to come."""
    txn: Table
    """int64[T, 16], Txn."""
    req: Table
    """int64[R, Req.TOTAL]."""
    queue: Table
    """int64[units * NUM_QUEUES + channels * NUM_DATA_QUEUES + planes + 1, 3]: transaction queues, data-out queues, writes behind a full
    plane, accesses to the DRAM."""
    unit: Table
    """int64[U, Unit.TOTAL]."""
    chan: Table
    """int64[C, Chan.TOTAL]."""
    slot: Table
    """int64[P, Slot.TOTAL]."""
    plane: Table
    """int64[P, Plane.TOTAL]."""
    block: Table
    """int64[B, Block.TOTAL]."""
    lpn: Table
    """int64[L, Lpn.TOTAL]."""
    owner: Table
    """int64[N]: logical page + 1 of a valid page, -(translation page + 1) of a valid translation page, 0 otherwise."""
    cached: Table
    """int64[L or 1, Cached.TOTAL]."""
    map_page: Table
    """int64[..., MapPage.TOTAL]."""
    cache: Table
    """int64[slots, CacheSlot.TOTAL]."""
    batch: Table
    """int64[...], transactions being translated together."""
    link: Table
    """int64[2, M]: PCIe messages waiting, toward the device and toward the host."""
    link_ends: Table
    """int64[2, 2]: first and one past last message of each direction."""
    thread: Table
    """int64[threads], time at which each host thread is free again."""
    journal: Table
    """int64[J, 4]: table, row, column, old value of every write to a large table while looking ahead."""
