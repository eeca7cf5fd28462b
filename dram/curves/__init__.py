"""Bundled bandwidth-latency families of one channel of each standard's usual part, made by our cycle level.

Each file is the output of `tiergarten dram curve --standard NAME --out dram/curves/NAME.csv`; columns read_percent, point
(0 = heaviest load), bandwidth_bytes_per_s, latency_ps, and the first two quantities again in GB/s and ns.
"""

from importlib.resources import files
from pathlib import Path

from tiergarten.sim.errors import UnknownNameError, did_you_mean


def bundled_curves() -> dict[str, Path]:
    """Files by standard."""
    folder = Path(str(files(__package__)))
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


def bundled_curve(standard: str) -> Path:
    """The family of a standard. UnknownNameError where none is bundled."""
    curves = bundled_curves()
    if standard not in curves:
        raise UnknownNameError(f"no bundled curve for {standard!r}. {did_you_mean(standard, curves)}")
    return curves[standard]
