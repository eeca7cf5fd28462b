"""Workload `paged-attention`: a batch decodes with block tables; full memory swaps whole requests to the host and back."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field
from simpy.events import AllOf

from tiergarten.accelerators.model_shapes import model_shape
from tiergarten.accelerators.paging.paged_attention import BlockTables
from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import UnknownNameError
from tiergarten.sim.params import PositivePs, Share, StrictModel
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause
from tiergarten.sim.units import format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

MAX_ITERATIONS = 10_000_000
"""Bounds a run that swaps all the time."""


class PagedAttentionParams(StrictModel):
    """Keys of a workload of kind `paged-attention`."""

    memory: str = Field("hbm", description="The worker's tier.")
    host: str = Field("ddr", description="The tier that requests are swapped to.")
    model: str = Field("llama-3-8b", description="A bundled model; its layers and KV heads count.")
    workers: int = Field(1, gt=0, le=1024, description="Workers that the KV heads are split among.")
    block_tokens: int = Field(
        16, gt=0, le=1 << 20, description="Tokens of a block: 16 in vLLM, 256 in FlashAttention-2."
    )
    kv_share: Share = Field(0.5, description="Share of the memory tier that blocks may use.")
    host_share: Share = Field(0.5, description="The same of the host tier.")
    prompts: list[int] = Field(min_length=1, max_length=100_000, description="Tokens of each request at the start.")
    samples: int = Field(1, gt=0, le=1000, description="Answers drawn from each prompt; they share its blocks.")
    output_tokens: int = Field(gt=0, le=1_000_000, description="Tokens that each answer gets.")
    compute: PositivePs = Field(description="Time that an iteration computes.")


class PagedAttentionPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `paged-attention`."""

    gather_copies: bool = Field(True, description="Move a swapped request as one copy instead of block by block.")


