"""What a trace may not contain, by name of the object at fault."""

from dataclasses import replace

import numpy as np
import pytest

from tiergarten.sim.trace import Accesses, AddressTrace, Objects, Ops, Role, Trace


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def small_trace() -> Trace:
    """Op 0 reads w and writes h; op 1 waits for it, reads h and writes y."""
    return Trace(
        Objects(("w", "h", "y"), ints(100, 40, 40), np.array([Role.WEIGHT, Role.ACTIVATION, Role.ACTIVATION], np.int8)),
        Ops(("up", "down"), np.zeros(2, np.int32), np.array([10.0, 20.0]), ints(0, 0, 1), ints(0)),
        Accesses(
            ints(0, 0, 1, 1),
            ints(0, 1, 1, 2),
            ints(0, 0, 0, 0),
            ints(100, 40, 40, 40),
            np.array([False, True, False, True]),
        ),
        birth_ops=ints(-1, 0, 1),
        death_ops=ints(2, 1, 2),
    )


def with_accesses(**columns: np.ndarray) -> Trace:
    trace = small_trace()
    return replace(trace, accesses=replace(trace.accesses, **columns))


def only(trace: Trace | AddressTrace) -> str:
    (problem,) = trace.problems()
    return problem


def test_good_trace_has_no_problems():
    assert small_trace().problems() == []


def test_use_before_birth_names_the_object_and_op():
    assert only(replace(small_trace(), birth_ops=ints(-1, 1, 1))) == (
        "access 1 by op 0 ('up') uses 'h' before its birth at op 1"
    )


def test_use_after_death_names_the_object_and_op():
    assert only(replace(small_trace(), death_ops=ints(2, 0, 2))) == (
        "access 2 by op 1 ('down') uses 'h' after its death at op 0"
    )


@pytest.mark.parametrize(
    ("offset", "num_bytes", "refused"),
    [(0, 100, False), (1, 100, True), (-1, 5, True), (99, 1, False), (5, 2**63 - 1, True)],
)
def test_access_must_lie_inside_its_object(offset, num_bytes, refused):
    trace = with_accesses(offsets=ints(offset, 0, 0, 0), num_bytes=ints(num_bytes, 40, 40, 40))
    assert ("of 'w', which has 100" in " ".join(trace.problems())) == refused


def test_empty_access_is_refused():
    assert only(with_accesses(num_bytes=ints(0, 40, 40, 40))) == "access 0 by op 0 ('up') touches 0 bytes"


def test_unsorted_ops_are_refused():
    assert "access 1 belongs to op 0, the one before it to a later op" in only(with_accesses(ops=ints(1, 0, 1, 1)))


def test_unknown_op_and_object_are_both_reported():
    found = with_accesses(ops=ints(0, 0, 1, 7), objects=ints(0, 9, 1, 2)).problems()
    assert found == ["access 3 names op 7; there are 2", "access 1 names object 9; there are 3"]


def test_dependency_on_a_later_op_is_refused():
    trace = small_trace()
    assert "op 1 ('down') waits for op 1" in only(replace(trace, ops=replace(trace.ops, dependencies=ints(1))))


def test_column_of_another_length_is_refused_before_all_else():
    assert only(with_accesses(offsets=ints(0))) == "accesses: column offsets has 1 rows, the table 4"


def test_many_bad_rows_are_counted_not_listed():
    found = with_accesses(num_bytes=ints(0, 0, 0, 0)).problems()
    assert len(found) == 4
    assert found[-1] == "... and 1 more like the last"


def test_object_faults_are_named():
    trace = small_trace()
    objects = Objects(("w", "w", "y"), ints(0, 40, 40), np.array([0, 99, 2], np.int8))
    found = " | ".join(replace(trace, objects=objects, birth_ops=ints(-1, 1, 5)).problems())
    assert "'w' has 0 bytes" in found
    assert "'w' has the unknown role 99" in found
    assert "'w' is listed twice" in found
    assert "'y' is born outside the program" in found


def test_address_trace_faults_are_named_by_row():
    good = AddressTrace(ints(0, 1, 1), ints(0, 64, 128), np.zeros(3, bool), ints(-1, 0, -1))
    assert good.problems() == []
    assert only(replace(good, ticks=ints(0, 1, 0))) == "row 2 goes back in time"
    assert only(replace(good, addresses=ints(0, -64, 128))) == "row 1 has a negative address"
    assert only(replace(good, depends_on=ints(-1, 1, -1))) == "row 1 depends on a row that does not come before it"
