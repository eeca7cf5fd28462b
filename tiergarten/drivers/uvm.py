"""Workload `uvm`: a program whose memory is paged on demand between a GPU's tier and the host's, pass by pass."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from tiergarten.accelerators.paging.ats import CACHE_LINE_BYTES, ats_config
from tiergarten.accelerators.paging.costs import DRIVERS
from tiergarten.accelerators.paging.eviction import EVICTORS
from tiergarten.accelerators.paging.hints import ACCESSED_BY_HINT, HINTS
from tiergarten.accelerators.paging.hmm import hmm_config
from tiergarten.accelerators.paging.oversubscription import Program, program
from tiergarten.accelerators.paging.patterns import PATTERNS, Threads
from tiergarten.accelerators.paging.prefetch import PREFETCHERS
from tiergarten.accelerators.paging.replay_policy import REPLAYS
from tiergarten.accelerators.paging.thrashing import ThrashDetection
from tiergarten.accelerators.paging.uvm import MAX_PAGES, FaultHardware, Geometry, UvmConfig, UvmMachine, UvmResult
from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.paged_traffic import HISTORY_ROWS, PagedTiers, place_pages, replay_history
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.params import Bytes, PositiveBytes, Ps, StrictModel
from tiergarten.sim.registry import Registry
from tiergarten.sim.system import System
from tiergarten.sim.units import PS_PER_S, format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

BULK_PREFETCH = "prefetch"
"""The hint that is a command: move everything before the first pass."""
PROBE_BYTES = 1 << 30
"""Copy from which a link's rate is read off."""


class UvmParams(StrictModel):
    """Keys of a workload of kind `uvm`."""

    memory: str = Field("hbm", description="The GPU's tier.")
    host: str = Field("ddr", description="The tier that holds what is not on the GPU.")
    pattern: str = Field("sequential", description="Order of touches: sequential, strided, random or pointer_chase.")
    working_set: PositiveBytes = Field(description="Managed memory that the program uses.")
    reserved: Bytes = Field(0, description="Part of the GPU's tier that managed memory cannot have.")
    passes: int = Field(3, gt=0, le=1000, description="Passes over the working set; the last is reported.")
    threads: int = Field(65_536, gt=0, le=1 << 24, description="Threads that share the working set.")
    threads_per_block: int = Field(256, gt=0, le=1024, description="Threads of a block, which runs on one SM.")
    access: str = Field(
        "managed",
        pattern="^(managed|hmm|ats)$",
        description="How the GPU reaches host pages: managed (UVM), hmm (system memory, 4 KiB pages) or ats (over the link).",
    )
    line: PositiveBytes = Field(
        128, description="What a touch over the link reads with `access: ats`; multiple of 128 B."
    )
    driver: str = Field("rtx-5090", description="Driver times: gtx-1080-ti, titan-v or rtx-5090.")
    utlbs: int = Field(85, gt=0, le=10_000, description="uTLBs: half the SMs on Volta.")
    parked_per_utlb: int = Field(56, gt=0, le=10_000, description="Faults that a uTLB keeps in flight.")
    batch: int = Field(256, gt=0, le=1 << 20, description="Faults that the driver fetches at a time.")
    fault_buffer: int = Field(8192, gt=0, le=1 << 24, description="Entries of the fault buffer.")
    touch: Ps = Field(137, description="Time of a touch that hits, over the whole GPU.")
    l2: Bytes = Field(0, description="The GPU's cache: passes whose lines fit it touch at its rate. 0 = none.")
    l2_touch: Ps = Field(5, description="The same for a line that the GPU's cache holds.")
    launch: Ps = Field(0, description="Time of a pass that touches nothing.")


class UvmPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `uvm`."""

    prefetch: str = Field("tree", description="What a fault fetches beside its page.")
    prefetch_when_full: str | None = Field(None, description="The same once memory has been full; null = no change.")
    eviction: str = Field("lra", description="Which chunk leaves: lra (the driver's), lru, lfu, random or tree.")
    chunk: PositiveBytes | None = Field(
        None, description="What leaves at a time, 4 KiB to 2 MiB; null = the policy's own."
    )
    hint: str | None = Field(
        None,
        description="read_mostly, prefer_host, prefer_device, accessed_by (cudaMemAdvise) or prefetch (cudaMemPrefetchAsync).",
    )
    access_counter: int = Field(
        0,
        ge=0,
        le=1 << 30,
        description="Touches over the link that migrate a VABlock; 0 = off. The driver's value is 256.",
    )
    replay: str = Field("batch_flush", description="When accesses are tried again: batch_flush, batch, block or once.")
    thrash_detection: bool = Field(False, description="Throttle and pin VABlocks that come back soon.")


@drivers.register("uvm")
class Uvm(Driver):
    """GPU demand paging (CUDA managed memory) under a synthetic program, with the driver's batches, prefetcher and eviction.

    Source: NVIDIA open kernel module 545.23.06; Allen & Ge, SC'21.
    """

    Params = UvmParams
    Policies = UvmPolicies
    params: UvmParams
    policies: UvmPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params = self.params
        problems = tier_problems(scenario, {"workload.memory": params.memory, "workload.host": params.host})
        problems += route_problems(scenario, [("workload.host", params.memory, params.host)])
        if params.driver not in DRIVERS:
            problems.append(
                ("workload.driver", f"unknown driver {params.driver!r}. {did_you_mean(params.driver, DRIVERS)}")
            )
        named: list[tuple[str, str, Registry[Any]]] = [
            ("workload.pattern", params.pattern, PATTERNS),
            ("policies.prefetch", self.policies.prefetch, PREFETCHERS),
            ("policies.prefetch_when_full", self.policies.prefetch_when_full or self.policies.prefetch, PREFETCHERS),
            ("policies.eviction", self.policies.eviction, EVICTORS),
            ("policies.replay", self.policies.replay, REPLAYS),
        ]
        problems += [
            (path, f"unknown name {name!r}. {did_you_mean(name, known.names())}")
            for path, name, known in named
            if name not in known
        ]
        hints = [*HINTS.names(), BULK_PREFETCH]
        if self.policies.hint is not None and self.policies.hint not in hints:
            problems.append(
                ("policies.hint", f"unknown name {self.policies.hint!r}. {did_you_mean(self.policies.hint, hints)}")
            )
        if params.access == "ats" and params.line % CACHE_LINE_BYTES:
            problems.append(("workload.line", f"must be a multiple of {CACHE_LINE_BYTES} B, got {params.line} B"))
        if problems:
            return problems
        chunk = self._evictor().chunk_bytes
        if self.policies.eviction == "tree" and chunk != Geometry().region_bytes:
            problems.append(("policies.chunk", f"the tree evictor works on {format_bytes(Geometry().region_bytes)}"))
        elif chunk & (chunk - 1) or not Geometry().page_bytes <= chunk <= Geometry().block_bytes:
            text = f"must be a power of two from {format_bytes(Geometry().page_bytes)} to {format_bytes(Geometry().block_bytes)}"
            problems.append(("policies.chunk", f"{text}, got {format_bytes(chunk)}"))
        device, host = (
            tier.capacity * tier.count for tier in (scenario.tiers[params.memory], scenario.tiers[params.host])
        )
        if device - params.reserved < Geometry().block_bytes:
            text = f"leaves less than a VABlock ({format_bytes(Geometry().block_bytes)}) of the tier's {format_bytes(device)}"
            problems.append(("workload.reserved", text))
        elif params.working_set > MAX_PAGES * Geometry().page_bytes:
            text = f"at most {format_bytes(MAX_PAGES * Geometry().page_bytes)} can be simulated"
            problems.append(("workload.working_set", text))
        elif params.working_set > device - params.reserved + host:
            text = f"{format_bytes(params.working_set)} do not fit {format_bytes(device - params.reserved)} on {params.memory} and {format_bytes(host)} on {params.host}"
            problems.append(("workload.working_set", text + "; shrink it or add memory"))
        return problems

    def run(self, machine: Machine) -> Output:
        params = self.params
        config = self._config(machine)
        made = program(
            params.pattern, params.working_set, Threads(params.threads, params.threads_per_block), machine.seed
        )
        memory = made.machine(config)
        place_pages(machine, self._tiers, memory)
        for allocation in range(len(memory.num_pages)):
            if self.policies.hint not in (None, BULK_PREFETCH):
                memory.advise(allocation, HINTS.get(self.policies.hint))
            elif params.access == "ats":
                memory.advise(allocation, ACCESSED_BY_HINT)
        results: list[UvmResult] = []
        machine.engine.process(self._passes(machine, memory, made, results))
        machine.run()
        memory.check()
        if not results:
            results.append(UvmResult(machine.engine.now_ps, dict.fromkeys(memory.counts(), 0)))
        return Output(
            metrics={
                "gpu_memory_bytes": machine.system.tier(params.memory).capacity_bytes,
                **_metrics(params, results[-1]),
            },
            tables={"series/passes": _table(results)},
            states_ps={"gpu": _states(machine.engine.now_ps, memory)},
        )

    @property
    def _tiers(self) -> PagedTiers:
        return PagedTiers(self.params.memory, self.params.host)

    def _evictor(self) -> Any:
        made = EVICTORS.get(self.policies.eviction)()
        return replace(made, chunk_bytes=self.policies.chunk) if self.policies.chunk else made

    def _config(self, machine: Machine) -> UvmConfig:
        params, policies = self.params, self.policies
        device, host = machine.system.tier(params.memory), machine.system.tier(params.host)
        costs = replace(
            DRIVERS[params.driver],
            h2d_bytes_per_s=_rate(machine.system, params.host, params.memory),
            d2h_bytes_per_s=_rate(machine.system, params.memory, params.host),
        )
        when_full = policies.prefetch_when_full
        config = UvmConfig(
            device_bytes=device.capacity_bytes - params.reserved,
            host_bytes=host.capacity_bytes,
            costs=costs,
            hardware=FaultHardware(
                params.utlbs,
                params.parked_per_utlb,
                params.fault_buffer,
                params.batch,
                params.touch,
                params.l2,
                params.l2_touch,
                params.launch,
            ),
            prefetcher=PREFETCHERS.get(policies.prefetch)(),
            prefetcher_when_full=PREFETCHERS.get(when_full)() if when_full else None,
            evictor=self._evictor(),
            replay=REPLAYS.get(policies.replay)(),
            thrash=ThrashDetection() if policies.thrash_detection else None,
            counter_threshold=policies.access_counter,
            history_rows=HISTORY_ROWS,
            seed=machine.seed,
        )
        if params.access == "hmm":
            return hmm_config(config)
        return ats_config(config, params.line, policies.access_counter) if params.access == "ats" else config

    def _passes(self, machine: Machine, memory: UvmMachine, made: Program, results: list[UvmResult]) -> Process:
        """Run pass after pass; each is computed at once and then lived through on the engine's clock."""
        if self.policies.hint == BULK_PREFETCH:
            for allocation in range(len(memory.num_pages)):
                memory.prefetch(allocation)
                if not (yield from replay_history(machine, self._tiers, memory)):
                    return
        for _ in made.warm_up:
            memory.touch(made.warm_up_lanes(memory))
            if not (yield from replay_history(machine, self._tiers, memory)):
                return
        for number in range(self.params.passes):
            result = memory.touch(made.pass_lanes(memory), is_repeat=number > 0)
            began_ps = machine.engine.now_ps
            if not (yield from replay_history(machine, self._tiers, memory)):
                return
            results.append(replace(result, time_ps=machine.engine.now_ps - began_ps))
            machine.progress((number + 1) / self.params.passes)


