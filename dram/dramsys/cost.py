"""What a controller's buffers cost in area and energy. An estimate, so that large buffers are not free.

DRAMSys charges nothing for buffer entries, which drives every search to the largest ones. This model counts the storage that
a design needs and prices it in a 45 nm standard-cell process: keys (address, kind, age) in flip-flops, because every entry is
compared in every decision, data in a register file. It leaves out wiring, the scheduling logic and the PHY. Good to a factor
of two or three, and meant for the trade-off rather than for a product.
"""

from dataclasses import dataclass
from typing import Final

from tiergarten.dram.dramsys.design import Arbiter, ControllerDesign, ResponseQueue, SchedulerBuffer
from tiergarten.dram.dramsys.evaluate import Metrics
from tiergarten.dram.dramsys.part import Part

KIND_AND_VALID_BITS: Final = 2
FLIP_FLOP_UM2: Final = 4.522
"""Cell area of DFF_X1 in the NanGate 45 nm Open Cell Library."""
PLACEMENT_DENSITY: Final = 0.7
"""Share of the placed area that cells fill. Estimate: usual for synthesised logic."""
REGISTER_FILE_BIT_UM2: Final = 1.0
"""Estimate: three times Intel's 45 nm SRAM cell of 0.346 um2 (Mistry et al., IEDM 2007), for the second port and periphery."""
FLIP_FLOP_CYCLE_FJ: Final = 5.0
"""Clocking one flip-flop for a cycle. Estimate: 4 fF switched at 1.1 V."""
FLIP_FLOP_LEAKAGE_NW: Final = 80.0
"""Estimate: the order of DFF_X1's leakage in the NanGate library."""
REGISTER_FILE_LEAKAGE_NW: Final = 10.0
"""Each bit. Estimate: 45 nm high-performance SRAM."""
REGISTER_FILE_ACCESS_FJ: Final = 20.0
"""Writing or reading one bit. Estimate."""


@dataclass(frozen=True)
class BufferCost:
    """Storage of a design and its price."""

    num_request_entries: int
    """Scheduler buffer, all banks together."""
    num_arbiter_entries: int
    num_response_entries: int
    key_bits: int
    data_bits: int
    area_um2: float
    static_w: float
    """Clock and leakage at the part's clock."""
    access_pj: float
    """A request's data written once and read once."""


def buffer_cost(design: ControllerDesign, part: Part) -> BufferCost:
    """Entries, bits, area and power of a design's buffers.

    A bankwise or shared entry must be able to hold a write's data; with a read-write buffer only the write half does. An
    in-order response queue holds the data of every request that may overtake, that is of a full scheduler buffer; a
    queueing arbiter keeps key and data of its transactions.
    """
    size = design.request_buffer_size
    entries = {
        SchedulerBuffer.BANKWISE: part.num_banks * size,
        SchedulerBuffer.READ_WRITE: 2 * size,
        SchedulerBuffer.SHARED: size,
    }[design.scheduler_buffer]
    with_data = size if design.scheduler_buffer == SchedulerBuffer.READ_WRITE else entries
    in_arbiter = 0 if design.arbiter == Arbiter.SIMPLE else design.max_active_transactions
    in_order = design.response_queue == ResponseQueue.REORDER or design.arbiter == Arbiter.REORDER
    responses = entries if in_order else 0
    age_bits = max(1, entries.bit_length())
    address_bits = (part.mapping.capacity_bytes // part.bytes_per_burst - 1).bit_length()
    key_bits = (entries + in_arbiter) * (address_bits + KIND_AND_VALID_BITS + age_bits)
    data_bits = (with_data + in_arbiter + responses) * part.bytes_per_burst * 8
    area = key_bits * FLIP_FLOP_UM2 / PLACEMENT_DENSITY + data_bits * REGISTER_FILE_BIT_UM2
    clock_hz = 1e12 / part.timing.tCK_ps
    static_w = (
        key_bits * (FLIP_FLOP_CYCLE_FJ * 1e-15 * clock_hz + FLIP_FLOP_LEAKAGE_NW * 1e-9)
        + data_bits * REGISTER_FILE_LEAKAGE_NW * 1e-9
    )
    return BufferCost(
        num_request_entries=entries,
        num_arbiter_entries=in_arbiter,
        num_response_entries=responses,
        key_bits=key_bits,
        data_bits=data_bits,
        area_um2=area,
        static_w=static_w,
        access_pj=2 * part.bytes_per_burst * 8 * REGISTER_FILE_ACCESS_FJ * 1e-3,
    )


def buffer_energy_pj(design: ControllerDesign, part: Part, metrics: Metrics) -> float:
    """Energy of the buffers over a run; add it to `metrics.energy_pj` where buffers are to be weighed."""
    cost = buffer_cost(design, part)
    return cost.static_w * metrics.time_ps + cost.access_pj * metrics.num_requests
