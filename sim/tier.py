"""A memory tier: a name, a capacity and one memory model. It knows its size and speed and nothing of policy."""

from dataclasses import dataclass

from tiergarten.sim.contracts import MemoryModel
from tiergarten.sim.engine import Engine
from tiergarten.sim.memory import memory_server


@dataclass(frozen=True)
class TierSpec:
    """What a tier is, without the state of a run."""

    name: str
    kind: str
    """sram, hbm, gddr, ddr, lpddr, cxl or flash; for reports."""
    capacity_bytes: int
    read_bytes_per_s: float
    write_bytes_per_s: float
    latency_ps: int = 0
    full_duplex: bool = False
    """Reads and writes do not share the bandwidth (CXL); DRAM shares it."""
    energy_pj_per_bit: float | None = None
    """Energy of moving one bit in or out, None = unknown."""
    cost_usd_per_gb: float | None = None
    """Price of 10^9 bytes, None = unknown."""


class Tier:
    """A tier in a run. Reads and writes share the model unless the model itself separates them."""

    def __init__(self, engine: Engine, spec: TierSpec, model: MemoryModel):
        self.spec = spec
        self.name = spec.name
        self.capacity_bytes = spec.capacity_bytes
        self.model = model
        self.server = memory_server(engine, model, spec.capacity_bytes)
