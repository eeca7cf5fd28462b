"""The registry finds every module of its package and offers the nearest names."""

import pytest

from tiergarten.sim.errors import UnknownNameError
from tiergarten.sim.memory import memory_models
from tiergarten.sim.registry import Registry, summary
from tiergarten.sim.seeds import stream


def test_models_are_found_without_a_list() -> None:
    assert {"analytic", "curve", "sram"} <= set(memory_models.names())
    assert all(summary(model) for _, model in memory_models.items())


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'analytic'"):
        memory_models.get("analitic")


def test_a_name_cannot_be_taken_twice() -> None:
    registry: Registry[type] = Registry("thing", "tiergarten.sim.models")
    registry.register("a")(int)
    with pytest.raises(ValueError, match="twice"):
        registry.register("a")(str)


def test_random_streams_depend_on_root_and_name_alone() -> None:
    first = stream(7, "arrivals").integers(0, 2**60, 4).tolist()
    stream(7, "something else").integers(0, 2**60, 100)
    assert stream(7, "arrivals").integers(0, 2**60, 4).tolist() == first
    assert stream(8, "arrivals").integers(0, 2**60, 4).tolist() != first
    assert stream(7, "lengths").integers(0, 2**60, 4).tolist() != first
