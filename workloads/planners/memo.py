"""Fragmentation-free addresses by MEMO's bi-level integer program (arXiv 2407.12117, Sec. 4.3).

Dynamic storage allocation: give every tensor an offset such that tensors that live at the same time do not overlap,
with the smallest peak. First a layer's transient tensors are planned exactly; then each layer's forward and backward
counts as one block of that peak beside the tensors that outlive it, and the whole step is planned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import TiergartenError
from tiergarten.workloads.planners.highs import optimizer


@dataclass(frozen=True)
class Lifetime:
    """A tensor that exists from event `first` up to, not including, event `last`."""

    name: str
    num_bytes: int
    first: int
    last: int

    def meets(self, other: "Lifetime") -> bool:
        """Whether the two exist at the same time."""
        return self.first < other.last and other.first < self.last


@dataclass(frozen=True)
class Plan:
    """An offset for every tensor, and the memory that this needs."""

    offsets: Mapping[str, int]
    peak_bytes: int
    is_optimal: bool
    """Whether the solver proved that no smaller peak exists."""


def lifetimes(events: Sequence[tuple[str, int]]) -> list[Lifetime]:
    """Tensors of a stream of requests: ("x", 128) allocates, ("x", 0) frees; what is never freed lives to the end.

    Raises ValueError on a second allocation or a free of what does not exist.
    """
    live: dict[str, tuple[int, int]] = {}
    found = []
    for time, (name, num_bytes) in enumerate(events):
        if num_bytes > 0 and name not in live:
            live[name] = (time, num_bytes)
        elif num_bytes == 0 and name in live:
            first, size = live.pop(name)
            found.append(Lifetime(name, size, first, time))
        else:
            raise ValueError(f"event {time}: {name!r} is {'already there' if num_bytes else 'not there'}")
    found += [Lifetime(name, size, first, len(events)) for name, (first, size) in live.items()]
    return sorted(found, key=lambda tensor: tensor.first)


def max_load(tensors: Sequence[Lifetime]) -> int:
    """Bytes alive at the busiest moment: no plan needs less."""
    return max(sum(t.num_bytes for t in tensors if t.first <= at.first < t.last) for at in tensors)


def plan_addresses(tensors: Sequence[Lifetime], limit_s: float = 60.0) -> Plan:
    """Offsets with the smallest peak: a mixed-integer program with one order variable per pair that meets.

    Raises TiergartenError when the solver finds no plan in `limit_s`.
    """
    n = len(tensors)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if tensors[i].meets(tensors[j])]
    sizes = np.array([tensor.num_bytes for tensor in tensors], float)
    unit = float(np.gcd.reduce(sizes.astype(np.int64)))
    sizes /= unit
    bound = float(sizes.sum())
    solve = optimizer()
    # variables: n offsets, the peak, then an order per pair (1 = i below j)
    num = n + 1 + len(pairs)
    rows, least = [], []
    for i in range(n):  # peak - offset_i >= size_i
        rows.append(_row(num, {n: 1.0, i: -1.0}))
        least.append(sizes[i])
    for order, (i, j) in enumerate(pairs, n + 1):
        # below: offset_j - offset_i + bound·(1 - z) >= size_i;  above: offset_i - offset_j + bound·z >= size_j
        rows += [_row(num, {j: 1.0, i: -1.0, order: -bound}), _row(num, {i: 1.0, j: -1.0, order: bound})]
        least += [sizes[i] - bound, sizes[j]]
    floor = np.zeros(num)
    floor[n] = max_load(tensors) / unit
    result = solve.milp(
        _row(num, {n: 1.0}),
        constraints=solve.LinearConstraint(np.array(rows), np.array(least), np.inf),
        bounds=solve.Bounds(floor, np.concatenate([np.full(n + 1, bound), np.ones(len(pairs))])),
        integrality=np.concatenate([np.ones(n + 1), np.ones(len(pairs))]),
        options={"time_limit": limit_s},
    )
    if result.x is None:
        raise TiergartenError(f"no address plan within {limit_s} s: {result.message}")
    offsets = np.rint(result.x[:n]).astype(np.int64) * int(unit)
    peak = max(int(offset) + tensor.num_bytes for offset, tensor in zip(offsets, tensors, strict=True))
    names = {tensor.name: int(offset) for tensor, offset in zip(tensors, offsets, strict=True)}
    return Plan(names, peak, bool(result.status == 0))


def plan_step(forward: Sequence[tuple[str, int]], backward: Sequence[tuple[str, int]], layers: int) -> Plan:
    """The bi-level plan of a step of equal layers.

    `forward` and `backward` are the request streams of one layer; what the forward leaves allocated, the backward
    frees.
    Names in the plan are "layer 3/x" for tensors that persist, "layer 3/forward" and "layer 3/backward" for blocks, and
    "forward/x", "backward/x" for the offset of a transient inside its block.
    """
    freed = {name for name, size in backward if size == 0}
    persisting = {name: size for name, size in forward if size > 0 and (name, 0) not in forward}
    unknown = set(persisting) - freed
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} outlive the backward")
    inner: dict[str, Plan] = {}
    offsets: dict[str, int] = {}
    for label, stream in (("forward", forward), ("backward", backward)):
        plan = plan_addresses(lifetimes([event for event in stream if event[0] not in persisting]))
        inner[label] = plan
        offsets |= {f"{label}/{name}": offset for name, offset in plan.offsets.items()}
    outer, time = [], 0
    births = {}
    for layer in range(layers):
        outer.append(Lifetime(f"layer {layer}/forward", inner["forward"].peak_bytes, time, time + 1))
        births[layer] = time
        time += 1
    for layer in reversed(range(layers)):
        outer.append(Lifetime(f"layer {layer}/backward", inner["backward"].peak_bytes, time, time + 1))
        time += 1
        outer += [Lifetime(f"layer {layer}/{name}", size, births[layer], time) for name, size in persisting.items()]
    whole = plan_addresses(outer)
    proved = whole.is_optimal and all(plan.is_optimal for plan in inner.values())
    return Plan(offsets | dict(whole.offsets), whole.peak_bytes, proved)


def _row(size: int, entries: Mapping[int, float]) -> NDArray[np.float64]:
    row = np.zeros(size)
    for column, value in entries.items():
        row[column] = value
    return row
