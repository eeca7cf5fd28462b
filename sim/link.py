"""A link between two tiers: bandwidth each way, latency, and how its capacity is shared."""

from collections.abc import Callable
from dataclasses import dataclass

from tiergarten.sim.engine import Engine
from tiergarten.sim.server import SHARING, DurationPs, Server, at_rate


@dataclass(frozen=True)
class LinkSpec:
    """What a link is, without the state of a run."""

    name: str
    ends: tuple[str, str]
    duration_ps: tuple[DurationPs, DurationPs]
    """Service time of a number of bytes from ends[0] to ends[1], and back: bytes / bandwidth or a measured copy curve."""
    latency_ps: int = 0
    full_duplex: bool = True
    """Each direction has the full rate; otherwise both share one server."""
    sharing: str = "fifo"
    """A key of `tiergarten.sim.server.SHARING`."""
    chunk_bytes: int = 0
    """What a hop must have received before it can pass it on; 0 = fluid, nothing to fill."""
    energy_pj_per_bit: float | None = None

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
        make: Callable[..., Server] = SHARING[spec.sharing]
        forward = make(engine, spec.duration_ps[0], spec.latency_ps)
        backward = make(engine, spec.duration_ps[1], spec.latency_ps) if spec.full_duplex else forward
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
