"""From a link's keys to its wire. Validation builds it too, so that what cannot be is found before anything runs."""

from pathlib import Path

from tiergarten.scenario.fitted import read_fitted
from tiergarten.scenario.schema import LinkConfig, ScenarioSchema
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.link_model import SWITCH, LinkEnd, LinkSetup, Wire, link_models


def build_wire(config: LinkConfig, schema: ScenarioSchema, base: Path) -> Wire:
    """The wire of a link; a calibration stands for bandwidth and set-up time of one link, both ways.

    Raises InputError for what the link's model cannot be, `path` naming its parameter.
    """
    model = link_models.get(config.model.name)
    params = model.Params.model_validate(config.model.params, context={"base": base})  # type: ignore[attr-defined]
    forward = config.bandwidth or 0.0
    backward = config.backward_bandwidth or forward
    per_copy_ps = config.per_copy
    if config.calibration is not None:
        fitted = read_fitted(config.calibration)
        forward = backward = fitted.bandwidth
        per_copy_ps = fitted.per_copy
    first, second = (_end(name, schema) for name in config.between)
    wire: Wire = model.build(LinkSetup((first, second), config.count, (forward, backward), per_copy_ps), params)  # type: ignore[attr-defined]
    if wire.credits is not None and (config.sharing != "fifo" or config.dma is not None):
        message = f"model {config.model.name} sends in order of arrival: leave out `sharing` and `dma`"
        raise InputError(Problem(message, path="name"))
    return wire


def _end(name: str, schema: ScenarioSchema) -> LinkEnd:
    if name in schema.switches:
        return LinkEnd(name, SWITCH)
    tier = schema.tiers[name]
    return LinkEnd(name, tier.kind, tier.latency)
