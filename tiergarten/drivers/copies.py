"""Plain copies between tiers: the smallest workload, for trying out a machine and for closed-form checks."""

from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import Field
from simpy.events import Event

from tiergarten.driver import Driver, Machine, Output, drivers, route_problems, tier_problems
from tiergarten.sim.engine import Process
from tiergarten.sim.params import PositiveBytes, Ps, StrictModel
from tiergarten.sim.transfer import Cause
from tiergarten.sim.transfer_log import Column


class CopyConfig(StrictModel):
    """One stream of equal copies."""

    source: str = Field(description="Tier that is read.")
    destination: str = Field(description="Tier that is written.")
    via: str | None = Field(None, description="Tier in which every copy is staged on its way (a bounce buffer).")
    stage: PositiveBytes | None = Field(
        None, description="Size of the pieces that a copy with `via` is staged in; absent = whole. Two are under way."
    )
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
        problems: list[tuple[str, str]] = []
        for index, copy in enumerate(self.params.copies):
            place = f"workload.copies.{index}"
            ends = {end: getattr(copy, end) for end in ("source", "via", "destination")}
            problems += tier_problems(
                scenario, {f"{place}.{end}": name for end, name in ends.items() if name is not None}
            )
            if copy.via in (copy.source, copy.destination):
                problems.append((f"{place}.via", "is an end of the copy"))
            if copy.stage is not None and copy.via is None:
                problems.append((f"{place}.stage", "needs `via`"))
            problems += route_problems(scenario, ((place, one, other) for one, other in pairwise(_stops(copy))))
        return problems

    def run(self, machine: Machine) -> Output:
        for stream, copy in enumerate(self.params.copies):
            machine.engine.process(_issue(machine, copy, stream))
        machine.run()
        log = machine.system.log.columns()
        finished_ps, ends = log[Column.FINISHED_PS], [copy.destination for copy in self.params.copies]
        routes = machine.system.routes
        moved = sum(
            num_bytes
            for route, num_bytes, stream in log[[Column.ROUTE, Column.BYTES, Column.OWNER]].T.tolist()
            if routes[route].destination == ends[stream]
        )
        return Output(
            metrics={
                "copied_bytes": moved,
                "throughput_bytes_per_s": moved * 1e12 / int(finished_ps.max()),
                "mean_latency_ns": int((finished_ps - log[Column.REQUESTED_PS]).sum()) / len(finished_ps) / 1000,
            }
        )


def _issue(machine: Machine, copy: CopyConfig, stream: int) -> Process:
    """Starts the copies of a stream; its number owns their transfers."""
    yield machine.engine.wait_until(copy.start)
    cause = Cause[copy.cause.upper()]
    for index in range(copy.count):
        if copy.via is None:
            machine.system.transfer(copy.source, copy.destination, copy.bytes, cause, owner=stream)
        else:
            machine.engine.process(_stage(machine, copy, stream))
        if copy.every and index + 1 < copy.count:
            yield machine.engine.wait_until(copy.start + (index + 1) * copy.every)


def _stops(copy: CopyConfig) -> list[str]:
    """The tiers whose memory a copy passes, in order."""
    return [copy.source, *([copy.via] if copy.via else []), copy.destination]


def _stage(machine: Machine, copy: CopyConfig, stream: int) -> Process:
    """A copy through the memory of another tier: a piece is copied on while the next one comes in (two buffers)."""
    _, via, destination = _stops(copy)
    transfer = partial(machine.system.transfer, cause=Cause[copy.cause.upper()], owner=stream)
    stage = copy.stage or copy.bytes
    leaving: Event | None = None
    for first in range(0, copy.bytes, stage):
        piece = min(stage, copy.bytes - first)
        yield transfer(copy.source, via, piece)
        if leaving is not None:
            yield leaving
        leaving = transfer(via, destination, piece)
