"""From a standard, an organisation and a speed bin to the integers a controller works with."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from tiergarten.dram.standard import STANDARDS, DramStandard
from tiergarten.sim.errors import InputError, Problem, UnknownNameError, did_you_mean

LONGEST_CK = 1_000_000_000
"""Largest timing taken: far above any real one, far below what the ticks of a run could overflow with."""
NEVER_ZERO = {"rate", "tCK_ps", "nBL", "nBL_min", "nREFI", "nREFIpb"}
MOST_BANKS = 4096
MOST_ADDRESS_BITS = 60


class Constraint(NamedTuple):
    """A constraint in ticks between commands given by their index in the standard's list."""

    level: int
    preceding: int
    following: int
    ticks: int
    window: int
    sibling: bool


@dataclass(frozen=True)
class DramDevice:
    """One channel of DRAM: sizes, ticks, constraints. All times are controller ticks unless named otherwise."""

    standard: DramStandard
    org_preset: str
    timing_preset: str
    counts: tuple[int, ...]
    """Nodes below one parent at each level, Channel first; Column counts columns, not bursts."""
    timing: Mapping[str, int]
    constraints: tuple[Constraint, ...]
    """From the standard's tables; the occupation of the command buses is in `command_ticks`."""
    command_ticks: tuple[int, ...]
    read_latency: int
    transaction_bytes: int
    channel_width: int

    @property
    def name(self) -> str:
        return f"{self.org_preset} {self.timing_preset}"

    @property
    def tick_ps(self) -> int:
        return self.timing["tCK_ps"]

    @property
    def num_banks(self) -> int:
        """Banks of the channel, over all ranks or pseudo channels."""
        banks = 1
        for size in self.counts[:-2]:
            banks *= size
        return banks

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the channel, from the counts and the bytes of a column."""
        return self.num_banks * self.counts[-2] * self.bursts_per_row * self.transaction_bytes

    @property
    def bursts_per_row(self) -> int:
        return self.counts[-1] // self.standard.prefetch

    @property
    def peak_bytes_per_s(self) -> float:
        """Data bus limit: the densest sequence of column commands over all nodes of the channel."""
        gap = self.data_ticks
        return self.transaction_bytes * 1e12 / (gap * self.tick_ps) * self.num_data_buses

    @property
    def data_ticks(self) -> int:
        """Ticks that a burst holds its data bus."""
        timing = self.timing
        return timing["nBL"] if "nBL" in timing else timing["nBL_min"]

    @property
    def num_data_buses(self) -> int:
        return self.counts[1] if self.standard.levels[1] == "PseudoChannel" else 1


def _preset(kind: str, name: str, presets: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    if name not in presets:
        raise UnknownNameError(f"unknown {kind} {name!r}. {did_you_mean(name, presets)}")
    return dict(presets[name])


def resolve(
    standard: str | DramStandard,
    org_preset: str,
    timing_preset: str,
    overrides: Mapping[str, int] | None = None,
) -> DramDevice:
    """Integers of a device.

    overrides: sizes by lower-case level name or `channel_width`; timings by name, in CK, applied after the secondary
    timings are computed, so nothing is derived from them. Raises UnknownNameError for a preset, InputError for an
    override that does not exist or a size that is no power of two.
    """
    standard = STANDARDS.get(standard) if isinstance(standard, str) else standard
    org = _preset(f"{standard.name} organisation", org_preset, standard.orgs)
    timing = _preset(f"{standard.name} timing preset", timing_preset, standard.bins)
    overrides = dict(overrides or {})
    sizes = {level.lower() for level in standard.levels[1:]} | {"channel_width"}
    problems = []
    for name, value in overrides.items():
        if name not in sizes and name not in standard.timings:
            problems.append(
                Problem(f"unknown override. {did_you_mean(name, sizes | set(standard.timings))}", path=name)
            )
        elif isinstance(value, bool) or not isinstance(value, int):
            problems.append(Problem(f"must be a whole number, got {value!r}", path=name))
        elif name in sizes and (value < 1 or value & (value - 1)):
            problems.append(Problem(f"must be a power of two, got {value}", path=name))
        elif name == "column" and value < standard.prefetch:
            problems.append(Problem(f"must hold a burst of {standard.prefetch}, got {value}", path=name))
        elif name not in sizes and not (name in NEVER_ZERO) <= value <= LONGEST_CK:
            problems.append(Problem(f"must be from {int(name in NEVER_ZERO)} to {LONGEST_CK}, got {value}", path=name))
    if problems:
        raise InputError(problems)
    org.update({name: value for name, value in overrides.items() if name in sizes})
    _check_sizes(org, standard)
    timing = standard.secondary(org, timing) | timing
    timing.update({name: value for name, value in overrides.items() if name not in sizes})
    return _in_ticks(standard, org_preset, timing_preset, org, {name: timing[name] for name in standard.timings})


def _check_sizes(org: Mapping[str, int], standard: DramStandard) -> None:
    """InputError for a channel too narrow or too large to simulate."""
    if standard.prefetch * org["channel_width"] < 8:
        raise InputError(Problem("a burst must be a byte at least", path="channel_width"))
    banks = prod(org[level.lower()] for level in standard.levels[1:-2])
    if banks > MOST_BANKS:
        raise InputError(Problem(f"at most {MOST_BANKS} banks in a channel, got {banks}", path=standard.name))
    bits = org["channel_width"] * org["row"] * org["column"] * banks
    if bits.bit_length() > MOST_ADDRESS_BITS:
        raise InputError(Problem(f"more than 2^{MOST_ADDRESS_BITS} bits in a channel", path=standard.name))


def _in_ticks(
    standard: DramStandard, org_preset: str, timing_preset: str, org: Mapping[str, int], timing_ck: dict[str, int]
) -> DramDevice:
    scale = standard.tick_multiplier
    timing = {name: value if name == "rate" else value * scale for name, value in timing_ck.items()}
    timing["tCK_ps"] = timing_ck["tCK_ps"] // scale
    lengths = tuple(standard.command_ticks.get(command, 1) for command in standard.commands)
    index = {command: number for number, command in enumerate(standard.commands)}
    constraints = []
    for level, rules in standard.constraints.items():
        for entry in rules:
            ticks = entry.latency.evaluate(timing)
            for before in entry.preceding:
                for after in entry.following:
                    p, f = index[before], index[after]
                    # Standards count from last tick to last tick of the two commands; we from first to first.
                    shifted = ticks + (lengths[p] - 1) - (lengths[f] - 1)
                    depth = standard.levels.index(level)
                    constraints.append(Constraint(depth, p, f, shifted, entry.window, entry.sibling))
    width = org["channel_width"]
    return DramDevice(
        standard=standard,
        org_preset=org_preset,
        timing_preset=timing_preset,
        counts=(1, *(org[level.lower()] for level in standard.levels[1:])),
        timing=timing,
        constraints=tuple(constraints),
        command_ticks=lengths,
        read_latency=standard.read_latency.evaluate(timing),
        transaction_bytes=standard.transaction_bytes or standard.prefetch * width // 8,
        channel_width=width,
    )
