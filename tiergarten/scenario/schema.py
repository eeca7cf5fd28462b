"""The keys of a scenario file. docs/reference/scenario.md is generated from these classes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.sim.params import (
    Bytes,
    InputFile,
    PjPerBit,
    PositiveBytes,
    PositivePs,
    PositiveRate,
    Ps,
    StrictModel,
    Usd,
)

SCHEMA_VERSION = 1

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""Names of tiers, links and devices: letters, digits, _ and -."""


class Component(StrictModel):
    """A class by its registered name, with that class's own parameters beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="Registered name; `tiergarten list` shows them.")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as written."""
        return dict(self.model_extra or {})


def _component(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ComponentField = Annotated[Component, BeforeValidator(_component, json_schema_input_type=str | dict[str, Any])]


class TierConfig(StrictModel):
    """A memory tier."""

    kind: Literal["sram", "hbm", "gddr", "ddr", "lpddr", "cxl", "flash"] = Field(
        description="What the tier is made of."
    )
    device: str | None = Field(None, description="The device beside it, a key of `devices`.")
    count: int = Field(1, gt=0, le=4096, description="Identical units side by side; capacity and bandwidth multiply.")
    capacity: PositiveBytes = Field(description="Size of one unit.")
    bandwidth: PositiveRate | None = Field(None, description="Read and write bandwidth of one unit.")
    read_bandwidth: PositiveRate | None = Field(None, description="Read bandwidth of one unit, if not `bandwidth`.")
    write_bandwidth: PositiveRate | None = Field(None, description="Write bandwidth of one unit, if not `bandwidth`.")
    latency: Ps = Field(0, description="Unloaded latency of an access.")
    duplex: Literal["half", "full"] = Field(
        "half", description="half: reads and writes share the bandwidth (DRAM); full: they do not (CXL)."
    )
    model: ComponentField = Field(
        Component(name="analytic"), description="How its time is computed: analytic, curve, sram, cycle, sampled, ..."
    )
    energy: PjPerBit | None = Field(None, description="Energy of moving one bit in or out.")
    cost_per_gb: Usd | None = Field(None, description="Price of 10^9 bytes, as in '4 USD'.")
    calibration: InputFile | None = Field(
        None, description="File written by `tiergarten calibrate fit`; replaces bandwidth and latency."
    )
    title: str = Field("", description="Free text for reports.")

    @model_validator(mode="after")
    def _has_bandwidth(self) -> "TierConfig":
        needs = self.model.name in ("analytic", "curve") and self.calibration is None
        if (
            needs
            and self.model.name == "analytic"
            and self.bandwidth is None
            and None in (self.read_bandwidth, self.write_bandwidth)
        ):
            raise ValueError("needs `bandwidth`, or both `read_bandwidth` and `write_bandwidth`")
        return self


class DmaConfig(StrictModel):
    """The copy engines of a link."""

    engines: int = Field(
        gt=0, le=4096, description="Copies under way at a time, both directions together; others wait."
    )
    granularity: PositiveBytes = Field(
        description="A copy gives way to those of other engines after so many bytes; at least 4 KiB."
    )

    @model_validator(mode="after")
    def _not_too_fine(self) -> "DmaConfig":
        if self.granularity < MIN_GRANULARITY:
            raise ValueError(f"granularity must be at least {MIN_GRANULARITY} bytes, got {self.granularity}")
        return self


MIN_GRANULARITY = 4096
"""Copies that meet cost an event for each piece."""


class LinkConfig(StrictModel):
    """A link between two tiers, or between a tier and a switch."""

    between: tuple[str, str] = Field(description="The two tiers or switches that it joins.")
    model: ComponentField = Field(
        Component(name="bandwidth"),
        description="What a copy costs: bandwidth, pcie, nvlink, nvlink-c2c, cxl or measured; `tiergarten list links`.",
    )
    count: int = Field(1, gt=0, le=4096, description="Identical links side by side; the bandwidth multiplies.")
    bandwidth: PositiveRate | None = Field(None, description="Bandwidth each way.")
    backward_bandwidth: PositiveRate | None = Field(
        None, description="Bandwidth from the second to the first end, if it differs."
    )
    latency: Ps = Field(0, description="Time the first byte needs.")
    per_copy: Ps = Field(0, description="Time that each copy occupies the link beside its bytes (DMA set-up).")
    duplex: Literal["full", "half"] = Field("full", description="half: both ways share the bandwidth.")
    sharing: Literal["fifo", "fair", "priority"] = Field(
        "fifo", description="Who goes first when several transfers meet."
    )
    dma: DmaConfig | None = Field(
        None, description="Copy engines; absent = any number of copies, and set-up occupies the link."
    )
    chunk: Bytes = Field(0, description="What is received before it is passed on; 0 = nothing to fill.")
    energy: PjPerBit | None = Field(None, description="Energy of moving one bit.")
    calibration: InputFile | None = Field(
        None, description="File written by `tiergarten calibrate fit`; replaces bandwidth and per_copy."
    )
    title: str = Field("", description="Free text for reports.")

    @model_validator(mode="after")
    def _is_a_link(self) -> "LinkConfig":
        if self.between[0] == self.between[1]:
            raise ValueError("joins a tier with itself")
        if self.model.name != "bandwidth":
            unused = [key for key in BANDWIDTH_KEYS if getattr(self, key)]
            if unused:
                keys = ", ".join(f"`{key}`" for key in unused)
                raise ValueError(f"{keys} means nothing to model {self.model.name}; remove it (set it to null)")
        elif self.bandwidth is None and self.calibration is None:
            raise ValueError("needs `bandwidth`, `calibration` or another `model`")
        if self.dma is not None and self.sharing == "fair":
            raise ValueError("copy engines take turns by themselves; use sharing fifo or priority with `dma`")
        return self


BANDWIDTH_KEYS = ("bandwidth", "backward_bandwidth", "per_copy", "calibration")
"""Keys of a link that only the model `bandwidth` reads."""


class SwitchConfig(StrictModel):
    """A switch: links meet there, nothing is kept there."""

    latency: Ps = Field(0, description="Time from port to port.")
    title: str = Field("", description="Free text for reports.")


class FaultConfig(StrictModel):
    """A link that fails or degrades for a time, or a tier that takes no writes."""

    link: str | None = Field(None, description="Name of the link; both directions are affected.")
    tier: str | None = Field(None, description="Instead of `link`: the tier that is read-only.")
    at: Ps = Field(description="When it begins.")
    until: PositivePs | None = Field(None, description="When it ends; absent = never.")
    share: float = Field(0.0, ge=0, lt=1, description="Part of the link's rate that is left; 0 = down.")

    @model_validator(mode="after")
    def _makes_sense(self) -> "FaultConfig":
        if (self.link is None) == (self.tier is None):
            raise ValueError("needs `link` or `tier`, not both")
        if self.tier is not None and self.share:
            raise ValueError("`share` means nothing to a tier: it is read-only or not")
        if self.until is not None and self.until <= self.at:
            raise ValueError("`until` must come after `at`")
        return self


class WorkloadConfig(StrictModel):
    """What runs on the machine; further keys are those of the kind."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = Field(description="Registered name; `tiergarten list workloads` shows them.")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as written."""
        return dict(self.model_extra or {})


class RunConfig(StrictModel):
    """How the run is made."""

    seed: int = Field(0, ge=0, lt=2**63, description="Root of all random streams.")
    until: PositivePs | None = Field(
        None, description="Stop the simulated clock here; absent = when the workload is done."
    )


class OutputsConfig(StrictModel):
    """What the run leaves behind."""

    bins: int = Field(200, ge=10, le=2000, description="Time bins of tiers, links and occupancy.")
    transfers: bool = Field(True, description="Write every transfer.")
    ledger: bool = Field(
        False, description="Write where every object was and when (`ledger.parquet`); always written with `faults`."
    )
    perfetto: bool = Field(True, description="Write a Perfetto trace.")
    figures: bool = Field(True, description="Draw figures and report.html after the run.")


class RangeConfig(StrictModel):
    """Evenly spaced values; a unit may follow both ends ("32 GiB")."""

    start: str | float = Field(description="First value.")
    stop: str | float = Field(description="Last value, included.")
    steps: int = Field(gt=1, le=10_000, description="Number of values.")
    scale: Literal["linear", "log"] = Field("linear", description="Spacing.")


class SweepConfig(StrictModel):
    """Which values to try."""

    mode: Literal["grid", "zip", "one-at-a-time"] = Field(
        "grid",
        description="grid: every combination; zip: first with first, second with second; one-at-a-time: the scenario as it "
        "is, then each value of each key alone, with a figure of what each change does.",
    )
    set: dict[str, list[Any] | RangeConfig] = Field(min_length=1, description="Dotted keys with the values to try.")


class ScenarioSchema(StrictModel):
    """A scenario file."""

    schema_version: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="Names the result folder.")
    title: str = Field("", description="One line for reports.")
    sources: dict[str, str] = Field({}, description="Full references of the keys used as `source:`.")
    devices: dict[Name, DeviceSpec] = Field({}, description="What computes.")
    tiers: dict[Name, TierConfig] = Field(min_length=1, description="Memory tiers, nearest first.")
    switches: dict[Name, SwitchConfig] = Field({}, description="Where links meet beside tiers.")
    links: dict[Name, LinkConfig] = Field({}, description="Links between tiers and switches.")
    faults: list[FaultConfig] = Field(
        [], max_length=10_000, description="Links that fail or degrade, tiers that are read-only, and when."
    )
    workload: WorkloadConfig = Field(description="What runs.")
    policies: dict[str, Any] = Field(
        {}, description="Placement, eviction, prefetch and scheduling policies; keys depend on the workload."
    )
    run: RunConfig = Field(RunConfig(), description="How the run is made.")
    outputs: OutputsConfig = Field(OutputsConfig(), description="What the run leaves behind.")
    sweep: SweepConfig | None = Field(None, description="Values to try, for `tiergarten sweep`.")

    def joins(self, first: str, second: str) -> bool:
        """Whether a chain of links leads from one tier to the other, over tiers and switches."""
        reached, border = {first}, [first]
        while border:
            at = border.pop()
            for link in self.links.values():
                if at in link.between:
                    other = link.between[link.between[0] == at]
                    if other not in reached:
                        reached.add(other)
                        border.append(other)
        return second in reached
