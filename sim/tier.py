"""A memory tier: a name, a capacity and one memory model. It knows its size and speed and nothing of policy."""

from dataclasses import dataclass

from tiergarten.sim.availability import ALWAYS, Availability
from tiergarten.sim.contracts import MemoryModel, Wearing
from tiergarten.sim.engine import Engine
from tiergarten.sim.memory import memory_server
from tiergarten.sim.read_only import ReadOnlyAtTimes
from tiergarten.sim.units import NEVER_PS


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
    """A tier in a run. Reads and writes share the model unless the model itself separates them.

    A tier may be read-only for a time, by a fault that is known or because its memory has worn out.
    """

    def __init__(self, engine: Engine, spec: TierSpec, model: MemoryModel, writes: Availability = ALWAYS):
        self.spec = spec
        self.name = spec.name
        self.capacity_bytes = spec.capacity_bytes
        self.model = model
        self.writes = writes
        """When the tier takes writes: a share of 0 means that it does not."""
        server = memory_server(engine, model, spec.capacity_bytes)
        self._wearing = model if isinstance(model, Wearing) else None
        self.server = ReadOnlyAtTimes(server, writes) if writes.faults else server

    @property
    def worn_out_ps(self) -> int:
        """Since when the memory is worn out and read-only for good, NEVER_PS while it is not."""
        return NEVER_PS if self._wearing is None else self._wearing.worn_out_ps

    def is_worn_out(self, now_ps: int) -> bool:
        """Whether the memory takes no new data any more."""
        return self._wearing is not None and self._wearing.refuses_writes(now_ps)

    def takes_writes(self, now_ps: int) -> bool:
        """Whether a write that comes now is served now."""
        return self.writes.share(now_ps) > 0 and not self.is_worn_out(now_ps)

    def wear_metrics(self, now_ps: int) -> dict[str, float]:
        """What the memory says of its wear, empty if nothing."""
        return {} if self._wearing is None else self._wearing.metrics(now_ps)
