"""What a controller design does to a trace: time, energy, latency, commands, refresh debt."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.dramsys.design import Arbiter, ControllerDesign
from tiergarten.dram.dramsys.kernel import advance
from tiergarten.dram.dramsys.part import Part
from tiergarten.dram.dramsys.semantics import OURS, Semantics
from tiergarten.dram.dramsys.state import (
    COUNTS,
    NEVER,
    NONE,
    BankField,
    Command,
    FlightField,
    Int,
    Scalar,
    State,
    TraceField,
    initial_state,
    resolve_policy,
    resolve_timing,
)
from tiergarten.dram.energy import CommandCounts, Residency, core_energy_pj, energy_by_cause, power_part
from tiergarten.sim.errors import ConservationError, Problem, TraceError
from tiergarten.sim.trace import AddressTrace
from tiergarten.sim.units import PS_PER_S

MAX_CYCLE: Final = 1 << 60
"""Largest clock cycle at which a request may be sent."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """Result of one evaluation. Latencies count from the request leaving the initiator to its response."""

    time_ps: int
    """Until the last response, plus the time of refreshes still owed if the semantics charge them."""
    energy_pj: float
    """DRAM core energy of all devices over that time: what DRAMPower reports, without I/O."""
    power_w: float
    """energy_pj over time_ps."""
    energy_by_cause_pj: dict[str, float]
    """activate, read, write, refresh, background, io."""
    mean_latency_ps: float
    p50_latency_ps: float
    p99_latency_ps: float
    max_latency_ps: int
    num_requests: int
    num_reads: int
    num_writes: int
    num_row_hits: int
    """Requests served without an activation of their own."""
    commands: dict[str, int]
    """Issued commands by name; PRE counts explicit ones, `precharges` all closings of a bank."""
    precharges: int
    refreshes_due: int
    """Refresh intervals that ended before the last response."""
    refreshes_owed: int
    """Of these, not done by then."""
    refresh_debt_ps: int
    """Time that the owed refreshes take, contained in time_ps if the semantics charge it."""
    refresh_debt_pj: float
    """Energy that they add, contained in energy_pj likewise."""
    residency: Residency
    latencies_ps: NDArray[np.int64] = field(repr=False)
    """int64[T]."""

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes moved per second of time_ps, 64-byte bursts."""
        return self.num_requests * 64 * PS_PER_S / self.time_ps

    @property
    def edp_js(self) -> float:
        """Energy-delay product in joule seconds."""
        return self.energy_pj * self.time_ps * 1e-24


