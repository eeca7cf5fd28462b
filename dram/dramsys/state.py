"""Inputs and state of the controller kernel as tuples of integers and arrays. Letters: T requests, B banks, G bank groups."""

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.dramsys.design import ControllerDesign
from tiergarten.dram.dramsys.part import Part
from tiergarten.dram.dramsys.semantics import Semantics

Int = NDArray[np.int64]

NEVER: Final = 2**62
"""A clock cycle that does not come."""
LONG_AGO: Final = -(2**40)
"""A clock cycle so early that it constrains nothing."""
NONE: Final = -1
"""No request, no row, no command."""


class Command(IntEnum):
    """Commands in the order of the counters."""

    ACT = 0
    PRE = 1
    RD = 2
    RDA = 3
    WR = 4
    WRA = 5
    PREAB = 6
    REFAB = 7


NUM_COMMANDS: Final = len(Command)


class Timing(NamedTuple):
    """Distances between commands in clock cycles, resolved from a part's timings."""

    act_to_act_same_bank: int
    act_to_act_same_group: int
    act_to_act: int
    four_activates: int
    act_to_pre: int
    act_to_column: int
    act_to_refresh: int
    pre_to_act: int
    column_to_column: int
    column_to_column_same_group: int
    read_to_write: int
    write_to_read: int
    write_to_read_same_group: int
    read_to_pre: int
    write_to_pre: int
    read_to_data_end: int
    write_to_data_end: int
    refresh_to_act: int
    refresh_interval: int
    num_bank_groups: int


def resolve_timing(part: Part, semantics: Semantics) -> Timing:
    """The distances that the kernel checks. Source: JESD79-3F and JESD79-4B, as tabulated in DRAMSys's checkers."""
    t = part.timing
    return Timing(
        act_to_act_same_bank=t.nRC if semantics.keeps_row_cycle or part.num_bank_groups == 1 else t.nRCD,
        act_to_act_same_group=t.nRRDL,
        act_to_act=t.nRRDS,
        four_activates=t.nFAW,
        act_to_pre=t.nRAS,
        act_to_column=t.nRCD,
        act_to_refresh=t.nRC,
        pre_to_act=t.nRP,
        column_to_column=t.nCCDS,
        column_to_column_same_group=t.nCCDL,
        read_to_write=t.nRTW,
        write_to_read=t.nCWL + t.nBL + t.nWTRS,
        write_to_read_same_group=t.nCWL + t.nBL + t.nWTRL,
        read_to_pre=t.nRTP,
        write_to_pre=t.nCWL + t.nBL + t.nWR,
        read_to_data_end=t.nCL + t.nBL,
        write_to_data_end=t.nCWL + t.nBL,
        refresh_to_act=t.nRFC,
        refresh_interval=t.nREFI,
        num_bank_groups=part.num_bank_groups,
    )


class Policy(NamedTuple):
    """A design and the semantics of the front end, as integers."""

    page_policy: int
    scheduler: int
    scheduler_buffer: int
    request_buffer_size: int
    response_queue: int
    refresh_policy: int
    refresh_max_postponed: int
    refresh_max_pulled_in: int
    arbiter: int
    max_active_transactions: int
    request_delay: int
    player_gap: int
    queue_gap: int
    response_gap: int
    slot_delay: int
    blocks_late: int


def resolve_policy(design: ControllerDesign, semantics: Semantics) -> Policy:
    """The kernel's view of a design."""
    return Policy(
        int(design.page_policy),
        int(design.scheduler),
        int(design.scheduler_buffer),
        design.request_buffer_size,
        int(design.response_queue),
        int(design.refresh_policy),
        design.refresh_max_postponed,
        design.refresh_max_pulled_in,
        int(design.arbiter),
        design.max_active_transactions,
        semantics.request_delay_cycles,
        semantics.player_gap_cycles,
        semantics.queue_gap_cycles,
        semantics.response_gap_cycles,
        semantics.slot_delay_cycles,
        int(semantics.refresh_blocks_late),
    )


class TraceField(IntEnum):
    """Columns of the decoded trace, int64[T, 5]."""

    SENDABLE = 0
    """First cycle at which the initiator may send the request; not decreasing."""
    BURST = 1
    """Address divided by the burst size; row hits to equal bursts keep their order when grouped by kind."""
    BANK = 2
    """0 <= bank < B; banks of a group are neighbours."""
    ROW = 3
    IS_WRITE = 4


class Scalar(IntEnum):
    """Places in State.scalars."""

    NOW = 0
    """Next cycle that has not been simulated."""
    NEXT_REQUEST = 1
    """First request that the controller has not stored."""
    ARRIVAL = 2
    """Cycle at which NEXT_REQUEST is at the controller; NEVER while it waits for a transaction slot."""
    FREED = 3
    """Cycle at which the initiator was freed by its previous request."""
    END_REQUEST = 4
    """Cycle at which the controller's acceptance of its previous request was known outside."""
    QUEUED = 5
    """Requests in the scheduler buffer."""
    QUEUED_WRITES = 6
    LAST_BANK = 7
    """Bank of the request stored last."""
    LAST_IS_WRITE = 8
    """Kind of the last column command."""
    NUM_RESPONDED = 9
    """Responses whose time is known."""
    NEXT_IN_ORDER = 10
    """First request whose turn in an in-order response queue has not come."""
    LAST_FROM_CONTROLLER = 11
    """Cycle of the last response that left the controller."""
    LAST_RESPONSE = 12
    """Cycle of the last response at the initiator."""
    NEXT_TO_INITIATOR = 13
    """First request whose turn in a reordering arbiter has not come."""
    REFRESH_DUE = 14
    REFRESH_BALANCE = 15
    """Postponed minus pulled-in refreshes, as the refresh state machine counts them."""
    REFRESH_PULLING = 16
    REFRESH_COMMAND = 17
    """PREAB, REFAB or NONE."""
    BLOCKED = 18
    """1 while a forced refresh keeps every bank from proposing commands."""
    NUM_OPEN = 19
    """Banks with an open row."""
    NEXT_PREAB = 20
    NEXT_REFAB = 21
    ACTIVE_SINCE = 22
    """Start of the current period in which some bank is active, NONE before the first."""
    ACTIVE_UNTIL = 23
    """Latest known end of activity within that period."""
    ACTIVE_CYCLES = 24
    """Cycles of earlier periods."""
    NUM_PRECHARGES = 25
    """Banks that went from open to precharged, for whatever cause."""
    NUM_LOGGED = 26
    NUM_HITS = 27
    """Column commands that needed no activation of their own."""
    OLDEST_ACTIVATE = 28
    """Place in the ring of activations to overwrite next."""
    REFRESHED_UNTIL = 29
    """End of the last refresh."""
    LAST_COMMAND = 30
    """Cycle of the last command."""


