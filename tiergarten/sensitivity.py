"""How much each metric changes when one knob is turned: the table that the figure `tornado` shows."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import pyarrow as pa

from tiergarten.scenario.load import Scenario
from tiergarten.scenario.merge import strip_provenance
from tiergarten.sim.errors import Problem, ScenarioError
from tiergarten.sim.units import (
    parse_bytes,
    parse_bytes_per_s,
    parse_flops,
    parse_ps,
)

_READERS: Final[tuple[Callable[[Any], float], ...]] = (float, parse_bytes, parse_bytes_per_s, parse_ps, parse_flops)


def base_values(scenario: Scenario, keys: Sequence[str]) -> dict[str, Any]:
    """The scenario's own values of dotted keys. ScenarioError for a key that it does not give a value."""
    found: dict[str, Any] = {}
    problems = []
    for key in keys:
        value: Any = strip_provenance(scenario.tree.value)
        for part in key.split("."):
            if isinstance(value, list) and part.isdecimal():
                value = value[int(part)] if int(part) < len(value) else None
            else:
                value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            problems.append(Problem("has no value to turn from; give it one in the scenario", path=key))
        found[key] = value
    if problems:
        raise ScenarioError(problems)
    return found


def sensitivity(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row per metric and point that differs from the first one in a single key.

    Args:
        keys: the knobs, dotted keys.
        rows: of the sweep's table: `set.<key>` and metrics; the first is the base.

    Returns:
        Columns metric, knob, change (relative, -0.2 for 20 % less), value, base_value. Knobs that are not quantities, and
        metrics that a point does not have, are left out.
    """
    base = rows[0]
    found = []
    metrics = [name for name, value in base.items() if not name.startswith("set.") and _is_number(value)]
    for metric in metrics:
        for row in rows[1:]:
            turned = [key for key in keys if row[f"set.{key}"] != base[f"set.{key}"]]
            value = row.get(metric)
            if len(turned) != 1 or not _is_number(value):
                continue
            change = _change(base[f"set.{turned[0]}"], row[f"set.{turned[0]}"])
            if change is not None:
                found.append((metric, turned[0], change, float(value), float(base[metric])))
    columns = ("metric", "knob", "change", "value", "base_value")
    types = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.float64())
    return pa.table(
        {
            name: pa.array([row[i] for row in found], kind)
            for i, (name, kind) in enumerate(zip(columns, types, strict=True))
        }
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _change(base: object, value: object) -> float | None:
    """value / base - 1 as quantities of one kind, None where they are not."""
    for read in _READERS:
        try:
            first, second = float(read(base)), float(read(value))
        except (TypeError, ValueError):
            continue
        return second / first - 1 if first else None
    return None
