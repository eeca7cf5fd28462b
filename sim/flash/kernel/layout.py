"""The kernel's memory: one int64 array `m` in which every entity is a record of named fields, addressed like memory in C.

A handle is the address of an entity's record, and `m[handle + Field.X]` is one of its fields; NONE is no handle. Counters of the whole
drive are `m[Glob.X]`, constants `m[Param.X]`. One array keeps calls cheap, makes a copy of the drive one copy, and lets a
large drive use only as much real memory as it touches: fields of records that grow with the capacity hold a number plus one where zero
must mean "nothing". Order of the tables: what is small, then host requests and transactions, then what grows with the capacity.
"""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = -1
Memory = NDArray[np.int64]


class Glob(IntEnum):
    """Counters of the whole drive."""

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
    LOOKING_AHEAD = 40
    JOURNAL_LENGTH = 41
    HOST_WAIT_HEAD = 42
    HOST_WAIT_TAIL = 43
    OUT_OF_BLOCKS = 44
    DRAM_HEAD = 45  # list of waiting accesses
    DRAM_TAIL = 46
    DRAM_COUNT = 47
    TO_DEVICE_FIRST = 48  # messages on the link, by direction
    TO_DEVICE_LAST = 49
    TO_HOST_FIRST = 50
    TO_HOST_LAST = 51
    # what happened
    READ_COMMANDS = 52
    MULTIPLANE_READS = 53
    PROGRAM_COMMANDS = 54
    MULTIPLANE_PROGRAMS = 55
    ERASE_COMMANDS = 56
    MAPPING_READS = 57
    MAPPING_WRITES = 58
    GC_RUNS = 59
    GC_MOVED_PAGES = 60
    PAGES_READ = 61
    PAGES_PROGRAMMED = 62
    HOST_PAGES_WRITTEN = 63
    BLOCKS_ERASED = 64
    BLOCKS_RETIRED = 65
    FAILED_WRITES = 66
    PROGRAM_SUSPENSIONS = 67
    ERASE_SUSPENSIONS = 68
    EVENTS = 69
    USER_PAGES = 70
    # the event at hand; behind the constants
    NEXT_TIME = 181
    NEXT_KEY = 182
    LINK_TIME = 183  # by direction
    LINK_NUMBER = 185
    # completion queue: entries sent and entries that the host has given back, requests that wait while it is full
    ENTRIES_SENT = 187
    ENTRIES_FREED = 188
    UNSENT_HEAD = 189
    UNSENT_TAIL = 190


