"""What can be named in a scenario: devices, memory and link models, policies, workloads, bundled scenarios; one line each."""

import importlib
from collections.abc import Callable
from pathlib import Path

from tiergarten.driver import drivers
from tiergarten.scenario.merge import bundled
from tiergarten.scenario.yaml_tree import read_yaml
from tiergarten.sim.errors import TiergartenError, did_you_mean
from tiergarten.sim.link_model import link_models
from tiergarten.sim.memory import memory_models
from tiergarten.sim.registry import Registry, summary


def catalogue(kind: str | None = None) -> dict[str, dict[str, str]]:
    """Names with a line of text each, for one kind or for all. TiergartenError for an unknown kind."""
    if kind is not None and kind not in _KINDS:
        raise TiergartenError(f"nothing is listed under {kind!r}. {did_you_mean(kind, _KINDS)}")
    return {name: make() for name, make in _KINDS.items() if kind in (None, name)}


def _titles(folder: str) -> dict[str, str]:
    return {name: _title(path) for name, path in bundled(folder).items()}


def _title(path: Path) -> str:
    value = read_yaml(path).value
    return str(value.get("title", "")) if isinstance(value, dict) else ""


def _registered(registry: Registry[type]) -> dict[str, str]:
    return {name: summary(entry) for name, entry in registry.items()}


def _policies() -> dict[str, str]:
    module = importlib.import_module("tiergarten.sim.policies")
    return _registered(module.eviction_policies)


def _kernels() -> dict[str, str]:
    module = importlib.import_module("tiergarten.workloads.kernel")
    return _registered(module.KERNELS)


def _workloads() -> dict[str, str]:
    """What a scenario may name as its workload's kind, and the bundled scenarios that replay kernels."""
    replays = {name: title for name, title in _titles("scenarios").items() if name.startswith("workloads/")}
    return {**_registered(drivers), **replays}


_KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "devices": lambda: _titles("devices"),
    "tiers": lambda: _registered(memory_models),
    "links": lambda: _registered(link_models),
    "policies": _policies,
    "workloads": _workloads,
    "kernels": _kernels,
    "scenarios": lambda: _titles("scenarios"),
}
