"""Arrival processes: when sessions begin. Each draws its times from a seeded stream; the tested statistics are in the classes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.registry import Registry


class ArrivalProcess(Protocol):
    """Times of arrival on an interval."""

    @property
    def rate_per_s(self) -> float:
        """Mean rate."""
        ...

    def times_s(self, start_s: float, end_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """float64[...], sorted, start_s <= time < end_s."""
        ...


arrival_processes: Registry[type[ArrivalProcess]] = Registry("arrival process", "tiergarten.workloads.requests")
"""poisson, gamma, diurnal."""


@arrival_processes.register("poisson")
@dataclass(frozen=True)
class Poisson:
    """Independent arrivals: exponential gaps of mean 1 / rate, coefficient of variation 1."""

    rate_per_s: float

    def __post_init__(self) -> None:
        _positive(rate_per_s=self.rate_per_s)

    def times_s(self, start_s: float, end_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Poisson number of arrivals, each uniform on the interval."""
        count = rng.poisson(self.rate_per_s * (end_s - start_s))
        return np.sort(rng.uniform(start_s, end_s, count))


@arrival_processes.register("gamma")
@dataclass(frozen=True)
class GammaBursts:
    """Renewal process with gamma gaps of mean 1 / rate and coefficient of variation `cv`; above 1 arrivals come in bursts.

    Production services show 1 to 3 within ten minutes (ServeGen, alibaba/ServeGen client rates).
    """

    rate_per_s: float
    cv: float = 2.0

    def __post_init__(self) -> None:
        _positive(rate_per_s=self.rate_per_s, cv=self.cv)

    def times_s(self, start_s: float, end_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Gaps of shape 1 / cv^2 and scale cv^2 / rate, from the beginning of the interval."""
        shape = 1 / self.cv**2
        expected = self.rate_per_s * (end_s - start_s)
        times, last = [], start_s
        while last < end_s:
            count = int(expected + 5 * self.cv * np.sqrt(expected) + 16)
            more = last + np.cumsum(rng.gamma(shape, 1 / (shape * self.rate_per_s), count))
            times.append(more)
            last = float(more[-1])
        result = np.concatenate(times) if times else np.empty(0)
        return result[result < end_s]


@arrival_processes.register("diurnal")
@dataclass(frozen=True)
class Diurnal:
    """Poisson arrivals whose rate swings as a sine around its mean: rate (1 + swing sin(2 pi t / period))."""

    rate_per_s: float
    swing: float = 0.5
    period_s: float = 86400.0

    def __post_init__(self) -> None:
        _positive(rate_per_s=self.rate_per_s, period_s=self.period_s)
        if not 0 <= self.swing <= 1:
            raise ValueError(f"swing must lie between 0 and 1, got {self.swing}")

    def times_s(self, start_s: float, end_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Thinning of a Poisson process at the peak rate."""
        peak = self.rate_per_s * (1 + self.swing)
        times = Poisson(peak).times_s(start_s, end_s, rng)
        rate = self.rate_per_s * (1 + self.swing * np.sin(2 * np.pi * times / self.period_s))
        return times[rng.uniform(0, peak, len(times)) < rate]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, got {value}")
