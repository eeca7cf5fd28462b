"""Replays in windows."""

from dataclasses import replace

import numpy as np
import pytest
from dramsys_cases import DDR4, designs, small_part, trace_of, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.dram.dramsys import OURS, ControllerDesign, PagePolicy, evaluate
from tiergarten.dram.dramsys.session import ControllerSession
from tiergarten.sim.errors import InputError

MEMORY = small_part(DDR4, 900)
FREE = replace(OURS, name="no debt", charges_refresh_debt=False)


@given(st.data(), designs, st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_windows_of_one_design_add_up_to_the_evaluation(
    data: st.DataObject, design: ControllerDesign, size: int
) -> None:
    trace = data.draw(traces(MEMORY.mapping.capacity_bytes))
    session = ControllerSession(trace, MEMORY, FREE)
    windows = []
    while not session.finished:
        windows.append(session.advance(design, size))
    whole = evaluate(design, trace, MEMORY, FREE)
    assert sum(window.num_responses for window in windows) == whole.num_requests
    assert sum(window.elapsed_ps for window in windows) == whole.time_ps
    assert sum(window.energy_pj for window in windows) == pytest.approx(whole.energy_pj)
    assert sum(window.num_row_hits for window in windows) == whole.num_row_hits
    assert {name: sum(window.commands[name] for window in windows) for name in whole.commands} == whole.commands
    assert np.array_equal(session.metrics().latencies_ps, whole.latencies_ps)
    latency = sum(window.mean_latency_ps * window.num_responses for window in windows)
    assert latency == pytest.approx(whole.mean_latency_ps * whole.num_requests)


@given(st.data(), st.lists(designs, min_size=1, max_size=6), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_designs_answers_every_request(
    data: st.DataObject, sequence: list[ControllerDesign], size: int
) -> None:
    trace = data.draw(traces(MEMORY.mapping.capacity_bytes))
    session = ControllerSession(trace, MEMORY)
    step = 0
    while not session.finished:
        window = session.advance(sequence[step % len(sequence)], size)
        assert window.elapsed_ps >= 0
        assert window.energy_pj >= -1e-6
        step += 1
        assert step <= len(trace.ticks)
    result = session.metrics()
    assert result.num_requests == len(trace.ticks)
    assert result.residency.total_ps == result.time_ps


def test_a_change_of_page_policy_shows_in_the_next_window() -> None:
    trace = trace_of(list(range(400)), [64 * (i % 128) for i in range(400)], [False] * 400)
    session = ControllerSession(trace, DDR4)
    first = session.advance(ControllerDesign(), 150)
    second = session.advance(ControllerDesign(page_policy=PagePolicy.CLOSED), 150)
    assert first.commands["RDA"] == 0 < first.commands["RD"]
    assert second.commands["RDA"] > 100
    assert second.elapsed_ps > 3 * first.elapsed_ps


def test_a_finished_session_and_an_early_result_are_refused() -> None:
    session = ControllerSession(trace_of([0, 1], [0, 64], [False, False]), DDR4)
    with pytest.raises(InputError, match="not finished"):
        session.metrics()
    with pytest.raises(InputError, match="at least one"):
        session.advance(ControllerDesign(), 0)
    session.advance(ControllerDesign(), 5)
    with pytest.raises(InputError, match="is finished"):
        session.advance(ControllerDesign(), 1)
