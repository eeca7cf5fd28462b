"""The memory of a channel: one int64 array `m` of records, addressed by the offset of their first element.

A record's field is `m[record + FIELD]`: `m[bank + ROW]`, `m[slot + NEXT]`, `m[scope + ACT]`. Scalars, parameters and
command tables lie at fixed offsets, so `m[NUM_READS]` is the length of the read queue. Copying `m` copies the channel.
A *scope* is what all-bank commands address: a rank, a pseudo channel, or the channel where there is neither.
"""

from typing import Final

from tiergarten.dram.commands import NUM_COMMANDS

NEVER: Final = 1 << 60
"""A tick that does not come."""
NONE: Final = -1
"""No slot, no bank, no place."""
CLOSED: Final = -1
"""Row of a bank without an open row."""
ACTIVATING: Final = -2
"""Row of a bank between the two halves of a split activate."""

# Scalars: the state of the controller.
CLOCK: Final = 0
"""Last tick done."""
WRITE_MODE: Final = 1
NUM_READS: Final = 2
"""Length of the read queue; the write queue's follows."""
NUM_WRITES: Final = 3
CHOSEN_QUEUE: Final = 4
"""Queue that the champions kept by kind come from."""
ACCEPT_AT: Final = 5
"""Clock at which the next request is accepted if nothing issues before; NEVER if it must wait for room."""
NUM_ACTIVE: Final = 6
NUM_ACTIVE_READS: Final = 7
NUM_PRIORITY: Final = 8
PRIORITY_HEAD: Final = 9
FREE_SLOT: Final = 10
"""First slot of the chain of unused ones."""
ROW_BUS: Final = 11
"""First tick at which the row command bus (or the only bus) is free."""
COLUMN_BUS: Final = 12
NEXT_REQUEST: Final = 13
"""Row of the request table that is offered next."""
LAST_ACCEPT: Final = 14
LAST_READ_DONE: Final = 15
LAST_DONE: Final = 16
LAST_ACCESS: Final = 17
NUM_RECORDED: Final = 18
REFRESH_DUE: Final = 19
REFRESH_CURSOR: Final = 20
REFRESH_REGULAR: Final = 21
"""Rotating refresh: the tick at which the next bank is due if nothing holds it back."""
REFRESH_PENDING: Final = 22
"""Rotating refresh: scopes that still await the refresh of REFRESH_BANK."""
REFRESH_BANK: Final = 23
NUM_CAPPED: Final = 24
"""Banks whose open row has had its share of accesses and awaits the row policy's precharge."""
DIRTY: Final = 25
"""1 if the choice kept in the next elements is out of date."""
ISSUE_AT: Final = 26
"""Next tick at which a command may issue, as far as is known."""
COLUMN_AT: Final = 27
COLUMN_SLOT: Final = 28
COLUMN_PLACE: Final = 29
"""Place of the column champion in the active buffer, NONE if it is in a queue."""
COLUMN_COMMAND: Final = 30
ROW_AT: Final = 31
ROW_SLOT: Final = 32
"""Slot of the row champion, NONE for the head of the priority queue."""
ROW_COMMAND: Final = 33
PAIR_EDGE: Final = 34
PAIR_SCOPE: Final = 35
PAIR_BANK: Final = 36
"""Bank of the last row command on a rising edge; NONE if it went to all banks."""
SPLIT_SLOT: Final = 37
"""Request between ACT1 and ACT2."""
SPLIT_DEADLINE: Final = 38
CAS_SLOT: Final = 39
"""Request whose CAS has been issued and whose access has not."""
CAS_PLACE: Final = 40
SYNC_EXPIRY: Final = 41
"""First tick at which WCK is no longer synchronised."""
RCK_RUNNING: Final = 42
RCK_LAST_READ: Final = 43
NUM_UNISSUED_READS: Final = 44
COUNT_FORWARDED: Final = 45
COUNT_COALESCED: Final = 46
COUNT_STALLS: Final = 47
SUM_READS: Final = 48
"""Sum over ticks of the read queue's length; the write queue's and the priority queue's follow."""
SUM_WRITES: Final = 49
SUM_PRIORITY: Final = 50
COUNT_ROW: Final = 51
"""Row hits, misses, conflicts of reads, then of writes: six elements."""
COUNT_MAINTENANCE: Final = 57
COUNT_MAINTENANCE_SERVED: Final = 58
COUNT_REFRESHES: Final = 59
SPLIT_AT: Final = 60
"""First tick at which the second half of the split activate may issue."""

