"""The kernel against the oracle: the same commands in the same cycles, the same responses."""

import numpy as np
import pytest
from dramsys_cases import designs, parts, semantics, small_part, trace_of, traces
from dramsys_oracle import Oracle, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiergarten.dram.dramsys import DRAMSYS_2021, DRAMSYS_2026, OURS, ControllerDesign, Part, Semantics, part
from tiergarten.dram.dramsys.evaluate import decode
from tiergarten.dram.dramsys.kernel import advance
from tiergarten.dram.dramsys.state import (
    NEVER,
    Command,
    FlightField,
    Scalar,
    TraceField,
    initial_state,
    resolve_policy,
    resolve_timing,
)
from tiergarten.sim.trace import AddressTrace

Run = tuple[list[tuple[int, str, int, int]], list[int]]


def by_kernel(design: ControllerDesign, trace: AddressTrace, memory: Part, meaning: Semantics) -> Run:
    """(commands, response cycles)."""
    requests = decode(trace, memory, meaning)
    state = initial_state(len(requests), memory, 100_000)
    timing, policy = resolve_timing(memory, meaning), resolve_policy(design, meaning)
    assert not advance(timing, policy, requests, state, NEVER, len(requests) + 1)
    log = state.log[: state.scalars[Scalar.NUM_LOGGED]].tolist()
    commands = [(cycle, Command(command).name, bank, request) for cycle, command, bank, request in log]
    return commands, state.flights[:, FlightField.RESPONSE].tolist()


def by_oracle(design: ControllerDesign, trace: AddressTrace, memory: Part, meaning: Semantics) -> Run:
    """(commands, response cycles)."""
    rows = decode(trace, memory, meaning)
    requests = [
        Request(
            number,
            int(row[TraceField.SENDABLE]),
            int(row[TraceField.BURST]),
            int(row[TraceField.BANK]),
            int(row[TraceField.ROW]),
            bool(row[TraceField.IS_WRITE]),
        )
        for number, row in enumerate(rows)
    ]
    oracle = Oracle(memory, design, meaning, requests)
    oracle.run(200_000)
    return oracle.history, [request.response for request in requests]


@given(st.data(), designs, parts, semantics)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_kernel_issues_the_commands_of_the_oracle(
    data: st.DataObject, design: ControllerDesign, memory: Part, meaning: Semantics
) -> None:
    trace = data.draw(traces(memory.mapping.capacity_bytes))
    commands, responses = by_kernel(design, trace, memory, meaning)
    expected_commands, expected_responses = by_oracle(design, trace, memory, meaning)
    assert commands == expected_commands
    assert responses == expected_responses


@pytest.mark.parametrize("meaning", [OURS, DRAMSYS_2026, DRAMSYS_2021], ids=lambda meaning: meaning.name)
@pytest.mark.parametrize("name", ["DDR3-1600", "DDR4-2400"])
def test_kernel_agrees_with_oracle_on_saturating_traces(name: str, meaning: Semantics) -> None:
    rng = np.random.default_rng(7)
    memory = small_part(part(name), 600)
    for _ in range(6):
        design = ControllerDesign.from_indices(rng.integers(0, (4, 3, 3, 5, 2, 2, 4, 4, 3, 5)))
        count = int(rng.integers(40, 90))
        bursts = rng.integers(0, memory.mapping.capacity_bytes // 64, count)
        trace = trace_of(list(range(count)), list(64 * bursts), list(rng.random(count) < 0.4))
        assert by_kernel(design, trace, memory, meaning) == by_oracle(design, trace, memory, meaning), design


def test_oracle_sees_a_wrong_distance() -> None:
    """The comparison has teeth: one changed timing breaks it."""
    memory = small_part(part("DDR4-2400"), 600)
    trace = trace_of([0, 0, 0], [0, 1 << 13, 1 << 14], [False, True, False])
    commands, _ = by_kernel(ControllerDesign(), trace, memory, OURS)
    rows = decode(trace, memory, OURS)
    state = initial_state(3, memory, 100)
    timing = resolve_timing(memory, OURS)._replace(act_to_column=memory.timing.nRCD + 1)
    advance(timing, resolve_policy(ControllerDesign(), OURS), rows, state, NEVER, 4)
    assert state.log[: len(commands), 0].tolist() != [cycle for cycle, *_ in commands]
