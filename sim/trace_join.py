"""Longer programs from recorded pieces: traces one after another, and one recorded layer repeated to the real depth."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tiergarten.sim.trace import Accesses, Int, Objects, Ops, Trace


def concatenate(traces: Sequence[Trace]) -> Trace:
    """The programs run one after another; objects of equal name are the same object.

    An object's size and role must agree wherever its name occurs. A shared object lives from its first birth to its
    last death. The operations of a program that wait for nothing wait for the last operation of the one before.
    Raises ValueError on an empty list or where sizes or roles disagree.
    """
    if not traces:
        raise ValueError("there is nothing to concatenate")
    ids: dict[str, int] = {}
    sizes: list[int] = []
    roles: list[int] = []
    births: list[int] = []
    deaths: list[int] = []
    object_maps = []
    num_ops = [len(trace.ops) for trace in traces]
    starts = np.concatenate([[0], np.cumsum(num_ops)]).astype(np.int64)
    total_ops = int(starts[-1])
    for trace, start in zip(traces, starts[:-1], strict=True):
        object_map = np.empty(len(trace.objects), np.int64)
        for row, name in enumerate(trace.objects.names):
            birth = int(trace.birth_ops[row])
            birth = -1 if birth < 0 else birth + int(start)
            death = int(trace.death_ops[row])
            death = total_ops if death == len(trace.ops) else death + int(start)
            size, role = int(trace.objects.num_bytes[row]), int(trace.objects.roles[row])
            known = ids.setdefault(name, len(sizes))
            object_map[row] = known
            if known == len(sizes):
                sizes.append(size)
                roles.append(role)
                births.append(birth)
                deaths.append(death)
                continue
            if (sizes[known], roles[known]) != (size, role):
                raise ValueError(
                    f"object {name!r} has {sizes[known]} bytes and role {roles[known]} in one trace, "
                    f"{size} bytes and role {role} in another"
                )
            births[known] = min(births[known], birth)
            deaths[known] = max(deaths[known], death)
        object_maps.append(object_map)
    return Trace(
        Objects(tuple(ids), np.array(sizes, np.int64), np.array(roles, np.int8)),
        _chained_ops(traces, starts),
        Accesses(
            _joined([trace.accesses.ops + start for trace, start in zip(traces, starts[:-1], strict=True)]),
            _joined([names[trace.accesses.objects] for trace, names in zip(traces, object_maps, strict=True)]),
            _joined([trace.accesses.offsets for trace in traces]),
            _joined([trace.accesses.num_bytes for trace in traces]),
            np.concatenate([trace.accesses.is_write for trace in traces]).astype(np.bool_),
        ),
        np.array(births, np.int64),
        np.array(deaths, np.int64),
    )


def repeat(trace: Trace, times: int, shared: Collection[str] = (), carry: Mapping[str, str] | None = None) -> Trace:
    """The program run `times` times as the layers of a deeper one.

    Args:
        trace: one recorded layer.
        times: number of layers, >= 1.
        shared: names of objects that all layers use (a block table); every other object exists once per layer,
            named `layer.3/NAME`.
        carry: name of a layer's output -> name of the next layer's input; the two become one object.

    Raises ValueError when a name is unknown, or a carried pair differs in size.
    """
    if times < 1:
        raise ValueError(f"a program cannot be repeated {times} times")
    carry = dict(carry or {})
    sizes = dict(zip(trace.objects.names, trace.objects.num_bytes, strict=True))
    unknown = sorted(({*shared, *carry, *carry.values()}) - set(sizes))
    if unknown:
        raise ValueError(f"the trace has no object {', '.join(map(repr, unknown))}")
    for output, source in carry.items():
        if sizes[output] != sizes[source]:
            raise ValueError(f"{output!r} has {sizes[output]} bytes and cannot become {source!r} of {sizes[source]}")
    inputs = {source: output for output, source in carry.items()}

    def name_in_layer(name: str, layer: int) -> str:
        if name in shared:
            return name
        if name in inputs and layer > 0:
            return f"layer.{layer - 1}/{inputs[name]}"
        return f"layer.{layer}/{name}"

    layers = []
    roles = dict(zip(trace.objects.names, trace.objects.roles, strict=True))
    for layer in range(times):
        names = tuple(name_in_layer(name, layer) for name in trace.objects.names)
        as_output = [
            roles[inputs[name]] if name in inputs and layer > 0 else roles[name] for name in trace.objects.names
        ]
        ops = trace.ops
        op_names = tuple(f"layer.{layer}/{name}" for name in ops.names)
        layers.append(
            Trace(
                Objects(names, trace.objects.num_bytes, np.array(as_output, np.int8)),
                Ops(op_names, ops.streams, ops.flops, ops.dependency_offsets, ops.dependencies),
                trace.accesses,
                _births_in_layer(trace, inputs, layer),
                _deaths_in_layer(trace, carry, layer, times),
            )
        )
    return concatenate(layers)


def _births_in_layer(trace: Trace, inputs: Mapping[str, str], layer: int) -> Int:
    """A carried input is born where the layer before made it, not "before the program"."""
    births = trace.birth_ops.copy()
    if layer > 0:
        for row, name in enumerate(trace.objects.names):
            if name in inputs:
                births[row] = max(births[row], 0)
    return births


def _deaths_in_layer(trace: Trace, carry: Mapping[str, str], layer: int, times: int) -> Int:
    """A carried object dies with the layer that reads it, at the latest."""
    deaths = trace.death_ops.copy()
    last = len(trace.ops) - 1
    for row, name in enumerate(trace.objects.names):
        read_later = name in carry and layer < times - 1
        read_here = name in carry.values() and layer > 0
        if read_later or read_here:
            deaths[row] = min(deaths[row], last)
    return deaths


def _chained_ops(traces: Sequence[Trace], starts: Int) -> Ops:
    counts, dependencies = [], []
    for trace, start in zip(traces, starts[:-1], strict=True):
        ops = trace.ops
        count = np.diff(ops.dependency_offsets)
        shifted = ops.dependencies + start
        if start > 0:
            roots = np.flatnonzero(count == 0)
            shifted = np.insert(shifted, ops.dependency_offsets[roots], start - 1)
            count = np.where(count == 0, 1, count)
        counts.append(count)
        dependencies.append(shifted)
    return Ops(
        tuple(name for trace in traces for name in trace.ops.names),
        np.concatenate([trace.ops.streams for trace in traces]).astype(np.int32),
        np.concatenate([trace.ops.flops for trace in traces]).astype(np.float64),
        np.concatenate([[0], np.cumsum(_joined(counts))]).astype(np.int64),
        _joined(dependencies),
    )


def _joined(columns: Sequence[Int]) -> Int:
    return np.concatenate(columns).astype(np.int64)
