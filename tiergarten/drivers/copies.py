"""Plain copies between tiers: the smallest workload, for trying out a machine and for closed-form checks."""

from typing import Any

from pydantic import Field

from tiergarten.driver import Driver, Machine, Output, drivers
from tiergarten.sim.engine import Process
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.params import PositiveBytes, Ps, StrictModel
from tiergarten.sim.transfer import Cause
from tiergarten.sim.transfer_log import Column


class CopyConfig(StrictModel):
    """One stream of equal copies."""

    source: str = Field(description="Tier that is read.")
    destination: str = Field(description="Tier that is written.")
    bytes: PositiveBytes = Field(description="Size of a copy.")
    count: int = Field(1, gt=0, le=10_000_000, description="Number of copies.")
    every: Ps = Field(0, description="Time between the starts of two copies; 0 = all at once.")
    start: Ps = Field(0, description="When the first copy starts.")
    cause: str = Field(
        "demand",
        pattern="^(demand|prefetch|eviction|writeback)$",
        description="Decides who goes first on a priority link.",
    )


@drivers.register("copies")
class Copies(Driver):
    """Copies of given sizes between tiers, for trying out a machine."""

    class Params(StrictModel):
        """Keys of `workload:`."""

        copies: list[CopyConfig] = Field(min_length=1, description="Streams of copies; all run side by side.")

    def check(self, scenario: Any) -> list[tuple[str, str]]:
        return [
            (f"workload.copies.{index}.{end}", f"unknown tier {name!r}. {did_you_mean(name, scenario.tiers)}")
            for index, copy in enumerate(self.params.copies)
            for end, name in (("source", copy.source), ("destination", copy.destination))
            if name not in scenario.tiers
        ]

    def run(self, machine: Machine) -> Output:
        for copy in self.params.copies:
            machine.system.route(copy.source, copy.destination)  # a missing link is an error before anything moves
            machine.engine.process(_issue(machine, copy))
        machine.run()
        log = machine.system.log.columns()
        finished_ps, moved = log[Column.FINISHED_PS], int(log[Column.BYTES].sum())
        return Output(
            metrics={
                "copied_bytes": moved,
                "throughput_bytes_per_s": moved * 1e12 / int(finished_ps.max()),
                "mean_latency_ns": int((finished_ps - log[Column.REQUESTED_PS]).sum()) / len(finished_ps) / 1000,
            }
        )


def _issue(machine: Machine, copy: CopyConfig) -> Process:
    yield machine.engine.wait_until(copy.start)
    cause = Cause[copy.cause.upper()]
    for index in range(copy.count):
        machine.system.transfer(copy.source, copy.destination, copy.bytes, cause)
        if copy.every and index + 1 < copy.count:
            yield machine.engine.wait_until(copy.start + (index + 1) * copy.every)
