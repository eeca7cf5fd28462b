"""Run a scenario once: build the machine, let the driver drive it, collect the result, check its laws."""

import gc
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from tiergarten.build import build
from tiergarten.collect import collect
from tiergarten.result import RunResult
from tiergarten.scenario.fitted import provenance
from tiergarten.scenario.load import Scenario
from tiergarten.sim.chooser import Chooser

PACKAGES = ("numpy", "numba", "simpy", "pandas", "pyarrow", "pydantic")


def simulate(
    scenario: Scenario,
    progress: Callable[[float], None] | None = None,
    choosers: Mapping[str, Chooser] | None = None,
) -> RunResult:
    """Run the scenario and return its result, laws checked. Nothing is written; see `RunResult.save`.

    Args:
        scenario: what to run.
        progress: told the finished share, 0 to 1, now and then.
        choosers: by tier, what stands in for the weights of its `learned` eviction policy.
    """
    started = time.perf_counter()
    machine = build(scenario)
    if progress is not None:
        machine = replace(machine, progress=progress)
    if choosers is not None:
        machine = replace(machine, choosers=choosers)
    built = time.perf_counter()
    with _rare_collection():
        output = scenario.driver.run(machine)
    driven = time.perf_counter()
    outputs = scenario.schema.outputs
    machine.placement.check()
    keep_ledger = outputs.ledger or bool(scenario.schema.faults)
    collected = collect(machine, output, outputs.bins, outputs.transfers, keep_ledger)
    finished = time.perf_counter()
    simulated_s = collected.metrics["elapsed_s"]
    return RunResult(
        name=scenario.name,
        metrics=collected.metrics,
        tables=collected.tables,
        manifest=_manifest(scenario, output.trace_hash),
        host={
            "machine": platform.machine(),
            "python": platform.python_version(),
            "system": platform.system(),
            "build_s": round(built - started, 3),
            "simulate_s": round(driven - built, 3),
            "collect_s": round(finished - driven, 3),
            "simulated_s_per_s": round(simulated_s / max(driven - built, 1e-9), 3),
        },
        scenario_yaml=scenario.to_yaml(),
        laws=collected.laws,
    )


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Collect cycles rarely: a run makes millions of tuples that reference counting frees."""
    thresholds = gc.get_threshold()
    gc.set_threshold(500_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _manifest(scenario: Scenario, trace_hash: str) -> dict[str, object]:
    schema = scenario.schema
    return {
        "name": scenario.name,
        "title": schema.title,
        "scenario_hash": scenario.hash,
        "trace_hash": trace_hash,
        "seed": schema.run.seed,
        "tiergarten": package_version("tiergarten"),
        "packages": {name: package_version(name) for name in PACKAGES},
        "tiers": {
            name: {"kind": tier.kind, "fidelity": tier.model.name, "calibration": provenance(tier.calibration)}
            for name, tier in schema.tiers.items()
        },
        "links": {name: {"calibration": provenance(link.calibration)} for name, link in schema.links.items()},
    }


def package_version(name: str) -> str:
    """Version of an installed package, "unknown" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
