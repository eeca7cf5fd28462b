"""Where the kernels keep what: columns of the state arrays and the sentinels. B banks, S scopes, N slots, C classes.

A *scope* is the node that all-bank commands address: a rank, a pseudo channel, or the channel where neither exists.
A *class* is a column of earliest times; commands that every constraint treats alike share one (RD and RDA).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.commands import NUM_COMMANDS

Int = NDArray[np.int64]

NEVER: Final = 1 << 60
"""A tick that does not come."""
NO_SLOT: Final = -1
CLOSED: Final = -1
"""Row of a bank without an open row."""
ACTIVATING: Final = -2
"""Row of a bank between the two halves of a split activate."""

# Columns of `bank`, int64[B, BANK_COLUMNS]. The first NUM_COMMANDS are earliest ticks by class.
ROW: Final = NUM_COMMANDS
ACTIVE: Final = NUM_COMMANDS + 1
"""Requests of this bank in the active buffer."""
ACCESSES: Final = NUM_COMMANDS + 2
"""Column commands since the row was opened."""
INJECTED: Final = NUM_COMMANDS + 3
"""1 while a precharge that the row policy asked for is under way."""
SCOPE: Final = NUM_COMMANDS + 4
QUEUE: Final = NUM_COMMANDS + 5
"""First column of the read queue's part of the bank; the write queue's follows QUEUE_STRIDE later."""
HEAD: Final = 0
TAIL: Final = 1
HIT: Final = 2
"""Oldest request to the open row."""
MISS: Final = 3
"""Oldest request that needs another row opened; the head while the bank is closed."""
PLACE: Final = 4
"""Index of the bank in the queue's list of banks with requests."""
QUEUE_STRIDE: Final = 5
BANK_COLUMNS: Final = QUEUE + 2 * QUEUE_STRIDE

# Columns of `scope`, int64[S, SCOPE_COLUMNS]. The first NUM_COMMANDS are earliest ticks by class.
OPEN_BANKS: Final = NUM_COMMANDS
ACTIVE_BANKS: Final = NUM_COMMANDS + 1
SCOPE_COLUMNS: Final = NUM_COMMANDS + 2

# Columns of `slot`, int64[N, SLOT_COLUMNS]: the requests now in the controller.
ID: Final = 0
"""Number of the request, in order of acceptance."""
BANK: Final = 1
TARGET_ROW: Final = 2
ADDRESS: Final = 3
ARRIVE: Final = 4
NEXT: Final = 5
PREVIOUS: Final = 6
FLAGS: Final = 7
SLOT_COLUMNS: Final = 8
IS_WRITE: Final = 1
CLASSIFIED: Final = 2
"""Flag: its row hit, miss or conflict has been counted."""

# Columns of `priority`, int64[capacity, 2].
FINAL: Final = 0
TARGET: Final = 1
"""Bank, or scope for commands to all banks."""