def _rate(system: System, source: str, destination: str) -> float:
    """Bytes/s of a large copy from tier to tier: the slowest link on the way."""
    slowest_ps = max(duration(PROBE_BYTES) for duration in system.route(source, destination).directions)
    return PROBE_BYTES * PS_PER_S / slowest_ps


def _metrics(params: UvmParams, last: UvmResult) -> dict[str, float | int | str | None]:
    return {
        "working_set_bytes": params.working_set,
        "pass_ms": last.time_ps / 1e9,
        "working_set_bytes_per_s": params.working_set * PS_PER_S / max(last.time_ps, 1),
        "faults": last["fault_entries"],
        "fault_batches": last["batches"],
        "evictions": last["evictions"],
        "prefetched_bytes": last["prefetched_pages"] * 4096,
        "moved_to_gpu_bytes": last["h2d_pages"] * 4096,
        "moved_to_host_bytes": last["d2h_pages"] * 4096,
    }


def _table(results: list[UvmResult]) -> pa.Table:
    columns: dict[str, Any] = {"pass": np.arange(len(results)), "pass_ms": np.array([r.time_ps / 1e9 for r in results])}
    columns |= {name: np.array([r[name] for r in results]) for name in results[0].counts}
    return pa.table(columns)


def _states(elapsed_ps: int, memory: UvmMachine) -> dict[str, int]:
    counts = memory.counts()
    seen_ps = {
        "busy": counts["gpu_ps"],
        "stall:remote access": counts["remote_ps"],
        "stall:paging": counts["driver_ps"] - counts["hidden_ps"],
    }
    states, left_ps = {}, elapsed_ps
    for state, duration_ps in seen_ps.items():
        states[state] = min(duration_ps, left_ps)  # a run that was stopped has computed its pass to the end
        left_ps -= states[state]
    return states
