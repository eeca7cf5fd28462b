"""A trace replayed in windows, with another design in each: what an online control agent acts on.

A window ends once a number of further responses is known. Queues, open rows and owed refreshes carry over; the last window ends
with the trace. Windows with one and the same design add up to `evaluate`.
"""

from dataclasses import dataclass

import numpy as np

from tiergarten.dram.dramsys.design import ControllerDesign
from tiergarten.dram.dramsys.evaluate import Metrics, close_books, decode, request_latencies_ps, summarise
from tiergarten.dram.dramsys.kernel import advance
from tiergarten.dram.dramsys.part import Part
from tiergarten.dram.dramsys.semantics import OURS, Semantics
from tiergarten.dram.dramsys.state import (
    COUNTS,
    NEVER,
    Command,
    FlightField,
    Scalar,
    initial_state,
    resolve_policy,
    resolve_timing,
)
from tiergarten.dram.energy import CommandCounts, Residency, core_energy_pj, energy_by_cause, power_part
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.trace import AddressTrace


@dataclass(frozen=True)
class Window:
    """What happened between two decisions."""

    num_responses: int
    elapsed_ps: int
    energy_pj: float
    """DRAM core energy."""
    mean_latency_ps: float
    """Of the requests answered in the window."""
    num_row_hits: int
    commands: dict[str, int]
    num_queued: int
    """Requests in the scheduler buffer at the end."""
    refresh_balance: int
    """Postponed minus pulled-in refreshes at the end."""


class ControllerSession:
    """One replay. Only `advance` changes it."""

    def __init__(self, trace: AddressTrace, part: Part, semantics: Semantics = OURS):
        """Raises TraceError if the trace does not fit the part."""
        self._trace, self._part, self._semantics = trace, part, semantics
        self._requests = decode(trace, part, semantics)
        self._state = initial_state(len(self._requests), part, 0)
        self._timing = resolve_timing(part, semantics)
        self._last_design: ControllerDesign | None = None
        self._finished = False
        self._books = (0, 0.0)
        self._counts = np.zeros(len(Command), np.int64)
        self._hits = 0

    @property
    def finished(self) -> bool:
        """Whether every request has been answered."""
        return self._finished

    @property
    def num_responded(self) -> int:
        """Responses known so far."""
        return int(self._state.scalars[Scalar.NUM_RESPONDED])

    def advance(self, design: ControllerDesign, num_responses: int) -> Window:
        """Go on with a design until that many further responses are known, or to the end. Raises InputError when finished."""
        if self._finished:
            raise InputError(Problem("the trace is finished; start a new session"))
        if num_responses < 1:
            raise InputError(Problem(f"a window needs at least one response, got {num_responses}"))
        before = self._state.flights[:, FlightField.RESPONSE] < NEVER
        total = len(self._requests)
        target = self.num_responded + num_responses
        is_last = target >= total
        policy = resolve_policy(design, self._semantics)
        advance(self._timing, policy, self._requests, self._state, NEVER, total + 1 if is_last else target)
        self._last_design = design
        self._finished = self.num_responded == total and is_last
        answered = self._state.flights[:, FlightField.RESPONSE] < NEVER
        latencies = request_latencies_ps(self._trace, self._part, self._semantics, self._state)[answered & ~before]
        return self._window(len(latencies), float(latencies.mean()) if len(latencies) else 0.0)

    def metrics(self) -> Metrics:
        """Result of the whole replay. Raises InputError before its end."""
        if not self._finished or self._last_design is None:
            raise InputError(Problem("the trace is not finished"))
        return summarise(self._last_design, self._trace, self._part, self._semantics, self._state)

    def _window(self, num_responses: int, mean_latency_ps: float) -> Window:
        s, tCK_ps = self._state.scalars, self._part.timing.tCK_ps
        end = int(s[Scalar.NOW])
        counts = s[COUNTS : COUNTS + len(Command)].copy()
        energy_pj = self._energy_until(end, counts)
        window = Window(
            num_responses=num_responses,
            elapsed_ps=(end - self._books[0]) * tCK_ps,
            energy_pj=energy_pj - self._books[1],
            mean_latency_ps=mean_latency_ps,
            num_row_hits=int(s[Scalar.NUM_HITS]) - self._hits,
            commands={command.name: int(counts[command] - self._counts[command]) for command in Command},
            num_queued=int(s[Scalar.QUEUED]),
            refresh_balance=int(s[Scalar.REFRESH_BALANCE]),
        )
        self._books = (end, energy_pj)
        self._counts = counts
        self._hits = int(s[Scalar.NUM_HITS])
        return window

    def _energy_until(self, end: int, counts: np.ndarray) -> float:
        """Core energy from the start to cycle `end`."""
        tCK_ps = self._part.timing.tCK_ps
        open_cycles, active_cycles, precharges = close_books(self._state, self._part, end)
        commands = CommandCounts(
            activates=int(counts[Command.ACT]),
            precharges=precharges,
            reads=int(counts[Command.RD] + counts[Command.RDA]),
            writes=int(counts[Command.WR] + counts[Command.WRA]),
            refreshes=int(counts[Command.REFAB]),
        )
        residency = Residency(
            active_ps=active_cycles * tCK_ps,
            precharged_ps=(end - active_cycles) * tCK_ps,
            bank_active_ps=open_cycles * tCK_ps,
        )
        return core_energy_pj(energy_by_cause(power_part(self._part.power), commands, residency))
