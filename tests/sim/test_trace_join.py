"""One recorded layer repeated to the real depth, and programs one after another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.trace import Accesses, Objects, Ops, Role, Trace
from tiergarten.sim.trace_join import concatenate, repeat


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def layer() -> Trace:
    """x, w -> h -> y, with a table that every layer reads."""
    return Trace(
        Objects(("x", "w", "table", "h", "y"), ints(8, 100, 16, 32, 8), np.array([2, 0, 7, 2, 2], np.int8)),
        Ops(("up", "down"), np.zeros(2, np.int32), np.array([10.0, 20.0]), ints(0, 0, 1), ints(0)),
        Accesses(
            ints(0, 0, 0, 0, 1, 1),
            ints(0, 1, 2, 3, 3, 4),
            ints(0, 0, 4, 0, 0, 0),
            ints(8, 100, 4, 32, 32, 8),
            np.array([False, False, False, True, False, True]),
        ),
        birth_ops=ints(-1, -1, -1, 0, 1),
        death_ops=ints(2, 2, 2, 1, 2),
    )


def test_repeated_layers_share_and_carry_what_they_are_told():
    deep = repeat(layer(), 3, shared=["table"], carry={"y": "x"})
    assert deep.problems() == []
    assert deep.objects.names == (
        "layer.0/x", "layer.0/w", "table", "layer.0/h", "layer.0/y",
        "layer.1/w", "layer.1/h", "layer.1/y", "layer.2/w", "layer.2/h", "layer.2/y",
    )  # fmt: skip
    assert deep.ops.names[2] == "layer.1/up"
    assert [list(deep.ops.waits_for(op)) for op in range(6)] == [[], [0], [1], [2], [3], [4]]
    lives = dict(zip(deep.objects.names, zip(deep.birth_ops, deep.death_ops, strict=True), strict=True))
    assert lives["layer.0/y"] == (1, 3)  # made by op 1, read by op 2, dies with layer 1
    assert lives["layer.2/y"] == (5, 6)  # the program's result outlives it
    assert lives["table"] == (-1, 6)


@settings(deadline=None)
@given(st.integers(1, 6))
def test_repeat_multiplies_ops_flops_and_bytes(times):
    deep = repeat(layer(), times, shared=["table"], carry={"y": "x"})
    assert deep.problems() == []
    assert len(deep.ops) == 2 * times
    assert deep.ops.flops.sum() == 30 * times
    assert deep.accesses.num_bytes.sum() == layer().accesses.num_bytes.sum() * times
    assert (deep.objects.roles == Role.WEIGHT).sum() == times


def test_concatenate_of_one_is_itself():
    one = concatenate([layer()])
    assert one.objects.names == layer().objects.names
    assert np.array_equal(one.accesses.num_bytes, layer().accesses.num_bytes)
    assert np.array_equal(one.death_ops, layer().death_ops)


def test_concatenate_refuses_two_sizes_of_one_name():
    other = layer()
    other.objects.num_bytes[1] = 101
    with pytest.raises(ValueError, match="object 'w' has 100 bytes and role 0 in one trace, 101"):
        concatenate([layer(), other])


def test_repeat_refuses_unknown_names_and_unequal_carry():
    with pytest.raises(ValueError, match="no object 'z'"):
        repeat(layer(), 2, shared=["z"])
    with pytest.raises(ValueError, match="'h' has 32 bytes and cannot become 'x' of 8"):
        repeat(layer(), 2, carry={"h": "x"})
