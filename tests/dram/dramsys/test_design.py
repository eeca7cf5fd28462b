"""The design space: encoding, names, bad input, equal behaviour."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.dram.dramsys import KNOB_SIZES, KNOBS, NUM_GRID_DESIGNS, Arbiter, ControllerDesign, grid_designs
from tiergarten.sim.errors import InputError

vectors = st.tuples(*(st.integers(0, size - 1) for size in KNOB_SIZES))


def test_grid_has_the_size_of_dramgym() -> None:
    assert NUM_GRID_DESIGNS == 4 * 3 * 3 * 8 * 2 * 2 * 4 * 4 * 3 * 8 == 442_368


@given(vectors)
def test_indices_and_numbers_round_trip(vector: tuple[int, ...]) -> None:
    design = ControllerDesign.from_indices(vector)
    assert tuple(design.to_indices()) == vector
    assert ControllerDesign.from_number(design.to_number()) == design
    assert ControllerDesign.from_knobs(design.to_knobs()) == design


def test_numbers_count_through_the_grid_with_the_last_knob_fastest() -> None:
    first = list(itertools.islice(grid_designs(), 25))
    assert [design.to_number() for design in first] == list(range(25))
    assert [design.max_active_transactions for design in first[:9]] == [1, 2, 4, 8, 16, 32, 64, 128, 1]
    assert first[8].arbiter == Arbiter.FIFO
    assert ControllerDesign.from_number(NUM_GRID_DESIGNS - 1).to_indices().tolist() == [n - 1 for n in KNOB_SIZES]


def test_action_order_and_values_are_those_of_archgym() -> None:
    design = ControllerDesign.from_indices([1, 1, 2, 5, 1, 1, 3, 2, 2, 7])
    assert design.to_knobs() == {
        "PagePolicy": "OpenAdaptive",
        "Scheduler": "FrFcfsGrp",
        "SchedulerBuffer": "Shared",
        "RequestBufferSize": 32,
        "RespQueue": "Reorder",
        "RefreshPolicy": "AllBank",
        "RefreshMaxPostponed": 8,
        "RefreshMaxPulledin": 4,
        "Arbiter": "Reorder",
        "MaxActiveTransactions": 128,
    }


def test_wrong_values_are_all_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        ControllerDesign(request_buffer_size=0, refresh_max_postponed=9, page_policy=7)  # type: ignore[arg-type]
    assert {problem.path for problem in error.value.problems} == {
        "page_policy",
        "request_buffer_size",
        "refresh_max_postponed",
    }


def test_wrong_knob_names_offer_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'PagePolicy'"):
        ControllerDesign.from_knobs({"PagePolcy": "Open"})
    with pytest.raises(InputError, match="Did you mean 'OpenAdaptive'"):
        ControllerDesign.from_knobs({"PagePolicy": "OpenAdaptiv"})
    with pytest.raises(InputError, match="RequestBufferSize"):
        ControllerDesign.from_knobs({"RequestBufferSize": "-4"})


@pytest.mark.parametrize("vector", [[0] * 9, [0] * 11, [4, *[0] * 9], [*[0] * 9, -1], [0.5, *[0] * 9]])
def test_wrong_vectors_are_refused(vector: list[float]) -> None:
    with pytest.raises(InputError):
        ControllerDesign.from_indices(vector)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        ControllerDesign.from_number(NUM_GRID_DESIGNS)


def test_designs_off_the_grid_have_no_indices() -> None:
    with pytest.raises(InputError, match="not on the grid"):
        ControllerDesign(request_buffer_size=3).to_indices()


def test_canonical_designs_are_as_many_as_behaviours() -> None:
    """166,464 behaviours of the grid, 21,760 x 4 pulled-in budgets on read-only traces (spec: 21,760 without pulled-in)."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        design = ControllerDesign.from_number(int(rng.integers(NUM_GRID_DESIGNS)))
        assert design.canonical().canonical() == design.canonical()
    refresh = 1 + 4 * 4
    arbiters = 1 + 2 * 8
    assert 4 * 3 * 3 * 8 * 2 * refresh * arbiters == 166_464
    sizes = {knob.field: knob.values for knob in KNOBS}
    small = itertools.product(
        sizes["refresh_policy"],
        sizes["refresh_max_postponed"],
        sizes["refresh_max_pulled_in"],
        sizes["arbiter"],
        sizes["max_active_transactions"],
    )
    seen = {
        ControllerDesign(
            refresh_policy=policy,  # type: ignore[arg-type]
            refresh_max_postponed=postponed,
            refresh_max_pulled_in=pulled_in,
            arbiter=arbiter,  # type: ignore[arg-type]
            max_active_transactions=slots,
        ).canonical()
        for policy, postponed, pulled_in, arbiter, slots in small
    }
    assert len(seen) == refresh * arbiters


@settings(max_examples=30)
@given(vectors)
def test_canonical_changes_only_knobs_that_do_nothing(vector: tuple[int, ...]) -> None:
    design = ControllerDesign.from_indices(vector)
    canonical = design.canonical(has_writes=True)
    assert canonical.scheduler == design.scheduler
    assert canonical.request_buffer_size == design.request_buffer_size
    if design.arbiter != Arbiter.SIMPLE:
        assert canonical.max_active_transactions == design.max_active_transactions
