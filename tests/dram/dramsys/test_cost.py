"""Buffers cost area and energy."""

from dataclasses import replace

import numpy as np
import pytest
from dramsys_cases import DDR3, DDR4, designs, trace_of
from hypothesis import given

from tiergarten.dram.dramsys import Arbiter, ControllerDesign, ResponseQueue, SchedulerBuffer, evaluate
from tiergarten.dram.dramsys.cost import buffer_cost, buffer_energy_pj


def test_entries_are_counted_per_bank_kind_or_channel() -> None:
    def entries(buffer: SchedulerBuffer) -> int:
        return buffer_cost(ControllerDesign(scheduler_buffer=buffer, request_buffer_size=8), DDR4).num_request_entries

    assert entries(SchedulerBuffer.BANKWISE) == 16 * 8
    assert entries(SchedulerBuffer.READ_WRITE) == 2 * 8
    assert entries(SchedulerBuffer.SHARED) == 8


def test_bits_of_one_shared_entry_by_hand() -> None:
    """1 GiB of 64-byte bursts: 24 address bits, kind, valid and one age bit; 512 data bits."""
    cost = buffer_cost(ControllerDesign(scheduler_buffer=SchedulerBuffer.SHARED, request_buffer_size=1), DDR3)
    assert (cost.key_bits, cost.data_bits) == (27, 512)
    assert cost.area_um2 == pytest.approx(27 * 4.522 / 0.7 + 512)
    assert cost.static_w == pytest.approx(27 * (5e-15 * 800e6 + 80e-9) + 512 * 10e-9)


@given(designs)
def test_more_storage_never_costs_less(design: ControllerDesign) -> None:
    cost = buffer_cost(design, DDR4)
    larger = buffer_cost(replace(design, request_buffer_size=2 * design.request_buffer_size), DDR4)
    assert larger.area_um2 > cost.area_um2
    assert larger.static_w > cost.static_w
    queueing = buffer_cost(replace(design, arbiter=Arbiter.FIFO, response_queue=ResponseQueue.FIFO), DDR4)
    simple = buffer_cost(replace(design, arbiter=Arbiter.SIMPLE, response_queue=ResponseQueue.FIFO), DDR4)
    assert queueing.area_um2 > simple.area_um2


def test_the_largest_buffer_is_no_longer_the_best() -> None:
    """Random reads: DRAM energy falls to the largest buffer, energy with buffers has its best in between."""
    rng = np.random.default_rng(3)
    count = 3000
    trace = trace_of(list(range(count)), list(64 * rng.integers(0, 1 << 24, count)), [False] * count)
    sizes = [1, 2, 4, 8, 16, 32, 64, 128]
    dram, total = [], []
    for size in sizes:
        design = ControllerDesign(request_buffer_size=size)
        result = evaluate(design, trace, DDR4)
        dram.append(result.energy_pj)
        total.append(result.energy_pj + buffer_energy_pj(design, DDR4, result))
    assert np.argmin(dram) >= sizes.index(64)
    assert 0 < np.argmin(total) < sizes.index(32)
