"""What a paged GPU did, put on a machine's clock: transfers over its links and pages in its tiers, batch by batch.

The paging engine times its link itself, because driver and link work beside each other in ways that no queue shows. Copies of one
batch appear as one transfer per cause that ends with the batch.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tiergarten.accelerators.paging.state import Mark
from tiergarten.accelerators.paging.uvm import UvmMachine
from tiergarten.driver import Machine
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.system import Moved
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause
from tiergarten.sim.units import NEVER_PS

MANAGED = "managed pages"
"""Key of a paged program's memory in the placement."""
HISTORY_ROWS = 1 << 15
"""Batches that a pass keeps apart; a longer pass is kept in groups of 2, 4, ... batches."""


@dataclass(frozen=True)
class PagedTiers:
    """Where pages live."""

    device: str
    host: str


def place_pages(machine: Machine, tiers: PagedTiers, memory: UvmMachine) -> None:
    """Enter the program's pages into the placement, where they are now."""
    page = memory.config.geometry.page_bytes
    device_pages, host_pages = memory.pages_placed()
    machine.placement.add(tiers.device, MANAGED, device_pages * page, Role.OTHER)
    machine.placement.add(tiers.host, MANAGED, host_pages * page, Role.OTHER)


def replay_history(machine: Machine, tiers: PagedTiers, memory: UvmMachine) -> Process:
    """Live through the last touch or prefetch of `memory`, which begins now: transfers and occupancy, batch by batch.

    Faults of a link hold up the batch whose copies they meet, and all that follows; behind a link that stays down nothing more
    happens and the process ends early. Returns whether it came to the end.
    """
    page = memory.config.geometry.page_bytes
    history = memory.history()
    origin_ps = machine.engine.now_ps - int(history[0, Mark.TIME_PS])
    for before, after in itertools.pairwise(history):
        end_ps = origin_ps + int(after[Mark.TIME_PS])
        moves = _held_up(machine, _transfers(tiers, memory, before, after, origin_ps))
        late_ps = max([end_ps, *(moved.finished_ps for moved in moves)]) - end_ps
        if end_ps + late_ps >= NEVER_PS:
            return False
        origin_ps += late_ps
        yield machine.engine.wait_until(end_ps + late_ps)
        for moved in moves:
            machine.system.record_transfer(moved)
        sizes = [(tiers.device, int(after[Mark.DEVICE_PAGES])), (tiers.host, int(after[Mark.HOST_PAGES]))]
        for tier, pages in sizes:
            try:
                machine.placement.resize(tier, MANAGED, pages * page)
            except TiergartenError as error:
                text = f"pages that leave a full {tiers.device!r} find no place: {error}; give {tiers.host!r} room"
                raise TiergartenError(f"{text} for the whole working set") from error
    return True


def _held_up(machine: Machine, moves: Iterable[Moved]) -> list[Moved]:
    """The same transfers as faults of their links let them pass, one after another in each direction."""
    free_ps: dict[str, int] = {}
    held = []
    for moved in moves:
        started_ps = max(moved.started_ps, free_ps.get(moved.source, 0))
        work_ps = moved.finished_ps - moved.started_ps
        links = machine.system.route(moved.source, moved.destination).links
        finished_ps = max(link.availability.after(started_ps, work_ps) for link in links)
        free_ps[moved.source] = finished_ps
        held.append(moved._replace(started_ps=started_ps, finished_ps=finished_ps))
    return held


def _transfers(
    tiers: PagedTiers, memory: UvmMachine, before: np.ndarray, after: np.ndarray, origin_ps: int
) -> Iterator[Moved]:
    """What moved between two rows of the history; copies end with the later one, remote touches begin with the earlier one."""
    config, change = memory.config, (after - before).tolist()
    page, line = config.geometry.page_bytes, config.costs.remote_bytes
    start_ps, end_ps = origin_ps + int(before[Mark.TIME_PS]), origin_ps + int(after[Mark.TIME_PS])
    into, out = (tiers.host, tiers.device), (tiers.device, tiers.host)
    in_ps, out_ps = change[Mark.H2D_PS], change[Mark.D2H_PS]
    out_end_ps = end_ps if config.costs.pipelined else end_ps - in_ps
    ahead, pages = change[Mark.COPIED_AHEAD_PAGES], change[Mark.H2D_PAGES]
    demand_end_ps = end_ps - (in_ps * ahead // pages if pages else 0)
    writes = change[Mark.REMOTE_WRITES]
    reads = change[Mark.REMOTE_TOUCHES] - writes
    read_end_ps = start_ps + reads * config.costs.remote_read_ps
    write_end_ps = read_end_ps + writes * config.costs.remote_write_ps
    for way, num_bytes, cause, started_ps, finished_ps in (
        (into, reads * line, Cause.DEMAND, start_ps, read_end_ps),
        (out, writes * line, Cause.DEMAND, read_end_ps, write_end_ps),
        (out, change[Mark.D2H_PAGES] * page, Cause.EVICTION, out_end_ps - out_ps, out_end_ps),
        (into, (pages - ahead) * page, Cause.DEMAND, end_ps - in_ps, demand_end_ps),
        (into, ahead * page, Cause.PREFETCH, demand_end_ps, end_ps),
    ):
        if num_bytes:
            yield Moved(*way, num_bytes, cause, Role.OTHER, started_ps, finished_ps)
