"""Workload `experts`: a composition of experts served in a closed loop, the next batch when the last one is done."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.accelerators.experts.choice import Choice, RoundRobin
from tiergarten.accelerators.experts.footprint import Footprint
from tiergarten.accelerators.experts.model import Executor, LanguageModel, Shape
from tiergarten.accelerators.experts.outcome import cost_metrics, device_states_ps, served_metrics, served_tables
from tiergarten.accelerators.experts.server import ExpertServer, Order, ServingPlan
from tiergarten.accelerators.model_shapes import model_shape
from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.sim.errors import Problem, ScenarioError, UnknownNameError, did_you_mean
from tiergarten.sim.eviction import EvictionSetup, FutureUses
from tiergarten.sim.params import StrictModel, chosen
from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.units import format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.load import Scenario
    from tiergarten.scenario.schema import ScenarioSchema


MAX_PROMPTS: Final = 2_000_000
"""Bounds the memory of a run; each prompt leaves a record and its transfers."""


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _bundled_model(value: Any) -> Any:
    """A bundled model by its name, spelled out."""
    if not isinstance(value, str):
        return value
    try:
        shape = model_shape(value)
    except UnknownNameError as error:
        raise ValueError(str(error)) from error
    kept = {key: getattr(shape, key) for key in ("parameters", "layers", "heads", "kv_heads", "head_size")}
    return kept | {"value_bytes": int(shape.weight_bytes_per_value)}


Model = Annotated[LanguageModel, BeforeValidator(_bundled_model)]


class ExpertsParams(StrictModel):
    """Keys of a workload of kind `experts`."""

    experts: int = Field(gt=0, le=100_000, description="Number of experts; all have the size of `model`.")
    model: Model = Field(description="Each expert: a bundled model by name, or its numbers.")
    router: Model | None = Field(None, description="The router, likewise; absent = like an expert.")
    router_output_tokens: int | None = Field(
        None, gt=0, le=100_000, description="Tokens that the router generates; absent = as many as an expert."
    )
    home: str = Field("ddr", description="Tier that holds all experts.")
    cache: str = Field("hbm", description="Tier beside the device that holds router, context and cached experts.")
    device: str | None = Field(
        None, description="Device that runs router and experts; absent = the only one with `peak_flops`."
    )
    number_format: str = Field("bf16", description="Number format of the compute, a key of the device's `peak_flops`.")
    batch_size: int = Field(1, gt=0, le=4096, description="Prompts that arrive together and are routed together.")
    prompt_tokens: int = Field(gt=0, le=1_000_000, description="Length of a prompt.")
    output_tokens: int = Field(gt=0, le=100_000, description="Tokens that each prompt gets back.")
    batches: int = Field(20, gt=0, le=100_000, description="Batches that are measured.")
    warm_up: int | None = Field(
        None, ge=0, le=100_000, description="Batches before them; absent = enough to ask for every expert once."
    )
    choice: Annotated[Choice, BeforeValidator(_by_name)] = Field(
        RoundRobin(), description="Which expert a prompt asks for: round-robin, uniform, or zipf with an exponent."
    )

    @property
    def router_model(self) -> LanguageModel:
        """The router, spelled out."""
        return self.router or self.model

    @property
    def router_shape(self) -> Shape:
        """One run of the router over a batch."""
        return Shape(self.batch_size, self.prompt_tokens, self.router_output_tokens or self.output_tokens)

    @property
    def warm_up_batches(self) -> int:
        """Warm-up, spelled out."""
        return -(-self.experts // self.batch_size) if self.warm_up is None else self.warm_up

    @property
    def footprint(self) -> Footprint:
        """Bytes of router, experts and context."""
        router_tokens = self.prompt_tokens + self.router_shape.output_tokens
        expert_tokens = self.prompt_tokens + self.output_tokens
        context = max(
            self.batch_size * self.router_model.kv_bytes_per_token * router_tokens,
            self.model.kv_bytes_per_token * expert_tokens,  # prompts run one after another
        )
        return Footprint(self.model.weight_bytes, self.router_model.weight_bytes, context)


class ExpertsPolicies(StrictModel):
    """Keys of `policies:` for a workload of kind `experts`."""

    eviction: Annotated[Any, chosen(eviction_policies)] = Field(
        "lru",
        validate_default=True,
        description="Which cached expert leaves; `tiergarten list policies` shows the names.",
    )
    order: Literal["copies-first", "overlapped"] = Field(
        "copies-first",
        description="copies-first: copy all missing experts of a batch, then run its prompts; "
        "overlapped: run a prompt while the experts of later ones are copied.",
    )
    keep_batch: bool = Field(
        False, description="Keep an expert that this batch still needs while an earlier prompt of it makes room."
    )


@drivers.register("experts")
class Experts(Driver):
    """Composition of experts: router first, experts homed in one tier and cached in another, served in a closed loop.

    Source: Prabhakar et al., SambaNova SN40L, MICRO 2024 (arXiv 2405.07518), Sec. V and VI.
    """

    Params = ExpertsParams
    Policies = ExpertsPolicies
    params: ExpertsParams
    policies: ExpertsPolicies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params = self.params
        problems = tier_problems(scenario, {"workload.home": params.home, "workload.cache": params.cache})
        if params.home == params.cache:
            problems.append(("workload.cache", "must be another tier than `home`"))
        problems += route_problems(scenario, [("workload.cache", params.home, params.cache)])
        num_prompts = (params.warm_up_batches + params.batches) * params.batch_size
        if num_prompts > MAX_PROMPTS:
            text = f"{num_prompts} prompts with the warm-up; a run serves at most {MAX_PROMPTS}"
            problems.append(("workload.batches", text))
        try:
            self._device(scenario.devices).flops_per_s(params.number_format)
        except ValueError as error:
            problems.append(("workload.device", str(error)))
        return problems

    def _device(self, devices: Mapping[str, DeviceSpec]) -> DeviceSpec:
        """The device that runs the experts. ValueError if the scenario does not say which."""
        name = self.params.device
        if name is None:
            computing = [device for device, spec in devices.items() if spec.peak_flops]
            if len(computing) != 1:
                found = ", ".join(computing) or "none"
                raise ValueError(f"name the device that runs the experts; those with peak_flops: {found}")
            name = computing[0]
        if name not in devices:
            raise ValueError(f"unknown device {name!r}. {did_you_mean(name, devices)}")
        return devices[name]

    def run(self, machine: Machine) -> Output:
        params = self.params
        _require_memory(params, machine)
        experts = self._asked(machine)
        plan = self._plan(machine)
        cached = params.footprint.cached_experts(machine.system.tier(params.cache).capacity_bytes)
        future = FutureUses(enumerate(experts)) if self.policies.eviction.name == "opt" else None
        eviction = self.policies.eviction
        setup = EvictionSetup(
            cached, future, machine.rng("eviction"), eviction.params, machine.choosers.get(self.params.cache)
        )
        policy = eviction.cls(setup)
        server = ExpertServer(machine.engine, machine.system, machine.placement, policy, plan)
        machine.engine.process(server.serve(experts, machine.progress))
        machine.run()
        return Output(
            metrics={
                **served_metrics(server.batches[params.warm_up_batches :], server.prompts, params.output_tokens),
                **cost_metrics(plan),
                **_capacity_metrics(params, machine),
            },
            tables=served_tables(server, params.prompt_tokens, params.output_tokens),
            states_ps={"device": device_states_ps(server)},
        )

    def _asked(self, machine: Machine) -> list[int]:
        """The expert of every prompt, warm-up included."""
        params = self.params
        num_prompts = (params.warm_up_batches + params.batches) * params.batch_size
        drawn: list[int] = params.choice.draw(num_prompts, params.experts, machine.rng("experts")).tolist()
        return drawn

    def _plan(self, machine: Machine) -> ServingPlan:
        params, footprint = self.params, self.params.footprint
        cache = machine.system.tier(params.cache)
        executor = Executor(self._device(machine.devices), cache.spec.read_bytes_per_s, params.number_format)
        return ServingPlan(
            home=params.home,
            cache=params.cache,
            num_experts=params.experts,
            expert_bytes=footprint.expert_bytes,
            router_bytes=footprint.router_bytes,
            context_bytes=footprint.context_bytes,
            router_run=executor.run(params.router_model, params.router_shape),
            expert_run=executor.run(params.model, Shape(1, params.prompt_tokens, params.output_tokens)),
            batch_size=params.batch_size,
            order=Order(self.policies.order),
            keep_batch=self.policies.keep_batch,
        )


def _capacity_metrics(params: ExpertsParams, machine: Machine) -> dict[str, float | int | str | None]:
    """What the machine's capacities mean for this composition of experts; the cost is that of home and cache tier."""
    footprint = params.footprint
    home, cache = (machine.system.tier(name) for name in (params.home, params.cache))
    metrics: dict[str, float | int | str | None] = {
        "experts_cached_max": footprint.cached_experts(cache.capacity_bytes),
        "experts_homed_max": footprint.homed_experts(home.capacity_bytes),
        "nodes_to_cache_all": footprint.nodes_to_cache(params.experts, cache.capacity_bytes),
        "nodes_to_home_all": footprint.nodes_to_home(params.experts, home.capacity_bytes),
    }
    if home.spec.cost_usd_per_gb is not None and cache.spec.cost_usd_per_gb is not None:
        metrics["memory_cost_usd"] = (
            home.capacity_bytes * home.spec.cost_usd_per_gb + cache.capacity_bytes * cache.spec.cost_usd_per_gb
        ) / 1e9
    return metrics