class Param(IntEnum):
    """Constants of the drive, behind the counters. Times in ns; *_AT are addresses of tables."""

    CHANNELS = 72
    UNITS_PER_CHANNEL = 73
    PLANES_PER_UNIT = 74
    PLANES_PER_DIE = 75
    PLANES = 76
    BLOCKS = 77
    PAGES = 78
    SECTORS = 79
    PAGE_BYTES = 80
    CELL = 81
    STRIDE_C = 82
    STRIDE_W = 83
    STRIDE_D = 84
    STRIDE_P = 85
    CHIPS = 86
    DIES = 87
    LAST_SECTOR = 88
    PCIE_PAYLOAD = 89
    PCIE_OVERHEAD = 90
    PCIE_LANES = 91
    T_DOORBELL = 92
    T_READ_REQUEST = 93
    T_SQE = 94
    T_CQE = 95
    QUEUE_DEPTH = 96
    FETCH_SIZE = 97
    CACHE_WRITES = 98
    CACHE_READS = 99
    CACHE_ROW_BYTES = 100
    CACHE_BURST_BYTES = 101
    CACHE_T_RCD_CL = 102
    CACHE_T_RP = 103
    CACHE_LIMIT_SECTORS = 104
    WINDOW = 105
    IDEAL_MAPPING = 106
    CMT_ENTRIES = 107
    ENTRIES_PER_MAP_PAGE = 108
    GC_POLICY = 109
    GC_THRESHOLD = 110
    GC_HARD_THRESHOLD = 111
    GC_PREEMPTIBLE = 112
    GC_COPYBACK = 113
    GC_SAMPLE = 114
    GC_MIN_INVALID = 115
    DATA_GRAIN_BYTES = 116
    DATA_NS_NUMERATOR = 117
    DATA_NS_SHIFT = 118
    READ_NS = 119  # four page types follow
    PROGRAM_NS = 123  # four page types follow
    ERASE_NS = 127
    READY_NS = 128
    CLOSED_LOOP = 129
    INDEPENDENT_PLANES = 130
    SUSPEND_PROGRAM_NS = 131  # 0 = programs cannot be suspended
    SUSPEND_ERASE_NS = 132
    SUSPEND_MIN_LEFT_NS = 133
    MAX_SUSPENSIONS = 134
    CONTROLLER_READ_NS = 135
    CONTROLLER_WRITE_NS = 136
    CONTROLLER_COMMAND_NS = 137
    HOST_NS = 138
    HOST_THREADS = 139
    ENDURANCE_CYCLES = 140  # 0 = blocks never wear out
    WRITE_PATIENCE_NS = 141
    MODERN = 142
    LEAST_GOOD_BLOCKS = 143
    LANE_BYTES_PER_NS = 145  # bits of a float64
    DRAM_PAIR_NS = 146  # bits of a float64
    FIRST_READ_MAP_AT = 147
    HEAP_AT = 149
    UNIT_AT = 150
    CHANNEL_AT = 151
    PLANE_AT = 152
    THREAD_AT = 153
    BATCH_AT = 154
    SAMPLE_AT = 155
    RANDOM_AT = 156
    NUM_RANDOM = 157
    LINK_AT = 158
    LINK_MASK = 159
    REQUEST_AT = 160
    REQUEST_MASK = 161
    TXN_AT = 162
    BLOCK_AT = 163
    LPN_AT = 164
    NUM_LPNS = 165
    OWNER_AT = 166
    ENTRY_AT = 167
    MAP_PAGE_AT = 168
    SLOT_AT = 169
    NUM_SLOTS = 170
    JOURNAL_AT = 171
    JOURNAL_LIMIT = 172
    TXN_LIMIT = 173
    PLANE_MAP_AT = 174
    SECTOR_SHIFT = 175
    LANE_AT = 180
    DATA_BYTES_SEEN = 176  # the size asked for last, and its time
    DATA_NS_SEEN = 177
    PAYLOAD_BYTES_SEEN = 178
    PAYLOAD_NS_SEEN = 179


FIXED_WORDS: Final = 192
"""Words taken by Glob and Param."""


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


class Txn(IntEnum):
    """A page transaction (or, with op DRAM, one access to the drive's DRAM)."""

    OP = 0
    SOURCE = 1
    LPN = 2  # of a collected page: its owner as in the owner table
    PLANE = 3
    BLOCK = 4
    PAGE = 5
    BYTES = 6
    SECTORS = 7  # bit mask
    REQUEST = 8
    NEXT = 9
    COMMAND_NEXT = 10
    RELATED = 11
    STAMP = 12
    WAITS_FOR = 13  # things that must be done before it may be issued
    AFTER = 14
    WORDS = 16


class Req(IntEnum):
    """A host request."""

    IS_WRITE = 0
    FIRST_SECTOR = 1
    SECTORS = 2
    ARRIVAL = 3
    SUBMIT = 4
    COMPLETE = 5
    PENDING = 6  # page transactions and DRAM accesses that it waits for
    PAGES = 7  # first of the pages that are not yet on their way
    NEXT = 8
    FAILED = 9
    THREAD = 10
    ORDER = 11  # row number n: the request that was submitted n-th
    HEAD = 12  # submission-queue head told with its completion
    IDENT = 13  # the caller's name of it
    PROMISED = 14  # 1 = a worn-out drive takes it all the same
    WORDS = 16


