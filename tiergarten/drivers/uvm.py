"""Workload `uvm`: a program whose memory is paged on demand between a GPU's tier and the host's, pass by pass."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from tiergarten.accelerators.paging.costs import DRIVERS
from tiergarten.accelerators.paging.eviction import EVICTORS
from tiergarten.accelerators.paging.oversubscription import Program, program
from tiergarten.accelerators.paging.patterns import PATTERNS, Threads
from tiergarten.accelerators.paging.prefetch import PREFETCHERS
from tiergarten.accelerators.paging.replay_policy import REPLAYS
from tiergarten.accelerators.paging.thrashing import ThrashDetection
from tiergarten.accelerators.paging.uvm import MAX_PAGES, FaultHardware, Geometry, UvmConfig, UvmMachine, UvmResult
from tiergarten.driver import Driver, Machine, Output, drivers
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.params import Bytes, PositiveBytes, Ps, StrictModel
from tiergarten.sim.registry import Registry
from tiergarten.sim.system import System
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause
from tiergarten.sim.units import PS_PER_S, format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

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
    driver: str = Field("rtx-5090", description="Driver times: gtx-1080-ti, titan-v or rtx-5090.")
    utlbs: int = Field(85, gt=0, le=10_000, description="uTLBs: half the SMs on Volta.")
    parked_per_utlb: int = Field(56, gt=0, le=10_000, description="Faults that a uTLB keeps in flight.")
    batch: int = Field(256, gt=0, le=1 << 20, description="Faults that the driver fetches at a time.")
    fault_buffer: int = Field(8192, gt=0, le=1 << 24, description="Entries of the fault buffer.")
    touch: Ps = Field(138, description="Time of a touch that hits, over the whole GPU.")


class UvmPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `uvm`."""

    prefetch: str = Field("tree", description="What a fault fetches beside its page.")
    eviction: str = Field("lra", description="Which chunk leaves: lra (the driver's), lru, lfu, random or tree.")
    replay: str = Field("batch_flush", description="When accesses are tried again: batch_flush, batch, block or once.")
    thrash_detection: bool = Field(False, description="Throttle and pin VABlocks that come back soon.")


@drivers.register("uvm")
class Uvm(Driver):
    """GPU demand paging (CUDA managed memory) under a synthetic program, with the driver's batches, prefetcher and eviction.

    Source: NVIDIA open kernel module 545.23.06; Allen & Ge, SC'21.
    """

    Params = UvmParams
    keeps_own_time = True
    Policies = UvmPolicies
    params: UvmParams
    policies: UvmPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params = self.params
        problems = [
            (f"workload.{key}", f"unknown tier {name!r}. {did_you_mean(name, scenario.tiers)}")
            for key, name in (("memory", params.memory), ("host", params.host))
            if name not in scenario.tiers
        ]
        if params.driver not in DRIVERS:
            problems.append(
                ("workload.driver", f"unknown driver {params.driver!r}. {did_you_mean(params.driver, DRIVERS)}")
            )
        named: list[tuple[str, str, Registry[Any]]] = [
            ("workload.pattern", params.pattern, PATTERNS),
            ("policies.prefetch", self.policies.prefetch, PREFETCHERS),
            ("policies.eviction", self.policies.eviction, EVICTORS),
            ("policies.replay", self.policies.replay, REPLAYS),
        ]
        problems += [
            (path, f"unknown name {name!r}. {did_you_mean(name, known.names())}")
            for path, name, known in named
            if name not in known
        ]
        if problems:
            return problems
        device, host = (
            tier.capacity * tier.count for tier in (scenario.tiers[params.memory], scenario.tiers[params.host])
        )
        if params.reserved >= device:
            problems.append(("workload.reserved", f"leaves nothing of the tier's {format_bytes(device)}"))
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
        memory = UvmMachine(config, list(made.allocations_bytes))
        results: list[UvmResult] = []
        machine.engine.process(_passes(machine, memory, made, self.params, results))
        machine.run()
        if not results:
            results.append(UvmResult(machine.engine.now_ps, dict.fromkeys(memory.counts(), 0)))
        return Output(
            metrics=_metrics(params, results[-1]),
            tables={"series/passes": _table(results)},
            states_ps={"gpu": _states(machine.engine.now_ps, memory)},
        )

    def _config(self, machine: Machine) -> UvmConfig:
        params = self.params
        device, host = machine.system.tier(params.memory), machine.system.tier(params.host)
        costs = replace(
            DRIVERS[params.driver],
            h2d_bytes_per_s=_rate(machine.system, params.host, params.memory),
            d2h_bytes_per_s=_rate(machine.system, params.memory, params.host),
        )
        return UvmConfig(
            device_bytes=device.capacity_bytes - params.reserved,
            host_bytes=host.capacity_bytes,
            costs=costs,
            hardware=FaultHardware(
                params.utlbs, params.parked_per_utlb, params.fault_buffer, params.batch, params.touch
            ),
            prefetcher=PREFETCHERS.get(self.policies.prefetch)(),
            evictor=EVICTORS.get(self.policies.eviction)(),
            replay=REPLAYS.get(self.policies.replay)(),
            thrash=ThrashDetection() if self.policies.thrash_detection else None,
            seed=machine.seed,
        )


def _rate(system: System, source: str, destination: str) -> float:
    """Bytes/s of a large copy from tier to tier: the slowest link on the way."""
    slowest_ps = max(duration(PROBE_BYTES) for duration in system.route(source, destination).directions)
    return PROBE_BYTES * PS_PER_S / slowest_ps


def _passes(
    machine: Machine, memory: UvmMachine, made: Program, params: UvmParams, results: list[UvmResult]
) -> Process:
    """Run pass after pass; each is computed at once and takes its time on the engine's clock."""
    system, engine = machine.system, machine.engine
    for number in range(-len(made.warm_up), params.passes):
        lanes = made.warm_up_lanes(memory) if number < 0 else made.pass_lanes(memory)
        started_ps = engine.now_ps
        result = memory.touch(lanes)
        memory.check()
        yield engine.wait_until(started_ps + result.time_ps)
        page = memory.config.geometry.page_bytes
        for source, destination, count, cause in (
            (params.host, params.memory, result["h2d_pages"], Cause.DEMAND),
            (params.memory, params.host, result["d2h_pages"], Cause.EVICTION),
        ):
            if count:
                system.record(system.route(source, destination), count * page, cause, Role.OTHER, started_ps)
        if number >= 0:
            results.append(result)
        machine.progress((number + 1) / params.passes if number >= 0 else 0.0)


def _metrics(params: UvmParams, last: UvmResult) -> dict[str, float | int | str | None]:
    return {
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
    columns: dict[str, Any] = {"pass": np.arange(len(results)), "ms": np.array([r.time_ps / 1e9 for r in results])}
    columns |= {name: np.array([r[name] for r in results]) for name in results[0].counts}
    return pa.table(columns)


def _states(elapsed_ps: int, memory: UvmMachine) -> dict[str, int]:
    counts = memory.counts()
    busy, stalled = counts["gpu_ps"], counts["driver_ps"]
    return {"busy": min(busy, elapsed_ps), "stall:paging": min(stalled, max(0, elapsed_ps - busy))}
