"""Every bundled scenario is valid, says what it is, and so is every point of its sweep."""

import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.scenario.merge import bundled, strip_provenance
from tiergarten.sim.errors import ScenarioError, TiergartenError
from tiergarten.sweep import points

NAMES = sorted(bundled("scenarios"))


def test_there_are_scenarios() -> None:
    assert {"kv-tiers", "kv-agent", "sn40l-coe"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_with_all_points_of_its_sweep(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.schema.title
    sweep = scenario.schema.sweep
    todo = points(sweep) if sweep is not None else []
    for point in todo[:: max(1, len(todo) // 4)]:
        assert with_values(scenario, point, "test").hash


def leaves(tree: Any, path: str = "") -> Iterator[str]:
    """Dotted keys of everything in a tree that is neither a mapping nor a list."""
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path


GARBAGE = [
    None,
    True,
    -1,
    0,
    0.5,
    1e-300,
    1e308,
    2**70,
    "",
    "x",
    "-5 GB",
    "nan GB",
    "0 s",
    "9e99 GB",
    "../../x",
    [],
    [[1]],
    {},
    {"a": 1},
]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(NAMES), st.randoms(use_true_random=False), st.sampled_from(GARBAGE))
def test_a_garbage_value_anywhere_is_a_sentence_or_is_fine(name: str, random: Random, garbage: Any) -> None:
    tree = strip_provenance(load_scenario(name).tree.value)
    key = random.choice(list(leaves(tree)))
    with suppress(TiergartenError):  # anything else would be a traceback for the user
        assert load_scenario(name, [f"{key}={json.dumps(garbage)}"]).hash


def test_parameters_of_a_kernel_are_checked_before_the_run() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(
            "workloads/llm-in-a-flash",
            ["workload.kernel.width=0.5", "workload.kernel.neurons=many", "workload.kernel.wdth=4"],
        )
    text = str(caught.value)
    assert "workload.kernel" in text
    assert all(part in text for part in ("width: ", "neurons: ", "no parameter 'wdth'. Did you mean 'width'"))
