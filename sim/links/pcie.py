"""PCI Express by generation and lanes: line rate, line coding, packet overhead, and what a DMA copy costs to start."""

from dataclasses import dataclass
from math import ceil

from pydantic import Field

from tiergarten.sim.copy_cost import (
    DMA_START_PS,
    PCIE3_X16_SHARE,
    pcie_packet_overhead_bytes,
    pcie_raw_bytes_per_s,
)
from tiergarten.sim.link_model import LinkSetup, Wire, link_models, striped
from tiergarten.sim.params import Ps, Share, StrictModel
from tiergarten.sim.units import PS_PER_S


@dataclass(frozen=True)
class PacketCopyCost:
    """Set-up, then whole packets: each payload of up to `payload_bytes` brings `overhead_bytes` with it."""

    setup_ps: int
    wire_bytes_per_s: float
    payload_bytes: int
    overhead_bytes: int

    def duration_ps(self, num_bytes: int) -> int:
        packets = -(-num_bytes // self.payload_bytes)
        wire_bytes = num_bytes + packets * self.overhead_bytes
        return self.setup_ps + ceil(wire_bytes * PS_PER_S / self.wire_bytes_per_s)


@link_models.register("pcie")
class PcieLink:
    """PCI Express by generation and lanes: coding, packets, and a start of 0.8 us for each copy."""

    class Params(StrictModel):
        """Keys of `model: {name: pcie}`."""

        generation: int = Field(description="1 to 6.")
        lanes: int = Field(16, description="Width: 1, 2, 4, 8, 12, 16 or 32.")
        payload: int = Field(256, description="Largest payload of a packet in bytes: 128, 256, 512, ... 4096.")
        share: Share = Field(
            PCIE3_X16_SHARE,
            description="Part of the packets' rate that DMA reaches; 0.813 was measured on PCIe 3 x16, 1 is the bound.",
        )
        setup: Ps = Field(
            DMA_START_PS, description="Start of each copy: doorbell, descriptor, completion; 0.815 us measured."
        )

    @classmethod
    def build(cls, setup: LinkSetup, params: "PcieLink.Params") -> Wire:
        overhead_bytes = pcie_packet_overhead_bytes(params.generation, params.payload)
        rate = params.share * pcie_raw_bytes_per_s(params.generation, params.lanes)
        cost = PacketCopyCost(params.setup, rate, params.payload, overhead_bytes)
        duration_ps = striped(cost, setup.count)
        return Wire((duration_ps, duration_ps), (params.setup, params.setup))
