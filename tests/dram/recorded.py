"""The integers that the reference simulator was given for each of its 587 organisation x speed pairs."""

import gzip
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from tiergarten.dram.resolve import Constraint, DramDevice


@cache
def recorded_pairs() -> dict[str, Any]:
    """By `standard/organisation/speed`: counts, timing, read_latency, tx_bytes, constraints."""
    return json.loads(gzip.decompress((Path(__file__).parent / "golden/resolved_all.json.gz").read_bytes()))


def recorded_constraints(device: DramDevice, with_buses: bool) -> list[Constraint]:
    """The recorded constraints of a device's presets, pair by pair of commands; `with_buses`: those of the command buses too."""
    entry = recorded_pairs()[f"{device.standard.name}/{device.org_preset}/{device.timing_preset}"]
    rows = [
        Constraint(level, before, after, ticks, *(rest or [1]), *([] if len(rest) > 1 else [False]))
        for level, preceding, following, ticks, *rest in entry["constraints"]
        for before in preceding
        for after in following
    ]
    return rows if with_buses else list((Counter(rows) - Counter(bus_constraints(device))).elements())


def bus_constraints(device: DramDevice) -> list[Constraint]:
    """A command blocks all of its bus for its own length."""
    names, rows = device.standard.commands, set(device.standard.row_commands)
    recorded = [n for n, name in enumerate(names) if name != "REFsb"]
    return [
        Constraint(0, p, f, device.command_ticks[p], 1, False)
        for p in recorded
        for f in recorded
        if device.command_ticks[p] > 1 and (names[p] in rows) == (names[f] in rows)
    ]