ACTIVE_DIRTY: Final = 61
"""1 if the champion of the active buffer kept in the next elements is out of date."""
ACTIVE_AT: Final = 62
ACTIVE_PLACE: Final = 63
ACTIVE_COMMAND: Final = 101
LIST_LENGTH: Final = 104
"""Lengths of the lists of banks by queue and kind: reads' COLUMN, ACTIVATE, PRECHARGE, then the writes'."""
COLUMN: Final = 0
"""Kinds: the bank holds a request to its open row,"""
ACTIVATE: Final = 1
"""... it is closed and has requests,"""
PRECHARGE: Final = 2
"""... it is open and has requests to other rows."""
NO_KIND: Final = 3
NUM_KINDS: Final = 3
KIND_AT: Final = 110
"""Champions by kind: tick, then slot, then whether out of date; three elements each."""
KIND_SLOT: Final = 113
KIND_DIRTY: Final = 116
NUM_TOUCHED: Final = 119
TOUCHED: Final = 120
"""Banks whose requests or ticks have changed since the champions were found."""
MOST_TOUCHED: Final = 4
KIND_SECOND: Final = 124
"""By kind: no other request than the champion becomes ready between the champion's tick and this one."""
FIRST_REQUEST: Final = 127
"""Number of the request in the first row of the request table."""
MORE_REQUESTS: Final = 128
"""1 while another request table is to follow this one."""
SUM_READ_LATENCY: Final = 129
"""Sum over finished reads of the ticks from acceptance to the last data."""
COUNT_WRITES: Final = 130
"""Writes accepted."""

# Parameters: the device and the settings. They never change.
KIND: Final = 64
SINGLE: Final = 0
"""One command a tick."""
DUAL: Final = 1
"""A column and a row command a tick."""
SPLIT: Final = 2
"""One command a tick, activates in two halves, CAS before accesses."""
MAX_READS: Final = 65
"""Places of the read queue; the write queue's follow."""
MAX_WRITES: Final = 66
MAX_ACTIVE: Final = 67
MAX_PRIORITY: Final = 68
ENTER_WRITE_ABOVE: Final = 69
LEAVE_WRITE_BELOW: Final = 70
ROW_HIT_FIRST: Final = 71
CAP: Final = 72
"""Accesses to an open row before the row policy closes it; 0 = never."""
COMPATIBLE: Final = 73
"""1 = reproduce the reference's defects."""
READ_LATENCY: Final = 74
REFRESH_KIND: Final = 75
NO_REFRESH: Final = 0
ALL_BANK: Final = 1
PER_BANK: Final = 2
PER_BANK_ROTATING: Final = 3
SAME_BANK: Final = 4
REFRESH_INTERVAL: Final = 76
REFRESH_BLOCK: Final = 77
"""Ticks after a round of rotating refresh before the next may begin in that stack level."""
HALF_CLOCK: Final = 78
"""1 where a tick is half a CK: column commands, activates and refreshes start on odd ticks only."""
ACTIVATE_WINDOW: Final = 79
"""Ticks from ACT1 within which ACT2 is due."""
CAS_GUARD: Final = 80
NEEDS_SYNC: Final = 81
SYNC_READ: Final = 82
SYNC_WRITE: Final = 83
RCK_MODE: Final = 84
RCK_ALWAYS: Final = 0
RCK_WITH_READ: Final = 1
RCK_WITH_START: Final = 2
RCK_IDLE: Final = 85
NUM_SCOPES: Final = 86
NUM_BANKS: Final = 87
BANKS_PER_SCOPE: Final = 88
BANKS_PER_GROUP: Final = 89
STACK_LEVELS: Final = 90
LIVENESS: Final = 91
"""Ticks without a command, with requests waiting, after which the channel counts as deadlocked."""
SCOPES: Final = 92
"""Where the records and lists of variable length begin, from here to LENGTH."""
BANKS: Final = 93
SLOTS: Final = 94
ACTIVE_LIST: Final = 95
"""Slots whose row has been opened for them, in order of activation."""
BANK_LISTS: Final = 96
"""Lists of banks by queue and kind, NUM_BANKS elements each, in the order of LIST_LENGTH."""
PRIORITY_RING: Final = 97
WRITE_ADDRESSES: Final = 98
"""Counters of the writes in the write queue by hash of their address."""
OPERATIONS: Final = 99
LENGTH: Final = 100

