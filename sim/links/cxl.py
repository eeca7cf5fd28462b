"""CXL.mem: what the ports add to the memory's latency, flits on the wire, and credits that bound the lines under way."""

from math import ceil

from pydantic import Field

from tiergarten.sim.copy_cost import pcie_raw_bytes_per_s
from tiergarten.sim.credits import Credits
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.link_model import LinkSetup, Wire, link_models
from tiergarten.sim.params import Ps, StrictModel
from tiergarten.sim.units import PS_PER_S

LINE_BYTES = 64
FLIT_BYTES = {5: 68, 6: 64}
"""Bytes on the wire for a line. CXL 1.1 and 2.0 on PCIe 5: a 68-byte flit holds 64 (CXL 3.0 specification, chapter 4). CXL 3 on PCIe 6:
256-byte flits, whose overhead is in the rate already. Header slots are not counted: an upper bound."""
ADDED_LATENCY_PS = 70_000
"""Port and controller, there and back, of a directly attached device: an estimate; measured devices add 70 to 170 ns."""
CREDITS = 256
"""An estimate: hosts and devices do not publish it."""


@link_models.register("cxl")
class CxlLink:
    """CXL.mem with credits: a line's credit comes back after the ports' and the memory's latency."""

    class Params(StrictModel):
        """Keys of `model: {name: cxl}`."""

        generation: int = Field(5, description="PCIe generation of the port: 5 (68-byte flits) or 6 (256-byte flits).")
        lanes: int = Field(8, description="Width.")
        added_latency: Ps = Field(
            ADDED_LATENCY_PS, description="What ports and controller add, there and back; 70 to 170 ns."
        )
        credits: int = Field(CREDITS, gt=0, le=1_000_000, description="Lines of 64 bytes under way, each direction.")
        memory: str | None = Field(
            None, description="The end with the memory behind the port; absent = the one tier of kind cxl."
        )
        memory_latency: Ps | None = Field(
            None, description="How long that memory takes to answer; absent = the `latency` of its tier."
        )

    @classmethod
    def build(cls, setup: LinkSetup, params: "CxlLink.Params") -> Wire:
        if params.generation not in FLIT_BYTES:
            raise InputError(Problem(f"CXL runs on PCIe 5 or 6, got {params.generation}", path="generation"))
        wire_bytes_per_s = pcie_raw_bytes_per_s(params.generation, params.lanes)
        memory_latency_ps = params.memory_latency
        if memory_latency_ps is None:
            memory_latency_ps = setup.ends[_memory_end(setup, params.memory)].latency_ps
        credits = Credits(
            number=params.credits,
            round_trip_ps=params.added_latency + memory_latency_ps,
            flit_bytes=LINE_BYTES * setup.count,  # one on each of the links side by side
            flit_ps=ceil(FLIT_BYTES[params.generation] * PS_PER_S / wire_bytes_per_s),
        )
        return Wire(
            (credits.duration_ps, credits.duration_ps), latency_ps=params.added_latency, credits=(credits, credits)
        )


def _memory_end(setup: LinkSetup, name: str | None) -> int:
    """Index of the end with the memory behind the port."""
    found = [index for index, end in enumerate(setup.ends) if end.kind == "cxl"]
    if name is None and len(found) != 1:
        message = f"say which end's memory answers ({' or '.join(end.name for end in setup.ends)}): not one tier is of kind cxl"
        raise InputError(Problem(message, path="memory"))
    return setup.end(name, found[0] if found else 0, "memory")
