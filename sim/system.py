"""A system: the graph of tiers and links. It routes transfers and keeps their log."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from tiergarten.sim.contracts import Wearing
from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import TiergartenError, UnknownNameError, WornOutError, did_you_mean
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.server import Carried, DurationPs, Server, Stage
from tiergarten.sim.tier import Tier
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause, Transfer
from tiergarten.sim.transfer_log import TransferLog
from tiergarten.sim.units import NEVER_PS, PS_PER_S

COMPUTE: Final = "compute"
"""Stands for the device beside a tier, as the source or destination of an access that uses no link."""

LAST_RESORT_PS: Final = 2**80
"""What a link that is down counts in the choice of a route: more than any way around it."""


Hop: TypeAlias = tuple[Server, bool, bool]
"""(server, is_write, is at the destination)."""


@dataclass(frozen=True, eq=False)
class Route:
    """The way of a transfer: read at the source, links, write at the destination."""

    number: int
    """Row of `System.routes`."""
    source: str
    destination: str
    name: str
    """Links in order, "pcie>nvme"; empty for an access of a tier by its own device."""
    hops: tuple[Hop, ...]
    stages: tuple[Stage, ...] | None
    """What the hops do, where all are plain queues: then the end of a transfer is known when it begins."""
    latency_ps: int
    links: tuple[LinkSpec, ...]
    directions: tuple[DurationPs, ...]
    """Service time of each link in the direction of the route."""
    is_chunked: bool
    """Some link passes data on in chunks, so that the pipeline has to fill."""

    def delay_ps(self, num_bytes: int) -> int:
        """What passes between the slowest hop's last byte and the arrival: latencies, and a pipeline's time to fill."""
        return self.latency_ps + self.fill_ps(num_bytes) if self.is_chunked else self.latency_ps

    def fill_ps(self, num_bytes: int) -> int:
        """Time until the first chunk has passed all links but the slowest: what a pipeline needs to fill."""
        fills = [
            duration(min(num_bytes, link.chunk_bytes)) if link.chunk_bytes else 0
            for link, duration in zip(self.links, self.directions, strict=True)
        ]
        services = [duration(num_bytes) for duration in self.directions]
        slowest = services.index(max(services))
        return sum(fill for i, fill in enumerate(fills) if i != slowest)


class Moved(NamedTuple):
    """Bytes that somebody else has timed, for `System.record_transfer`; they may stand for many copies, one after another."""

    source: str
    destination: str
    num_bytes: int
    """> 0."""
    cause: Cause
    role: Role
    started_ps: int
    finished_ps: int


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
        self.log = TransferLog()
        self.routes: list[Route] = []
        """Every route asked for so far; the log names them by row."""
        self._wearing = {name for name, tier in self.tiers.items() if isinstance(tier.model, Wearing)}
        self._transfers = 0
        self.switches = dict(switches)
        """Latency in ps from port to port, by name."""
        self._routes: dict[tuple[str, ...], Route] = {}
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

    def _require_writable(self, tier: str, num_bytes: int) -> None:
        if self.tiers[tier].is_worn_out(self.engine.now_ps):
            raise WornOutError(
                f"tier {tier!r} is worn out and read-only: it refused {num_bytes} bytes at {self.engine.now_ps / PS_PER_S:.6g} s; "
                f"give its model more endurance, or let the workload write elsewhere"
            )

    def take_transfer_ids(self, count: int) -> int:
        """The first of `count` numbers for transfers, which count in the order of their making."""
        self._transfers += count
        return self._transfers - count

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

        Raises UnknownNameError for an unknown tier, WornOutError for a destination that has turned read-only and TiergartenError
        when no chain of links joins the two.
        """
        if self.engine.now_ps >= self._routes_until_ps:
            self._forget_routes()
        if destination != source and destination in self._wearing:
            self._require_writable(destination, num_bytes)
        route = self._routes.get((source, destination)) or self.route(source, destination)
        return self.begin(route, num_bytes, cause, role, owner)

    def read(self, tier: str, num_bytes: int, role: Role = Role.OTHER, owner: int = -1, address: int = -1) -> Transfer:
        """The tier's own device reads `num_bytes` from it."""
        return self.begin(self.access_route(tier, tier, False), num_bytes, Cause.DEMAND, role, owner, address)

    def write(self, tier: str, num_bytes: int, role: Role = Role.OTHER, owner: int = -1, address: int = -1) -> Transfer:
        """The tier's own device writes `num_bytes` to it."""
        if tier in self._wearing:
            self._require_writable(tier, num_bytes)
        return self.begin(self.access_route(tier, tier, True), num_bytes, Cause.DEMAND, role, owner, address)

    def begin(
        self, route: Route, num_bytes: int, cause: Cause, role: Role, owner: int = -1, address: int = -1
    ) -> Transfer:
        """Start moving bytes over a route of this system; `address` is their place at its source, -1 = anywhere."""
        if num_bytes <= 0:
            raise TiergartenError(
                f"a transfer {route.source} to {route.destination} needs a positive size, got {num_bytes} bytes"
            )
        transfer = Transfer(self, route, num_bytes, cause, role, owner)
        transfer.begin(address, -1)
        return transfer

    def record(self, route: Route, num_bytes: int, cause: Cause, role: Role, started_ps: int) -> None:
        """Log bytes that moved from `started_ps` until now, at a time that the caller computed.

        For devices that keep time themselves, say because their roofline covers their own memory: the bytes count, but they
        queue at no server.
        """
        ident, now_ps = self.take_transfer_ids(1), self.engine.now_ps
        self.log.append((ident, route.number, num_bytes, cause, role, started_ps, started_ps, now_ps, -1))

    def record_transfer(self, moved: Moved) -> None:
        """Log bytes whose way from tier to tier the caller has timed, for engines that model the link themselves.

        They queue nowhere, but every hop is charged with the time that it needs for them, at most the time they were under way.
        """
        route = self._routes.get((moved.source, moved.destination)) or self.route(moved.source, moved.destination)
        span_ps = moved.finished_ps - moved.started_ps
        services = [
            math.ceil(moved.num_bytes * PS_PER_S / self.tiers[moved.source].spec.read_bytes_per_s),
            *(duration(moved.num_bytes) for duration in route.directions),
            math.ceil(moved.num_bytes * PS_PER_S / self.tiers[moved.destination].spec.write_bytes_per_s),
        ]
        for (server, _, _), service_ps in zip(route.hops, services, strict=True):
            server.charge(min(service_ps, span_ps))
        times = (moved.started_ps, moved.started_ps, moved.finished_ps)
        self.log.append((self.take_transfer_ids(1), route.number, moved.num_bytes, moved.cause, moved.role, *times, -1))

    def unfinished(self) -> dict[str, list[Carried]]:
        """By link or tier, what it has accepted and not done yet. After the last event that is what a fault keeps for good."""
        servers = {name: list(link.directions().values()) for name, link in self.links.items()}
        servers |= {name: [tier.server] for name, tier in self.tiers.items()}
        kept = {name: [c for server in group for c in server.unfinished()] for name, group in servers.items()}
        return {name: waiting for name, waiting in kept.items() if waiting}

    def _forget_routes(self) -> None:
        """A link has failed or come back since the routes were found: find them anew, until that happens again."""
        now_ps = self.engine.now_ps
        if now_ps >= self._routes_until_ps:
            self._routes = {key: route for key, route in self._routes.items() if not route.links}
            self._routes_until_ps = min(link.spec.availability.next_change_ps(now_ps) for link in self.links.values())

    def route(self, source: str, destination: str) -> Route:
        """The quickest way for a large transfer: least latency plus time of 1 MiB over the links; ties by link order.

        Degraded links count as slow as they are now, and links that are down are used only where there is no other way.
        """
        self._forget_routes()
        if source == destination:
            return self.access_route(source, source, False)
        if (source, destination) not in self._routes:
            links = self._shortest(source, destination)
            read: Hop = (self.tiers[source].server, False, False)
            written: Hop = (self.tiers[destination].server, True, True)
            self._routes[source, destination] = self._add_route(source, destination, links, [read], [written])
        return self._routes[source, destination]

    def access_route(self, near: str, tier: str, is_write: bool) -> Route:
        """The way between the device beside `near` and the memory of a tier, past the near tier's own memory."""
        self._forget_routes()
        key = (near, tier, "write" if is_write else "read")
        if key not in self._routes:
            memory: Hop = (self.tier(tier).server, is_write, False)
            if is_write:
                self._routes[key] = self._add_route(COMPUTE, tier, self._shortest(near, tier), [], [memory])
            else:
                self._routes[key] = self._add_route(tier, COMPUTE, self._shortest(tier, near), [memory], [])
        return self._routes[key]

    def _add_route(
        self, source: str, destination: str, links: list[tuple[Link, str, str]], before: list[Hop], after: list[Hop]
    ) -> Route:
        """A new route over links, with hops before and after them."""
        over: list[Hop] = [(link.server(start, end), False, False) for link, start, end in links]
        hops = (*before, *over, *after)
        specs = tuple(link.spec for link, _, _ in links)
        route = Route(
            len(self.routes),
            source,
            destination,
            ">".join(spec.name for spec in specs),
            hops,
            _stages(hops),
            sum(server.latency_ps for server, _, _ in hops) + sum(self.switches.get(end, 0) for _, _, end in links),
            specs,
            tuple(link.spec.duration_ps[0 if (start, end) == link.spec.ends else 1] for link, start, end in links),
            any(spec.chunk_bytes for spec in specs),
        )
        self.routes.append(route)
        return route

    def _shortest(self, source: str, destination: str) -> list[tuple[Link, str, str]]:
        """Dijkstra over links: (link, end it is entered at, end it is left at) in order."""
        self._require(source)
        self._require(destination)
        probe_bytes, now_ps = 2**20, self.engine.now_ps
        queue: list[tuple[int, int, str, list[tuple[Link, str, str]]]] = [(0, 0, source, [])]
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
                heappush(queue, (cost_ps + hop_ps, pushed, to, [*path, (link, at, to)]))
        raise TiergartenError(f"no link joins {source!r} and {destination!r}; add one under `links:` of the scenario")

    def _require(self, name: str) -> None:
        if name in self.switches:
            raise TiergartenError(f"{name!r} is a switch: it keeps nothing, so no transfer begins or ends there")
        if name not in self.tiers:
            raise UnknownNameError(f"unknown tier {name!r}. {did_you_mean(name, self.tiers)}")


def _stages(hops: tuple[Hop, ...]) -> tuple[Stage, ...] | None:
    stages = tuple(stage for server, is_write, _ in hops if (stage := server.stage(is_write)) is not None)
    return stages if len(stages) == len(hops) else None