# Command tables, one element a command.
COMMAND_TICKS: Final = 136
"""Ticks on the bus."""
COMMAND_BUS: Final = COMMAND_TICKS + NUM_COMMANDS
"""ROW_BUS or COLUMN_BUS."""
COMMAND_DEEP: Final = COMMAND_BUS + NUM_COMMANDS
"""1 if a constraint below the scope holds the command back."""
COMMAND_REACH: Final = COMMAND_DEEP + NUM_COMMANDS
"""Bit mask of the kinds whose ticks issuing the command changes at other banks than its own; REACHES_ACCESS besides."""
REACHES_ACCESS: Final = 8
"""Bit of commands that change the ticks of accesses anywhere."""
FIRST_OPERATION: Final = COMMAND_REACH + NUM_COMMANDS
"""First operation of each command, and the end of the last one's: NUM_COMMANDS + 1 elements."""
FIRST_RECORD: Final = FIRST_OPERATION + NUM_COMMANDS + 1

WINDOW: Final = 4
"""Commands a windowed constraint looks back; the four-activate window is the only one the standards have."""

# Fields of a scope. The first NUM_COMMANDS are the earliest ticks of commands as far as constraints at the scope or
# above tell; RDA and WRA share those of RD and WR.
OPEN_BANKS: Final = NUM_COMMANDS
ACTIVE_BANKS: Final = NUM_COMMANDS + 1
ACT_RING: Final = NUM_COMMANDS + 2
"""Ticks of the newest ACTs as a ring; after WINDOW elements the place of the oldest."""
REF_RING: Final = ACT_RING + WINDOW + 1
"""The same for REFpb."""
FIRST_BANK: Final = REF_RING + WINDOW + 1
SCOPE_DUE: Final = FIRST_BANK + 1
"""All-bank refresh: tick at which the scope's next is due."""
LEVEL_DONE: Final = SCOPE_DUE + 1
"""Rotating refresh: banks done in this round, by stack level; then the first ticks of the next round."""
MOST_STACK_LEVELS: Final = 16
LEVEL_FREE: Final = LEVEL_DONE + MOST_STACK_LEVELS
STACKS: Final = LEVEL_FREE + MOST_STACK_LEVELS
"""Earliest ticks of accesses by stack level (the nodes of level Sid): STACK_FIELDS elements each."""
STACK_FIELDS: Final = 2
"""Of RD, then of WR."""
SCOPE_FIELDS: Final = STACKS + STACK_FIELDS * MOST_STACK_LEVELS

# Fields of a bank. The first NUM_COMMANDS are earliest ticks by constraints below the scope.
ROW: Final = NUM_COMMANDS
ACTIVE: Final = NUM_COMMANDS + 1
"""Requests of this bank in the active buffer."""
ACCESSES: Final = NUM_COMMANDS + 2
"""Column commands since the row was opened."""
INJECTED: Final = NUM_COMMANDS + 3
"""1 while a precharge that the row policy asked for is under way."""
SCOPE: Final = NUM_COMMANDS + 4
NUMBER: Final = NUM_COMMANDS + 5
STACK: Final = NUM_COMMANDS + 6
"""Offset of the earliest ticks of accesses in the bank's stack level."""
QUEUE: Final = NUM_COMMANDS + 7
"""The read queue's part of the bank, five fields; the write queue's follows."""
HEAD: Final = 0
TAIL: Final = 1
HIT: Final = 2
"""Oldest request to the open row."""
MISS: Final = 3
"""Oldest request that needs another row opened; the head while the bank is closed."""
HIT_PLACE: Final = 4
"""Index of the bank in the queue's COLUMN list, NONE if it is not there."""
MISS_KIND: Final = 5
"""Kind of the other list that the bank is in: ACTIVATE, PRECHARGE or NO_KIND."""
MISS_PLACE: Final = 6
QUEUE_FIELDS: Final = 7
BANK_FIELDS: Final = QUEUE + 2 * QUEUE_FIELDS

