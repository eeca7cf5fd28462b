"""A slow, obvious simulator of the DRAMSys controller space, written from the description of its parts.

It ticks every clock cycle, keeps plain lists, recomputes every timing distance from the full command history and knows
nothing of the kernel's recurrences and caches. Only the public data types are shared with the implementation.
"""

from dataclasses import dataclass, field

from tiergarten.dram.dramsys import (
    Arbiter,
    ControllerDesign,
    PagePolicy,
    Part,
    RefreshPolicy,
    ResponseQueue,
    Scheduler,
    SchedulerBuffer,
    Semantics,
)

READS, WRITES, ACTS, PRES = ("RD", "RDA"), ("WR", "WRA"), ("ACT",), ("PRE",)


@dataclass
class Request:
    number: int
    sendable: int
    burst: int
    bank: int
    row: int
    is_write: bool
    data_end: int | None = None
    response: int | None = None


@dataclass
class Oracle:
    part: Part
    design: ControllerDesign
    semantics: Semantics
    requests: list[Request]
    history: list[tuple[int, str, int, int]] = field(default_factory=list)
    """(cycle, command, bank, request)."""

    def __post_init__(self) -> None:
        banks = self.part.num_banks
        self.queues: list[list[Request]] = [[] for _ in range(banks)]
        self.open_rows: list[int | None] = [None] * banks
        self.last_bank = 0
        self.last_is_write = False
        # refresh
        self.due = self.part.timing.nREFI
        self.balance = 0
        self.pulling = False
        self.blocked = False
        # front end
        self.to_send = 0
        self.may_send_from = 0
        self.offered: Request | None = None  # sent, not accepted by the arbiter
        self.active = 0
        self.slots_back: list[int] = []
        self.channel: list[Request] = []  # accepted by a queueing arbiter
        self.travelling: tuple[int, Request] | None = None  # arrival at the controller
        self.waiting: Request | None = None
        self.acknowledged_at = -1
        self.acknowledgement_due: int | None = None
        self.channel_busy = False
        # responses
        self.done: list[Request] = []
        self.in_arbiter: list[Request] = []
        self.last_handed = self.last_delivered = -(10**9)
        self.next_in_order = self.next_delivered = 0

    # ---- timing -------------------------------------------------------------------------------------------------

    def distance(self, before: str, then: str, same_bank: bool, same_group: bool) -> int | None:
        """Cycles from one command to another, None if they do not constrain each other."""
        t = self.part.timing
        write_recovery = t.nCWL + t.nBL + t.nWR
        if before == "REFAB":
            return t.nRFC if then in ("ACT", "REFAB") else None
        if before == "PREAB":
            return t.nRP if then in ("ACT", "REFAB") else None
        if then == "REFAB":
            return {"ACT": t.nRC, "PRE": t.nRP, "RDA": t.nRTP + t.nRP, "WRA": write_recovery + t.nRP}.get(before)
        if then == "PREAB":
            return {"ACT": t.nRAS, "RD": t.nRTP, "RDA": t.nRTP, "WR": write_recovery, "WRA": write_recovery}.get(before)
        if before in ACTS:
            if then in ACTS:
                if same_bank:
                    loose = not self.semantics.keeps_row_cycle and self.part.num_bank_groups > 1
                    return max(t.nRCD if loose else t.nRC, t.nRRDL)
                return t.nRRDL if same_group else t.nRRDS
            if same_bank:
                return t.nRAS if then in PRES else t.nRCD
            return None
        if before in PRES:
            return t.nRP if then in ACTS and same_bank else None
        if then in ACTS:
            return {"RDA": t.nRTP + t.nRP, "WRA": write_recovery + t.nRP}.get(before) if same_bank else None
        if then in PRES:
            return {"RD": t.nRTP, "WR": write_recovery}.get(before) if same_bank else None
        column_gap = t.nCCDL if same_group else t.nCCDS
        if before in READS:
            return t.nRTW if then in WRITES else column_gap
        if then in WRITES:
            return column_gap
        turn = t.nCWL + t.nBL + (t.nWTRL if same_group else t.nWTRS)
        if then == "RDA" and same_bank:
            turn = max(turn, write_recovery - t.nRTP)
        return turn

    def earliest(self, command: str, bank: int) -> int:
        """First cycle at which the whole history allows the command."""
        first = 0
        per_group = self.part.banks_per_group
        for cycle, before, other, _ in self.history:
            distance = self.distance(before, command, other == bank, other // per_group == bank // per_group)
            if distance is not None:
                first = max(first, cycle + distance)
            first = max(first, cycle + 1)
        if command == "ACT":
            activations = [cycle for cycle, before, _, _ in self.history if before == "ACT"]
            if len(activations) >= 4:
                first = max(first, activations[-4] + self.part.timing.nFAW)
        return first

    # ---- what the banks want -----------------------------------------------------------------------------------------

    def chosen(self, bank: int) -> Request | None:
        queue = self.queues[bank]
        if not queue:
            return None
        hits = [request for request in queue if request.row == self.open_rows[bank]]
        if self.design.scheduler == Scheduler.FIFO or not hits:
            return queue[0]
        if self.design.scheduler == Scheduler.FR_FCFS_GRP:
            for place, hit in enumerate(hits):
                passes = any(older.burst == hit.burst for older in hits[:place])
                if hit.is_write == self.last_is_write and not passes:
                    return hit
        return hits[0]

    def further_hit(self, bank: int) -> bool:
        queue = self.queues[bank]
        if self.design.scheduler == Scheduler.FIFO:
            return len(queue) > 1 and queue[1].row == self.open_rows[bank]
        return sum(request.row == self.open_rows[bank] for request in queue) > 1

    def proposal(self, bank: int) -> tuple[str, Request] | None:
        request = self.chosen(bank)
        if request is None:
            return None
        if self.open_rows[bank] is None:
            return "ACT", request
        if request.row != self.open_rows[bank]:
            return "PRE", request
        closes = {
            PagePolicy.OPEN: False,
            PagePolicy.CLOSED: True,
            PagePolicy.CLOSED_ADAPTIVE: not self.further_hit(bank),
            PagePolicy.OPEN_ADAPTIVE: len(self.queues[bank]) > 1 and not self.further_hit(bank),
        }[self.design.page_policy]
        return ("WR" if request.is_write else "RD") + ("A" if closes else ""), request

    # ---- refresh -----------------------------------------------------------------------------------------------------

    def refresh_command(self, now: int) -> str | None:
        if self.design.refresh_policy == RefreshPolicy.NO_REFRESH or now < self.due:
            return None
        interval = self.part.timing.nREFI
        if now >= self.due + interval:
            self.due += interval
            self.pulling = False
        busy = any(self.queues)
        if self.pulling:
            if not busy:
                return "REFAB"
            self.pulling = False
            self.due += interval
            return None
        if self.balance == self.design.refresh_max_postponed:
            self.blocked = True
        elif busy:
            self.balance += 1
            self.due += interval
            return None
        return "PREAB" if any(row is not None for row in self.open_rows) else "REFAB"

    def refreshed(self) -> None:
        self.blocked = False
        if self.pulling:
            self.balance -= 1
        self.pulling = True
        if self.balance == -self.design.refresh_max_pulled_in:
            self.pulling = False
            self.due += self.part.timing.nREFI

    # ---- front end ---------------------------------------------------------------------------------------------------

    def front(self, now: int) -> None:
        """Everything that initiator and arbiter can do in this cycle."""
        for back in [cycle for cycle in self.slots_back if cycle <= now]:
            self.slots_back.remove(back)
            self.active -= 1
        while True:
            if self.offered is None and self.to_send < len(self.requests):
                request = self.requests[self.to_send]
                if max(self.may_send_from, request.sendable) <= now:
                    self.offered = request
                    self.to_send += 1
            if self.offered is None:
                break
            if self.design.arbiter == Arbiter.SIMPLE:
                if self.travelling is None and self.waiting is None and not self.channel_busy:
                    self.channel_busy = True
                    self.travelling = (now + self.semantics.request_delay_cycles, self.offered)
                break
            if self.active == self.design.max_active_transactions:
                break
            self.active += 1
            self.channel.append(self.offered)
            self.offered = None
            self.may_send_from = now + self.semantics.player_gap_cycles
        if (
            self.channel
            and not self.channel_busy
            and self.acknowledged_at < now
            and self.travelling is None
            and self.waiting is None
        ):
            self.channel_busy = True
            self.travelling = (now + self.semantics.request_delay_cycles, self.channel.pop(0))

    def acknowledge(self, now: int) -> None:
        """The controller's acceptance has become known."""
        if self.acknowledgement_due == now:
            self.acknowledgement_due = None
            self.channel_busy = False
            if self.design.arbiter == Arbiter.SIMPLE:
                self.offered = None
                self.may_send_from = now + self.semantics.player_gap_cycles

    def has_space(self) -> bool:
        size = self.design.request_buffer_size
        stored = [request for queue in self.queues for request in queue]
        if self.design.scheduler_buffer == SchedulerBuffer.BANKWISE:
            return len(self.queues[self.last_bank]) < size
        if self.design.scheduler_buffer == SchedulerBuffer.SHARED:
            return len(stored) < size
        writes = sum(request.is_write for request in stored)
        return writes < size and len(stored) - writes < size

    def accept(self, now: int, known_at: int) -> None:
        if self.waiting is not None and self.has_space():
            self.queues[self.waiting.bank].append(self.waiting)
            self.last_bank = self.waiting.bank
            self.waiting = None
            self.acknowledged_at = self.acknowledgement_due = known_at

    def respond(self, now: int) -> None:
        """Hand finished requests to the arbiter and from there to the initiator."""
        simple = self.design.arbiter == Arbiter.SIMPLE
        gap = 1 if simple else self.semantics.queue_gap_cycles
        while True:
            ready = [request for request in self.done if request.data_end is not None and request.data_end <= now]
            if self.design.response_queue == ResponseQueue.REORDER:
                ready = [request for request in ready if request.number == self.next_in_order]
            if not ready or now < self.last_handed + gap:
                break
            self.done.remove(ready[0])
            self.in_arbiter.append(ready[0])
            self.last_handed = now
            self.next_in_order += 1
        gap = 1 if simple else self.semantics.response_gap_cycles
        turn = self.in_arbiter
        if self.design.arbiter == Arbiter.REORDER:
            turn = [request for request in turn if request.number == self.next_delivered]
        if turn and now >= self.last_delivered + gap:
            turn[0].response = self.last_delivered = now
            self.in_arbiter.remove(turn[0])
            self.next_delivered += 1
            if not simple:
                self.slots_back.append(now + self.semantics.slot_delay_cycles)

    # ---- the cycle ---------------------------------------------------------------------------------------------------

    def run(self, last_cycle: int) -> None:
        """Tick until every request is answered."""
        for now in range(last_cycle):
            if all(request.response is not None for request in self.requests):
                return
            self.tick(now)
        raise AssertionError("the oracle did not finish")

    def tick(self, now: int) -> None:
        self.respond(now)
        if all(request.response is not None for request in self.requests):
            return
        self.acknowledge(now)
        self.front(now)
        if self.travelling is not None and self.travelling[0] <= now:
            self.waiting, self.travelling = self.travelling[1], None
        self.accept(now, now)
        was_blocked = self.blocked
        refresh = self.refresh_command(now)
        candidates: list[tuple[int, int, str, int]] = []
        if refresh is not None:
            candidates.append((max(now, self.earliest(refresh, -1)), -1, refresh, -1))
        if not self.blocked or (self.semantics.refresh_blocks_late and not was_blocked):
            for bank in range(self.part.num_banks):
                wish = self.proposal(bank)
                if wish is not None:
                    candidates.append((max(now, self.earliest(wish[0], bank)), wish[1].number, wish[0], bank))
        if candidates and min(candidates)[0] == now:
            _, number, command, bank = min(candidates)
            self.issue(now, command, bank, number)
        self.refresh_command(now)
        self.acknowledge(now)
        self.front(now)

    def issue(self, now: int, command: str, bank: int, number: int) -> None:
        self.history.append((now, command, bank, number))
        if command == "REFAB":
            self.refreshed()
        elif command == "PREAB":
            self.open_rows = [None] * self.part.num_banks
        elif command == "ACT":
            self.open_rows[bank] = self.requests[number].row
        elif command == "PRE":
            self.open_rows[bank] = None
        else:
            request = self.requests[number]
            self.queues[bank].remove(request)
            t = self.part.timing
            request.data_end = now + t.nBL + (t.nCWL if request.is_write else t.nCL)
            self.last_is_write = request.is_write
            self.done.append(request)
            if command.endswith("A"):
                self.open_rows[bank] = None
            self.accept(now, now + self.semantics.request_delay_cycles)
