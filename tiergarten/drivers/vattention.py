"""Workload `vattention`: KV memory of a decoding batch that grows group by group, with and without overlap."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import Field

from tiergarten.accelerators.model_shapes import model_shape
from tiergarten.accelerators.paging.vattention import (
    KvShape,
    PageGroups,
    VAttention,
    VAttentionPolicy,
    growth_timeline,
    visible_iterations_ps,
)
from tiergarten.driver import Driver, Machine, Output, drivers, tier_problems
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import InputError, UnknownNameError
from tiergarten.sim.params import PositiveBytes, PositivePs, Share, StrictModel
from tiergarten.sim.trace import Role
from tiergarten.sim.units import format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema


class VAttentionParams(StrictModel):
    """Keys of a workload of kind `vattention`."""

    memory: str = Field("hbm", description="The worker's tier.")
    model: str = Field("llama-3-8b", description="A bundled model; its layers and KV heads count.")
    workers: int = Field(1, gt=0, le=1024, description="Workers that the KV heads are split among.")
    group: PositiveBytes = Field(description="Size of a page group: 64, 128, 256 KiB or 2 MiB.")
    kv_share: Share = Field(0.5, description="Share of the tier that KV memory may use.")
    prompts: list[int] = Field(min_length=1, max_length=100_000, description="Tokens of each request at the start.")
    iterations: int = Field(100, gt=0, le=1_000_000, description="Decode iterations.")
    compute: PositivePs = Field(description="Time that an iteration computes.")


class VAttentionPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `vattention`."""

    overlap: bool = Field(True, description="Map what an iteration needs during the one before.")
    deferred_reclamation: bool = Field(True, description="Freed requests keep their groups for the next in the slot.")
    eager_slots: int = Field(1, ge=0, le=1000, description="Idle slots that are mapped ahead.")


@drivers.register("vattention")
class VAttentionDecode(Driver):
    """Decoding with vAttention: when KV memory is mapped and how much of that shows in the iterations' times.

    Source: arXiv 2405.04437 (ASPLOS'25).
    """

    Params = VAttentionParams
    keeps_own_time = True
    Policies = VAttentionPolicies
    params: VAttentionParams
    policies: VAttentionPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        problems = tier_problems(scenario, {"workload.memory": self.params.memory})
        if min(self.params.prompts) <= 0:
            problems.append(("workload.prompts", "every prompt needs a token or more"))
        try:
            groups = self._groups()
        except UnknownNameError as error:
            problems.append(("workload.model", str(error)))
        except InputError as error:
            problems += [
                ("workload." + problem.path.removeprefix("kv.").replace("group_bytes", "group"), problem.message)
                for problem in error.problems
            ]
        if problems:
            return problems
        tier = scenario.tiers[self.params.memory]
        memory_bytes = int(tier.capacity * tier.count * self.params.kv_share)
        needed = sum(groups.request_bytes(tokens + self.params.iterations - 1) for tokens in self.params.prompts)
        if needed > memory_bytes:
            text = f"grow to {format_bytes(needed)} of KV memory; {self.params.kv_share:.0%} of {self.params.memory} are {format_bytes(memory_bytes)}"
            problems.append(("workload.prompts", text))
        return problems

    def _groups(self) -> PageGroups:
        shape = model_shape(self.params.model)
        value_bytes = int(shape.kv_bytes_per_value)
        kv = KvShape(shape.layers, shape.kv_heads, shape.head_size, self.params.workers, value_bytes)
        return PageGroups(kv, self.params.group)

    def run(self, machine: Machine) -> Output:
        params, groups = self.params, self._groups()
        kv_bytes = int(machine.system.tier(params.memory).capacity_bytes * params.kv_share)
        policy = VAttentionPolicy(self.policies.overlap, self.policies.deferred_reclamation, self.policies.eager_slots)
        allocator = VAttention(groups, kv_bytes, len(params.prompts) + policy.eager_slots, policy)
        mapping, mapped_bytes = growth_timeline(allocator, list(params.prompts), params.iterations)
        compute = [params.compute] * params.iterations
        wall = visible_iterations_ps(compute, mapping.tolist(), policy.overlapped)
        machine.engine.process(_decode(machine, params, wall, mapped_bytes))
        machine.run()
        visible = int(wall.sum()) - sum(compute)
        decode = wall[1:] if len(wall) > 1 else wall
        return Output(
            metrics={
                "iterations": params.iterations,
                "longest_decode_iteration_ms": int(decode.max()) / 1e9,
                "mapping_ms": int(mapping.sum()) / 1e9,
                "mapping_visible_ms": visible / 1e9,
                "tokens_per_group": groups.tokens_per_group,
                "worst_waste_per_request_bytes": groups.worst_waste_bytes(),
                "mapped_bytes": allocator.mapped_bytes,
                "largest_batch": groups.largest_batch(kv_bytes, list(params.prompts)),
            },
            tables={
                "series/iterations": pa.table(
                    {
                        "iteration": np.arange(params.iterations),
                        "compute_ms": np.array(compute) / 1e9,
                        "mapping_ms": mapping / 1e9,
                        "wall_ms": wall / 1e9,
                        "mapped_bytes": mapped_bytes,
                    }
                )
            },
            states_ps={"gpu": _states(machine.engine.now_ps, params.compute, wall)},
        )


def _states(elapsed_ps: int, compute_ps: int, wall_ps: np.ndarray) -> dict[str, int]:
    """Time computed and time waited for mapping within the run; an iteration waits first."""
    ends = np.minimum(np.cumsum(wall_ps), elapsed_ps)
    begins = np.concatenate([[0], ends[:-1]])
    waits = np.minimum(wall_ps - compute_ps, ends - begins)
    return {"busy": int((ends - begins - waits).sum()), "stall:mapping": int(waits.sum())}


def _decode(machine: Machine, params: VAttentionParams, wall_ps: np.ndarray, mapped_bytes: np.ndarray) -> Process:
    """Live through the iterations; what one needs is mapped when it begins to compute."""
    machine.placement.add(params.memory, "kv", 0, Role.KV)
    for iteration, duration_ps in enumerate(wall_ps.tolist()):
        yield machine.engine.timeout(duration_ps - params.compute)
        machine.placement.resize(params.memory, "kv", int(mapped_bytes[iteration]))
        yield machine.engine.timeout(params.compute)
        machine.progress((iteration + 1) / params.iterations)