def decode(trace: AddressTrace, part: Part, semantics: Semantics = OURS) -> Int:
    """int64[T, 5], the trace as the kernel reads it, by TraceField. Addresses are aligned down to a burst; a tick of 0 ps is the part's clock.

    Raises TraceError naming the first row whose address lies outside the part or whose tick goes back.
    """
    ticks, addresses = trace.ticks, trace.addresses
    tCK_ps = part.timing.tCK_ps
    tick_ps = trace.tick_ps or tCK_ps
    problems = []
    if len(ticks) == 0:
        problems.append(Problem("the trace holds no request"))
    if not len(ticks) == len(addresses) == len(trace.is_write):
        problems.append(Problem("ticks, addresses and is_write differ in length"))
    for rows, message in (
        (np.flatnonzero((addresses < 0) | (addresses >= part.mapping.capacity_bytes)), "address {1:#x} is outside"),
        (np.flatnonzero(np.diff(ticks, prepend=0) < 0), "tick {0} is negative or before its predecessor"),
        (np.flatnonzero(ticks > MAX_CYCLE // max(tick_ps, 1)), "tick {0} is too large"),
    ):
        if len(rows):
            row = int(rows[0])
            text = message.format(int(ticks[row]), int(addresses[row]))
            if "outside" in text:
                text += f" the {part.mapping.capacity_bytes} bytes that {part.name} maps"
            problems.append(Problem(text, path=f"row {row}"))
    if problems:
        raise TraceError(problems)
    sent_ps = ticks.astype(np.int64) * tick_ps
    if not semantics.honours_first_tick:
        sent_ps[0] = 0
    mapping = part.mapping
    requests = np.empty((len(ticks), len(TraceField)), np.int64)
    requests[:, TraceField.SENDABLE] = -(-sent_ps // tCK_ps)
    requests[:, TraceField.BURST] = addresses // part.bytes_per_burst
    requests[:, TraceField.BANK] = mapping.bank_group.of(addresses) * part.banks_per_group + mapping.bank.of(addresses)
    requests[:, TraceField.ROW] = mapping.row.of(addresses)
    requests[:, TraceField.IS_WRITE] = trace.is_write
    return requests


def evaluate(design: ControllerDesign, trace: AddressTrace, part: Part, semantics: Semantics = OURS) -> Metrics:
    """Replay a trace through a controller and its channel.

    Deterministic; one call is one simulation. Raises TraceError if the trace does not fit the part.
    """
    requests = decode(trace, part, semantics)
    state = initial_state(len(requests), part, 0)
    policy = resolve_policy(design, semantics)
    unfinished = advance(resolve_timing(part, semantics), policy, requests, state, NEVER, len(requests) + 1)
    if unfinished or int(state.scalars[Scalar.NUM_RESPONDED]) != len(requests):
        raise ConservationError("the controller stopped before every request was answered")
    return summarise(design, trace, part, semantics, state)


def summarise(design: ControllerDesign, trace: AddressTrace, part: Part, semantics: Semantics, state: State) -> Metrics:
    """Metrics of a finished run."""
    tCK_ps = part.timing.tCK_ps
    counts = {command.name: int(state.scalars[COUNTS + command]) for command in Command}
    end = int(state.flights[:, FlightField.RESPONSE].max())
    if semantics.waits_for_acknowledgement and design.arbiter == Arbiter.SIMPLE:
        end += 1
    booked = end if semantics.books_energy_to_the_end else int(state.scalars[Scalar.LAST_COMMAND])
    open_cycles, active_cycles, precharges = close_books(state, part, booked)
    due = end // part.timing.nREFI
    owed = max(0, due - counts["REFAB"])
    power = power_part(part.power)
    debt_ps = owed * part.timing.nRFC * tCK_ps
    charged = owed if semantics.charges_refresh_debt else 0
    tail_ps = charged * part.timing.nRFC * tCK_ps
    time_ps = end * tCK_ps + tail_ps
    residency = Residency(
        active_ps=active_cycles * tCK_ps + tail_ps,
        precharged_ps=(booked - active_cycles) * tCK_ps,
        bank_active_ps=open_cycles * tCK_ps + tail_ps * part.num_banks,
    )
    commands = CommandCounts(
        activates=counts["ACT"],
        precharges=precharges,
        reads=counts["RD"] + counts["RDA"],
        writes=counts["WR"] + counts["WRA"],
        refreshes=counts["REFAB"] + charged,
    )
    energy = energy_by_cause(power, commands, residency)
    debt = energy_by_cause(
        power,
        CommandCounts(refreshes=owed),
        Residency(active_ps=debt_ps, bank_active_ps=debt_ps * part.num_banks),
    )
    core_pj = core_energy_pj(energy)
    latencies = request_latencies_ps(trace, part, semantics, state)
    is_write = trace.is_write
    return Metrics(
        time_ps=time_ps,
        energy_pj=core_pj,
        power_w=core_pj / time_ps,
        energy_by_cause_pj=energy,
        mean_latency_ps=float(latencies.mean()),
        p50_latency_ps=float(np.percentile(latencies, 50)),
        p99_latency_ps=float(np.percentile(latencies, 99)),
        max_latency_ps=int(latencies.max()),
        num_requests=len(latencies),
        num_reads=int(np.count_nonzero(~is_write)),
        num_writes=int(np.count_nonzero(is_write)),
        num_row_hits=int(state.scalars[Scalar.NUM_HITS]),
        commands=counts,
        precharges=precharges,
        refreshes_due=due,
        refreshes_owed=owed,
        refresh_debt_ps=debt_ps,
        refresh_debt_pj=core_energy_pj(debt),
        residency=residency,
        latencies_ps=latencies,
    )


def request_latencies_ps(trace: AddressTrace, part: Part, semantics: Semantics, state: State) -> NDArray[np.int64]:
    """int64[T], from the request leaving the initiator to its response, of answered requests."""
    tCK_ps = part.timing.tCK_ps
    wanted_ps = trace.ticks.astype(np.int64) * (trace.tick_ps or tCK_ps)
    if not semantics.honours_first_tick:
        wanted_ps[0] = 0
    gaps = np.full(len(wanted_ps), semantics.player_gap_cycles, np.int64)
    gaps[0] = 0
    sent_ps = np.maximum(wanted_ps, (state.flights[:, FlightField.INITIATOR_FREE] + gaps) * tCK_ps)
    latencies: NDArray[np.int64] = state.flights[:, FlightField.RESPONSE] * tCK_ps - sent_ps
    return latencies


def close_books(state: State, part: Part, end: int) -> tuple[int, int, int]:
    """(bank-active cycles, rank-active cycles, precharges) up to cycle `end`.

    Rows still open count until `end`; what an auto-precharge or a refresh begun earlier lasts beyond it does not.
    """
    s = state.scalars
    opened_at, closed_at = state.banks[:, BankField.OPENED_AT], state.banks[:, BankField.CLOSED_AT]
    is_open = state.banks[:, BankField.OPEN_ROW] != NONE
    late = ~is_open & (closed_at > end)
    open_cycles = int(state.banks[:, BankField.OPEN_CYCLES].sum())
    open_cycles += int((end - opened_at[is_open]).sum()) - int((closed_at[late] - end).sum())
    overhang = max(0, int(s[Scalar.REFRESHED_UNTIL]) - end)
    open_cycles += part.num_banks * (int(state.scalars[COUNTS + Command.REFAB]) * part.timing.nRFC - overhang)
    active = int(s[Scalar.ACTIVE_CYCLES])
    if s[Scalar.ACTIVE_SINCE] != NONE:
        until = end if is_open.any() else min(end, int(s[Scalar.ACTIVE_UNTIL]))
        active += until - int(s[Scalar.ACTIVE_SINCE])
    return open_cycles, active, int(s[Scalar.NUM_PRECHARGES]) - int(np.count_nonzero(late))
