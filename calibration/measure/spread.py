"""Median and quartiles: what the tables hold of repeated timings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Lower quartile, median, upper quartile."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Quartiles of at least one value."""
    return Spread(*(float(value) for value in np.percentile(values, (25, 50, 75))))
