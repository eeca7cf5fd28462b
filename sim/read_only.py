"""A tier's memory that takes no writes for a time: writes that come then wait, reads are served as ever."""

from dataclasses import dataclass

from tiergarten.sim.availability import Availability
from tiergarten.sim.server import PENDING, Carried, Server
from tiergarten.sim.units import NEVER_PS


@dataclass
class _Late:
    """A write that has waited: to the memory it comes when the memory takes it."""

    carried: Carried
    num_bytes: int
    requested_ps: int
    cause: int

    def hop_done(self, started_ps: int, done_ps: int) -> None:
        self.carried.hop_done(started_ps, done_ps)


class ReadOnlyAtTimes(Server):
    """A memory's server behind a switch for writes."""

    def __init__(self, server: Server, writes: Availability):
        super().__init__(server.engine, server.latency_ps)
        self._server = server
        self._writes = writes
        self._stranded: list[Carried] = []

    @property
    def busy_ps(self) -> int:
        return self._server.busy_ps

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        now_ps = carried.requested_ps
        open_ps = self._writes.next_up_ps(now_ps) if is_write else now_ps
        if open_ps == now_ps:
            return self._server.accept(carried, is_write, address)
        if open_ps == NEVER_PS:
            self._stranded.append(carried)
        else:
            self.engine.call_at(open_ps, lambda: self._let_in(carried, address))
        return PENDING, PENDING

    def _let_in(self, carried: Carried, address: int) -> None:
        late = _Late(carried, carried.num_bytes, self.engine.now_ps, carried.cause)
        started_ps, done_ps = self._server.accept(late, True, address)
        if done_ps != PENDING:
            carried.hop_done(started_ps, done_ps)

    def unfinished(self) -> list[Carried]:
        return [*self._stranded, *self._server.unfinished()]
