"""NVLink between GPUs, and NVLink-C2C between a Grace CPU and a Hopper GPU."""

from pydantic import Field

from tiergarten.sim.copy_cost import C2C_D2H, C2C_H2D, DMA_START_PS, LinearCopyCost, nvlink_bytes_per_s
from tiergarten.sim.link_model import LinkSetup, Wire, link_models, striped
from tiergarten.sim.params import PositiveRate, Ps, StrictModel


@link_models.register("nvlink")
class NvLink:
    """NVLink by generation and number of links, with packet headers."""

    class Params(StrictModel):
        """Keys of `model: {name: nvlink}`."""

        generation: int = Field(description="1 to 5.")
        links: int | None = Field(
            None, description="Links between the two ends; absent = all of the generation's data-centre GPU."
        )
        setup: Ps = Field(DMA_START_PS, description="Start of each copy; taken from PCIe, where it was measured.")

    @classmethod
    def build(cls, setup: LinkSetup, params: "NvLink.Params") -> Wire:
        cost = LinearCopyCost(params.setup, nvlink_bytes_per_s(params.generation, params.links))
        duration_ps = striped(cost, setup.count)
        return Wire((duration_ps, duration_ps), (params.setup, params.setup))


@link_models.register("nvlink-c2c")
class NvLinkC2C:
    """NVLink-C2C of Grace-Hopper at the measured rates, 375 GB/s to the GPU and 297 GB/s from it."""

    class Params(StrictModel):
        """Keys of `model: {name: nvlink-c2c}`."""

        host: str | None = Field(None, description="The end that is the CPU's; absent = the second of `between`.")
        to_device: PositiveRate = Field(C2C_H2D.bytes_per_s, description="CPU to GPU; 450 GB/s is the data sheet's.")
        to_host: PositiveRate = Field(C2C_D2H.bytes_per_s, description="GPU to CPU; 450 GB/s is the data sheet's.")
        setup: Ps = Field(DMA_START_PS, description="Start of each copy; taken from PCIe, where it was measured.")

    @classmethod
    def build(cls, setup: LinkSetup, params: "NvLinkC2C.Params") -> Wire:
        host = setup.end(params.host, 1, "host")
        costs = [LinearCopyCost(params.setup, rate) for rate in (params.to_host, params.to_device)]
        first, second = costs if host == 1 else reversed(costs)
        return Wire((striped(first, setup.count), striped(second, setup.count)), (params.setup, params.setup))
