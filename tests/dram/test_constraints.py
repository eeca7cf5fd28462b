"""Each constraint of each standard alone: blocked one tick before, allowed at the tick. And all of them together.

The rows are those that were recorded from the reference, so that a row missing from our tables is missed.
"""

import dataclasses
import itertools

import numpy as np
import pytest

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.device import Device
from tiergarten.dram.resolve import Constraint, DramDevice, resolve
from tiergarten.dram.standard import STANDARDS

from .oracle import Tree
from .recorded import recorded_constraints

PLAIN = {"RDA": "RD", "WRA": "WR", "RDA_S": "RD_S", "WRA_S": "WR_S"}


def usual(standard: str) -> DramDevice:
    """The usual device, with two ranks where there are ranks, so that sibling constraints have siblings."""
    overrides = {"rank": 2} if "Rank" in STANDARDS.get(standard).levels else {}
    return resolve(standard, *default_presets(standard), overrides)


def modelled(device: DramDevice, number: int) -> bool:
    return COMMANDS[device.standard.commands[number]].kernel_id >= 0


def rules(device: DramDevice) -> list[Constraint]:
    """Constraints between commands that controllers issue, RDA and WRA as followers aside (they share RD's and WR's)."""
    names = device.standard.commands
    ours_alone = [c for c in device.constraints if "REFsb" in (names[c.preceding], names[c.following])]
    return [
        c
        for c in [*recorded_constraints(device, with_buses=False), *ours_alone]
        if modelled(device, c.preceding) and modelled(device, c.following) and names[c.following] not in PLAIN
    ]


def alone(device: DramDevice, rule: Constraint) -> DramDevice:
    """The device with this one constraint, and the same for the follower's twin with auto-precharge."""
    names = device.standard.commands
    twins = [twin for twin, plain in PLAIN.items() if plain == names[rule.following] and twin in names]
    kept = (rule, *(rule._replace(following=names.index(twin)) for twin in twins))
    return dataclasses.replace(device, constraints=kept, command_ticks=(1,) * len(names))


def address(device: DramDevice, command: str, values: dict[int, int]) -> list[int]:
    """Coordinates with `values` by level; what the command addresses as a whole is -1."""
    levels, target = device.standard.levels, COMMANDS[command].target
    scope = 1 if levels[1] in ("Rank", "PseudoChannel") else 0
    found = []
    for level in range(1, len(levels)):
        free = (target == "all" and level > scope) or (target == "same" and levels[level] == "BankGroup")
        found.append(-1 if free else values.get(level, 0))
    return found


@pytest.mark.parametrize("standard", STANDARDS.names())
def test_each_constraint_blocks_until_its_tick(standard: str) -> None:
    device = usual(standard)
    names = device.standard.commands
    tested = 0
    for rule in rules(device):
        assert not rule.sibling or device.counts[rule.level] > 1, "no sibling to test with"
        if rule.ticks <= 1:
            continue  # the command bus keeps any two commands a tick apart
        probe = Device(alone(device, rule))
        before, after = names[rule.preceding], names[rule.following]
        for clock in range(100, 100 + rule.window):
            probe.issue(before, address(device, before, {}), clock)
        # at a sibling of the node, or at the same node but elsewhere below it, where only this level joins the two
        other = (
            {rule.level: 1}
            if rule.sibling
            else {n: device.counts[n] - 1 for n in range(rule.level + 1, 9) if n < len(device.counts) - 2}
        )
        place = address(device, after, other)
        tick = 100 + rule.ticks
        assert probe.earliest(after, place) == tick, (before, after, rule)
        assert not probe.probe(after, place, tick - 1).timing_ok
        assert probe.probe(after, place, tick).timing_ok
        tested += 1
    assert tested > 20


@pytest.mark.parametrize("standard", STANDARDS.names())
def test_constraint_does_not_reach_other_nodes(standard: str) -> None:
    device = usual(standard)
    names = device.standard.commands
    for rule in rules(device):
        if rule.level == 0 or device.counts[rule.level] < 2 or rule.ticks <= 1:
            continue
        before, after = names[rule.preceding], names[rule.following]
        if COMMANDS[before].target != "bank" or COMMANDS[after].target != "bank":
            continue
        probe = Device(alone(device, rule))
        for clock in range(100, 100 + rule.window):
            probe.issue(before, address(device, before, {}), clock)
        elsewhere = {} if rule.sibling else {rule.level: 1}
        assert probe.earliest(after, address(device, after, elsewhere)) < 100 + rule.window + 1, (before, after, rule)


