"""What computes: peak rates, the share of them that software reaches, power and price. One entry of a scenario's `devices:`."""

from pydantic import Field

from tiergarten.sim.params import PositiveFlops, Share, StrictModel, Usd, Watts


class DeviceSpec(StrictModel):
    """A computing device, or a node of several that work as one."""

    kind: str = Field(description="gpu, rdu, tpu, cpu, drive or expander; for reports.")
    count: int = Field(1, gt=0, description="Identical devices that work as one (tensor parallel); rates multiply.")
    peak_flops: dict[str, PositiveFlops] = Field({}, description="Dense peak rate by number format, per device.")
    efficiency: dict[str, Share] = Field(
        {},
        description="Share of a peak that software reaches: prefill and decode of peak_flops, memory of the bandwidth.",
    )
    power: Watts | None = Field(None, description="Power of one device under load.")
    idle_power: Watts | None = Field(None, description="Power of one idle device.")
    price: Usd | None = Field(None, description="Price of one device.")
