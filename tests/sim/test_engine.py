"""Event order is (time, priority, insertion), and time is whole picoseconds."""

import pytest

from tiergarten.sim.engine import Engine


def test_events_of_one_instant_happen_in_order_of_insertion() -> None:
    engine, log = Engine(), []
    for name in "abc":
        engine.call_at(10, lambda name=name: log.append((engine.now_ps, name)))
    engine.call_at(5, lambda: log.append((engine.now_ps, "early")))
    engine.run()
    assert log == [(5, "early"), (10, "a"), (10, "b"), (10, "c")]


def test_priority_goes_before_insertion() -> None:
    engine, log = Engine(), []
    engine.call_at(10, lambda: log.append("second"))
    engine.call_at(10, lambda: log.append("first"), priority=0)
    engine.run()
    assert log == ["first", "second"]


def test_a_withdrawn_call_does_nothing() -> None:
    engine, log = Engine(), []
    engine.call_at(10, lambda: log.append("no")).withdraw()
    engine.run()
    assert log == []


def test_the_past_is_closed() -> None:
    engine = Engine()
    engine.call_at(10, lambda: engine.call_at(9, lambda: None))
    with pytest.raises(ValueError, match="already"):
        engine.run()