COUNTS: Final = len(Scalar)
"""First place in State.scalars of the counters of issued commands, by Command."""
ACTIVATES: Final = COUNTS + NUM_COMMANDS
"""First place in State.scalars of the cycles of the last four activations, a ring."""


class BankField(IntEnum):
    """Columns of State.banks."""

    HEAD = 0
    """Oldest request of the bank's queue, NONE if empty."""
    TAIL = 1
    LENGTH = 2
    OPEN_ROW = 3
    """NONE if precharged."""
    NUM_ROW_HITS = 4
    """Queued requests that hit the open row."""
    FIRST_ROW_HIT = 5
    """The oldest of them."""
    ROW_USED = 6
    """1 once a column command has used the open row."""
    PROPOSAL = 7
    """Command that the bank proposes, NONE if it has no request."""
    PROPOSER = 8
    """Request that it proposes it for."""
    BANK_READY = 9
    """Cycle from which the bank itself allows its proposal."""
    NEXT_ACT = 10
    """Earliest cycle of the bank's next ACT; likewise the three below."""
    NEXT_PRE = 11
    NEXT_COLUMN = 12
    NEXT_RDA = 13
    """Extra limit for a read with auto-precharge after a write."""
    OPENED_AT = 14
    """Cycle of the bank's last activation."""
    CLOSED_AT = 15
    """Cycle at which its row was or will be precharged."""
    OPEN_CYCLES = 16
    """Cycles that rows were open until CLOSED_AT, refreshes not counted."""
    GROUP = 17
    """Bank group."""
    CLASS = 18
    """Row of State.class_ready that limits the proposal."""


class FlightField(IntEnum):
    """Columns of State.flights: what is known of each request."""

    LINK_NEXT = 0
    """Younger neighbour in the bank's queue."""
    LINK_PREVIOUS = 1
    """Older neighbour."""
    DATA_END = 2
    """Cycle at which the data has been transferred, NEVER before the column command."""
    FROM_CONTROLLER = 3
    """Cycle of the response at the controller, NEVER while unknown."""
    RESPONSE = 4
    """Cycle of the response at the initiator, NEVER while unknown."""
    RESPONSE_ORDER = 5
    """Not of request t but of the t-th response: its cycle at the initiator."""
    INITIATOR_FREE = 6
    """Cycle from which the initiator was free to send the request."""


class State(NamedTuple):
    """Everything that changes. Few wide arrays, because every array handed to a compiled function costs time."""

    scalars: Int
    """int64[len(Scalar) + 8 + 4], by Scalar, then counters from COUNTS, then activations from ACTIVATES."""
    banks: Int
    """int64[B, 19], by BankField. Queues are doubly linked lists through request numbers."""
    flights: Int
    """int64[T, 7], by FlightField."""
    class_ready: Int
    """int64[4, G], cycle from which group and rank allow an ACT, RD, WR, PRE."""
    log: Int
    """int64[L, 4], cycle, command, bank, request of issued commands; L = 0 records nothing."""


def initial_state(num_requests: int, part: Part, num_log_rows: int) -> State:
    """The state before cycle 0: empty queues, all banks precharged."""
    scalars = np.zeros(ACTIVATES + 4, np.int64)
    scalars[Scalar.ARRIVAL] = NONE  # computed at the first call
    scalars[Scalar.END_REQUEST] = -1
    scalars[Scalar.LAST_FROM_CONTROLLER] = LONG_AGO
    scalars[Scalar.LAST_RESPONSE] = LONG_AGO
    scalars[Scalar.REFRESH_DUE] = part.timing.nREFI
    scalars[Scalar.REFRESH_COMMAND] = NONE
    scalars[Scalar.ACTIVE_SINCE] = NONE
    scalars[ACTIVATES:] = LONG_AGO
    banks = np.zeros((part.num_banks, len(BankField)), np.int64)
    for column in (BankField.HEAD, BankField.TAIL, BankField.OPEN_ROW, BankField.FIRST_ROW_HIT):
        banks[:, column] = NONE
    banks[:, BankField.PROPOSAL] = NONE
    banks[:, BankField.PROPOSER] = NONE
    banks[:, BankField.GROUP] = np.arange(part.num_banks) // part.banks_per_group
    flights = np.full((num_requests, len(FlightField)), NEVER, np.int64)
    return State(
        scalars=scalars,
        banks=banks,
        flights=flights,
        class_ready=np.zeros((4, part.num_bank_groups), np.int64),
        log=np.zeros((num_log_rows, 4), np.int64),
    )
