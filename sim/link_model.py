"""What a kind of link is: a class of `tiergarten.sim.links` that says what one link between two ends costs each way.

Sharing, duplex, engines and faults are the same for every kind and belong to `tiergarten.sim.link`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tiergarten.sim.copy_cost import CopyCost
from tiergarten.sim.credits import Credits
from tiergarten.sim.errors import InputError, Problem, did_you_mean
from tiergarten.sim.link import BothWays
from tiergarten.sim.registry import Registry

link_models: Registry[type] = Registry("link model", "tiergarten.sim.links")
"""Names that a scenario may give as a link's `model`."""

SWITCH: Final = "switch"
"""Kind of an end that is no tier."""


@dataclass(frozen=True)
class LinkEnd:
    """One end of a link."""

    name: str
    kind: str
    """Kind of the tier ("ddr", "cxl"), or SWITCH."""
    latency_ps: int = 0
    """Unloaded latency of the tier."""


@dataclass(frozen=True)
class LinkSetup:
    """What a link model is built from beside its own parameters: the keys that every link has."""

    ends: tuple[LinkEnd, LinkEnd]
    count: int = 1
    """Identical links side by side: a copy is striped over them."""
    bytes_per_s: tuple[float, float] = (0.0, 0.0)
    """Bandwidth of one link from ends[0] to ends[1], and back; 0 where the scenario gives none."""
    per_copy_ps: int = 0

    def end(self, name: str | None, default: int, key: str) -> int:
        """Index of the end of that name. InputError that names the parameter if it is neither."""
        if name is None:
            return default
        names = [end.name for end in self.ends]
        if name not in names:
            raise InputError(Problem(f"{name!r} is no end of this link. {did_you_mean(name, names)}", path=key))
        return names.index(name)


@dataclass(frozen=True)
class Wire:
    """What a link model makes: times of copies on the idle link, each way."""

    duration_ps: BothWays
    setup_ps: tuple[int, int] = (0, 0)
    """Part of each copy's time in which no byte moves."""
    latency_ps: int = 0
    """Beyond the link's own `latency`."""
    credits: tuple[Credits, Credits] | None = None


class LinkModel(Protocol):
    """Law, held by `tiergarten.testing.check_link_model`: times grow with the size and are positive; set-up is part of them."""

    Params: type[Any]

    @classmethod
    def build(cls, setup: LinkSetup, params: Any) -> Wire:
        """The wire of a link with these parameters. InputError for what cannot be, `path` naming the parameter."""
        ...


def striped(cost: CopyCost, count: int) -> Callable[[int], int]:
    """Time of a copy that `count` equal links share: each moves its part, all start together."""
    if count == 1:
        return cost.duration_ps
    return lambda num_bytes: cost.duration_ps(-(-num_bytes // count)) if num_bytes else 0
