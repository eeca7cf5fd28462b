"""A link between two tiers: what it costs each way, and how its capacity is shared."""

from dataclasses import dataclass
from typing import TypeAlias

from tiergarten.sim.availability import ALWAYS, Availability
from tiergarten.sim.credits import CreditedServer, Credits
from tiergarten.sim.dma import CopyEngines, Dma, DmaServer
from tiergarten.sim.engine import Engine
from tiergarten.sim.server import SHARING, WITH_FAULTS, DurationPs, Server, at_rate

BothWays: TypeAlias = "tuple[DurationPs, DurationPs]"


@dataclass(frozen=True)
class LinkSpec:
    """What a link is, without the state of a run."""

    name: str
    ends: tuple[str, str]
    duration_ps: BothWays
    """Time of a copy of a number of bytes on the idle link from ends[0] to ends[1], and back, latency not counted."""
    latency_ps: int = 0
    full_duplex: bool = True
    """Each direction has the full rate; otherwise both share one server."""
    sharing: str = "fifo"
    """A key of `tiergarten.sim.server.SHARING`."""
    chunk_bytes: int = 0
    """What a hop must have received before it can pass it on; 0 = fluid, nothing to fill."""
    energy_pj_per_bit: float | None = None
    setup_ps: tuple[int, int] = (0, 0)
    """Each way, the part of a copy's time in which no byte moves."""
    dma: Dma | None = None
    """Copy engines; None = any number, and set-up occupies the link."""
    credits: tuple[Credits, Credits] | None = None
    """Flow control each way; None = the other end always has room."""
    availability: Availability = ALWAYS
    """Share of the rate over time."""

    @classmethod
    def at_bandwidth(cls, name: str, ends: tuple[str, str], bytes_per_s: float, **rest: object) -> "LinkSpec":
        """A link that moves `bytes_per_s` each way."""
        rate = at_rate(bytes_per_s)
        return cls(name, ends, (rate, rate), **rest)  # type: ignore[arg-type]


class Link:
    """A link in a run: one server per direction, or one for both when it is half duplex."""

    def __init__(self, engine: Engine, spec: LinkSpec):
        self.spec = spec
        self.name = spec.name
        engines = CopyEngines(spec.dma.engines) if spec.dma else None
        forward = _server(engine, spec, 0, engines)
        backward = _server(engine, spec, 1, engines) if spec.full_duplex else forward
        first, second = spec.ends
        self._servers = {(first, second): forward, (second, first): backward}

    def server(self, source: str, destination: str) -> Server:
        """The server that carries bytes from `source` to `destination`."""
        return self._servers[source, destination]

    def directions(self) -> dict[str, Server]:
        """Servers by the name of their direction; one entry ("a-b") where both ways share one."""
        first, second = self.spec.ends
        if not self.spec.full_duplex:
            return {f"{first}-{second}": self._servers[first, second]}
        return {f"{first}>{second}": self._servers[first, second], f"{second}>{first}": self._servers[second, first]}


def _server(engine: Engine, spec: LinkSpec, way: int, engines: CopyEngines | None) -> Server:
    if spec.credits is not None:
        return CreditedServer(engine, spec.credits[way], spec.latency_ps, spec.availability)
    if spec.dma is not None and engines is not None:
        return DmaServer(
            engine,
            spec.duration_ps[way],
            spec.setup_ps[way],
            engines,
            spec.dma.chunk_bytes,
            by_urgency=spec.sharing == "priority",
            latency_ps=spec.latency_ps,
            availability=spec.availability,
        )
    if spec.availability.faults:
        return WITH_FAULTS[spec.sharing](engine, spec.duration_ps[way], spec.latency_ps, spec.availability)
    return SHARING[spec.sharing](engine, spec.duration_ps[way], spec.latency_ps)
