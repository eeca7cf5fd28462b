"""vAttention: contiguous virtual KV buffers whose physical memory is mapped group by group as requests grow.

A worker reserves 2 * layers virtual tensors, each with a slot per request; before an iteration every live request needs
ceil(tokens / tokens_per_group) groups in each tensor. Mapping can be hidden behind the iteration before it; freed requests leave
their groups mapped for the next one in the slot (deferred reclamation), and an idle slot can be mapped ahead (eager allocation).
Source: vAttention (arXiv 2405.04437 v3, ASPLOS'25), Secs. 5 and 6.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tiergarten.accelerators.paging.cuda_vmm import VATTENTION_2M, VATTENTION_SMALL, HandleCosts
from tiergarten.sim.errors import InputError, Problem


@dataclass(frozen=True)
class KvShape:
    """KV cache of a model on one of its workers."""

    layers: int
    kv_heads: int
    head_dim: int
    workers: int = 1
    """Tensor parallelism; KV heads are split among workers."""
    element_bytes: int = 2

    def __post_init__(self) -> None:
        problems = [Problem(f"must be above zero, got {v}", path=f"kv.{k}") for k, v in vars(self).items() if v <= 0]
        if not problems and self.kv_heads % self.workers:
            problems.append(
                Problem(f"{self.kv_heads} heads do not split among {self.workers} workers", path="kv.workers")
            )
        if problems:
            raise InputError(problems)

    @property
    def tensors(self) -> int:
        """K and V of every layer."""
        return 2 * self.layers

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in one tensor of one worker."""
        return self.kv_heads // self.workers * self.head_dim * self.element_bytes

    @property
    def model_token_bytes(self) -> int:
        """Bytes of one token over all layers and workers."""
        return self.token_bytes * self.tensors * self.workers


YI_6B = KvShape(layers=32, kv_heads=4, head_dim=128)
LLAMA_3_8B_TP2 = KvShape(layers=32, kv_heads=8, head_dim=128, workers=2)
YI_34B_TP2 = KvShape(layers=60, kv_heads=8, head_dim=128, workers=2)