# Elements of `scalar`.
CLOCK: Final = 0
"""Last tick done."""
WRITE_MODE: Final = 1
NUM_READS: Final = 2
NUM_WRITES: Final = 3
BUSY_READS: Final = 4
"""Banks with reads waiting; BUSY_READS + 1 is the write queue's."""
BUSY_WRITES: Final = 5
NUM_ACTIVE: Final = 6
NUM_ACTIVE_READS: Final = 7
NUM_PRIORITY: Final = 8
PRIORITY_HEAD: Final = 9
NUM_FREE: Final = 10
ROW_BUS: Final = 11
"""First tick at which the row bus (or the only bus) is free; ROW_BUS + 1 is the column bus."""
COLUMN_BUS: Final = 12
NEXT_REQUEST: Final = 13
"""Row of the trace that is offered next."""
LAST_ACCEPT: Final = 14
LAST_READ_DONE: Final = 15
LAST_DONE: Final = 16
LAST_ISSUE: Final = 17
NUM_RECORDED: Final = 18
REFRESH_DUE: Final = 19
REFRESH_CURSOR: Final = 20
NUM_CAPPED: Final = 21
"""Banks whose open row has had its share of accesses and awaits the row policy's precharge."""
DIRTY: Final = 22
"""1 if the cached choice below is out of date."""
ISSUE_AT: Final = 23
COLUMN_AT: Final = 24
COLUMN_SLOT: Final = 25
COLUMN_PLACE: Final = 26
"""Position in the active buffer, or -1 for a request of a queue."""
ROW_AT: Final = 27
ROW_SLOT: Final = 28
"""Slot, or NO_SLOT for the head of the priority queue."""
ROW_COMMAND: Final = 29
PAIR_EDGE: Final = 30
PAIR_SCOPE: Final = 31
PAIR_BANK: Final = 32
SPLIT_SLOT: Final = 33
"""Request between ACT1 and ACT2, or NO_SLOT."""
SPLIT_DEADLINE: Final = 34
CAS_SLOT: Final = 35
"""Request whose CAS has been issued and whose access has not, or NO_SLOT."""
CAS_PLACE: Final = 36
CLOCK_EXPIRY: Final = 37
"""First tick at which WCK is no longer synchronised."""
RCK_RUNNING: Final = 38
RCK_LAST_READ: Final = 39
COLUMN_COMMAND: Final = 40
SPLIT_AT: Final = 41
COUNT_FORWARDED: Final = 42
COUNT_COALESCED: Final = 43
COUNT_STALLS: Final = 44
SUM_READS: Final = 45
"""Sum over ticks of the read queue's length; SUM_READS + 1 is the write queue's, + 2 the priority queue's."""
SUM_WRITES: Final = 46
SUM_PRIORITY: Final = 47
COUNT_ROW: Final = 48
"""Row hits, misses, conflicts of reads, then of writes: six elements."""
COUNT_MAINTENANCE: Final = 54
COUNT_MAINTENANCE_SERVED: Final = 55
NUM_UNISSUED_READS: Final = 56
NUM_PENDING_REFRESH: Final = 57
NUM_REFRESHES: Final = 58
NUM_SCALARS: Final = 64

# Elements of `parameter`.
SLOTS_KIND: Final = 0
SINGLE: Final = 0
DUAL: Final = 1
SPLIT: Final = 2
MAX_READS: Final = 1
MAX_WRITES: Final = 2
MAX_ACTIVE: Final = 3
MAX_PRIORITY: Final = 4
ENTER_WRITE_ABOVE: Final = 5
LEAVE_WRITE_BELOW: Final = 6
ROW_HIT_FIRST: Final = 7
CAP: Final = 8
"""Accesses to an open row before the row policy closes it; 0 = never."""
COMPATIBLE: Final = 9
"""1 = reproduce the reference's defects."""
READ_LATENCY: Final = 10
REFRESH_KIND: Final = 11
NO_REFRESH: Final = 0
ALL_BANK: Final = 1
PER_BANK: Final = 2
PER_BANK_ROTATING: Final = 3
SAME_BANK: Final = 4
REFRESH_INTERVAL: Final = 12
REFRESH_BLOCK: Final = 13
"""Ticks after a round of rotating per-bank refresh before the next may begin in that stack level."""
SCATTER: Final = 14
HALF_CLOCK: Final = 15
"""1 where a tick is half a CK: column commands and activates start on odd ticks only."""
ACTIVATE_WINDOW: Final = 16
"""Ticks from ACT1 within which ACT2 is due."""
CAS_GUARD: Final = 17
NEEDS_SYNC: Final = 18
SYNC_READ: Final = 19
SYNC_WRITE: Final = 20
RCK_MODE: Final = 21
RCK_ALWAYS: Final = 0
RCK_WITH_READ: Final = 1
RCK_WITH_START: Final = 2
RCK_IDLE: Final = 22
BANKS_PER_SCOPE: Final = 23
LIVENESS: Final = 24
"""Ticks without a command, with requests waiting, after which the channel counts as deadlocked."""
BANKS_PER_GROUP: Final = 25
STACK_LEVELS: Final = 26
NUM_PARAMETERS: Final = 32

