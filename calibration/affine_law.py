"""The law time = a + bytes / B and its least-squares solution. Needs numpy only, so that it also serves where we measure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Affine:
    """Time of n bytes in picoseconds: `per_copy_ps + n * ps_per_byte`."""

    per_copy_ps: float
    ps_per_byte: float

    def times_ps(self, num_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predicted times."""
        return self.per_copy_ps + num_bytes * self.ps_per_byte


def solve(num_bytes: NDArray[np.float64], times_ps: NDArray[np.float64]) -> Affine:
    """The affine law with the least sum of squared relative residuals, a >= 0 and B > 0.

    Where the unconstrained solution has a < 0 the constant is 0; where the sizes do not tell the slope, the time is flat.
    """
    design = np.stack([1 / times_ps, num_bytes / times_ps], axis=1)
    (constant, slope), *_ = np.linalg.lstsq(design, np.ones(len(times_ps)), rcond=None)
    if constant < 0:
        per_byte = num_bytes / times_ps
        return Affine(0.0, float(per_byte.sum() / (per_byte**2).sum()))
    return Affine(float(constant), max(float(slope), 1e-9))
