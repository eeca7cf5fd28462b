"""Flash as a tier's memory at three levels: the event kernel (`flash`), curves made with it, and bounds from the parameters."""

from dataclasses import replace
from functools import cache
from heapq import heappop, heappush
from math import ceil
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tiergarten.sim.contracts import MemoryModel
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.flash.levels import LatencyCurve, bounds, curve_of, read_curves
from tiergarten.sim.flash.memory_model import Array, FlashModel
from tiergarten.sim.flash.presets import PRESETS, preset, with_capacity
from tiergarten.sim.memory import DeterminateModel, memory_models
from tiergarten.sim.params import InputFile, PositiveBytes, PositivePs, PositiveRate, StrictModel
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import PS_PER_NS, PS_PER_S


class FlashParams(StrictModel):
    """What all levels of flash need to know."""

    drive: str = Field("pcie4-tlc", description="Name of a drive: pcie4-tlc, pcie5-tlc, p5-plus, qlc, tlc-gen4.")
    drives: int = Field(1, gt=0, le=64, description="Drives striped together (RAID-0).")

    @field_validator("drive")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PRESETS:
            raise ValueError(f"unknown drive {value!r}. {did_you_mean(value, PRESETS)}")
        return value


@memory_models.register("flash")
class FlashCycleModel:
    """NVMe drives by the event kernel: queues, link, pages, dies, collection, wear.

    The tier's capacity decides the blocks per plane; its bandwidths and latency are not used.
    """

    class Params(FlashParams):
        """The array and the way to it."""

        stripe: PositiveBytes = Field(128 * 1024, description="Bytes on one drive before the next takes over.")
        max_command: PositiveBytes = Field(128 * 1024, description="Largest NVMe command.")
        path: Literal["direct", "bounce"] = Field(
            "direct", description="Straight to the reader (GPUDirect Storage), or through host DRAM with one more copy."
        )
        bounce_bandwidth: PositiveRate = Field(20e9, description="Rate of that copy.")
        bounce_latency: PositivePs = Field(10_000_000, description="Fixed time of that copy.")
        endurance: int = Field(0, ge=0, lt=10**9, description="Erases after which a block is retired; 0 = never.")
        cycles_used: int = Field(0, ge=0, lt=10**9, description="Erases that every block has behind it at the start.")

        @field_validator("stripe", "max_command")
        @classmethod
        def _power_of_two(cls, value: int) -> int:
            if value < 4096 or value & (value - 1) or value > 16 * 2**20:
                raise ValueError("must be a power of two from 4 KiB to 16 MiB")
            return value

        @model_validator(mode="after")
        def _has_life_left(self) -> "FlashCycleModel.Params":
            if self.endurance and self.cycles_used >= self.endurance:
                raise ValueError(f"cycles_used must be below the endurance of {self.endurance}")
            return self

    @classmethod
    def build(cls, tier: TierSpec, params: "FlashCycleModel.Params", seed: int) -> MemoryModel:
        stripes = -(-tier.capacity_bytes // (params.stripe * params.drives))
        drive = with_capacity(preset(params.drive), stripes * params.stripe)
        if params.endurance:
            drive = replace(drive, timing=replace(drive.timing, endurance_cycles=params.endurance))
        bounces = params.path == "bounce"
        return FlashModel(
            Array(
                drive,
                params.drives,
                params.stripe,
                params.max_command,
                params.bounce_bandwidth if bounces else 0.0,
                params.bounce_latency if bounces else 0,
                params.cycles_used,
            )
        )


@memory_models.register("flash-curve")
class FlashCurveModel(DeterminateModel):
    """Latency of a flash drive against request size and requests in flight, from curves made with the event kernel.

    Accesses larger than the curve's largest size count as several. Striped drives share the requests evenly.
    """

    class Params(FlashParams):
        """Which curve."""

        curves: InputFile | None = Field(
            None, description="File made by `tiergarten flash curve`; the bundled one if absent."
        )

    def __init__(self, curve: LatencyCurve, num_drives: int):
        super().__init__()
        self._curve = curve
        self._num_drives = num_drives
        self._in_flight: list[tuple[int, int]] = []
        self._num_in_flight = 0
        self._busy_until_ps = 0

    @classmethod
    def build(cls, tier: TierSpec, params: "FlashCurveModel.Params", seed: int) -> "FlashCurveModel":
        curves = _bundled_curves() if params.curves is None else read_curves(params.curves)
        return cls(curve_of(params.drive, curves), params.drives)

    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        while self._in_flight and self._in_flight[0][0] <= now_ps:
            self._num_in_flight -= heappop(self._in_flight)[1]
        largest = int(self._curve.sizes_bytes[-1])
        commands = max(1, ceil(num_bytes / largest))
        self._num_in_flight += commands
        load = max(1.0, self._num_in_flight / self._num_drives)
        latency_ns = self._curve.at(is_write, num_bytes / commands, load)
        done_ps = now_ps + ceil(latency_ns * PS_PER_NS)
        heappush(self._in_flight, (done_ps, commands))
        self._busy_ps += max(0, done_ps - max(now_ps, self._busy_until_ps))
        self._busy_until_ps = max(self._busy_until_ps, done_ps)
        return now_ps, done_ps


@cache
def _bundled_curves() -> dict[str, LatencyCurve]:
    return read_curves()


@memory_models.register("flash-analytic")
class FlashAnalyticModel(DeterminateModel):
    """Latency + bytes / bandwidth with the bounds that follow from a flash drive's parameters; no time of the kernel is shorter."""

    class Params(FlashParams):
        """The drive."""

    def __init__(self, params: "FlashAnalyticModel.Params"):
        super().__init__()
        limit = bounds(preset(params.drive))
        self._ps_per_byte = (
            PS_PER_S / limit.read_bytes_per_s / params.drives,
            PS_PER_S / limit.write_bytes_per_s / params.drives,
        )
        self._latency_ps = (int(limit.read_latency_ns * PS_PER_NS), int(limit.write_latency_ns * PS_PER_NS))
        self._free_ps = [0, 0]

    @classmethod
    def build(cls, tier: TierSpec, params: "FlashAnalyticModel.Params", seed: int) -> "FlashAnalyticModel":
        return cls(params)

    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        start_ps = max(now_ps, self._free_ps[is_write])
        service_ps = ceil(num_bytes * self._ps_per_byte[is_write])
        self._free_ps[is_write] = start_ps + service_ps
        self._busy_ps += service_ps
        return start_ps, start_ps + service_ps + self._latency_ps[is_write]
