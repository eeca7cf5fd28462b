"""From a scenario to a machine: the only place where tiers, links, devices and models are put together."""

from pathlib import Path

from tiergarten.driver import Machine
from tiergarten.scenario.fitted import read_fitted
from tiergarten.scenario.load import Scenario, component_params
from tiergarten.scenario.schema import LinkConfig, TierConfig
from tiergarten.sim.engine import Engine
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.memory import memory_models
from tiergarten.sim.placement import Placement
from tiergarten.sim.server import DurationPs, at_rate
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec


def build(scenario: Scenario) -> Machine:
    """A fresh machine for one run of the scenario."""
    schema = scenario.schema
    engine = Engine()
    tiers = [build_tier(engine, name, config, scenario.base, schema.run.seed) for name, config in schema.tiers.items()]
    links = [Link(engine, link_spec(name, config)) for name, config in schema.links.items()]
    system = System(engine, tiers, links)
    return Machine(engine, system, Placement(engine, system.tiers), schema.devices, schema.run.seed, schema.run.until)


def build_tier(engine: Engine, name: str, config: TierConfig, base: Path, seed: int) -> Tier:
    """One tier with its memory model."""
    spec = tier_spec(name, config)
    model_class, params = component_params(memory_models, config.model, base)
    return Tier(engine, spec, model_class.build(spec, params, seed))  # type: ignore[attr-defined]


def tier_spec(name: str, config: TierConfig) -> TierSpec:
    """`count` units side by side as one tier; a calibration stands for latency and bandwidth of one unit."""
    read = config.read_bandwidth or config.bandwidth or 0.0
    write = config.write_bandwidth or config.bandwidth or 0.0
    latency_ps = config.latency
    if config.calibration is not None:
        fitted = read_fitted(config.calibration)
        read = write = fitted.bandwidth
        latency_ps = fitted.per_copy
    return TierSpec(
        name=name,
        kind=config.kind,
        capacity_bytes=config.capacity * config.count,
        read_bytes_per_s=read * config.count,
        write_bytes_per_s=write * config.count,
        latency_ps=latency_ps,
        full_duplex=config.duplex == "full",
        energy_pj_per_bit=config.energy,
        cost_usd_per_gb=config.cost_per_gb,
    )


def link_spec(name: str, config: LinkConfig) -> LinkSpec:
    """`count` links side by side as one; a calibration stands for bandwidth and set-up time of one link, both ways."""
    forward = config.bandwidth or 0.0
    backward = config.backward_bandwidth or forward
    per_copy_ps = config.per_copy
    if config.calibration is not None:
        fitted = read_fitted(config.calibration)
        forward = backward = fitted.bandwidth
        per_copy_ps = fitted.per_copy
    return LinkSpec(
        name=name,
        ends=config.between,
        duration_ps=(_copy(forward * config.count, per_copy_ps), _copy(backward * config.count, per_copy_ps)),
        latency_ps=config.latency,
        full_duplex=config.duplex == "full",
        sharing=config.sharing,
        chunk_bytes=config.chunk,
        energy_pj_per_bit=config.energy,
    )


def _copy(bytes_per_s: float, per_copy_ps: int) -> DurationPs:
    rate = at_rate(bytes_per_s)
    if not per_copy_ps:
        return rate
    return lambda num_bytes: per_copy_ps + rate(num_bytes)
