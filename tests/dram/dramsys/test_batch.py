"""Evaluating many designs."""

from dataclasses import replace

import numpy as np
import pytest
from dramsys_cases import DDR4, small_part, trace_of

from tiergarten.dram.dramsys import Arbiter, ControllerDesign, RefreshPolicy, Scheduler, evaluate
from tiergarten.dram.dramsys.batch import Evaluator
from tiergarten.sim.errors import InputError, TraceError

MEMORY = small_part(DDR4, 900)
READS = trace_of(list(range(80)), [64 * (5 * i % 256) for i in range(80)], [False] * 80)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_results_are_those_of_single_evaluations_in_order(num_threads: int) -> None:
    rng = np.random.default_rng(2)
    designs = [ControllerDesign.from_number(int(number)) for number in rng.integers(0, 442_368, 40)]
    results = Evaluator(READS, MEMORY, num_threads=num_threads)(designs)
    for design, result in zip(designs, results, strict=True):
        alone = evaluate(design, READS, MEMORY)
        assert result.time_ps == alone.time_ps
        assert result.energy_pj == alone.energy_pj


def test_equal_behaviour_is_simulated_once() -> None:
    base = ControllerDesign(refresh_policy=RefreshPolicy.NO_REFRESH, arbiter=Arbiter.SIMPLE)
    evaluator = Evaluator(READS, MEMORY)
    evaluator([base, replace(base, max_active_transactions=4), replace(base, refresh_max_postponed=8)])
    assert evaluator.num_simulated == 1
    evaluator([replace(base, scheduler=Scheduler.FR_FCFS_GRP), replace(base, request_buffer_size=4)])
    assert evaluator.num_simulated == 2


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="thread"):
        Evaluator(READS, MEMORY, num_threads=0)
    with pytest.raises(TraceError):
        Evaluator(trace_of([0], [1 << 50], [False]), MEMORY, num_threads=2)([ControllerDesign(), ControllerDesign()])
