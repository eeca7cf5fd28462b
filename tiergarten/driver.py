"""What a kind of workload is to the rest: a class that checks its part of a scenario and runs it on a machine.

A driver lives in one file of `tiergarten/drivers/` and may use everything below: it joins a workload with an accelerator's
engine and the tiers of a system.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.sim import seeds
from tiergarten.sim.chooser import Chooser
from tiergarten.sim.engine import Engine
from tiergarten.sim.errors import TiergartenError, UnreachableError, did_you_mean
from tiergarten.sim.params import StrictModel
from tiergarten.sim.placement import Placement
from tiergarten.sim.registry import Registry
from tiergarten.sim.system import System
from tiergarten.sim.transfer import Transfer
from tiergarten.sim.units import PS_PER_S, format_ps

if TYPE_CHECKING:
    from tiergarten.scenario.schema import ScenarioSchema

drivers: Registry[type["Driver"]] = Registry("workload", "tiergarten.drivers")
"""Names that a scenario may give as its workload's `kind`."""


LONGEST_PS = 2**62
"""Times are int64 picoseconds; twice this is where they would overflow."""


def _no_progress(share: float) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Machine:
    """The system of one run, ready to be driven."""

    engine: Engine
    system: System
    placement: Placement
    devices: Mapping[str, DeviceSpec]
    seed: int
    until_ps: int | None = None
    choosers: Mapping[str, Chooser] = field(default_factory=dict)
    """By tier, what stands in for the weights of its `learned` eviction policy: an agent that is learning."""
    progress: Callable[[float], None] = _no_progress
    """A driver tells it the finished share of its work, 0 to 1, now and then."""

    def rng(self, component: str) -> np.random.Generator:
        """The random stream of the component of that name."""
        return seeds.stream(self.seed, component)

    def run(self) -> None:
        """Run the engine until nothing is left to do, or until the scenario's `run.until`.

        Raises UnreachableError if transfers are left that wait for links which stay down or tiers which stay read-only.
        """
        self.engine.run(until=self.until_ps)
        if self.until_ps is None:
            self._require_finished()
        if self.engine.now_ps > LONGEST_PS:
            raise TiergartenError(
                f"the run lasted {self.engine.now_ps / PS_PER_S / 86400:.0f} simulated days; times are kept for 53 days: "
                "give it less work or faster tiers, or stop it with run.until"
            )

    def _require_finished(self) -> None:
        """Nothing can happen any more: what links still hold will never arrive."""
        lines = []
        for name, kept in self.system.unfinished().items():
            transfers = [carried for carried in kept if isinstance(carried, Transfer)]
            num_bytes = sum(transfer.num_bytes for transfer in transfers)
            first = ", ".join(_described(transfer) for transfer in transfers[:NAMED_TRANSFERS])
            more = len(transfers) - NAMED_TRANSFERS
            lines.append(
                f"{name!r} stays {'down' if name in self.system.links else 'read-only'} with {len(transfers)} transfers of {num_bytes} bytes that can never finish: {first}"
                + (f" and {more} more" if more > 0 else "")
            )
        if lines:
            ends = "; give the fault an `until`, another link around it, or stop the run with run.until"
            raise UnreachableError("; ".join(lines) + ends)


NAMED_TRANSFERS = 5
"""How many of the transfers that never finish an error names."""


def _described(transfer: Transfer) -> str:
    route = transfer.route
    return (
        f"transfer {transfer.id} ({transfer.num_bytes} bytes, {route.source} to {route.destination}, requested at "
        f"{format_ps(transfer.requested_ps)})"
    )


@dataclass
class Output:
    """What a driver hands back beside the log of transfers that the system keeps."""

    metrics: dict[str, float | int | str | None] = field(default_factory=dict)
    """Flat; units in the keys."""
    tables: dict[str, pa.Table] = field(default_factory=dict)
    """By file name without suffix, such as `requests`; `series/NAME` for free tables that figures draw."""
    states_ps: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per resource the time in each state ("busy", "stall:reload pcie"); what is missing to the elapsed time is idle."""
    trace_hash: str = ""
    """Hash of the input trace."""


class NoParams(StrictModel):
    """A driver without keys of its own."""


class Driver(ABC):
    """A kind of workload. Subclasses are registered with `@drivers.register(kind)`; the docstring's first line is its listing."""

    Params: ClassVar[type[StrictModel]] = NoParams
    """Keys of `workload:` beside `kind`."""
    Policies: ClassVar[type[StrictModel]] = NoParams
    """Keys of `policies:`."""
    keeps_own_time: ClassVar[bool] = False
    """Its times are computed beside the links, so that nothing that happens to a link reaches them."""

    def __init__(self, params: Any, policies: Any):
        self.params = params
        self.policies = policies

    def check(self, scenario: "ScenarioSchema") -> list[tuple[str, str]]:
        """Cross-field problems as (dotted key, message): a policy that names a missing tier, a model that does not fit."""
        return []

    @abstractmethod
    def run(self, machine: Machine) -> Output:
        """Run the workload to its end on a fresh machine."""


def tier_problems(scenario: "ScenarioSchema", named: Mapping[str, str]) -> list[tuple[str, str]]:
    """Problems of tiers that a workload names, by dotted key."""
    return [
        (key, f"unknown tier {name!r}. {did_you_mean(name, scenario.tiers)}")
        for key, name in named.items()
        if name not in scenario.tiers
    ]


def route_problems(scenario: "ScenarioSchema", pairs: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Problems of pairs of tiers (dotted key, one, other) between which a workload moves bytes and no link leads."""
    return [
        (key, f"no chain of links joins {one!r} and {other!r}; add one under `links:`")
        for key, one, other in pairs
        if one in scenario.tiers and other in scenario.tiers and not scenario.joins(one, other)
    ]
