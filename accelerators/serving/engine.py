"""The serving engine: which requests run in which iteration, and what each of them waits for.

Continuous batching (Yu et al., Orca, OSDI 2022) with chunked prefill (Agrawal et al., Sarathi-Serve, OSDI 2024): an iteration
gives every decoding request one token and spends what is left of its token budget on prompts, first come first served.
A request is admitted when the device's memory has room for its whole prompt and answer, so nothing is preempted. Decode
steps between two changes of the batch are one event, and so is every transfer.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np

from tiergarten.accelerators.serving.costs import Chunk, DecodeRun, StepCosts
from tiergarten.accelerators.serving.kv_tiers import Admission, KvTiers
from tiergarten.accelerators.serving.requests import RequestRecords
from tiergarten.sim.engine import Call
from tiergarten.sim.errors import DeadlockError
from tiergarten.sim.prefix import PrefixTree
from tiergarten.sim.system import System
from tiergarten.sim.trace import RequestTrace, Role
from tiergarten.sim.transfer import Cause


@dataclass(frozen=True)
class BatchLimits:
    """How much goes into one iteration."""

    max_requests: int = 256
    """Requests that are admitted at a time."""
    max_tokens: int = 2048
    """Tokens of an iteration: one per decoding request, the rest prefill."""


class DeviceState(Enum):
    """What the device does; its times sum to the elapsed time. Values are the names in the breakdown."""

    PREFILL = "prefill"
    """Iterations that hold at least one prefill chunk."""
    DECODE = "decode"
    WAIT_RELOAD = "stall:reload"
    """Nothing to compute until a reload arrives."""
    WAIT_EVICT = "stall:evict"
    """Nothing to compute until blocks have left the device's memory."""
    IDLE = "no request"


class _Prefill:
    """A request whose prompt is being computed."""

    __slots__ = ("admission", "done", "left")

    def __init__(self, admission: Admission, done: int, left: int):
        self.admission = admission
        self.done = done
        self.left = left


