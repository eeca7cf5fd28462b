"""Transfers per second through the engine at analytic fidelity, beside plain SimPy resources and timeouts in the same run.

Run `python benchmarks/engine.py`. Times are user CPU of one process, best of several.
"""

import gc
import time
from collections.abc import Callable

import simpy

from tiergarten.sim.engine import Engine
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec

WINDOW = 8
"""Transfers under way at a time."""


def two_tiers() -> System:
    """HBM and DDR over one PCIe link."""
    engine = Engine()
    tiers = []
    for name, rate in (("hbm", 3e12), ("ddr", 3e11)):
        spec = TierSpec(name, name, 10**12, rate, rate, 100_000)
        tiers.append(Tier(engine, spec, AnalyticModel(spec)))
    return System(engine, tiers, [Link(engine, LinkSpec.at_bandwidth("pcie", ("hbm", "ddr"), 5e10, latency_ps=10**6))])


def transfers(count: int) -> None:
    """Copies of 1 MiB from DDR to HBM, each through three servers (DDR, link, HBM)."""
    system = two_tiers()

    def issue():
        for _ in range(count // WINDOW):
            started = [system.transfer("ddr", "hbm", 2**20) for _ in range(WINDOW)]
            yield started[-1]

    system.engine.process(issue())
    system.engine.run()
    assert len(system.log) == count


def simpy_resources(count: int) -> None:
    """The same as plain SimPy would do it, through one resource."""
    environment = simpy.Environment()
    server = simpy.Resource(environment)

    def copy():
        with server.request() as turn:
            yield turn
            yield environment.timeout(5)

    def issue():
        for _ in range(count // WINDOW):
            started = [environment.process(copy()) for _ in range(WINDOW)]
            yield started[-1]

    environment.process(issue())
    environment.run()


def simpy_timeouts(count: int) -> None:
    """What SimPy's event loop alone can do."""
    environment = simpy.Environment()

    def wait():
        for _ in range(count):
            yield environment.timeout(1)

    environment.process(wait())
    environment.run()


def rate(work: Callable[[int], None], count: int, repeats: int = 5) -> float:
    """Units per second of user CPU, best of several."""
    best = 0.0
    for _ in range(repeats):
        gc.collect()
        started = time.process_time()
        work(count)
        best = max(best, count / (time.process_time() - started))
    return best


def main() -> None:
    """Print the table."""
    gc.set_threshold(500_000, 20, 20)  # as a run does
    ours, resources, timeouts = rate(transfers, 200_000), rate(simpy_resources, 50_000), rate(simpy_timeouts, 200_000)
    print(f"transfers through three servers  {ours:12,.0f} /s")
    print(f"SimPy resource-guarded copies    {resources:12,.0f} /s  (ours: {ours / resources:.2f} times)")
    print(f"SimPy timeouts                   {timeouts:12,.0f} /s  (ours: {ours / timeouts:.2f} times)")


if __name__ == "__main__":
    main()