def _require_memory(params: ExpertsParams, machine: Machine) -> None:
    """Raise ScenarioError unless all experts fit into the home tier and one beside router and context into the cache."""
    footprint = params.footprint
    home, cache = (machine.system.tier(name) for name in (params.home, params.cache))
    problems = []
    homed = max(footprint.homed_experts(home.capacity_bytes), 0)
    if homed < params.experts:
        text = (
            f"out of memory: {params.experts} experts of {format_bytes(footprint.expert_bytes)} and their router do not "
            f"fit into {home.name} of {format_bytes(home.capacity_bytes)}; at most {homed} experts do"
        )
        problems.append(Problem(text, path="workload.experts"))
    if footprint.cached_experts(cache.capacity_bytes) < 1:
        needed = footprint.router_bytes + footprint.context_bytes + footprint.expert_bytes
        text = (
            f"out of memory: router, context and one expert need {format_bytes(needed)}, "
            f"{cache.name} has {format_bytes(cache.capacity_bytes)}"
        )
        problems.append(Problem(text, path=f"tiers.{cache.name}.capacity"))
    if problems:
        raise ScenarioError(problems)


def nodes_needed(scenario: "Scenario", numbers: Sequence[int]) -> list[dict[str, int | str]]:
    """Nodes whose pooled cache tiers, or home tiers, hold each number of experts of the scenario's composition.

    Returns rows of system, tier_role ("beside the device" or "home"), experts, nodes. ScenarioError for another workload.
    """
    if not isinstance(scenario.driver, Experts):
        raise ScenarioError(scenario.tree.problem(("workload", "kind"), "must be `experts` for a footprint"))
    params = scenario.driver.params
    tiers = scenario.schema.tiers
    cache_bytes, home_bytes = (tiers[name].capacity * tiers[name].count for name in (params.cache, params.home))
    rows: list[dict[str, int | str]] = []
    for number in numbers:
        cached = params.footprint.nodes_to_cache(number, cache_bytes)
        homed = params.footprint.nodes_to_home(number, home_bytes)
        row: dict[str, int | str] = {"system": scenario.name, "experts": number}
        rows += [
            row | {"tier_role": "beside the device", "nodes": cached},
            row | {"tier_role": "home", "nodes": homed},
        ]
    return rows