@dataclass(frozen=True)
class PageGroups:
    """Physical memory in groups of one size, for one worker."""

    kv: KvShape
    group_bytes: int
    costs: HandleCosts | None = None
    """None = the paper's: 40 us for 2 MiB, 9 us below."""

    def __post_init__(self) -> None:
        problems = []
        if self.group_bytes <= 0 or self.group_bytes & (self.group_bytes - 1):
            problems.append(Problem(f"must be a power of two, got {self.group_bytes}", path="group_bytes"))
        elif self.group_bytes < self.kv.token_bytes:
            message = f"a group of {self.group_bytes} B does not hold one token of {self.kv.token_bytes} B"
            problems.append(Problem(message, path="group_bytes"))
        if problems:
            raise InputError(problems)

    @property
    def handle_costs(self) -> HandleCosts:
        return self.costs or (VATTENTION_2M if self.group_bytes >= 2 << 20 else VATTENTION_SMALL)

    @property
    def tokens_per_group(self) -> int:
        """Tokens of one tensor that a group holds: group / (heads of the worker * head dimension * element)."""
        return self.group_bytes // self.kv.token_bytes

    def groups(self, tokens: int) -> int:
        """Groups that a request of `tokens` needs on a worker, over all tensors."""
        return self.kv.tensors * -(-tokens // self.tokens_per_group)

    def request_bytes(self, tokens: int) -> int:
        """Physical memory of a request on a worker."""
        return self.groups(tokens) * self.group_bytes

    def waste_bytes(self, tokens: int) -> int:
        """Mapped but unused bytes of a request on a worker."""
        return self.request_bytes(tokens) - tokens * self.kv.token_bytes * self.kv.tensors

    def worst_waste_bytes(self) -> int:
        """Upper bound of a request's waste over all workers: one group per tensor (the paper's figure)."""
        return self.kv.tensors * self.group_bytes * self.kv.workers

    def virtual_bytes(self, max_tokens: int, max_batch: int) -> tuple[int, int, int]:
        """Virtual memory of one request in one tensor, of all requests in one tensor, and of the worker."""
        one = max_tokens * self.kv.token_bytes
        return one, one * max_batch, one * max_batch * self.kv.tensors

    def largest_batch(self, kv_bytes: int, tokens: list[int]) -> int:
        """How many of the requests, taken in order and cyclically, fit a worker's `kv_bytes` at once."""
        if not tokens or min(tokens) <= 0:
            raise InputError(Problem("needs at least one request, each of one token or more", path="tokens"))
        batch, used = 0, 0
        while used + (size := self.request_bytes(tokens[batch % len(tokens)])) <= kv_bytes:
            used += size
            batch += 1
        return batch

    def map_bytes_per_s(self) -> float:
        """Rate at which one thread maps memory."""
        return self.group_bytes * 1e12 / self.handle_costs.grow_ps(1, self.group_bytes)


@dataclass(frozen=True)
class VAttentionPolicy:
    """What hides or saves mapping calls; the defaults are the paper's."""

    overlapped: bool = True
    """Map what iteration i needs during iteration i - 1."""
    deferred_reclamation: bool = True
    eager_slots: int = 1
    """Idle slots that get their first group ahead."""
    reclaim_below: float = 0.10
    """Cached groups are unmapped when free memory falls below this share."""


@dataclass
class Slot:
    """One request's place in every virtual tensor."""

    tokens: int = 0
    """0 = idle."""
    mapped: int = 0
    """Groups mapped in each tensor."""


@dataclass
class Growth:
    """Mapping work that one iteration needs on a worker."""

    map_calls: int = 0
    unmap_calls: int = 0

    def duration_ps(self, groups: PageGroups) -> int:
        return groups.handle_costs.grow_ps(self.map_calls, groups.group_bytes) + groups.handle_costs.shrink_ps(
            self.unmap_calls
        )


@dataclass
class VAttention:
    """The allocator of one worker. Invariant: mapped groups times group size never exceed `kv_bytes`."""

    groups: PageGroups
    kv_bytes: int
    max_batch: int
    policy: VAttentionPolicy = field(default_factory=VAttentionPolicy)
    slots: list[Slot] = field(init=False)

    def __post_init__(self) -> None:
        if self.max_batch <= 0 or self.kv_bytes < self.groups.kv.tensors * self.groups.group_bytes:
            message = "needs a batch of one or more and memory for one group per tensor"
            raise InputError(Problem(message, path="vattention"))
        self.slots = [Slot() for _ in range(self.max_batch)]

    @property
    def mapped_bytes(self) -> int:
        return sum(slot.mapped for slot in self.slots) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        """One group in every tensor."""
        return self.groups.kv.tensors * self.groups.group_bytes

    def admit(self, tokens: int) -> int | None:
        """Give a new request a slot, the idle one with the most mapped groups first; None if none or no memory for it."""
        idle = [index for index, slot in enumerate(self.slots) if slot.tokens == 0]
        if not idle or tokens <= 0:
            return None
        index = max(idle, key=lambda i: (self.slots[i].mapped, -i))
        needed = -(-tokens // self.groups.tokens_per_group) - self.slots[index].mapped
        cached = sum(self.slots[i].mapped for i in idle if i != index)
        free = self.kv_bytes // self._row_bytes - sum(slot.mapped for slot in self.slots)
        if needed > free + cached:
            return None
        self.slots[index].tokens = tokens
        return index

    def finish(self, index: int) -> int:
        """The request in a slot is done. Returns unmap calls made now (none with deferred reclamation)."""
        slot = self.slots[index]
        slot.tokens = 0
        if self.policy.deferred_reclamation:
            return 0
        calls, slot.mapped = slot.mapped * self.groups.kv.tensors, 0
        return calls

    def prepare(self) -> Growth:
        """Map what every live request needs for its present tokens; raises InputError if memory runs out."""
        growth = Growth()
        for slot in self.slots:
            if slot.tokens:
                self._grow(slot, -(-slot.tokens // self.groups.tokens_per_group), growth)
        eager = [slot for slot in self.slots if slot.tokens == 0 and slot.mapped == 0][: self.policy.eager_slots]
        for slot in eager:
            if self._free_rows() > 0 and self.policy.deferred_reclamation:
                self._grow(slot, 1, growth)
        self._reclaim(growth)
        return growth

    def step(self) -> Growth:
        """One decode iteration: every live request grows by a token, then `prepare`."""
        for slot in self.slots:
            if slot.tokens:
                slot.tokens += 1
        return self.prepare()

    def _free_rows(self) -> int:
        return self.kv_bytes // self._row_bytes - sum(slot.mapped for slot in self.slots)

    def _grow(self, slot: Slot, rows: int, growth: Growth) -> None:
        while slot.mapped < rows:
            if self._free_rows() == 0 and not self._unmap_idle_row(growth):
                raise InputError(
                    Problem(f"{len(self.slots)} slots need more than {self.kv_bytes} B of KV memory", path="kv_bytes")
                )
            slot.mapped += 1
            growth.map_calls += self.groups.kv.tensors

    def _unmap_idle_row(self, growth: Growth) -> bool:
        for slot in self.slots:
            if slot.tokens == 0 and slot.mapped > 0:
                slot.mapped -= 1
                growth.unmap_calls += self.groups.kv.tensors
                return True
        return False

    def _reclaim(self, growth: Growth) -> None:
        low = self.policy.reclaim_below * (self.kv_bytes // self._row_bytes)
        while self._free_rows() < low and any(s.tokens == 0 and s.mapped > self.policy.eager_slots for s in self.slots):
            idle = max((s for s in self.slots if s.tokens == 0), key=lambda s: s.mapped)
            idle.mapped -= 1
            growth.unmap_calls += self.groups.kv.tensors


def visible_iterations_ps(compute_ps: list[int], mapping_ps: list[int], overlapped: bool) -> np.ndarray:
    """Wall time of each iteration, int64[N].

    Synchronous mapping precedes the iteration that needs it. Overlapped mapping for iteration i runs beside iteration i - 1 and
    delays iteration i only by what is left when that one ends; the first iteration has nothing to hide behind.
    """
    compute, mapping = np.asarray(compute_ps, np.int64), np.asarray(mapping_ps, np.int64)
    if not overlapped:
        return compute + mapping
    hidden = np.concatenate([[0], compute[:-1]])
    return compute + np.maximum(mapping - hidden, 0)


class GrowthTimeline(NamedTuple):
    """What each iteration needs, int64[iterations]."""

    mapping_ps: np.ndarray
    """Mapping work before it."""
    mapped_bytes: np.ndarray
    """Memory mapped while it runs, on a worker."""


def growth_timeline(allocator: VAttention, prompts: list[int], iterations: int) -> GrowthTimeline:
    """Decode a batch from its prompts. Iteration 0 maps the prompts, each further one adds a token to every request."""
    for tokens in prompts:
        if allocator.admit(tokens) is None:
            message = f"{len(prompts)} requests do not fit {allocator.kv_bytes} B in {allocator.max_batch} slots"
            raise InputError(Problem(message, path="prompts"))
    mapping, mapped = np.zeros(iterations, np.int64), np.zeros(iterations, np.int64)
    for iteration in range(iterations):
        growth = allocator.step() if iteration else allocator.prepare()
        mapping[iteration] = growth.duration_ps(allocator.groups)
        mapped[iteration] = allocator.mapped_bytes
    return GrowthTimeline(mapping, mapped)