@pytest.mark.parametrize("standard", STANDARDS.names())
def test_random_sequences_have_the_earliest_ticks_of_the_plain_tree(standard: str) -> None:
    rng = np.random.default_rng(len(standard))
    device = usual(standard)
    names = [
        name for name in device.standard.commands if COMMANDS[name].kernel_id >= 0 and COMMANDS[name].target != "same"
    ]
    probe, tree = Device(device), Tree(device)
    clock = 0
    for _ in range(150):
        command = str(rng.choice(names))
        values = {level: int(rng.integers(0, device.counts[level])) for level in range(1, len(device.counts))}
        place = address(device, command, values)
        if COMMANDS[command].target == "all":
            place = [value if level == 0 else -1 for level, value in enumerate(place)]
        clock = max(clock + int(rng.integers(1, 4)), probe.earliest(command, place))
        assert tree.is_ready(command, place, clock)
        probe.issue(command, place, clock)
        tree.issue(command, place, clock)
        for other in names:
            elsewhere = address(
                device, other, {n: int(rng.integers(0, device.counts[n])) for n in range(1, len(values))}
            )
            tick = probe.earliest(other, elsewhere)
            assert tree.is_ready(other, elsewhere, tick), (command, other)
            # the tick after a command is the first in which its bus is free
            assert tick <= clock + 1 or not tree.is_ready(other, elsewhere, tick - 1), (command, other)


def places(device: DramDevice, command: str) -> list[list[int]]:
    """Coordinates of `command` at node 0 of every level, and at node 1 of one level each."""
    levels = [level for level in range(1, len(device.counts) - 2) if device.counts[level] > 1]
    return [address(device, command, values) for values in ({}, *({level: 1} for level in levels))]


def last_banks(device: DramDevice) -> list[dict[int, int]]:
    """Coordinates of four banks of the first rank or pseudo channel, the last ones of it."""
    levels = [n for n, level in enumerate(device.standard.levels) if level in ("BankGroup", "Bank")]
    every = itertools.product(*(range(device.counts[n]) for n in levels))
    return [dict(zip(levels, place, strict=True)) for place in list(every)[-4:]]


def first_unequal_pair(device: DramDevice, recorded: DramDevice) -> tuple[str, str, list[int], int, int] | None:
    """A pair of commands that `device` and the plain tree of `recorded` keep apart for different times, None if none is.

    After each command alone, and after four activates or refreshes of banks, each as early as may be: (before, after, place,
    ticks, ticks).
    """
    names = [name for name in device.standard.commands if COMMANDS[name].kernel_id >= 0 and name != "REFsb"]
    windowed = [name for name in ("ACT", "ACT1", "REFpb") if name in names]
    for before, times in [*((name, 1) for name in names), *((name, 4) for name in windowed)]:
        probe, tree = Device(device), Tree(recorded)
        clock = 100
        for number in range(times):
            values = last_banks(device)[number] if times > 1 else {}
            where = address(device, before, values)
            clock = max(clock, probe.earliest(before, where))
            probe.issue(before, where, clock)
            tree.issue(before, where, clock)
        for after in names:
            for place in places(device, after):
                ours = probe.earliest(after, place)
                wanted = max(tree.ready[node].get(after, -1) for node in tree.nodes_on_path(place))
                # nothing issues before the bus is free, in the tick after a command
                if max(ours, clock + 1) != max(wanted, clock + 1):
                    return before, after, place, ours - clock, wanted - clock
    return None


def as_recorded(device: DramDevice) -> DramDevice:
    """The device with the recorded constraints, those of the command buses among them."""
    ticks = (1,) * len(device.command_ticks)
    return dataclasses.replace(
        device, constraints=tuple(recorded_constraints(device, with_buses=True)), command_ticks=ticks
    )


@pytest.mark.parametrize("standard", STANDARDS.names())
def test_any_two_commands_are_as_far_apart_as_the_recorded_rows_say(standard: str) -> None:
    device = usual(standard)
    assert first_unequal_pair(device, as_recorded(device)) is None


@pytest.mark.parametrize(
    ("before", "after", "level"), [("ACT", "ACT", 1), ("PREpb", "REFab", 1), ("RD", "PREpb", 3), ("WR", "RD", 2)]
)
def test_a_dropped_row_is_noticed(before: str, after: str, level: int) -> None:
    device = usual("DDR4")
    ends = device.standard.commands.index(before), device.standard.commands.index(after)
    kept = tuple(c for c in device.constraints if (c.preceding, c.following) != ends or c.level != level)
    assert len(kept) < len(device.constraints)
    less = dataclasses.replace(device, constraints=kept)
    if (before, after) in (("WR", "RD"),):  # RD and RDA wait for the same things
        twin = device.standard.commands.index("RDA")
        less = dataclasses.replace(
            less,
            constraints=tuple(c for c in kept if (c.preceding, c.following) != (ends[0], twin) or c.level != level),
        )
    found = first_unequal_pair(less, as_recorded(device))
    assert found is not None
    assert found[0] == before