class List(IntEnum):
    """A first-in-first-out list of transactions."""

    HEAD = 0
    TAIL = 1
    COUNT = 2
    WORDS = 3


class Unit(IntEnum):
    """What takes commands: a chip in MQSim mode, a die with die interleaving."""

    BUSY = 0  # commands under way plus pages whose data are still to be sent
    QUEUED = 1
    PROGRAM_PLANE = 2  # plane that leads the program or erase under way
    PHASE = 3  # 1 = the program or erase is in the array, 2 = suspended
    SUSPENDED_AT = 4
    SUSPENSIONS = 5
    WRITE_SINCE = 6
    CHANNEL = 7
    BIT = 32
    # its queues
    MAPPING_READS = 8
    GC_READS = 11
    USER_READS = 14
    URGENT_WRITES = 17
    USER_WRITES = 20
    GC_WRITES = 23
    MAPPING_WRITES = 26
    ERASES = 29
    WORDS = 40


class Channel(IntEnum):
    BUSY = 0
    TURN = 1  # next unit to be visited
    SENDING = 2
    FIRST_UNIT = 3
    READY_UNITS = 13  # bit set of units that could take a command
    # pages that wait to be sent out
    MAPPING_DATA = 4
    USER_DATA = 7
    GC_DATA = 10
    WORDS = 16


class Plane(IntEnum):
    """A plane, and the command that it leads."""

    DATA_BLOCK = 0
    MAPPING_BLOCK = 1
    GC_BLOCK = 2
    FREE_BLOCKS = 3
    GC_RUNNING = 4
    GOOD_BLOCKS = 5
    UNIT = 6
    DIE = 7
    BIT = 8
    FIRST_BLOCK = 9
    TXN = 10
    COUNT = 11
    END = 12
    EVENT = 13
    LEFT = 14
    BUSY = 15
    WAITING_WRITES = 16  # a list
    SUSPENDED_TXN = 19  # the suspended command that it leads, while it may lead a read
    SUSPENDED_COUNT = 20
    WORDS = 24


class Block(IntEnum):
    WRITTEN = 0  # pages programmed or promised
    INVALID = 1
    ERASES = 2
    IN_POOL = 3  # order of arrival in the free pool, 0 = not in it
    IN_GC = 4  # 1 = chosen, 2 = its pages are being moved
    PROGRAMS = 5
    READS = 6
    HOLDS_MAPPING = 7
    OPENED = 8  # order of allocation, for FIFO collection
    RETIRED = 9
    PLANE = 10
    FIRST_PPN = 11
    WORDS = 12


class Lpn(IntEnum):
    """A logical page. Fields named _1 hold a number plus one."""

    PPN_1 = 0
    SECTORS = 1
    LOCKED = 2
    BEHIND_HEAD_1 = 3
    BEHIND_TAIL_1 = 4
    SLOT_1 = 5
    WINDOW = 6
    UNPROGRAMMED = 7  # 1 = its place holds no data: given by a read, or by a write that is still under way
    WORDS = 8


class Entry(IntEnum):
    """A logical page's entry in the cached mapping table."""

    STATE = 0  # 0 absent, 1 on its way, 2 there
    DIRTY = 1
    NEWER_1 = 2
    OLDER_1 = 3
    ARRIVING_NEXT_1 = 4
    WAITING_HEAD_1 = 5
    WAITING_TAIL_1 = 6
    WORDS = 8


class MapPage(IntEnum):
    """A translation page."""

    PPN_1 = 0
    ARRIVING_HEAD_1 = 1
    ARRIVING_TAIL_1 = 2
    DEPARTING = 3  # 1 = written back; its entries are at hand
    ARRIVING = 4  # 1 = being read
    WORDS = 8


class Slot(IntEnum):
    """A page in the drive's DRAM."""

    LPN = 0
    SECTORS = 1
    STAMP = 2
    DIRTY = 3  # 0 clean, 1 the only copy, 2 also on its way to flash
    NEWER = 4
    OLDER = 5
    WORDS = 6