# Fields of a slot: a request now in the controller.
ID: Final = 0
"""Number of the request: its row in the request table and those of all tables before."""
BANK: Final = 1
TARGET_ROW: Final = 2
ADDRESS: Final = 3
ARRIVE: Final = 4
NEXT: Final = 5
PREVIOUS: Final = 6
FLAGS: Final = 7
REPORT: Final = 8
"""Row of the outcome table."""
SLOT_FIELDS: Final = 9
IS_WRITE: Final = 1
CLASSIFIED: Final = 2
"""Flag: its row hit, miss or conflict has been counted."""

# Fields of an element of the priority ring.
FINAL: Final = 0
TARGET: Final = 1
"""Bank, or scope for commands to all banks."""
PRIORITY_FIELDS: Final = 2

# Fields of an operation: what issuing a command does to earliest ticks.
EFFECT: Final = 0
TO_BANK: Final = 0
TO_SCOPE: Final = 1
TO_NODE: Final = 2
TO_ALL_SCOPES: Final = 3
TO_OTHER_SCOPES: Final = 4
TO_SIBLINGS: Final = 5
TO_SCOPE_WINDOW: Final = 6
TO_STACK: Final = 7
TO_OTHER_STACKS: Final = 8
HELD: Final = 1
"""The command that is held back."""
TICKS: Final = 2
SIZE: Final = 3
"""Banks of the node."""
PARENT: Final = 4
"""Banks of the node's parent."""
OPERATION_FIELDS: Final = 5

ADDRESS_COUNTERS: Final = 1024

# Columns of the request table, int64[T, REQUEST_COLUMNS]: requests in order, of which earlier ones may be gone already.
REQUEST_TICK: Final = 0
"""Earliest tick."""
REQUEST_ADDRESS: Final = 1
REQUEST_FLAGS: Final = 2
"""1 = write, 2 = waits until no earlier read is outstanding."""
REQUEST_BANK: Final = 3
"""Flat bank number."""
REQUEST_ROW: Final = 4
REQUEST_REPORT: Final = 5
"""Row of the outcome table."""
REQUEST_COLUMNS: Final = 6
WAITS: Final = 2

# Columns of the outcome table, int64[N, OUTCOME_COLUMNS], no rows = do not report. Requests that share a row leave the
# latest of their ticks; a row without outcome holds NONE.
ARRIVE_TICK: Final = 0
"""Tick of acceptance."""
DEPART_TICK: Final = 1
"""Tick of the last data of a read, of the command of a write."""
DONE_TICK: Final = 2
"""Tick at which the requester is told."""
OUTCOME_COLUMNS: Final = 3

# Columns of the command record, int64[M, RECORD_COLUMNS]; no rows = do not record.
RECORD_TICK: Final = 0
RECORD_COMMAND: Final = 1
RECORD_REQUEST: Final = 2
"""Number of the request; NONE for refresh and row policy."""
RECORD_TARGET: Final = 3
"""Flat bank number, or number of the scope for commands to all banks."""
RECORD_COLUMNS: Final = 4

# Status of a run.
REACHED: Final = 0
"""The tick asked for is done, or all requests are."""
RECORD_FULL: Final = 1
DEADLOCK: Final = 2
OVERFLOW: Final = 3
"""The priority queue overflowed."""
RUNNING: Final = 4
TABLE_DONE: Final = 5
"""The last request of the table has been accepted and another table is to follow."""
