"""Quantities: what is written is what is meant, and nothing without a unit passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergarten.sim import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80 GiB", 80 * 2**30),
        ("520 MB", 520_000_000),
        ("64B", 64),
        ("1.5 TB", 1_500_000_000_000),
        ("4 KiB", 4096),
        ("3 kB", 3000),
    ],
)
def test_sizes_tell_decimal_from_binary_prefixes(text: str, expected: int) -> None:
    assert units.parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("45 ns", 45_000), ("0.8 us", 800_000), ("1 h", 3600 * 10**12), ("7 ps", 7)]
)
def test_times_are_picoseconds(text: str, expected: int) -> None:
    assert units.parse_ps(text) == expected


def test_bits_per_second_are_eighths_of_bytes() -> None:
    assert units.parse_bytes_per_s("100 Gbit/s") == 12.5e9
    assert units.parse_bytes_per_s("3.35 TB/s") == 3.35e12


@pytest.mark.parametrize(
    "parse", [units.parse_bytes, units.parse_ps, units.parse_bytes_per_s, units.parse_watts, units.parse_pj_per_bit]
)
@pytest.mark.parametrize(
    "bad", [80, 8.0, None, True, "", "80", "eighty GB", "80 GBit", "nan GB", "inf s", "-5 GB", "1e300 GB", "80 GB GB"]
)
def test_what_has_no_unit_or_no_number_is_refused(parse, bad) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(bad)


@given(st.integers(1, 10**15), st.floats(1e3, 1e15))
def test_transfer_time_never_exceeds_the_rate(num_bytes: int, rate: float) -> None:
    time_ps = units.transfer_ps(num_bytes, rate)
    assert num_bytes <= rate * time_ps / 1e12 * (1 + 1e-12)
    assert (time_ps - 1) * rate / 1e12 <= num_bytes * (1 + 1e-12)


@given(st.integers(1, 2**50))
def test_printed_sizes_read_back_to_four_digits(num_bytes: int) -> None:
    assert units.parse_bytes(units.format_bytes(num_bytes)) == pytest.approx(num_bytes, rel=6e-4)
