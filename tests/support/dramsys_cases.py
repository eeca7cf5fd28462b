"""Small parts, designs and traces for the tests of the controller."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tiergarten.dram.dramsys import (
    DRAMSYS_2021,
    DRAMSYS_2026,
    KNOBS,
    OURS,
    ControllerDesign,
    Part,
    part,
)
from tiergarten.dram.dramsys.part import AddressMapping, BitField
from tiergarten.sim.trace import AddressTrace

DDR4 = part("DDR4-2400")
DDR3 = part("DDR3-1600")


def small_part(base: Part, refresh_interval: int) -> Part:
    """The part with few rows and a short refresh interval, so that small traces meet conflicts and refreshes."""
    groups = base.num_bank_groups.bit_length() - 1
    banks = base.banks_per_group.bit_length() - 1
    return replace(
        base,
        timing=replace(base.timing, nREFI=refresh_interval),
        mapping=AddressMapping(
            row=BitField(8 + groups + banks, 3), bank_group=BitField(8, groups), bank=BitField(8 + groups, banks)
        ),
    )


def trace_of(ticks: list[int], addresses: list[int], is_write: list[bool], tick_ps: int = 0) -> AddressTrace:
    """An address trace from lists."""
    return AddressTrace(
        np.array(ticks, np.int64),
        np.array(addresses, np.int64),
        np.array(is_write, np.bool_),
        np.full(len(ticks), -1, np.int64),
        tick_ps,
    )


designs = st.builds(
    lambda values: ControllerDesign(**dict(zip([knob.field for knob in KNOBS], values, strict=True))),
    st.tuples(*(st.sampled_from(knob.values[:4]) for knob in KNOBS)),
)
semantics = st.sampled_from([OURS, DRAMSYS_2026, DRAMSYS_2021])
SLOW_WRITES = replace(DDR3, timing=replace(DDR3.timing, nWR=30))
"""So long a write recovery that an auto-precharging read after a write waits for it, which no shipped part does."""
parts = st.builds(small_part, st.sampled_from([DDR3, DDR4, SLOW_WRITES]), st.sampled_from([450, 700, 5000]))


@st.composite
def traces(draw: st.DrawFn, capacity_bytes: int, max_requests: int = 40) -> AddressTrace:
    """Bursts of requests with gaps between them, over few banks and rows."""
    count = draw(st.integers(1, max_requests))
    gaps = draw(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 7, 60, 900]), min_size=count, max_size=count))
    num_bursts = min(capacity_bytes // 64, draw(st.sampled_from([4, 16, 64, 1024])))
    bursts = draw(st.lists(st.integers(0, num_bursts - 1), min_size=count, max_size=count))
    writes = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    stride = capacity_bytes // 64 // num_bursts
    return trace_of(list(np.cumsum(gaps)), [64 * stride * burst for burst in bursts], writes)
