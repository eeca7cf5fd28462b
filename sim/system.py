"""A system: the graph of tiers and links. It routes transfers and keeps their log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final

from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import TiergartenError, UnknownNameError, did_you_mean
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.server import Carried, DurationPs, Server
from tiergarten.sim.tier import Tier
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause, LogRow, Transfer
from tiergarten.sim.units import NEVER_PS

COMPUTE: Final = "compute"
"""Stands for the device beside a tier, as the source or destination of an access that uses no link."""

LAST_RESORT_PS: Final = 2**80
"""What a link that is down counts in the choice of a route: more than any way around it."""


@dataclass(frozen=True)
class Route:
    """The way of a transfer: read at the source, links, write at the destination."""

    source: str
    destination: str
    name: str
    """Links in order, "pcie>nvme"; empty for an access of a tier by its own device."""
    hops: tuple[tuple[Server, bool, bool], ...]
    """(server, is_write, is at the destination)."""
    latency_ps: int
    links: tuple[LinkSpec, ...]
    directions: tuple[DurationPs, ...]
    """Service time of each link in the direction of the route."""
    is_chunked: bool
    """Some link passes data on in chunks, so that the pipeline has to fill."""

    def fill_ps(self, num_bytes: int) -> int:
        """Time until the first chunk has passed all links but the slowest: what a pipeline needs to fill."""
        fills = [
            duration(min(num_bytes, link.chunk_bytes)) if link.chunk_bytes else 0
            for link, duration in zip(self.links, self.directions, strict=True)
        ]
        services = [duration(num_bytes) for duration in self.directions]
        slowest = services.index(max(services))
        return sum(fill for i, fill in enumerate(fills) if i != slowest)


class System:
    """Tiers and links of a machine in a run.

    Transfers are made here and nowhere else, so the log holds every byte that moved. A new transfer goes round a link that is
    down if another way exists; what is under way on a link that fails, or queues there, waits for it.
    """

    def __init__(
        self,
        engine: Engine,
        tiers: Iterable[Tier],
        links: Iterable[Link],
        switches: Mapping[str, int] = MappingProxyType({}),
    ):
        self.engine = engine
        self.tiers = {tier.name: tier for tier in tiers}
        self.links = {link.name: link for link in links}
        self.log: list[LogRow] = []
        self._transfers = 0
        self.switches = dict(switches)
        """Latency in ps from port to port, by name."""
        self._routes: dict[tuple[str, str], Route] = {}
        self._routes_until_ps = 0 if any(link.spec.availability.faults for link in self.links.values()) else NEVER_PS
        self._neighbours: dict[str, list[tuple[str, Link]]] = {name: [] for name in [*self.tiers, *self.switches]}
        for link in self.links.values():
            first, second = link.spec.ends
            for end in link.spec.ends:
                if end not in self.switches:
                    self._require(end)
            self._neighbours[first].append((second, link))
            self._neighbours[second].append((first, link))

    def tier(self, name: str) -> Tier:
        """The tier of that name; UnknownNameError otherwise."""
        self._require(name)
        return self.tiers[name]

    def next_transfer_id(self) -> int:
        """Numbers transfers in the order of their making."""
        self._transfers += 1
        return self._transfers - 1

    def transfer(
        self,
        source: str,
        destination: str,
        num_bytes: int,
        cause: Cause = Cause.DEMAND,
        role: Role = Role.OTHER,
        owner: int = -1,
    ) -> Transfer:
        """Start moving bytes now. The returned transfer is the event of its own completion.

        Args:
            source, destination: names of tiers; the same name means an access of the tier by its own device (a read).
            num_bytes: > 0.
            cause, role, owner: kept in the log; links with priority sharing serve low causes first.

        Raises UnknownNameError for an unknown tier and TiergartenError when no chain of links joins the two.
        """
        if self.engine.now_ps >= self._routes_until_ps:
            self._forget_routes()
        route = self._routes.get((source, destination)) or self.route(source, destination)
        return self._begin(route, num_bytes, cause, role, owner)

    def read(self, tier: str, num_bytes: int, role: Role = Role.OTHER, owner: int = -1, address: int = -1) -> Transfer:
        """The tier's own device reads `num_bytes` from it."""
        return self._begin(self._access_route(tier, False), num_bytes, Cause.DEMAND, role, owner, address)

    def write(self, tier: str, num_bytes: int, role: Role = Role.OTHER, owner: int = -1, address: int = -1) -> Transfer:
        """The tier's own device writes `num_bytes` to it."""
        return self._begin(self._access_route(tier, True), num_bytes, Cause.DEMAND, role, owner, address)

    def record_access(self, tier: str, is_write: bool, num_bytes: int, role: Role, started_ps: int) -> None:
        """Log bytes that the tier's own device has moved from `started_ps` until now, at a time that the caller computed.

        For devices whose roofline covers their own memory: the bytes count, but they queue at no server.
        """
        route = self._access_route(tier, is_write)
        now_ps = self.engine.now_ps
        self.log.append(
            (self.next_transfer_id(), route, num_bytes, Cause.DEMAND, role, started_ps, started_ps, now_ps, -1)
        )

    def _begin(self, route: Route, num_bytes: int, cause: Cause, role: Role, owner: int, address: int = -1) -> Transfer:
        if num_bytes <= 0:
            raise TiergartenError(
                f"a transfer {route.source} to {route.destination} needs a positive size, got {num_bytes} bytes"
            )
        transfer = Transfer(self, route, num_bytes, cause, role, owner)
        transfer.begin(address, -1)
        return transfer

    def unfinished(self) -> dict[str, list[Carried]]:
        """By link, what it has accepted and not carried yet. After the last event that is lost time for good: the link is down."""
        waiting: dict[str, list[Carried]] = {}
        for name, link in self.links.items():
            kept = [carried for server in link.directions().values() for carried in server.unfinished()]
            if kept:
                waiting[name] = kept
        return waiting

    def _forget_routes(self) -> None:
        """A link has failed or come back: find the routes anew until that happens again."""
        now_ps = self.engine.now_ps
        self._routes = {key: route for key, route in self._routes.items() if not route.links}
        self._routes_until_ps = min(link.spec.availability.next_change_ps(now_ps) for link in self.links.values())

    def route(self, source: str, destination: str) -> Route:
        """The quickest way for a large transfer: least latency plus time of 1 MiB over the links; ties by link order.

        Degraded links count as slow as they are now, and links that are down are used only where there is no other way.
        """
        self._require(source)
        self._require(destination)
        if source == destination:
            return self._access_route(source, False)
        links = self._shortest(source, destination)
        at, hops, durations = source, [(self.tiers[source].server, False, False)], []
        for link, to in links:
            hops.append((link.server(at, to), False, False))
            durations.append(link.spec.duration_ps[0 if (at, to) == link.spec.ends else 1])
            at = to
        hops.append((self.tiers[destination].server, True, True))
        specs = tuple(link.spec for link, _ in links)
        latency_ps = sum(server.latency_ps for server, _, _ in hops)
        latency_ps += sum(self.switches.get(to, 0) for _, to in links)
        name = ">".join(spec.name for spec in specs)
        route = Route(
            source,
            destination,
            name,
            tuple(hops),
            latency_ps,
            specs,
            tuple(durations),
            any(spec.chunk_bytes for spec in specs),
        )
        self._routes[source, destination] = route
        return route

    def _access_route(self, tier: str, is_write: bool) -> Route:
        key = (tier, "write" if is_write else tier)
        if key not in self._routes:
            self._require(tier)
            source, destination = (COMPUTE, tier) if is_write else (tier, COMPUTE)
            hops = ((self.tiers[tier].server, is_write, False),)
            self._routes[key] = Route(source, destination, "", hops, 0, (), (), False)
        return self._routes[key]

    def _shortest(self, source: str, destination: str) -> list[tuple[Link, str]]:
        """Dijkstra over links."""
        probe_bytes, now_ps = 2**20, self.engine.now_ps
        queue: list[tuple[int, int, str, list[tuple[Link, str]]]] = [(0, 0, source, [])]
        visited: set[str] = set()
        pushed = 0
        while queue:
            cost_ps, _, at, path = heappop(queue)
            if at == destination:
                return path
            if at in visited:
                continue
            visited.add(at)
            for to, link in self._neighbours[at]:
                duration = link.spec.duration_ps[0 if (at, to) == link.spec.ends else 1]
                share = link.spec.availability.share(now_ps)
                probe_ps = round(duration(probe_bytes) / share) if share else LAST_RESORT_PS
                hop_ps = link.spec.latency_ps + probe_ps + self.switches.get(to, 0)
                pushed += 1
                heappush(queue, (cost_ps + hop_ps, pushed, to, [*path, (link, to)]))
        raise TiergartenError(f"no link joins {source!r} and {destination!r}; add one under `links:` of the scenario")

    def _require(self, name: str) -> None:
        if name in self.switches:
            raise TiergartenError(f"{name!r} is a switch: it keeps nothing, so no transfer begins or ends there")
        if name not in self.tiers:
            raise UnknownNameError(f"unknown tier {name!r}. {did_you_mean(name, self.tiers)}")
