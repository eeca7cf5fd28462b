"""A system's log of transfers as rows with names."""

from typing import NamedTuple

from tiergarten.sim.system import System


class Logged(NamedTuple):
    """One transfer."""

    source: str
    destination: str
    route: str
    id: int
    num_bytes: int
    cause: int
    role: int
    requested_ps: int
    started_ps: int
    finished_ps: int
    owner: int


def logged(system: System) -> list[Logged]:
    """All transfers whose end is known, in order of their making."""
    rows = []
    for ident, number, *rest in system.log.columns().T.tolist():
        route = system.routes[number]
        rows.append(Logged(route.source, route.destination, route.name, ident, *rest))
    return rows
