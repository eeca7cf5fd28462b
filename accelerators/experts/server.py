"""Serving a composition of experts: for every batch run the router, copy the experts that are absent, run each prompt.

The cache beside the device holds router, context and as many experts as fit; an eviction policy picks who leaves. Experts
are read only: one that leaves is dropped, its home copy stays. Letters: P prompts in all.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from simpy.events import Event

from tiergarten.accelerators.experts.model import RunCost
from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.eviction import EvictionPolicy
from tiergarten.sim.placement import Placement
from tiergarten.sim.system import System
from tiergarten.sim.trace import Role

Steps = Generator[Event, Any, Any]


class Order(Enum):
    """When the prompts of a batch run."""

    COPIES_FIRST = "copies-first"
    """All missing experts are copied, then the prompts run one after another (as in the paper)."""
    OVERLAPPED = "overlapped"
    """A prompt runs as soon as its expert is there and the prompt before it is done; later copies go on meanwhile."""


@dataclass(frozen=True)
class ServingPlan:
    """What is served and how; complete before the run."""

    home: str
    cache: str
    """Names of the tiers."""
    num_experts: int
    expert_bytes: int
    router_bytes: int
    context_bytes: int
    router_run: RunCost
    """One run of the router over a whole batch."""
    expert_run: RunCost
    """One run of an expert for one prompt."""
    batch_size: int
    order: Order = Order.COPIES_FIRST
    keep_batch: bool = False
    """An expert that this batch still needs is not evicted for an earlier prompt of the same batch."""


@dataclass
class PromptRecord:
    """What happened to one prompt."""

    prompt: int
    batch: int
    expert: int
    arrival_ps: int
    hit: bool = False
    copy_ps: int = 0
    """Time its own expert was under way."""
    started_ps: int = -1
    first_token_ps: int = -1
    finished_ps: int = -1


@dataclass
class BatchRecord:
    """One batch from its arrival to the end of its last prompt."""

    batch: int
    arrival_ps: int
    routed_ps: int = -1
    copy_ps: int = 0
    """Sum of its copies."""
    copies: int = 0
    busy_ps: int = 0
    """Time the device ran router or experts."""
    finished_ps: int = -1


@dataclass
class ExpertServer:
    """A composition of experts in a run. Owns the placement of its weights; batches come one after another."""

    engine: Engine
    system: System
    placement: Placement
    policy: EvictionPolicy
    plan: ServingPlan
    prompts: list[PromptRecord] = field(default_factory=list)
    batches: list[BatchRecord] = field(default_factory=list)
    _pins: dict[int, int] = field(default_factory=dict)
    _last_run: Event | None = None

    def __post_init__(self) -> None:
        """Put home copies, router and context in their places. TiergartenError if they do not fit."""
        plan = self.plan
        self.placement.add(plan.home, "router", plan.router_bytes, Role.WEIGHT)
        for expert in range(plan.num_experts):
            self.placement.add(plan.home, expert, plan.expert_bytes, Role.WEIGHT)
        self.placement.add(plan.cache, "router", plan.router_bytes, Role.WEIGHT)
        if plan.context_bytes:
            self.placement.add(plan.cache, "context", plan.context_bytes, Role.KV)

    def serve(self, experts: Sequence[int], progress: Callable[[float], None]) -> Steps:
        """The process: serve prompts that ask for `experts` (length P), a batch at a time; tells the share that is done."""
        for first in range(0, len(experts), self.plan.batch_size):
            progress(first / len(experts))
            yield from self._serve_batch(first, experts[first : first + self.plan.batch_size])

    def _serve_batch(self, first: int, experts: Sequence[int]) -> Steps:
        batch = BatchRecord(len(self.batches), self.engine.now_ps)
        self.batches.append(batch)
        records = [PromptRecord(first + i, batch.batch, e, batch.arrival_ps) for i, e in enumerate(experts)]
        self.prompts += records
        yield from self._occupy(self.plan.router_run, -1)
        batch.routed_ps = self.engine.now_ps
        ahead = deque(records if self.plan.keep_batch else ())
        for record in ahead:
            self._pin(record.expert)
        ready: list[PromptRecord] = []
        for record in records:
            if ahead and ahead[0] is record:
                ahead.popleft()
            else:
                self._pin(record.expert)
            yield from self._bring(record, batch, ready, ahead)
            ready.append(record)
            if self.plan.order is Order.OVERLAPPED:
                self._start(ready)
        self._start(ready)
        if self._last_run is not None and not self._last_run.processed:
            yield self._last_run
        batch.finished_ps = self.engine.now_ps

    def _bring(
        self, record: PromptRecord, batch: BatchRecord, ready: list[PromptRecord], ahead: deque[PromptRecord]
    ) -> Steps:
        """Note a hit, or make room and copy the expert in."""
        plan, expert = self.plan, record.expert
        if self.placement.holds(plan.cache, expert):
            record.hit = True
            self.policy.access(expert, record.prompt)
            return
        while self.placement.free_bytes(plan.cache) < plan.expert_bytes:
            victim = self.policy.victim(None, record.prompt)
            if victim is None:
                yield from self._free_one(ready, ahead)
                continue
            self.policy.remove(victim)
            self.placement.remove(plan.cache, victim)
        asked_ps = self.engine.now_ps
        copy = self.system.transfer(plan.home, plan.cache, plan.expert_bytes, role=Role.WEIGHT, owner=record.prompt)
        self.placement.add(plan.cache, expert, plan.expert_bytes, Role.WEIGHT, copy.id)
        self.policy.insert(expert, record.prompt)
        self.policy.pin(expert)
        yield copy
        record.copy_ps = self.engine.now_ps - asked_ps
        batch.copy_ps += record.copy_ps
        batch.copies += 1

    def _free_one(self, ready: list[PromptRecord], ahead: deque[PromptRecord]) -> Steps:
        """Every cached expert is needed: let ready prompts run, else give up the one kept for the latest prompt."""
        self._start(ready)
        if self._last_run is not None and not self._last_run.processed:
            yield self._last_run
        elif ahead:
            self._unpin(ahead.pop().expert)
        else:
            raise DeadlockError(f"{self.plan.cache} cannot hold one expert of {self.plan.expert_bytes} bytes")

    def _start(self, ready: list[PromptRecord]) -> None:
        """Let the prompts run, in order, after those already running."""
        for record in ready:
            self._last_run = self.engine.process(self._run_prompt(record, self._last_run))
        ready.clear()

    def _run_prompt(self, record: PromptRecord, before: Event | None) -> Steps:
        if before is not None and not before.processed:
            yield before
        record.started_ps = self.engine.now_ps
        record.first_token_ps = yield from self._occupy(self.plan.expert_run, record.prompt)
        record.finished_ps = self.engine.now_ps
        self._unpin(record.expert)

    def _occupy(self, cost: RunCost, owner: int) -> Generator[Event, Any, int]:
        """The device runs a model: each segment takes its computed time, and no less than its memory needs for the bytes.

        Returns the time of the first token.
        """
        started_ps = self.engine.now_ps
        ends_ps = []
        for segment in cost.segments:
            read = self.system.read(self.plan.cache, segment.read_bytes, Role.WEIGHT, owner)
            yield self.engine.timeout(segment.duration_ps) & read
            ends_ps.append(self.engine.now_ps)
        self.batches[-1].busy_ps += ends_ps[-1] - started_ps
        return ends_ps[0]

    def _pin(self, expert: int) -> None:
        self._pins[expert] = self._pins.get(expert, 0) + 1
        if expert in self.policy:
            self.policy.pin(expert)

    def _unpin(self, expert: int) -> None:
        self._pins[expert] -= 1
        if self._pins[expert] == 0:
            del self._pins[expert]
            if expert in self.policy:
                self.policy.unpin(expert)
