"""Whole numbers as text traces write them, checked."""

from typing import Final

MAX_ADDRESS: Final = (1 << 56) - 1
"""Largest accepted byte address: no later arithmetic can overflow."""
MAX_TICK: Final = (1 << 56) - 1
_HEX = frozenset("0123456789abcdefABCDEF")


def number(word: str, what: str, most: int, base: int = 0) -> int:
    """A number of 0 to `most` in decimal or, after 0x (or always, with `base` 16), hexadecimal. Else ValueError."""
    if word.startswith("-"):
        raise ValueError(f"{what} {word!r} is negative")
    digits = word[2:] if word[:2].lower() == "0x" else word
    is_hex = base == 16 or digits is not word
    known = bool(digits) and (set(digits) <= _HEX if is_hex else digits.isascii() and digits.isdecimal())
    if not known or len(digits) > 24:
        raise ValueError(f"{what} {word[:40]!r} is not a {'hexadecimal' if is_hex else 'whole'} number")
    value = int(digits, 16 if is_hex else 10)
    if value > most:
        raise ValueError(f"{what} {word!r} is beyond {most:#x}")
    return value
