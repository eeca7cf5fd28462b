"""Each constraint of each standard alone: blocked one tick before, allowed at the tick. And all of them together."""

import dataclasses

import numpy as np
import pytest

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.defaults import default_presets
from tiergarten.dram.device import Device
from tiergarten.dram.resolve import Constraint, DramDevice, resolve
from tiergarten.dram.standard import STANDARDS

from .oracle import Tree

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
    return [
        c
        for c in device.constraints
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
        if rule.ticks <= 1 or (rule.sibling and device.counts[rule.level] < 2):
            continue
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
