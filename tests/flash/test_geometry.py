"""Where pages lie, and which drives are refused."""

from dataclasses import replace

import numpy as np
import pytest

from tiergarten.sim.errors import InputError
from tiergarten.sim.flash.config import Collection, Mapping
from tiergarten.sim.flash.drive import empty_drive
from tiergarten.sim.flash.geometry import PLANE_ORDERS, FlashGeometry, plane_strides
from tiergarten.sim.flash.kernel.blocks import plane_of_lpn
from tiergarten.sim.flash.kernel.layout import Param, Plane
from tiergarten.sim.flash.mqsim import drive_from_mqsim
from tiergarten.sim.flash.mrg32k3a import Mrg32k3a

COUNTS = {"C": 2, "W": 3, "D": 2, "P": 4}
GEOMETRY = FlashGeometry(2, 3, 2, 4, 32, 8, 4096)


def test_there_are_24_orders() -> None:
    assert len(set(PLANE_ORDERS)) == 24


@pytest.mark.parametrize("order", PLANE_ORDERS)
def test_consecutive_pages_vary_the_letters_in_order(order: str, tiny_drive) -> None:
    config = tiny_drive(geometry=GEOMETRY, mapping=Mapping(plane_order=order, overprovisioning=0.6))
    m = empty_drive(config, 1, 8)
    for lpn in range(60):
        rest, at = lpn, {}
        for letter in order:  # mixed-radix digits, the first letter the lowest
            rest, at[letter] = divmod(rest, COUNTS[letter])
        number = ((at["C"] * 3 + at["W"]) * 2 + at["D"]) * 4 + at["P"]
        assert plane_of_lpn(m, lpn) == m[Param.PLANE_AT] + number * Plane.WORDS


def test_unknown_order_is_refused() -> None:
    with pytest.raises(InputError, match="CWPP"):
        plane_strides("CWPP", GEOMETRY)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"channels": 0}, "channels"),
        ({"page_bytes": 3000}, "power of two"),
        ({"page_bytes": 65536}, "at most 32768"),
        ({"planes_per_die": 8}, "at most 4"),
        ({"blocks_per_plane": 8}, "at least 14 blocks"),
    ],
)
def test_impossible_geometry_is_refused_with_its_place(tiny_drive, change: dict, what: str) -> None:
    with pytest.raises(InputError, match=what):
        tiny_drive(geometry=replace(GEOMETRY, **change))


def test_all_problems_are_reported_at_once(tiny_drive) -> None:
    with pytest.raises(InputError) as caught:
        tiny_drive(geometry=replace(GEOMETRY, channels=-1, page_bytes=100), collection=Collection(policy="BEST"))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [("Chanels", 8), ("Flash_Channel_Count", "eight"), ("Ideal_Mapping_Table", 1), ("Caching_Mechanism", "SIMPLE"), ("Flash_Technology", "PLC")],
)
def test_bad_mqsim_fields_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        drive_from_mqsim("x", {field: value})


def test_zero_bandwidth_is_refused() -> None:
    with pytest.raises(InputError, match="lane_gbytes_per_s"):
        drive_from_mqsim("x", {"PCIe_Lane_Bandwidth": 0.0})


def test_substreams_of_the_generator_are_uniform_and_apart() -> None:
    first, second = Mrg32k3a(798).uniform(20_000), Mrg32k3a(799).uniform(20_000)
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert 0 < first.min() < first.max() < 1
