"""Operations of a replayed program under the roofs of their machine: FLOPs per byte, and FLOP/s that were attained.

Operations whose names differ in numbers only ("forward 3", "forward 4") are one class. A class is judged by the tier that
would take longest for its bytes. Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from tiergarten.sim.system import System
from tiergarten.sim.trace import Trace
from tiergarten.sim.transfer_log import Column
from tiergarten.sim.units import PS_PER_S

PROBE_BYTES: Final = 2**30
_NUMBER: Final = re.compile(r"\d+")


def op_class(name: str) -> str:
    """The name with N for its numbers: "forward 3" and "forward 12" are "forward N"."""
    return _NUMBER.sub("N", name)


def roofline(
    system: System, trace: Trace, device: tuple[str, float], near: str, spans_ps: Mapping[int, int]
) -> dict[str, pa.Table]:
    """The tables `series/roofline_roofs` and `series/roofline_ops`; none where nothing computed.

    Args:
        system: after the run; its log says which bytes each operation moved where.
        trace: what was replayed.
        device: name and peak in FLOP/s.
        near: the tier beside the device.
        spans_ps: how long each operation that ended took, from its start to its end.
    """
    log = system.log.columns()
    tiers = [route.source if route.source in system.tiers else route.destination for route in system.routes]
    rates = {tier: _bytes_per_s(system, near, tier) for tier in dict.fromkeys(tiers)}
    names = list(rates)
    tier_of_route = np.array([names.index(tier) for tier in tiers], np.int64)
    cells = log[Column.OWNER] * len(names) + tier_of_route[log[Column.ROUTE]]
    moved = np.bincount(cells, log[Column.BYTES], len(trace.ops) * len(names)).reshape(len(trace.ops), len(names))
    classes: dict[str, list[int]] = defaultdict(list)
    for op in spans_ps:
        classes[op_class(trace.ops.names[op])].append(op)
    rows = []
    for label, ops in classes.items():
        flops, time_ps = float(trace.ops.flops[ops].sum()), sum(spans_ps[op] for op in ops)
        num_bytes = dict(zip(names, moved[ops].sum(axis=0).tolist(), strict=True))
        tier = max(names, key=lambda tier: num_bytes[tier] / rates[tier], default="")
        if flops > 0 and time_ps > 0 and tier and num_bytes[tier] > 0:
            rows.append((label, tier, flops / num_bytes[tier], flops * PS_PER_S / time_ps, float(time_ps)))
    if not rows:
        return {}
    name, flops_per_s = device
    roofs = [(name, tier, flops_per_s, rate) for tier, rate in rates.items()]
    return {
        "series/roofline_roofs": _table(("device", "tier", "flops_per_s", "bytes_per_s"), roofs),
        "series/roofline_ops": _table(("name", "tier", "flops_per_byte", "flops_per_s", "time_ps"), rows),
    }


def _table(columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> pa.Table:
    return pa.table({name: list(values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)})


def _bytes_per_s(system: System, near: str, tier: str) -> float:
    """Of a large read: the slowest of the tier and of the links to the device, latencies left out."""
    route = system.access_route(near, tier, False)
    links = [PROBE_BYTES * PS_PER_S / duration_ps(PROBE_BYTES) for duration_ps in route.directions]
    return min([system.tiers[tier].spec.read_bytes_per_s, *links])
