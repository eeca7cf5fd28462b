"""Small machines with numbers that can be checked in the head."""

from tiergarten.sim.engine import Engine
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec

GB_PER_S = 1e9
US = 10**6


def tier(engine: Engine, name: str, bytes_per_s: float = 1e15, latency_ps: int = 0, **rest) -> Tier:
    """An analytic tier; so fast by default that it never is the bottleneck."""
    spec = TierSpec(name, "ddr", rest.pop("capacity_bytes", 10**12), bytes_per_s, bytes_per_s, latency_ps, **rest)
    return Tier(engine, spec, AnalyticModel(spec))


def two_tiers(**link) -> System:
    """near and far, joined by a 1 GB/s link."""
    engine = Engine()
    rate = link.pop("bytes_per_s", GB_PER_S)
    spec = LinkSpec.at_bandwidth("wire", ("near", "far"), rate, **link)
    return System(engine, [tier(engine, "near"), tier(engine, "far")], [Link(engine, spec)])