@drivers.register("paged-attention")
class PagedAttention(Driver):
    """Decoding with PagedAttention: block tables, copy-on-write between answers to a prompt, swap of whole requests.

    Source: vLLM (Kwon et al., SOSP'23); the request that came last is swapped out first.
    """

    Params = PagedAttentionParams
    Policies = PagedAttentionPolicies
    params: PagedAttentionParams
    policies: PagedAttentionPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params = self.params
        problems = tier_problems(scenario, {"workload.memory": params.memory, "workload.host": params.host})
        problems += route_problems(scenario, [("workload.host", params.memory, params.host)])
        if min(params.prompts) <= 0:
            problems.append(("workload.prompts", "every prompt needs a token or more"))
        try:
            block = self._block_bytes()
        except UnknownNameError as error:
            return [*problems, ("workload.model", str(error))]
        if problems:
            return problems
        pools = {}
        for key, name, share in (
            ("kv_share", params.memory, params.kv_share),
            ("host_share", params.host, params.host_share),
        ):
            tier = scenario.tiers[name]
            pools[key] = int(tier.capacity * tier.count * share) // block
        per_answer = [-(-(tokens + params.output_tokens) // params.block_tokens) for tokens in params.prompts]
        largest = max(per_answer) * params.samples
        for key, blocks in pools.items():
            if largest > blocks:
                text = (
                    f"{format_bytes(blocks * block)} do not hold the largest request, {format_bytes(largest * block)}"
                )
                problems.append((f"workload.{key}", text))
        if sum(per_answer) * params.samples > sum(pools.values()) and not problems:
            text = f"all requests need {format_bytes(sum(per_answer) * params.samples * block)}, both tiers hold {format_bytes(sum(pools.values()) * block)}"
            problems.append(("workload.prompts", text))
        return problems

    def _block_bytes(self) -> int:
        """A block of all layers on one worker."""
        shape = model_shape(self.params.model)
        heads = -(-shape.kv_heads // self.params.workers)
        token = 2 * shape.layers * heads * shape.head_size * int(shape.kv_bytes_per_value)
        return token * self.params.block_tokens

    def run(self, machine: Machine) -> Output:
        params, block = self.params, self._block_bytes()
        device_blocks, host_blocks = [
            int(machine.system.tier(name).capacity_bytes * share) // block
            for name, share in ((params.memory, params.kv_share), (params.host, params.host_share))
        ]
        batch = _Batch(
            params, BlockTables(params.block_tokens, device_blocks, host_blocks), block, self.policies.gather_copies
        )
        machine.system.route(params.memory, params.host)  # a missing link is an error before anything moves
        machine.engine.process(batch.decode(machine))
        machine.run()
        batch.tables.check()
        elapsed_ps = machine.engine.now_ps
        busy_ps = min(len(batch.rows) * params.compute, elapsed_ps)
        rows = np.array(batch.rows, np.int64).reshape(-1, len(COLUMNS))
        return Output(
            metrics={
                "iterations": len(rows),
                "answers": len(params.prompts) * params.samples,
                "swapped_out_blocks": batch.swapped_out,
                "copied_on_write_blocks": batch.copied,
                "block_bytes": block,
                "swap_visible_ms": (elapsed_ps - busy_ps) / 1e9,
            },
            tables={"series/iterations": pa.table({name: rows[:, column] for column, name in enumerate(COLUMNS)})},
            states_ps={"gpu": {"busy": busy_ps, "stall:swap": elapsed_ps - busy_ps}},
        )


COLUMNS = ("iteration", "begin_ps", "running", "swapped", "device_blocks", "host_blocks")


@dataclass
class _Batch:
    """The answers of one run. A request's answers share blocks, so they are swapped together."""

    params: PagedAttentionParams
    tables: BlockTables
    block_bytes: int
    gathers: bool
    left: dict[int, int] = field(default_factory=dict)
    """Answer -> tokens to come; answer = request * samples + number."""
    waiting: list[int] = field(default_factory=list)
    """Requests that have no memory yet."""
    rows: list[tuple[int, ...]] = field(default_factory=list)
    swapped_out: int = 0
    copied: int = 0

    def decode(self, machine: Machine) -> Process:
        """Iterate until every answer is complete."""
        params = self.params
        total = len(params.prompts) * params.samples * params.output_tokens
        self.waiting = list(range(len(params.prompts)))
        for tier in (params.memory, params.host):
            machine.placement.add(tier, "kv", 0, Role.KV)
        while (self.left or self.waiting) and len(self.rows) < MAX_ITERATIONS:
            yield from self._make_room(machine)
            yield from self._take_back(machine)
            self._admit()
            running = [answer for answer in self.left if self.tables.tables[answer].on_device]
            begin_ps = machine.engine.now_ps
            yield from self._append(machine, running)
            self._place(machine)
            used = (self._used(True), self._used(False))
            self.rows.append((len(self.rows), begin_ps, len(running), len(self.left) - len(running), *used))
            yield machine.engine.timeout(params.compute)
            for answer in running:
                self.left[answer] -= 1
                if self.left[answer] == 0:
                    del self.left[answer]
                    self.tables.remove(answer)
            self._place(machine)
            machine.progress(1 - (sum(self.left.values()) + len(self.waiting) * params.output_tokens) / total)

    def _answers(self, request: int) -> list[int]:
        samples = self.params.samples
        return [a for a in range(request * samples, (request + 1) * samples) if a in self.left]

    def _growth(self) -> int:
        """Blocks that the running answers may take in the next iteration."""
        tables = [self.tables.tables[answer] for answer in self.left]
        return sum(
            t.on_device and (t.tokens % self.params.block_tokens == 0 or self.params.samples > 1) for t in tables
        )

    def _make_room(self, machine: Machine) -> Process:
        while self._growth() > self.tables.free_blocks():
            request = max(answer for answer in self.left if self.tables.tables[answer].on_device) // self.params.samples
            copies = self._swap(request, False)
            self.swapped_out += copies
            yield from self._move(machine, copies, self.params.memory, self.params.host, Cause.EVICTION)

    def _take_back(self, machine: Machine) -> Process:
        """Swap requests in again, the first one first, as long as the batch can grow beside them."""
        for request in sorted({a // self.params.samples for a in self.left if not self.tables.tables[a].on_device}):
            answers = self._answers(request)
            blocks = len({block for a in answers for block in self.tables.tables[a].blocks})
            if blocks + self._growth() + len(answers) > self.tables.free_blocks():
                return
            yield from self._move(
                machine, self._swap(request, True), self.params.host, self.params.memory, Cause.DEMAND
            )

    def _swap(self, request: int, to_device: bool) -> int:
        """Move a request's blocks to the other pool; returns how many. Answers that share no block move one by one."""
        return sum(
            len(self.tables.swap(a, to_device))
            for a in self._answers(request)
            if self.tables.tables[a].on_device != to_device
        )

    def _admit(self) -> None:
        """Give memory to requests that wait, in order, as long as nothing is swapped out."""
        params = self.params
        while self.waiting and all(table.on_device for table in self.tables.tables.values()):
            request = self.waiting[0]
            needed = -(-params.prompts[request] // params.block_tokens) + params.samples
            if needed + self._growth() > self.tables.free_blocks():
                return
            self.waiting.pop(0)
            first = request * params.samples
            self.tables.add(first, params.prompts[request])
            for answer in range(first + 1, first + params.samples):
                self.tables.fork(first, answer)
            self.left.update(dict.fromkeys(range(first, first + params.samples), params.output_tokens))

    def _append(self, machine: Machine, running: list[int]) -> Process:
        """One token for each running answer; shared last blocks are copied inside the memory first."""
        copies = sum(self.tables.append(answer) is not None for answer in running)
        self.copied += copies
        if copies:
            size = copies * self.block_bytes
            memory = self.params.memory
            yield AllOf(
                machine.engine,
                [machine.system.read(memory, size, Role.KV), machine.system.write(memory, size, Role.KV)],
            )

    def _move(self, machine: Machine, copies: int, source: str, destination: str, cause: Cause) -> Process:
        sizes = [copies * self.block_bytes] if self.gathers else [self.block_bytes] * copies
        if copies:
            moves: list[Any] = [machine.system.transfer(source, destination, size, cause, Role.KV) for size in sizes]
            yield AllOf(machine.engine, moves)
        self._place(machine)

    def _used(self, on_device: bool) -> int:
        total = self.tables.device_blocks if on_device else self.tables.host_blocks
        return total - self.tables.free_blocks(on_device)

    def _place(self, machine: Machine) -> None:
        for tier, on_device in ((self.params.memory, True), (self.params.host, False)):
            machine.placement.resize(tier, "kv", self._used(on_device) * self.block_bytes)
