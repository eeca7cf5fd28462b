"""Workload `weight-streaming`: a model's weights read layer by layer from a slower tier while earlier layers compute."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field
from simpy.events import AllOf, Event

from tiergarten.accelerators.paging.weight_streaming import StreamTimes
from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.sim.engine import Process
from tiergarten.sim.params import PositiveBytes, Ps, StrictModel
from tiergarten.sim.trace import Role
from tiergarten.sim.transfer import Cause
from tiergarten.sim.units import PS_PER_S, format_bytes

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

MAX_TRANSFERS = 2_000_000
"""Bounds the memory of a run."""


class StreamingParams(StrictModel):
    """Keys of a workload of kind `weight-streaming`."""

    source: str = Field("nvme", description="Tier that holds the weights.")
    destination: str = Field("hbm", description="Tier that the device computes from.")
    layers: int = Field(gt=0, le=10_000, description="Layers of the model.")
    layer: PositiveBytes = Field(description="Weights of a layer.")
    chunk: PositiveBytes = Field(description="Size of one read.")
    in_flight: int = Field(8, gt=0, le=4096, description="Reads under way at a time.")
    compute: Ps = Field(description="Time that a layer computes.")
    buffers: int = Field(2, gt=0, le=1000, description="Layers that fit the buffer; 2 = double buffering.")


@drivers.register("weight-streaming")
class WeightStreaming(Driver):
    """Weights streamed layer by layer through a ring of buffers, in chunks, beside the compute of earlier layers."""

    Params = StreamingParams
    params: StreamingParams

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        params = self.params
        problems = tier_problems(
            scenario, {"workload.source": params.source, "workload.destination": params.destination}
        )
        problems += route_problems(scenario, [("workload.source", params.source, params.destination)])
        if params.layers * -(-params.layer // params.chunk) > MAX_TRANSFERS:
            problems.append(("workload.chunk", f"makes more than {MAX_TRANSFERS} reads; use larger chunks"))
        if problems:
            return problems
        for key, name, needed in (
            ("layers", params.source, params.layers * params.layer),
            ("buffers", params.destination, min(params.buffers, params.layers) * params.layer),
        ):
            tier = scenario.tiers[name]
            if needed > tier.capacity * tier.count:
                text = f"{format_bytes(needed)} of weights do not fit {name!r} ({format_bytes(tier.capacity * tier.count)})"
                problems.append((f"workload.{key}", text))
        return problems

    def run(self, machine: Machine) -> Output:
        params = self.params
        machine.system.route(params.source, params.destination)  # a missing link is an error before anything moves
        for layer in range(params.layers):
            machine.placement.add(params.source, layer, params.layer, Role.WEIGHT)
        shape = (params.layers,)
        times = StreamTimes(*(np.zeros(shape, np.int64) for _ in range(4)))
        loaded, computed = ([Event(machine.engine) for _ in range(params.layers)] for _ in range(2))
        machine.engine.process(_load(machine, params, times, loaded, computed))
        machine.engine.process(_compute(machine, params, times, loaded, computed))
        machine.run()
        elapsed_ps = max(machine.engine.now_ps, 1)
        busy_ps = int((times.compute_end_ps - times.compute_start_ps)[times.compute_end_ps > 0].sum())
        total = params.layers * params.layer
        return Output(
            metrics={
                "pass_ms": elapsed_ps / 1e9,
                "streamed_bytes_per_s": total * PS_PER_S / elapsed_ps,
                "compute_share": busy_ps / elapsed_ps,
            },
            tables={"series/layers": _table(times)},
            states_ps={"device": {"busy": busy_ps}},
        )


def _load(
    machine: Machine, params: StreamingParams, times: StreamTimes, loaded: list[Event], computed: list[Event]
) -> Process:
    sizes = [params.chunk] * (params.layer // params.chunk)
    sizes += [params.layer % params.chunk] if params.layer % params.chunk else []
    for layer in range(params.layers):
        if layer >= params.buffers:
            yield computed[layer - params.buffers]
        times.load_start_ps[layer] = machine.engine.now_ps
        machine.placement.add(params.destination, layer, params.layer, Role.WEIGHT)
        under_way: list[Event] = []
        for size in sizes:
            if len(under_way) == params.in_flight:
                yield under_way.pop(0)
            under_way.append(
                machine.system.transfer(params.source, params.destination, size, Cause.PREFETCH, Role.WEIGHT, layer)
            )
        yield AllOf(machine.engine, under_way)
        times.load_end_ps[layer] = machine.engine.now_ps
        loaded[layer].succeed()
        machine.progress((layer + 1) / params.layers)


def _compute(
    machine: Machine, params: StreamingParams, times: StreamTimes, loaded: list[Event], computed: list[Event]
) -> Process:
    for layer in range(params.layers):
        yield loaded[layer]
        times.compute_start_ps[layer] = machine.engine.now_ps
        yield machine.engine.timeout(params.compute)
        times.compute_end_ps[layer] = machine.engine.now_ps
        machine.placement.remove(params.destination, layer)
        computed[layer].succeed()


def _table(times: StreamTimes) -> pa.Table:
    columns: dict[str, Any] = {"layer": np.arange(len(times.load_start_ps))}
    return pa.table(columns | vars(times))
