"""Workload `uvmsmart`: page touches under the policies and constants of the UVMSmart simulator, for comparison with its logs."""

from typing import TYPE_CHECKING

from pydantic import Field

from tiergarten.accelerators.paging.patterns import PATTERNS
from tiergarten.accelerators.paging.uvm import Geometry
from tiergarten.accelerators.paging.uvmsmart import EVICTORS, PREFETCHERS, SmartConfig, run
from tiergarten.driver import Driver, Machine, Output, drivers, tier_problems
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.params import PositiveBytes, StrictModel
from tiergarten.sim.trace import Role
from tiergarten.sim.units import format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

MAX_BYTES = 64 << 30
"""Bounds the memory of a run."""


class UvmSmartParams(StrictModel):
    """Keys of a workload of kind `uvmsmart`."""

    memory: str = Field("hbm", description="The GPU's tier; its capacity counts.")
    pattern: str = Field("sequential", description="Order of touches: sequential, strided, random or pointer_chase.")
    working_set: PositiveBytes = Field(description="Managed memory that the program uses, one allocation.")
    passes: int = Field(1, gt=0, le=1000, description="Passes over the working set.")


class UvmSmartPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `uvmsmart`."""

    prefetch: str = Field("tbn", description="none, tbn (tree), sl (64 KiB) or random (a page).")
    prefetch_when_full: str | None = Field(None, description="The same once memory has been full; null = no change.")
    eviction: str = Field("lru_2m", description="lru_2m, tbn (tree), sl (64 KiB), random, lfu_2m or lru_4k.")
    remote_when_full: bool = Field(False, description="Access host pages over the link once memory is full.")


@drivers.register("uvmsmart")
class UvmSmart(Driver):
    """Faults, evictions and time as the UVMSmart simulator reports them: kernel time and 45 us for each far fault.

    Source: DebashisGanguly/gpgpu-sim_UVMSmart bafab5d.
    """

    Params = UvmSmartParams
    Policies = UvmSmartPolicies
    keeps_own_time = True
    params: UvmSmartParams
    policies: UvmSmartPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params, policies = self.params, self.policies
        problems = tier_problems(scenario, {"workload.memory": params.memory})
        if (
            not problems
            and scenario.tiers[params.memory].capacity * scenario.tiers[params.memory].count < Geometry().block_bytes
        ):
            problems.append(("workload.memory", f"holds less than {format_bytes(Geometry().block_bytes)}"))
        for path, name, known in (
            ("workload.pattern", params.pattern, PATTERNS.names()),
            ("policies.prefetch", policies.prefetch, list(PREFETCHERS)),
            ("policies.prefetch_when_full", policies.prefetch_when_full or policies.prefetch, list(PREFETCHERS)),
            ("policies.eviction", policies.eviction, list(EVICTORS)),
        ):
            if name not in known:
                problems.append((path, f"unknown name {name!r}. {did_you_mean(name, known)}"))
        if params.working_set > MAX_BYTES:
            problems.append(("workload.working_set", f"at most {format_bytes(MAX_BYTES)} can be simulated"))
        return problems

    def run(self, machine: Machine) -> Output:
        params, policies = self.params, self.policies
        config = SmartConfig(
            machine.system.tier(params.memory).capacity_bytes,
            policies.prefetch,
            policies.eviction,
            policies.prefetch_when_full,
            policies.remote_when_full,
            seed=machine.seed,
        )
        one_pass = PATTERNS.get(params.pattern)(-(-params.working_set // 4096), 1, machine.seed).ravel().tolist()
        report = run(config, [params.working_set], one_pass * params.passes)
        resident = (report.pages_in - report.pages_evicted) * 4096
        machine.engine.process(_pass_time(machine, params.memory, report.total_ps, resident))
        machine.run()
        elapsed_ps = machine.engine.now_ps
        kernel_ps = min(report.kernel_ps, elapsed_ps)
        return Output(
            metrics={
                "reported_ms": report.total_ps / 1e9,
                "kernel_ms": report.kernel_ps / 1e9,
                "faults": report.faults,
                "pages_in": report.pages_in,
                "pages_evicted": report.pages_evicted,
            },
            states_ps={"gpu": {"busy": kernel_ps, "stall:far faults": elapsed_ps - kernel_ps}},
        )


def _pass_time(machine: Machine, tier: str, duration_ps: int, resident_bytes: int) -> Process:
    """Let the reported time pass; what is resident at its end is entered then."""
    yield machine.engine.wait_until(duration_ps)
    machine.placement.add(tier, "managed pages", resident_bytes, Role.OTHER)
