"""Laws that hold for every design and trace."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from dramsys_cases import DDR3, DDR4, SLOW_WRITES, designs, parts, semantics, small_part, trace_of, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.dram.dramsys import (
    OURS,
    ControllerDesign,
    PagePolicy,
    Part,
    RefreshPolicy,
    Semantics,
    evaluate,
)
from tiergarten.dram.dramsys.evaluate import close_books, decode
from tiergarten.dram.dramsys.kernel import advance
from tiergarten.dram.dramsys.state import (
    COUNTS,
    NEVER,
    Command,
    FlightField,
    Scalar,
    State,
    initial_state,
    resolve_policy,
    resolve_timing,
)
from tiergarten.sim.errors import InputError, TraceError
from tiergarten.sim.trace import AddressTrace


def run(design: ControllerDesign, trace: AddressTrace, memory: Part, stops: list[int]) -> State:
    """State after a run that is chopped at the given cycles."""
    requests = decode(trace, memory)
    state = initial_state(len(requests), memory, 50_000)
    timing, policy = resolve_timing(memory, OURS), resolve_policy(design, OURS)
    for stop in [*sorted(stops), NEVER]:
        advance(timing, policy, requests, state, stop, len(requests) + 1)
    return state


@given(st.data(), designs, parts, semantics)
@settings(max_examples=150, deadline=None)
def test_conservation(data: st.DataObject, design: ControllerDesign, memory: Part, meaning: Semantics) -> None:
    trace = data.draw(traces(memory.mapping.capacity_bytes))
    result = evaluate(design, trace, memory, meaning)
    commands = result.commands
    assert result.num_requests == len(trace.ticks) == result.num_reads + result.num_writes
    assert commands["RD"] + commands["RDA"] == result.num_reads
    assert commands["WR"] + commands["WRA"] == result.num_writes
    assert result.precharges <= commands["ACT"] <= result.precharges + memory.num_banks
    assert result.num_row_hits + commands["ACT"] >= result.num_requests
    if meaning.books_energy_to_the_end:
        assert result.residency.total_ps == result.time_ps
    assert 0 <= result.residency.active_ps <= result.residency.bank_active_ps
    assert result.residency.bank_active_ps <= result.residency.active_ps * memory.num_banks
    t = memory.timing
    fastest = min(t.nCL, t.nCWL) + t.nBL
    assert result.latencies_ps.min() >= fastest * t.tCK_ps
    assert result.refreshes_owed == max(0, result.refreshes_due - commands["REFAB"])
    if design.refresh_policy == RefreshPolicy.ALL_BANK:
        assert result.refreshes_owed <= design.refresh_max_postponed + 1
        assert commands["REFAB"] - result.refreshes_due <= design.refresh_max_pulled_in + 1
    else:
        assert commands["REFAB"] == 0
    if design.page_policy == PagePolicy.CLOSED:
        assert commands["RD"] == commands["WR"] == 0
        assert commands["ACT"] >= result.num_requests
    if design.page_policy == PagePolicy.OPEN:
        assert commands["RDA"] == commands["WRA"] == 0
    assert min(result.energy_by_cause_pj.values()) >= 0


@given(st.data(), designs, parts)
@settings(max_examples=60, deadline=None)
def test_data_bus_and_command_bus_are_never_booked_twice(
    data: st.DataObject, design: ControllerDesign, memory: Part
) -> None:
    trace = data.draw(traces(memory.mapping.capacity_bytes))
    state = run(design, trace, memory, [])
    log = state.log[: state.scalars[Scalar.NUM_LOGGED]]
    assert (np.diff(log[:, 0]) > 0).all()
    t = memory.timing
    columns = log[(log[:, 1] >= Command.RD) & (log[:, 1] <= Command.WRA)]
    delays = np.where(columns[:, 1] <= Command.RDA, t.nCL, t.nCWL)
    starts = np.sort(columns[:, 0] + delays)
    assert (np.diff(starts) >= t.nBL).all()
    assert sorted(columns[:, 3]) == list(range(len(trace.ticks)))


@given(st.data(), designs, parts, st.lists(st.integers(0, 3000), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_chopped_run_is_the_same_run(
    data: st.DataObject, design: ControllerDesign, memory: Part, stops: list[int]
) -> None:
    trace = data.draw(traces(memory.mapping.capacity_bytes))
    whole, chopped = run(design, trace, memory, []), run(design, trace, memory, stops)
    logged = whole.scalars[Scalar.NUM_LOGGED]
    assert np.array_equal(whole.log[:logged], chopped.log[: chopped.scalars[Scalar.NUM_LOGGED]])
    assert np.array_equal(whole.flights, chopped.flights)


@given(st.data(), designs)
@settings(max_examples=30, deadline=None)
def test_knobs_that_do_nothing_do_nothing(data: st.DataObject, design: ControllerDesign) -> None:
    memory = small_part(DDR4, 700)
    trace = data.draw(traces(memory.mapping.capacity_bytes))
    has_writes = bool(trace.is_write.any())
    result = evaluate(design, trace, memory)
    canonical = evaluate(design.canonical(has_writes), trace, memory)
    assert np.array_equal(result.latencies_ps, canonical.latencies_ps)
    assert result.energy_pj == canonical.energy_pj


@given(designs, st.lists(st.sampled_from([0, 3, 500, 9_000, 40_000]), min_size=1, max_size=8), st.booleans())
@settings(max_examples=40, deadline=None)
def test_skipping_idle_refreshes_changes_nothing(design: ControllerDesign, gaps: list[int], is_ddr4: bool) -> None:
    """A run that records its commands simulates every refresh, one that does not skips idle ones; both agree."""
    memory = small_part(DDR4 if is_ddr4 else DDR3, 700)
    count = len(gaps)
    addresses = [64 * (37 * i % 128) for i in range(count)]
    trace = trace_of(list(np.cumsum(gaps)), addresses, [i % 2 == 0 for i in range(count)])
    requests = decode(trace, memory)
    timing, policy = resolve_timing(memory, OURS), resolve_policy(design, OURS)
    states = [initial_state(count, memory, rows) for rows in (0, 5000)]
    for state in states:
        advance(timing, policy, requests, state, NEVER, count + 1)
    skipped, recorded = states
    assert np.array_equal(skipped.flights, recorded.flights)
    logged = recorded.log[: recorded.scalars[Scalar.NUM_LOGGED], 1]
    assert skipped.scalars[COUNTS : COUNTS + 8].tolist() == np.bincount(logged, minlength=8).tolist()
    end = int(recorded.flights[:, FlightField.RESPONSE].max())
    assert close_books(skipped, memory, end) == close_books(recorded, memory, end)


def test_a_day_of_idle_time_costs_nothing() -> None:
    day = 86_400 * 10**12 // DDR4.timing.tCK_ps
    result = evaluate(ControllerDesign(), trace_of([0, day], [0, 64], [False, False]), DDR4)
    assert result.refreshes_owed == 0
    assert result.commands["REFAB"] - result.refreshes_due in (0, 1)
    assert result.refreshes_due == result.time_ps // (DDR4.timing.nREFI * DDR4.timing.tCK_ps)


def test_stopping_after_some_responses_can_go_on_with_another_policy() -> None:
    memory = small_part(DDR4, 5000)
    trace = trace_of(list(range(60)), [64 * (7 * i % 512) for i in range(60)], [i % 3 == 0 for i in range(60)])
    requests = decode(trace, memory)
    state = initial_state(60, memory, 0)
    timing = resolve_timing(memory, OURS)
    first = resolve_policy(ControllerDesign(page_policy=PagePolicy.OPEN), OURS)
    second = resolve_policy(ControllerDesign(page_policy=PagePolicy.CLOSED), OURS)
    assert advance(timing, first, requests, state, NEVER, 20)
    assert state.scalars[Scalar.NUM_RESPONDED] == 20
    assert not advance(timing, second, requests, state, NEVER, 61)
    assert (state.flights[:, FlightField.RESPONSE] < NEVER).all()


# ---- closed forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [DDR3, DDR4], ids=lambda memory: memory.name)
def test_single_read_takes_activate_and_read_latency(memory: Part) -> None:
    t = memory.timing
    result = evaluate(ControllerDesign(), trace_of([0], [0], [False]), memory)
    cycles = OURS.request_delay_cycles + t.nRCD + t.nCL + t.nBL
    assert result.max_latency_ps == result.time_ps == cycles * t.tCK_ps
    assert result.commands["ACT"] == result.commands["RD"] == 1


@pytest.mark.parametrize("memory", [DDR3, DDR4], ids=lambda memory: memory.name)
def test_row_hits_are_a_column_distance_apart(memory: Part) -> None:
    t = memory.timing
    result = evaluate(ControllerDesign(), trace_of([0, 0, 0], [0, 64, 128], [False] * 3), memory)
    cycles = OURS.request_delay_cycles + t.nRCD + 2 * t.nCCDL + t.nCL + t.nBL
    assert result.time_ps == cycles * t.tCK_ps
    assert result.num_row_hits == 2


def test_closed_page_row_cycle_keeps_trc() -> None:
    """Two reads of one row under the closed policy: activations are tRC apart, also after an auto-precharge."""
    t = DDR4.timing
    design = ControllerDesign(page_policy=PagePolicy.CLOSED)
    result = evaluate(design, trace_of([0, 0], [0, 64], [False] * 2), DDR4)
    assert result.time_ps == (1 + t.nRC + t.nRCD + t.nCL + t.nBL) * t.tCK_ps


def test_auto_precharging_read_waits_for_write_recovery() -> None:
    """WR then RDA in one bank: the precharge that RDA brings must not come before the write has recovered."""
    t = SLOW_WRITES.timing
    design = ControllerDesign(page_policy=PagePolicy.CLOSED_ADAPTIVE)
    result = evaluate(design, trace_of([0, 0], [0, 64], [True, False]), SLOW_WRITES)
    assert (result.commands["WR"], result.commands["RDA"]) == (1, 1)
    write_to_read = t.nCWL + t.nBL + t.nWR - t.nRTP
    assert result.time_ps == (1 + t.nRCD + write_to_read + t.nCL + t.nBL) * t.tCK_ps


def test_stream_reaches_the_peak_of_the_bus() -> None:
    """DDR3 has no bank groups: an open-page stream moves 64 bytes every burst, 12.8 GB/s less the first access."""
    count = 4000
    trace = trace_of(list(range(count)), [64 * i for i in range(count)], [False] * count)
    result = evaluate(ControllerDesign(refresh_max_postponed=8), trace, DDR3, OURS)
    assert result.bandwidth_bytes_per_s < DDR3.peak_bytes_per_s == pytest.approx(12.8e9)
    assert result.bandwidth_bytes_per_s > 0.97 * DDR3.peak_bytes_per_s


def test_owed_refreshes_cost_time_and_energy() -> None:
    t = DDR3.timing
    count = 4000
    trace = trace_of(list(range(count)), [64 * i for i in range(count)], [False] * count)
    without = evaluate(ControllerDesign(refresh_policy=RefreshPolicy.NO_REFRESH), trace, DDR3)
    assert (
        without.refreshes_due
        == without.refreshes_owed
        == (without.time_ps - without.refresh_debt_ps) // (t.nREFI * t.tCK_ps)
    )
    assert without.refresh_debt_ps == without.refreshes_owed * t.nRFC * t.tCK_ps > 0
    assert without.energy_by_cause_pj["refresh"] > 0


# ---- compiled and uncompiled ---------------------------------------------------------------------------------------------

_SCRIPT = """
import json
import numpy as np
from dramsys_cases import DDR3, DDR4, small_part, trace_of
from tiergarten.dram.dramsys import ControllerDesign, DRAMSYS_2021, OURS, evaluate
rng = np.random.default_rng(11)
results = []
for case in range(12):
    memory = small_part((DDR3, DDR4)[case % 2], 700)
    design = ControllerDesign.from_indices(rng.integers(0, (4, 3, 3, 5, 2, 2, 4, 4, 3, 5)))
    count = int(rng.integers(5, 60))
    bursts = rng.integers(0, memory.mapping.capacity_bytes // 64, count)
    ticks = np.cumsum(rng.choice([0, 1, 1, 3, 200], count))
    trace = trace_of(list(ticks), list(64 * bursts), list(rng.random(count) < 0.4))
    result = evaluate(design, trace, memory, (OURS, DRAMSYS_2021)[case % 3 == 0])
    results.append([result.time_ps, result.energy_pj, result.latencies_ps.tolist(), sorted(result.commands.items())])
print(json.dumps(results))
"""


def test_compiled_kernel_equals_its_python_source() -> None:
    outputs = []
    support = os.path.join(os.path.dirname(__file__), "..", "..", "support")
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.path.abspath(support)}
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        outputs.append(json.loads(done.stdout))
    assert outputs[0] == outputs[1]


# ---- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (trace_of([], [], []), "no request"),
        (trace_of([0, 1], [0, -64], [False, False]), "row 1: address .* outside"),
        (trace_of([0], [1 << 40], [False]), "row 0: address 0x10000000000 is outside"),
        (trace_of([5, 4], [0, 0], [False, False]), "row 1: tick 4"),
        (trace_of([-1], [0], [False]), "row 0: tick -1"),
        (trace_of([1 << 61], [0], [False]), "too large"),
    ],
)
def test_bad_traces_are_named_by_row(trace: AddressTrace, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        evaluate(ControllerDesign(), trace, DDR4)


def test_timings_that_starve_are_refused() -> None:
    with pytest.raises(InputError, match="leave no time"):
        small_part(DDR4, 300)
