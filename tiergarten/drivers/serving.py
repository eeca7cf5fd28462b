"""Workload `serving`: a language model served to a stream of requests, its KV cache spread over memory tiers."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BeforeValidator, Field

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.accelerators.model_shapes import ModelShape, model_shape
from tiergarten.accelerators.serving.costs import StepCosts
from tiergarten.accelerators.serving.engine import BatchLimits, ServingEngine
from tiergarten.accelerators.serving.kv_tiers import KvTiers, WriteMode
from tiergarten.accelerators.serving.level import Level
from tiergarten.accelerators.serving.outcome import (
    Goals,
    device_metrics,
    device_states,
    hit_metrics,
    request_metrics,
    served_tables,
)
from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.sim.errors import Problem, ScenarioError, UnknownNameError, did_you_mean
from tiergarten.sim.eviction import EvictionSetup, FutureUses
from tiergarten.sim.params import Chosen, Ps, Share, StrictModel, chosen
from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.prefix import PrefixTree, prefix_tree
from tiergarten.sim.trace import RequestTrace, Role
from tiergarten.sim.units import PS_PER_MS, PS_PER_S, format_bytes
from tiergarten.workloads.hit_rate import KERNELS, hit_rates
from tiergarten.workloads.requests.source import GeneratedRequests, RequestSource

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

WEIGHTS = "weights"


def _shape(value: Any) -> Any:
    """A bundled model by name, or one with some numbers replaced, or all numbers."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or "name" not in value:
        return value
    try:
        base = model_shape(str(value["name"]))
    except UnknownNameError as error:
        raise ValueError(str(error)) from None
    return base.model_dump() | {key: number for key, number in value.items() if key != "name"}


class Batching(StrictModel):
    """What goes into one iteration."""

    max_requests: int = Field(256, gt=0, le=100_000, description="Requests admitted at a time.")
    max_tokens: int = Field(
        2048, gt=0, le=10_000_000, description="Tokens of an iteration: one per decoding request, the rest prefill."
    )
    overhead: Ps = Field(
        0, description="Time of an iteration beyond the device's own: scheduling, sampling, detokenising."
    )


class ServingParams(StrictModel):
    """Keys of a workload of kind `serving`."""

    model: Annotated[ModelShape, BeforeValidator(_shape)] = Field(
        description="A bundled model by name, `{name: ..., kv_bytes_per_value: 1}` to change a number, or all numbers."
    )
    requests: RequestSource = Field(GeneratedRequests(), description="Where requests come from.")
    device: str | None = Field(None, description="Device that serves; absent = the only one with `peak_flops`.")
    number_format: str = Field("bf16", description="Number format of the compute, a key of the device's `peak_flops`.")
    cache: list[str] = Field(
        ["hbm", "ddr", "nvme"], min_length=1, max_length=8, description="Tiers of the KV cache, the device's own first."
    )
    memory_share: Share = Field(0.9, description="Share of the first tier that weights and KV cache may use.")
    batching: Batching = Field(Batching(), description="What goes into one iteration.")
    ttft_goal: Ps = Field(2 * PS_PER_S, description="Time to first token that counts as good.")
    tpot_goal: Ps = Field(100 * PS_PER_MS, description="Time per output token that counts as good.")
    hit_rate_curve: bool = Field(True, description="Also replay hit rates against capacity, without the clock.")


EVERY_TIER = ""
"""Key of the policy that all tiers have which are not named."""


def _by_tier(value: Any) -> Any:
    """One policy for every tier, as its name or `{name: ..., ...}`, or a mapping of tiers to such policies."""
    if isinstance(value, str) or (isinstance(value, dict) and "name" in value):
        value = {EVERY_TIER: value}
    if not isinstance(value, dict):
        return value
    return {EVERY_TIER: "lru"} | value


class ServingPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `serving`."""

    eviction: Annotated[dict[str, Annotated[Any, chosen(eviction_policies)]], BeforeValidator(_by_tier)] = Field(
        "lru",
        validate_default=True,
        description="Which block leaves a full tier: one policy, or one by tier; others use lru.",
    )
    write: WriteMode = Field(
        WriteMode.THROUGH,
        description="through: copy a block down as soon as it is there; on-evict: when it has to leave.",
    )


@drivers.register("serving")
class Serving(Driver):
    """A language model under a request stream: continuous batching, and a KV cache over memory tiers."""

    Params = ServingParams
    Policies = ServingPolicies
    params: ServingParams
    policies: ServingPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params = self.params
        problems = tier_problems(scenario, {f"workload.cache.{index}": name for index, name in enumerate(params.cache)})
        if len(set(params.cache)) < len(params.cache):
            problems.append(("workload.cache", "names a tier twice"))
        problems += route_problems(
            scenario,
            ((f"workload.cache.{i}", above, name) for i, (above, name) in enumerate(pairwise(params.cache), 1)),
        )
        problems += self._check_policies()
        try:
            self._device(scenario.devices).flops_per_s(params.number_format)
        except ValueError as error:
            problems.append(("workload.device", str(error)))
        first = scenario.tiers.get(params.cache[0])
        if first is not None:
            usable = int(first.capacity * first.count * params.memory_share)
            if usable <= params.model.weight_bytes:
                problems.append(
                    (
                        f"tiers.{params.cache[0]}.capacity",
                        f"cannot hold the weights: they need {format_bytes(params.model.weight_bytes)}, "
                        f"{params.memory_share:.0%} of the tier is {format_bytes(usable)}",
                    )
                )
        return problems

    def _check_policies(self) -> list[tuple[str, str]]:
        return [
            (f"policies.eviction.{tier}", f"is no tier of workload.cache ({', '.join(self.params.cache)})")
            for tier in self.policies.eviction
            if tier != EVERY_TIER and tier not in self.params.cache
        ]

    def _device(self, devices: Mapping[str, DeviceSpec]) -> DeviceSpec:
        """The device that serves. ValueError if the scenario does not say which."""
        name = self.params.device
        if name is None:
            computing = [device for device, spec in devices.items() if spec.peak_flops]
            if len(computing) != 1:
                found = ", ".join(computing) or "none"
                raise ValueError(f"name the device that serves; those with peak_flops: {found}")
            name = computing[0]
        if name not in devices:
            raise ValueError(f"unknown device {name!r}. {did_you_mean(name, devices)}")
        return devices[name]

    def run(self, machine: Machine) -> Output:
        params = self.params
        try:
            trace = params.requests.trace(machine.seed)
        except ValueError as error:
            raise ScenarioError(Problem(str(error), path="workload.requests")) from None
        tree = prefix_tree(trace) if len(trace.block_ids) else None
        levels = self._levels(machine, trace, tree)
        machine.placement.add(params.cache[0], WEIGHTS, params.model.weight_bytes, Role.WEIGHT)
        device = self._device(machine.devices)
        engine = ServingEngine(
            machine.system,
            trace,
            tree,
            KvTiers(machine.system, machine.placement, levels, self.policies.write),
            self._step_costs(machine, device),
            BatchLimits(params.batching.max_requests, params.batching.max_tokens),
            machine.progress,
        )
        engine.start()
        machine.run()
        engine.check_done()
        if engine.records.is_rejected.all():
            message = f"none of the {len(trace)} requests fits into {format_bytes(levels[0].capacity_bytes)} beside the weights"
            raise ScenarioError(Problem(message, path=f"tiers.{params.cache[0]}.capacity"))
        return self._output(machine, engine, trace, device)

    def _step_costs(self, machine: Machine, device: DeviceSpec) -> StepCosts:
        """Rates that the device reaches. Where its data has a fixed cost per layer, weights stream at its `memory` share."""
        params, efficiency = self.params, device.efficiency
        memory = machine.system.tier(params.cache[0]).spec.read_bytes_per_s
        return StepCosts(
            params.model,
            device.flops_per_s(params.number_format) * efficiency.get("prefill", 1.0),
            memory * efficiency.get("memory" if device.overhead.layer else "decode", 1.0),
            device.overhead.layer,
            params.batching.overhead,
        )

    def _levels(self, machine: Machine, trace: RequestTrace, tree: PrefixTree | None) -> list[Level]:
        params = self.params
        block_bytes = max(trace.block_tokens, 1) * params.model.kv_bytes_per_token
        parents = [0] if tree is None else tree.parents.tolist()
        levels = []
        for index, name in enumerate(params.cache):
            capacity = machine.system.tier(name).capacity_bytes
            if index == 0:
                capacity = int(capacity * params.memory_share) - params.model.weight_bytes
            policy = self._eviction(name)
            setup = EvictionSetup(
                max(1, capacity // block_bytes),
                _future(tree) if policy.name == "opt" else None,
                machine.rng(f"eviction {name}"),
                policy.params,
                machine.choosers.get(name),
            )
            levels.append(Level(name, capacity, block_bytes, policy.cls(setup), parents))
        return levels

    def _eviction(self, tier: str) -> Chosen:
        by_tier: dict[str, Chosen] = self.policies.eviction
        return by_tier.get(tier) or by_tier[EVERY_TIER]

    def _output(self, machine: Machine, engine: ServingEngine, trace: RequestTrace, device: DeviceSpec) -> Output:
        params, records = self.params, engine.records
        elapsed_ps = max(machine.engine.now_ps, 1)
        finished_tokens = int(trace.output_tokens[records.is_finished].sum())
        tables = served_tables(trace, records, params.cache)
        if params.hit_rate_curve and len(trace.block_ids):
            tables["hit_rate"] = self._hit_rate_curve(trace, machine)
        goals = Goals(params.ttft_goal, params.tpot_goal)
        return Output(
            metrics={
                **request_metrics(trace, records, goals, elapsed_ps),
                **hit_metrics(trace, records, params.cache),
                **device_metrics(engine, device, elapsed_ps, finished_tokens),
            },
            tables=tables,
            states_ps={
                "device": device_states(engine),
                params.cache[0]: _memory_states(machine, engine, params.cache[0]),
            },
            trace_hash=trace.digest(),
        )

    def _hit_rate_curve(self, trace: RequestTrace, machine: Machine) -> pa.Table:
        """Hit rate by policy over capacities from a sixteenth of the first tier's to all tiers together, without a clock."""
        params = self.params
        block_bytes = trace.block_tokens * params.model.kv_bytes_per_token
        sizes = [machine.system.tier(name).capacity_bytes // block_bytes for name in params.cache]
        needed = len(np.unique(trace.block_ids))
        top = max(2, min(sum(sizes), 2 * needed))
        capacities = np.unique(np.geomspace(max(1, min(sizes[0], top) // 16), top, 10).astype(int)).tolist()
        names = [
            name
            for name in dict.fromkeys(["fifo", "lru", "opt", self._eviction(params.cache[0]).name])
            if name in KERNELS
        ]
        frame = hit_rates(trace, capacities, names)
        return pa.table(
            {
                "policy": frame["policy"].tolist(),
                "capacity_bytes": (frame["capacity_blocks"] * float(block_bytes)).tolist(),
                "hit_rate": frame["hit_rate"].tolist(),
            }
        )


def _memory_states(machine: Machine, engine: ServingEngine, name: str) -> dict[str, int]:
    """Time that the device's own memory needs for its transfers and, at full bandwidth, for the bytes of the compute."""
    tier = machine.system.tier(name)
    elapsed_ps = machine.engine.now_ps
    transfers_ps = min(tier.server.busy_ps, elapsed_ps)
    compute_ps = round(engine.memory_bytes / tier.spec.read_bytes_per_s * PS_PER_S)
    return {"busy": transfers_ps, "compute": min(compute_ps, elapsed_ps - transfers_ps)}


def _future(tree: PrefixTree | None) -> FutureUses:
    """The requests that will ask for each block."""
    if tree is None:
        return FutureUses(())
    requests = np.repeat(np.arange(len(tree.offsets) - 1), np.diff(tree.offsets))
    return FutureUses(zip(requests.tolist(), tree.nodes.tolist(), strict=True))
