"""Every bundled scenario is valid, says what it is, and so is every point of its sweep."""

import pytest

from tiergarten.scenario import load_scenario
from tiergarten.scenario.load import with_values
from tiergarten.scenario.merge import bundled
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
