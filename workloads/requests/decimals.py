"""Times written as decimal numbers without loss."""


def decimal_text(value_ps: int, unit_ps: int) -> str:
    """`value_ps` in units of `unit_ps` (a power of ten), all digits kept, no exponent, no trailing zeros."""
    whole, rest = divmod(value_ps, unit_ps)
    if not rest:
        return str(whole)
    digits = len(str(unit_ps)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")
