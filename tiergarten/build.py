"""From a scenario to a machine: the only place where tiers, links, devices and models are put together."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tiergarten.driver import Machine
from tiergarten.scenario.fitted import read_fitted
from tiergarten.scenario.load import Scenario, component_params
from tiergarten.scenario.schema import FaultConfig, LinkConfig, ScenarioSchema, TierConfig
from tiergarten.scenario.wire import build_wire
from tiergarten.sim.availability import Availability, Fault
from tiergarten.sim.dma import Dma
from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import InputError
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.memory import memory_models
from tiergarten.sim.placement import Placement
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec
from tiergarten.sim.units import NEVER_PS


def build(scenario: Scenario) -> Machine:
    """A fresh machine for one run of the scenario."""
    schema = scenario.schema
    engine = Engine()
    tiers = [build_tier(engine, name, scenario) for name in schema.tiers]
    links = [Link(engine, link_spec(name, config, schema, scenario.base)) for name, config in schema.links.items()]
    switches = {name: switch.latency for name, switch in schema.switches.items()}
    system = System(engine, tiers, links, switches)
    return Machine(engine, system, Placement(engine, system.tiers), schema.devices, schema.run.seed, schema.run.until)


def build_tier(engine: Engine, name: str, scenario: Scenario) -> Tier:
    """One tier with its memory model and its faults."""
    schema = scenario.schema
    config = schema.tiers[name]
    spec = tier_spec(name, config)
    model_class, params = component_params(memory_models, config.model, scenario.base)
    try:
        model = model_class.build(spec, params, schema.run.seed)  # type: ignore[attr-defined]
    except InputError as error:
        raise InputError(
            [problem if problem.file else replace(problem, path=f"tiers.{name}.model") for problem in error.problems]
        ) from error
    return Tier(engine, spec, model, availability(fault for fault in schema.faults if fault.tier == name))


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


def link_spec(name: str, config: LinkConfig, schema: ScenarioSchema, base: Path) -> LinkSpec:
    """`count` links side by side as one, with the faults that the scenario has for it."""
    wire = build_wire(config, schema, base)
    return LinkSpec(
        name=name,
        ends=config.between,
        duration_ps=wire.duration_ps,
        latency_ps=config.latency + wire.latency_ps,
        full_duplex=config.duplex == "full",
        sharing=config.sharing,
        chunk_bytes=config.chunk,
        energy_pj_per_bit=config.energy,
        setup_ps=wire.setup_ps,
        dma=Dma(config.dma.engines, config.dma.granularity) if config.dma else None,
        credits=wire.credits,
        availability=availability(fault for fault in schema.faults if fault.link == name),
    )


def availability(faults: Iterable[FaultConfig]) -> Availability:
    """The faults of one link or tier."""
    return Availability(
        Fault(fault.at, NEVER_PS if fault.until is None else fault.until, fault.share) for fault in faults
    )
