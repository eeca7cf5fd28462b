"""MRG32k3a (L'Ecuyer, Operations Research 47(1), 1999), jumped ahead as MQSim does it.

MQSim's jump multiplies in signed 64-bit words that overflow; that is kept, since only then its request streams are had.
Substream `seed` starts at (1, 1, 1, 1, 1, 1) moved ahead by (seed // 200 + 1) * 2**(seed % 200) such steps.
"""

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.jit import njit

MODULUS_1 = 4294967087
MODULUS_2 = 4294944443
STEP_1 = ((0, 1, 0), (0, 0, 1), (-810728, 1403580, 0))
STEP_2 = ((0, 1, 0), (0, 0, 1), (-1370589, 0, 527612))
SCALE = 2.328306549295728e-10

Matrix = list[list[int]]


def _wrapped(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >> 63 else value


def _remainder(value: int, modulus: int) -> int:
    """Remainder with the sign of the dividend, as in C++."""
    return value % modulus if value >= 0 else -((-value) % modulus)


def _product(left: Matrix, right: Matrix, modulus: int) -> Matrix:
    result = []
    for row in left:
        entries = []
        for column in zip(*right, strict=True):
            total = 0
            for a, b in zip(row, column, strict=True):
                total = _remainder(_wrapped(_wrapped(a * b) + total), modulus)
            entries.append(total)
        result.append(entries)
    return result


def _jumped(step: tuple[tuple[int, ...], ...], modulus: int, seed: int) -> list[float]:
    power = [[entry % modulus for entry in row] for row in step]
    for _ in range(seed % 200):
        power = _product(power, power, modulus)
    state = [[1], [1], [1]]
    times = seed // 200 + 1
    while times:
        if times & 1:
            state = _product(power, state, modulus)
        times >>= 1
        if times:
            power = _product(power, power, modulus)
    return [float(entry[0]) for entry in state]


@njit(cache=True)
def _folded(value: float, modulus: float) -> float:
    value -= float(int(value / modulus)) * modulus
    return value + modulus if value < 0.0 else value


@njit(cache=True)
def _draw(state: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Fill `out` with draws from (0, 1); `state` is float64[6] and moves on."""
    for i in range(len(out)):
        first = _folded(1403580.0 * state[1] - 810728.0 * state[0], 4294967087.0)
        state[0], state[1], state[2] = state[1], state[2], first
        second = _folded(527612.0 * state[5] - 1370589.0 * state[3], 4294944443.0)
        state[3], state[4], state[5] = state[4], state[5], second
        difference = first - second
        if difference < 0.0:
            difference += 4294967087.0
        out[i] = (difference + 1) * SCALE


class Mrg32k3a:
    """A stream of uniform numbers."""

    def __init__(self, seed: int):
        self._state = np.array(_jumped(STEP_1, MODULUS_1, seed) + _jumped(STEP_2, MODULUS_2, seed))

    def uniform(self, count: int) -> NDArray[np.float64]:
        """float64[count], the next draws."""
        out = np.empty(count)
        _draw(self._state, out)
        return out

    def integers(self, low: int, high: int, count: int) -> NDArray[np.int64]:
        """int64[count] in low..high inclusive, by double arithmetic as in MQSim."""
        return low + (float(high - low + 1) * self.uniform(count)).astype(np.int64)
