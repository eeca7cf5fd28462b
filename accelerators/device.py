"""What computes: peak rates, the share of them that software reaches, fixed costs, power and price. One entry of `devices:`."""

from pydantic import Field, field_validator

from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.params import PositiveFlops, Ps, Share, StrictModel, Usd, Watts

EFFICIENCIES = {
    "prefill": "share of the peak rate in the large matmuls of a prefill",
    "decode": "share of the memory bandwidth over a whole decode step, every overhead included",
    "memory": "share of the memory bandwidth while weights are streamed",
}
"""Keys of `efficiency`. A model that adds `overhead` itself uses `memory`; one that does not uses `decode`."""


class Overhead(StrictModel):
    """Time that a run takes beyond its flops and bytes."""

    request: Ps = Field(0, description="Once per run of a model: serving stack, tokeniser, sampling.")
    layer: Ps = Field(0, description="Once per layer and step: kernel launches and collectives.")


class DeviceSpec(StrictModel):
    """A computing device, or a node of several that work as one."""

    kind: str = Field(description="gpu, rdu, tpu, cpu, drive or expander; for reports.")
    count: int = Field(1, gt=0, description="Identical devices that work as one (tensor parallel); rates multiply.")
    peak_flops: dict[str, PositiveFlops] = Field({}, description="Dense peak rate by number format, per device.")
    efficiency: dict[str, Share] = Field(
        {},
        description="Share of a peak that software reaches: "
        + "; ".join(f"{name}: {text}" for name, text in EFFICIENCIES.items())
        + ".",
    )
    overhead: Overhead = Field(Overhead(), description="Time that a run takes beyond its flops and bytes.")
    power: Watts | None = Field(None, description="Power of one device under load.")
    idle_power: Watts | None = Field(None, description="Power of one idle device.")
    price: Usd | None = Field(None, description="Price of one device.")

    @field_validator("efficiency")
    @classmethod
    def _known_efficiencies(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in EFFICIENCIES:
                raise ValueError(f"unknown efficiency {name!r}. {did_you_mean(name, EFFICIENCIES)}")
        return value

    def flops_per_s(self, number_format: str) -> float:
        """Peak rate of all `count` devices together. ValueError with the nearest formats if it has none of that name."""
        if number_format not in self.peak_flops:
            raise ValueError(f"no peak_flops for {number_format!r}. {did_you_mean(number_format, self.peak_flops)}")
        return self.peak_flops[number_format] * self.count
