"""A DRAM standard as data: hierarchy, commands, timing names, constraints per level, organisation and speed presets.

Latencies are sums of timing names, built from attributes of a `TimingNames`, so that a misspelt name fails when the
standard's module is imported. `tiergarten.dram.resolve` turns a standard and two presets into integers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tiergarten.dram.commands import COMMANDS
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.registry import Registry

STANDARDS: "Registry[DramStandard]" = Registry("DRAM standard", "tiergarten.dram.standards")


@dataclass(frozen=True)
class Latency:
    """A sum of timing names, each taken a whole number of times, and a constant: `nCL + nBL + 2 - nCWL`."""

    terms: tuple[tuple[str, int], ...]
    constant: int = 0

    def __add__(self, other: "Latency | int") -> "Latency":
        return self._combine(other, 1)

    def __sub__(self, other: "Latency | int") -> "Latency":
        return self._combine(other, -1)

    def __radd__(self, other: int) -> "Latency":
        return self._combine(other, 1)

    def _combine(self, other: "Latency | int", sign: int) -> "Latency":
        if isinstance(other, int):
            return Latency(self.terms, self.constant + sign * other)
        return Latency(
            self.terms + tuple((name, sign * times) for name, times in other.terms),
            self.constant + sign * other.constant,
        )

    def evaluate(self, timing: Mapping[str, int]) -> int:
        """The latency in the unit of `timing`."""
        return self.constant + sum(times * timing[name] for name, times in self.terms)


class TimingNames:
    """The timing parameters of a standard; each is an attribute that reads as a Latency."""

    def __init__(self, names: str):
        self._names = tuple(names.split())
        if len(set(self._names)) != len(self._names):
            raise ValueError("a timing parameter is listed twice")

    def __getattr__(self, name: str) -> Latency:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._names:
            raise AttributeError(f"unknown timing parameter {name!r}. {did_you_mean(name, self._names)}")
        return Latency(((name, 1),))

    def __iter__(self):
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


@dataclass(frozen=True)
class Rule:
    """After `preceding`, each command of `following` waits `latency` at the same node of a level.

    window: counted from the window-th newest preceding command (4 for tFAW). sibling: at the other nodes under the
    same parent instead of at the same node.
    """

    preceding: tuple[str, ...]
    following: tuple[str, ...]
    latency: Latency
    window: int = 1
    sibling: bool = False


def rule(preceding: str, following: str, latency: Latency, window: int = 1, sibling: bool = False) -> Rule:
    """A Rule from space-separated command names."""
    return Rule(tuple(preceding.split()), tuple(following.split()), latency, window, sibling)


def preset_table(columns: str, rows: Mapping[str, Iterable[int]]) -> dict[str, dict[str, int]]:
    """Presets by name from a table with one row a preset. Raises ValueError on a row of the wrong length."""
    names = columns.split()
    table = {}
    for preset, values in rows.items():
        cells = tuple(values)
        if len(cells) != len(names):
            raise ValueError(f"preset {preset!r} has {len(cells)} values for {len(names)} columns")
        table[preset] = dict(zip(names, cells, strict=True))
    return table


def preset_columns(presets: tuple[str, ...], rows: Mapping[str, Iterable[int]]) -> dict[str, dict[str, int]]:
    """Presets by name from a table with one column a preset. Raises ValueError on a row of the wrong length."""
    table: dict[str, dict[str, int]] = {preset: {} for preset in presets}
    for name, values in rows.items():
        for preset, value in zip(presets, values, strict=True):
            table[preset][name] = value
    return table


def cycles(time_ps: int, tck_ps: int) -> int:
    """Whole clocks that cover `time_ps`."""
    return -(-time_ps // tck_ps)


def at_most(value: int, steps: Iterable[tuple[int, int]], above: int | None = None) -> int:
    """The second entry of the first step whose first entry is not below `value`; `above` past the last one."""
    for limit, result in steps:
        if value <= limit:
            return result
    if above is None:
        raise ValueError(f"{value} is beyond the standard's table")
    return above


Org = Mapping[str, int]
Timing = Mapping[str, int]


@dataclass(frozen=True)
class DramStandard:
    """One DRAM standard. Complete and checked when constructed; nothing in it depends on a controller."""

    name: str
    source: str
    """Document the numbers are from, and through which list they came here."""
    controller: str
    """Family of the controller that drives it: GenericDDR, HBM12, HBM34, LPDDR5, LPDDR6, GDDR7."""
    levels: tuple[str, ...]
    commands: tuple[str, ...]
    timings: TimingNames
    prefetch: int
    read_latency: Latency
    constraints: Mapping[str, tuple[Rule, ...]]
    orgs: Mapping[str, Org]
    bins: Mapping[str, Timing]
    """Timing presets, in clocks of the standard's CK; `rate` in MT/s, `tCK_ps` in ps."""
    secondary: Callable[[Org, dict[str, int]], dict[str, int]]
    """Timings that follow from density, width or rate: (organisation, preset) to the parameters the preset lacks."""
    tick_multiplier: int = 1
    """Controller ticks in a CK: 2 where commands may start on either clock edge."""
    command_ticks: Mapping[str, int] = field(default_factory=dict)
    """Ticks a command occupies its bus; 1 where absent."""
    row_commands: tuple[str, ...] = ()
    """Commands of the row bus, where there are two buses; all others are on the column bus."""
    transaction_bytes: int | None = None
    """Bytes of a request where prefetch x width is not it (metadata bits on the bus)."""

    def __post_init__(self) -> None:
        known = set(self.commands)
        for command in self.commands:
            if command not in COMMANDS:
                raise ValueError(f"{self.name}: unknown command {command!r}. {did_you_mean(command, COMMANDS)}")
        named = [*self.command_ticks, *self.row_commands]
        for level, rules in self.constraints.items():
            if level not in self.levels[:-2]:
                raise ValueError(f"{self.name}: constraints at {level!r}, which is no level above Row")
            named += [command for entry in rules for command in (*entry.preceding, *entry.following)]
        for command in named:
            if command not in known:
                raise ValueError(f"{self.name}: no command {command!r}. {did_you_mean(command, known)}")
        for preset, timing in self.bins.items():
            for name in timing:
                if name not in self.timings:
                    raise ValueError(f"{self.name}: {preset}: {did_you_mean(name, self.timings)}")
        for preset, org in self.orgs.items():
            missing = [level for level in self.levels[1:] if level.lower() not in org]
            if missing:
                raise ValueError(f"{self.name}: {preset} gives no size of {', '.join(missing)}")
        STANDARDS.register(self.name)(self)
