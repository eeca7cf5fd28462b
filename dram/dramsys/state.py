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
    banks_per_group: int


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
        banks_per_group=part.banks_per_group,
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


class Requests(NamedTuple):
    """The trace, decoded."""

    sendable: Int
    """int64[T], first cycle at which the initiator may send the request; not decreasing."""
    burst: Int
    """int64[T], address divided by the burst size; equal bursts of different kind must keep their order."""
    bank: Int
    """int64[T], 0 <= bank < B; banks of a group are neighbours."""
    row: Int
    """int64[T]."""
    is_write: NDArray[np.bool_]
    """bool[T]."""


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
    """Place in State.last_activates to overwrite next."""
    REFRESHED_UNTIL = 29
    """End of the last refresh."""
    LAST_COMMAND = 30
    """Cycle of the last command."""


class State(NamedTuple):
    """Everything that changes. Queues are linked lists per bank, linked through request numbers."""

    scalars: Int
    """int64[len(Scalar)]."""
    counts: Int
    """int64[8], commands issued, by Command."""
    link_next: Int
    """int64[T], younger neighbour in the bank's queue."""
    link_previous: Int
    """int64[T], older neighbour."""
    head: Int
    """int64[B], oldest request of the bank's queue."""
    tail: Int
    """int64[B]."""
    length: Int
    """int64[B]."""
    open_row: Int
    """int64[B], NONE if precharged."""
    num_row_hits: Int
    """int64[B], queued requests that hit the open row."""
    first_row_hit: Int
    """int64[B], the oldest of them."""
    row_used: Int
    """int64[B], 1 once a column command has used the open row."""
    proposal: Int
    """int64[B], command that the bank proposes."""
    proposer: Int
    """int64[B], request that it proposes it for."""
    bank_ready: Int
    """int64[B], cycle from which the bank itself allows its proposal."""
    next_act: Int
    """int64[B]."""
    next_pre: Int
    """int64[B]."""
    next_column: Int
    """int64[B]."""
    next_rda: Int
    """int64[B], extra limit for a read with auto-precharge after a write."""
    class_ready: Int
    """int64[4, G], cycle from which group and rank allow an ACT, RD, WR, PRE."""
    last_activates: Int
    """int64[4], cycles of the last four activations."""
    opened_at: Int
    """int64[B], cycle of the bank's last activation."""
    closed_at: Int
    """int64[B], cycle at which the bank was or will be precharged."""
    open_cycles: Int
    """int64[B], cycles that rows were open until `closed_at`, refreshes not counted."""
    data_end: Int
    """int64[T], cycle at which the data has been transferred, NEVER before the column command."""
    from_controller: Int
    """int64[T], cycle of the response at the controller, NEVER while unknown."""
    response: Int
    """int64[T], cycle of the response at the initiator, NEVER while unknown."""
    response_order: Int
    """int64[T], the known response cycles in order."""
    freed: Int
    """int64[T], cycle from which the initiator was free to send the request."""
    log: Int
    """int64[L, 4], cycle, command, bank, request of issued commands; L = 0 records nothing."""


def initial_state(num_requests: int, part: Part, num_log_rows: int) -> State:
    """The state before cycle 0: empty queues, all banks precharged."""
    banks = part.num_banks

    def per_bank(value: int) -> Int:
        return np.full(banks, value, np.int64)

    def per_request(value: int) -> Int:
        return np.full(num_requests, value, np.int64)

    scalars = np.zeros(len(Scalar), np.int64)
    scalars[Scalar.ARRIVAL] = NONE  # computed at the first call
    scalars[Scalar.END_REQUEST] = -1
    scalars[Scalar.LAST_FROM_CONTROLLER] = -(1 << 40)
    scalars[Scalar.LAST_RESPONSE] = -(1 << 40)
    scalars[Scalar.REFRESH_DUE] = part.timing.nREFI
    scalars[Scalar.REFRESH_COMMAND] = NONE
    scalars[Scalar.ACTIVE_SINCE] = NONE
    return State(
        scalars=scalars,
        counts=np.zeros(NUM_COMMANDS, np.int64),
        link_next=per_request(NONE),
        link_previous=per_request(NONE),
        head=per_bank(NONE),
        tail=per_bank(NONE),
        length=per_bank(0),
        open_row=per_bank(NONE),
        num_row_hits=per_bank(0),
        first_row_hit=per_bank(NONE),
        row_used=per_bank(0),
        proposal=per_bank(NONE),
        proposer=per_bank(NONE),
        bank_ready=per_bank(0),
        next_act=per_bank(0),
        next_pre=per_bank(0),
        next_column=per_bank(0),
        next_rda=per_bank(0),
        class_ready=np.zeros((4, part.num_bank_groups), np.int64),
        last_activates=np.full(4, -(1 << 40), np.int64),
        opened_at=per_bank(0),
        closed_at=per_bank(0),
        open_cycles=per_bank(0),
        data_end=per_request(NEVER),
        from_controller=per_request(NEVER),
        response=per_request(NEVER),
        response_order=per_request(NEVER),
        freed=per_request(0),
        log=np.zeros((num_log_rows, 4), np.int64),
    )