# Columns of `operations`: what issuing a command does to earliest times.
KIND: Final = 0
CLASS: Final = 1
TICKS: Final = 2
SIZE: Final = 3
"""Banks of a node; for history the number of entries."""
PARENT: Final = 4
"""Banks of the node's parent."""
TO_BANK: Final = 0
TO_SCOPE: Final = 1
TO_NODE: Final = 2
TO_ALL_SCOPES: Final = 3
TO_OTHER_SCOPES: Final = 4
TO_SIBLINGS: Final = 5
TO_SCOPE_WINDOW: Final = 6

WADDRESSES: Final = 1024
"""Counters of the hash of write addresses."""

# Status of a run.
REACHED: Final = 0
"""The tick asked for is done, or all requests are."""
RECORD_FULL: Final = 1
DEADLOCK: Final = 2
ABANDONED: Final = 3
"""The priority queue overflowed."""


class Tables(NamedTuple):
    """One channel's device and controller as integers. Never changes."""

    parameter: Int
    """int64[NUM_PARAMETERS]."""
    operations: Int
    """int64[O, 5]."""
    first_operation: Int
    """int64[NUM_COMMANDS + 1]."""
    command_class: Int
    """int64[NUM_COMMANDS]."""
    command_ticks: Int
    """int64[NUM_COMMANDS]."""
    command_bus: Int
    """int64[NUM_COMMANDS], ROW_BUS or COLUMN_BUS."""
    banks_matter: Int
    """int64[NUM_COMMANDS]: 1 if a constraint below the scope has this class as following command."""


class State(NamedTuple):
    """One channel at one tick. Only the kernels change it; copying the arrays copies the channel."""

    scalar: Int
    """int64[NUM_SCALARS]."""
    bank: Int
    """int64[B, BANK_COLUMNS]."""
    scope: Int
    """int64[S, SCOPE_COLUMNS]."""
    slot: Int
    """int64[N, SLOT_COLUMNS]."""
    busy: Int
    """int64[2, B]: banks with waiting reads, and writes."""
    active: Int
    """int64[N]: slots of the active buffer, in order of activation."""
    free: Int
    """int64[N]: unused slots."""
    priority: Int
    """int64[capacity, 2], ring."""
    write_addresses: Int
    """int64[WADDRESSES]: writes in the write queue by hash of address."""
    history: Int
    """int64[S, NUM_COMMANDS, W + 1]: newest W issue ticks as a ring, and the ring's position."""
    refresh: Int
    """int64[S, ...]: due ticks by scope, or the marks and blocks of rotating per-bank refresh."""


class Requests(NamedTuple):
    """Requests in the order in which they are offered. T of them; the kernel fills the last three columns."""

    ticks: Int
    """int64[T]: earliest tick."""
    addresses: Int
    """int64[T], bytes within the channel's interleaved share."""
    flags: NDArray[np.int8]
    """int8[T]: 1 = write, 2 = waits until no earlier read is outstanding."""
    banks: NDArray[np.int32]
    """int32[T], flat bank number."""
    rows: Int
    """int64[T]."""
    arrive: Int
    """int64[T]: tick of acceptance."""
    depart: Int
    """int64[T]: tick of the last data."""
    done: Int
    """int64[T]: tick at which the requester is told."""


class Record(NamedTuple):
    """Commands as issued. Empty arrays = do not record."""

    ticks: Int
    commands: NDArray[np.int8]
    requests: NDArray[np.int32]
    """Row of the trace, or -1 for refresh and row policy."""
    targets: NDArray[np.int32]
    """Bank, or scope for commands to all banks."""
