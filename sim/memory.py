"""Memory behind a server: a MemoryModel of any fidelity serves the transfers of one tier.

Models whose completions are known at submission derive from `DeterminateModel` and cost one event per transfer; all others
(cycle, sampled, flash) are driven by `ModelServer`, which sleeps until the earlier of the next arrival and the model's next
completion.
"""

from abc import abstractmethod
from heapq import heappop, heappush

import numpy as np

from tiergarten.sim.contracts import AccessBatch, Completions, MemoryModel
from tiergarten.sim.engine import Call, Engine
from tiergarten.sim.registry import Registry
from tiergarten.sim.server import PENDING, Carried, Server, Stage
from tiergarten.sim.units import NEVER_PS

memory_models: Registry[type] = Registry("memory model", "tiergarten.sim.models")
"""Names that a scenario may give as a tier's `model`."""


class Cursor:
    """Gives places to accesses whose place nobody fixed: contiguous after the last one, wrapping at the capacity."""

    def __init__(self, capacity_bytes: int):
        self._capacity_bytes = capacity_bytes
        self._next = 0

    def take(self, num_bytes: int) -> int:
        """Address of the next `num_bytes`."""
        address = self._next if self._next + num_bytes <= self._capacity_bytes else 0
        self._next = address + num_bytes
        return address


class DeterminateModel:
    """A MemoryModel whose completion times are known at submission and never move afterwards.

    A subclass gives `serve`, which also adds to `_busy_ps`; this class turns it into the protocol.
    """

    def __init__(self) -> None:
        self._busy_ps = 0
        self._outstanding: list[tuple[int, int, int]] = []
        self._submitted = 0

    @property
    def busy_ps(self) -> int:
        """Time spent at work so far."""
        return self._busy_ps

    @abstractmethod
    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        """(started_ps, done_ps) of one access that arrives now; done includes the latency. `address` < 0: no place given."""

    def stage(self, is_write: bool) -> Stage | None:
        """What `serve` does, where that is a plain queue; None where it is more."""
        return None

    def submit(self, now_ps: int, accesses: AccessBatch) -> None:
        for ident, address, num_bytes, is_write in zip(*(column.tolist() for column in accesses), strict=True):
            _, done_ps = self.serve(now_ps, address, num_bytes, is_write)
            self._submitted += 1
            heappush(self._outstanding, (done_ps, self._submitted, ident))

    def next_completion_ps(self) -> int:
        return self._outstanding[0][0] if self._outstanding else NEVER_PS

    def advance(self, until_ps: int) -> Completions:
        done: list[tuple[int, int, int]] = []
        while self._outstanding and self._outstanding[0][0] <= until_ps:
            done.append(heappop(self._outstanding))
        return Completions(np.array([d[2] for d in done], np.int64), np.array([d[0] for d in done], np.int64))


class DeterminateServer(Server):
    """A tier's memory whose model knows its completions at once."""

    def __init__(self, engine: Engine, model: DeterminateModel):
        super().__init__(engine)
        self._model = model
        self._serve = model.serve

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        return self._serve(carried.requested_ps, address, carried.num_bytes, is_write)

    def stage(self, is_write: bool) -> Stage | None:
        return self._model.stage(is_write)

    @property
    def busy_ps(self) -> int:
        return self._model.busy_ps


class ModelServer(Server):
    """A tier's memory at any fidelity, advanced only to the instants at which something happens."""

    def __init__(self, engine: Engine, model: MemoryModel, capacity_bytes: int):
        super().__init__(engine)
        self._busy_ps = 0
        self.model = model
        self._cursor = Cursor(capacity_bytes)
        self._carried: dict[int, tuple[int, Carried]] = {}
        self._accepted = 0
        self._wake: Call | None = None
        self._busy_since_ps = 0

    @property
    def busy_ps(self) -> int:
        return self._busy_ps

    def accept(self, carried: Carried, is_write: bool, address: int) -> tuple[int, int]:
        now_ps = carried.requested_ps
        self._collect(now_ps)
        if not self._carried:
            self._busy_since_ps = now_ps
        self._accepted += 1
        self._carried[self._accepted] = (now_ps, carried)
        if address < 0:
            address = self._cursor.take(carried.num_bytes)
        self.model.submit(now_ps, AccessBatch.one(self._accepted, address, carried.num_bytes, is_write))
        self._sleep()
        return PENDING, PENDING

    def _collect(self, now_ps: int) -> None:
        """Hand back what has finished by now."""
        completions = self.model.advance(now_ps)
        for ident, time_ps in zip(completions.ids.tolist(), completions.times_ps.tolist(), strict=True):
            accepted_ps, carried = self._carried.pop(ident)
            if not self._carried:
                self._busy_ps += time_ps - self._busy_since_ps
            carried.hop_done(accepted_ps, time_ps)

    def _sleep(self) -> None:
        if self._wake is not None:
            self._wake.withdraw()
            self._wake = None
        next_ps = self.model.next_completion_ps()
        if next_ps != NEVER_PS:
            self._wake = self.engine.call_at(max(next_ps, self.engine.now_ps), self._on_wake)

    def _on_wake(self) -> None:
        self._wake = None
        self._collect(self.engine.now_ps)
        self._sleep()


def memory_server(engine: Engine, model: MemoryModel, capacity_bytes: int) -> Server:
    """The cheapest server that drives `model` exactly."""
    if isinstance(model, DeterminateModel):
        return DeterminateServer(engine, model)
    return ModelServer(engine, model, capacity_bytes)