class ServingEngine:
    """Serves a request trace on one device (or several that work as one) and fills `records`."""

    def __init__(
        self,
        system: System,
        trace: RequestTrace,
        tree: PrefixTree | None,
        tiers: KvTiers,
        costs: StepCosts,
        limits: BatchLimits,
        progress: Callable[[float], None] = lambda share: None,
    ):
        self._system = system
        self._clock = system.engine
        self._tiers = tiers
        self._costs = costs
        self._limits = limits
        self._progress = progress
        self._paths = _paths(trace, tree)
        self._block_tokens = _block_tokens(trace, tree)
        self._inputs: list[int] = trace.input_tokens.tolist()
        self._outputs: list[int] = trace.output_tokens.tolist()
        self._arrivals: list[int] = trace.arrivals_ps.tolist()
        self._block_size = trace.block_tokens
        self.records = RequestRecords.of(
            trace, np.array([sum(tokens) for tokens in self._block_tokens], np.int64), len(tiers.levels)
        )
        self.state_ps = dict.fromkeys(DeviceState, 0)
        self.iterations = 0
        self.flops = 0
        self.memory_bytes = 0
        """What the device has read and written in its own memory to compute, transfers not counted."""
        self._next_arrival = 0
        self._waiting: deque[int] = deque()
        self._is_blocked = False
        self._num_admitted = 0
        self._num_evicting = 0
        self._num_reloading = 0
        self._num_finished = 0
        self._prefilling: deque[_Prefill] = deque()
        self._decoding: list[tuple[int, int, Admission]] = []
        """Heap of (step at which it finishes, request, admission)."""
        self._step = 0
        self._context_tokens = 0
        self._chunks: list[tuple[_Prefill, int]] = []
        self._run: DecodeRun | None = None
        self._run_steps = 0
        self._started_ps = 0
        self._end: Call | None = None
        self._is_computing = False
        self._idle_since_ps = 0
        tiers.on_release(self._on_release)

    def start(self) -> None:
        """Schedule the first arrival; everything else follows when the clock runs."""
        if self._arrivals:
            self._clock.call_at(self._arrivals[0], self._arrive)

    def check_done(self) -> None:
        """Raise DeadlockError if the clock has stopped with requests unserved."""
        left = len(self._inputs) - self._num_finished
        if left and self._clock.peek() == float("inf"):
            raise DeadlockError(
                f"{left} requests are unserved and nothing is under way: {len(self._waiting)} wait for admission, "
                f"{self._num_evicting} for room, {self._num_reloading} for reloads, {len(self._prefilling)} for compute"
            )

    # ------------------------------------------------------------------ arrivals and admission

    def _arrive(self) -> None:
        now_ps = self._clock.now_ps
        while self._next_arrival < len(self._arrivals) and self._arrivals[self._next_arrival] <= now_ps:
            request = self._next_arrival
            self._next_arrival += 1
            if self._tiers.can_ever_hold(self._paths[request], self._private_bytes(request)):
                self._waiting.append(request)
            else:
                self.records.is_rejected[request] = True
                self._num_finished += 1
        if self._next_arrival < len(self._arrivals):
            self._clock.call_at(self._arrivals[self._next_arrival], self._arrive)
        self._poke()

    def _private_bytes(self, request: int) -> int:
        """Keys and values beyond the prefix blocks. The last token generated is never fed back, so it needs none."""
        tokens = self._inputs[request] + self._outputs[request] - 1 - len(self._paths[request]) * self._block_size
        return max(0, tokens) * self._costs.shape.kv_bytes_per_token

    def _admit(self) -> None:
        """Admit from the queue's head as long as there is room."""
        now_ps = self._clock.now_ps
        while self._waiting and not self._is_blocked and self._num_admitted < self._limits.max_requests:
            request = self._waiting[0]
            self._num_evicting += 1
            is_admitted = self._tiers.admit(
                request, self._paths[request], self._private_bytes(request), self._on_room, self._on_ready
            )
            if not is_admitted:
                self._num_evicting -= 1
                self._is_blocked = True
                return
            self._waiting.popleft()
            self._num_admitted += 1
            self.records.admitted_ps[request] = now_ps

    def _on_release(self) -> None:
        """Blocks that were held for a copy may leave now."""
        if self._is_blocked:
            self._is_blocked = False
            self._poke()

    def _on_room(self, admission: Admission) -> None:
        request = admission.request
        self._account_idle()
        self._num_evicting -= 1
        self._num_reloading += 1
        self.records.evicted_ps[request] = self._clock.now_ps
        for level, tokens in zip(admission.hit_levels, self._block_tokens[request], strict=False):
            self.records.hit_tokens[request, level] += tokens

    def _on_ready(self, admission: Admission) -> None:
        request, now_ps = admission.request, self._clock.now_ps
        self._account_idle()
        self._num_reloading -= 1
        records = self.records
        records.ready_ps[request] = now_ps
        records.reloaded_bytes[request] = admission.reloaded_bytes
        before_ps = int(records.evicted_ps[request])
        for level, time_ps in admission.reloads:
            records.reload_ps[request, level] += time_ps - before_ps
            before_ps = time_ps
        hits = int(records.hit_tokens[request].sum())
        # the last prompt token is computed even if it is cached: its output is the first token
        left = max(1, self._inputs[request] - hits)
        records.computed_tokens[request] = left
        self._prefilling.append(_Prefill(admission, self._inputs[request] - left, left))
        self._poke()

    # ------------------------------------------------------------------ iterations

    def _poke(self) -> None:
        """Something has changed: start if idle, or end a run of decode steps at the next one."""
        if not self._is_computing:
            self._next_iteration()
        elif self._run is not None and self._end is not None:
            steps = self._run.steps_until(self._clock.now_ps - self._started_ps)
            if steps < self._run_steps:
                self._end.withdraw()
                self._run_steps = steps
                self._end = self._clock.call_at(self._started_ps + self._run.time_ps(steps), self._finish_run)

    def _next_iteration(self) -> None:
        """Admit, compose the next batch and let it run."""
        self._account_idle()
        self._is_computing = True  # so that what admission sets off starts no iteration inside this one
        self._admit()
        self._started_ps = self._clock.now_ps
        if self._prefilling:
            self._start_mixed()
        elif self._decoding:
            self._start_run()
        else:
            self._is_computing = False
            self._idle_since_ps = self._clock.now_ps

    def _start_mixed(self) -> None:
        batch = len(self._decoding)
        budget = max(1, self._limits.max_tokens - batch)
        chunks: list[Chunk] = []
        ended = 0
        for prefill in self._prefilling:
            tokens = min(budget, prefill.left)
            chunks.append(Chunk(tokens, prefill.done))
            self._chunks.append((prefill, tokens))
            if self.records.started_ps[prefill.admission.request] < 0:
                self.records.started_ps[prefill.admission.request] = self._started_ps
            ended += tokens == prefill.left
            budget -= tokens
            if not budget:
                break
        duration_ps = self._costs.mixed_ps(chunks, ended, batch, self._context_tokens)
        self._end = self._clock.call_at(self._started_ps + duration_ps, self._finish_mixed)

    def _finish_mixed(self) -> None:
        chunks, self._chunks = self._chunks, []
        ended = sum(tokens == prefill.left for prefill, tokens in chunks)
        self._log(1, [Chunk(tokens, prefill.done) for prefill, tokens in chunks], ended)
        self._advance(1)
        now_ps = self._clock.now_ps
        for prefill, tokens in chunks:
            prefill.done += tokens
            prefill.left -= tokens
            if prefill.left:
                continue
            self._prefilling.popleft()
            admission = prefill.admission
            request = admission.request
            self.records.first_token_ps[request] = now_ps
            self._tiers.computed(admission)
            if self._outputs[request] == 1:
                self._finish(request, admission)
            else:
                heappush(self._decoding, (self._step + self._outputs[request] - 1, request, admission))
                self._context_tokens += self._inputs[request]
        self._next_iteration()

    def _start_run(self) -> None:
        self._run = self._costs.decode_run(len(self._decoding), self._context_tokens)
        self._run_steps = self._decoding[0][0] - self._step
        self._end = self._clock.call_at(self._started_ps + self._run.time_ps(self._run_steps), self._finish_run)

    def _finish_run(self) -> None:
        steps, self._run = self._run_steps, None
        self._log(steps, [], 0)
        self._advance(steps)
        self._next_iteration()

    def _advance(self, steps: int) -> None:
        """Every decoding request has got `steps` tokens more."""
        self._step += steps
        self._context_tokens += steps * len(self._decoding)
        while self._decoding and self._decoding[0][0] <= self._step:
            _, request, admission = heappop(self._decoding)
            self._context_tokens -= self._inputs[request] + self._outputs[request] - 1
            self._finish(request, admission)

    def _finish(self, request: int, admission: Admission) -> None:
        self.records.finished_ps[request] = self._clock.now_ps
        self._tiers.finish(admission)
        self._num_admitted -= 1
        self._num_finished += 1
        self._is_blocked = False
        if self._num_finished % 64 == 0:
            self._progress(self._num_finished / len(self._inputs))

    # ------------------------------------------------------------------ accounts

    def _log(self, steps: int, chunks: list[Chunk], ended: int) -> None:
        """Book what the device has computed, read and written in the iteration, which ended `ended` prompts."""
        now_ps, shape, batch = self._clock.now_ps, self._costs.shape, len(self._decoding)
        self.iterations += steps
        self.state_ps[DeviceState.PREFILL if chunks else DeviceState.DECODE] += now_ps - self._started_ps
        prefill_tokens = sum(chunk.tokens for chunk in chunks)
        tokens = prefill_tokens + batch
        decoded = steps * self._context_tokens + batch * steps * (steps + 1) // 2
        pairs = decoded + sum(chunk.tokens * chunk.before + chunk.tokens * (chunk.tokens + 1) // 2 for chunk in chunks)
        kv_tokens = decoded + sum(chunk.before for chunk in chunks)
        self.flops += steps * tokens * shape.token_flops + pairs * shape.pair_flops
        self.flops += (steps * batch + ended) * shape.head_flops
        memory = self._tiers.levels[0].name
        self._record(memory, False, round(steps * shape.step_weight_bytes(tokens)), Role.WEIGHT)
        self._record(memory, False, kv_tokens * shape.kv_bytes_per_token, Role.KV)
        self._record(memory, True, (steps * batch + prefill_tokens) * shape.kv_bytes_per_token, Role.KV)

    def _record(self, memory: str, is_write: bool, num_bytes: int, role: Role) -> None:
        if num_bytes:
            self.memory_bytes += num_bytes
            route = self._system.access_route(memory, memory, is_write)
            self._system.record(route, num_bytes, Cause.DEMAND, role, self._started_ps)

    def _account_idle(self) -> None:
        """Book the time since the device fell idle, by what the requests in hand waited for."""
        if self._is_computing:
            return
        now_ps = self._clock.now_ps
        if self._num_reloading:
            state = DeviceState.WAIT_RELOAD
        elif self._num_evicting:
            state = DeviceState.WAIT_EVICT
        else:
            state = DeviceState.IDLE
        self.state_ps[state] += now_ps - self._idle_since_ps
        self._idle_since_ps = now_ps


def _paths(trace: RequestTrace, tree: PrefixTree | None) -> list[list[int]]:
    """Nodes of the blocks that each request asks for; none without a tree."""
    if tree is None:
        return [[] for _ in range(len(trace))]
    nodes, offsets = tree.nodes.tolist(), tree.offsets.tolist()
    return [nodes[start:end] for start, end in pairwise(offsets)]


def _block_tokens(trace: RequestTrace, tree: PrefixTree | None) -> list[list[int]]:
    """Prompt tokens in those blocks."""
    if tree is None:
        return [[] for _ in range(len(trace))]
    tokens, offsets = tree.tokens.tolist(), tree.offsets.tolist()
    return [tokens[start:end] for start, end in pairwise(offsets)]
