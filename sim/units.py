"""Quantities at the edge, integers inside.

Inside Tiergarten times are integer picoseconds, sizes integer bytes, rates bytes/s, energies picojoules. In YAML and on
the command line every dimensioned number carries its unit ("80 GiB", "3.35 TB/s", "45 ns"). k, M, G, T, P are powers of
ten; Ki, Mi, Gi, Ti, Pi powers of two (IEC 80000-13).
"""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Final

PS_PER_S: Final = 10**12
PS_PER_MS: Final = 10**9
PS_PER_US: Final = 10**6
PS_PER_NS: Final = 10**3
NEVER_PS: Final = 2**63 - 1
"""Sentinel for "no event is due"; larger than every simulated time."""

_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_TIME = {
    "ps": 1,
    "ns": 10**3,
    "us": 10**6,
    "µs": 10**6,
    "ms": 10**9,
    "s": 10**12,
    "min": 60 * 10**12,
    "h": 3600 * 10**12,
}
_ENERGY: dict[str, Decimal | int] = {
    "fJ": Decimal("0.001"), "pJ": 1, "nJ": 10**3, "uJ": 10**6, "mJ": 10**9, "J": 10**12, "kJ": 10**15,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s].*?)?\s*\Z")


def _split(text: object, what: str, example: str) -> tuple[Decimal, str]:
    if isinstance(text, bool) or not isinstance(text, str):
        raise ValueError(f"{what} needs a unit, as in {example!r}; got {text!r}")
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"cannot read {text!r} as {what}; write it as in {example!r}")
    if not match[2]:
        raise ValueError(f"{what} needs a unit, as in {example!r}; got {text!r}")
    try:
        number = Decimal(match[1])
    except InvalidOperation as error:  # pragma: no cover - the expression admits only numbers
        raise ValueError(f"cannot read {text!r} as {what}") from error
    if number.is_nan() or abs(number) > Decimal("1e40"):
        raise ValueError(f"{text!r} is out of range for {what}")
    return number, match[2]


def _scaled(text: object, base_units: tuple[str, ...], what: str, example: str) -> Decimal:
    """The number times its metric or binary prefix, for a unit spelled in any of `base_units`."""
    number, unit = _split(text, what, example)
    for base in base_units:
        if unit.endswith(base):
            prefix = unit[: -len(base)]
            if prefix in _DECIMAL:
                return number * _DECIMAL[prefix]
            if prefix in _BINARY:
                return number * _BINARY[prefix]
    raise ValueError(f"unknown unit {unit!r} for {what}; write it as in {example!r}")


def _whole(value: Decimal, text: object, what: str) -> int:
    if value < 0:
        raise ValueError(f"{what} must not be negative: {text!r}")
    result = int(value.to_integral_value())
    if result >= NEVER_PS:
        raise ValueError(f"{text!r} is out of range for {what}")
    return result


def parse_bytes(text: object) -> int:
    """Bytes of "80 GiB", "520 MB", "64 B". Raises ValueError when the unit is missing or unknown."""
    return _whole(_scaled(text, ("B", "bytes"), "a size", "80 GiB"), text, "a size")


def parse_ps(text: object) -> int:
    """Picoseconds of "45 ns", "0.8 us", "1 h"."""
    number, unit = _split(text, "a time", "45 ns")
    if unit not in _TIME:
        raise ValueError(f"unknown unit {unit!r} for a time; known: {', '.join(_TIME)}")
    return _whole(number * _TIME[unit], text, "a time")


def parse_bytes_per_s(text: object) -> float:
    """Bytes/s of "3.35 TB/s", "900 GB/s", "100 Gbit/s"."""
    if isinstance(text, str) and text.rstrip().endswith("bit/s"):
        return _finite(_scaled(text, ("bit/s",), "a bandwidth", "3.35 TB/s") / 8, text)
    return _finite(_scaled(text, ("B/s",), "a bandwidth", "3.35 TB/s"), text)


def parse_flops(text: object) -> float:
    """FLOP/s of "989 TFLOP/s"."""
    return _finite(_scaled(text, ("FLOP/s", "FLOPS", "OP/s"), "a compute rate", "989 TFLOP/s"), text)


def parse_pj(text: object) -> float:
    """Picojoules of "3.9 pJ", "1.2 nJ"."""
    number, unit = _split(text, "an energy", "3.9 pJ")
    if unit not in _ENERGY:
        raise ValueError(f"unknown unit {unit!r} for an energy; known: {', '.join(_ENERGY)}")
    return _finite(number * _ENERGY[unit], text)


def parse_pj_per_bit(text: object) -> float:
    """Picojoules per bit of "3.9 pJ/bit"."""
    if isinstance(text, str) and text.rstrip().endswith("/bit"):
        return parse_pj(text.rstrip()[: -len("/bit")])
    raise ValueError(f"an energy per bit needs its unit, as in '3.9 pJ/bit'; got {text!r}")


def parse_watts(text: object) -> float:
    """Watts of "700 W", "10.2 kW", "5 mW"."""
    if isinstance(text, str) and text.rstrip().endswith("mW"):
        return parse_watts(text.rstrip()[:-2] + "W") / 1000
    return _finite(_scaled(text, ("W",), "a power", "700 W"), text)


def parse_usd(text: object) -> float:
    """US dollars of "30000 USD" or "30 kUSD"."""
    return _finite(_scaled(text, ("USD",), "a price", "30000 USD"), text)


def _finite(value: Decimal, text: object) -> float:
    result = float(value)
    if not math.isfinite(result) or result < 0:
        raise ValueError(f"{text!r} must be a finite number, not negative")
    return result


def transfer_ps(num_bytes: int, bytes_per_s: float) -> int:
    """Picoseconds that `num_bytes` take at `bytes_per_s`, rounded up, so that no rate is ever exceeded."""
    return math.ceil(num_bytes * PS_PER_S / bytes_per_s)


def _format(value: float, unit: str, steps: list[tuple[float, str]]) -> str:
    for factor, prefix in steps:
        if abs(value) >= factor:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


_SI = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
_IEC = [(2.0**50, "Pi"), (2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki")]


def format_bytes(num_bytes: float) -> str:
    """Size with its unit: "80 GiB" where that is a short binary number, "80 GB" otherwise."""
    for factor, prefix in _IEC:
        if factor <= num_bytes < 1024 * factor and (num_bytes / factor * 4).is_integer():
            return f"{num_bytes / factor:.6g} {prefix}B"
    return _format(num_bytes, "B", _SI)


def format_bytes_per_s(rate: float) -> str:
    """Rate with its unit: "3.35 TB/s"."""
    return _format(rate, "B/s", _SI)


def format_ps(time_ps: float) -> str:
    """Time with its unit: "45 ns", "1.2 ms"."""
    for factor, unit in ((10**12, "s"), (10**9, "ms"), (10**6, "us"), (10**3, "ns")):
        if abs(time_ps) >= factor:
            return f"{time_ps / factor:.4g} {unit}"
    return f"{time_ps:.4g} ps"
