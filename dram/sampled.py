"""The *sampled* level of a tier: the cycle level on windows of a long transfer until its rate is known well enough.

A window is a stretch of one channel's bursts, run from a random phase of the refresh interval; after a warm-up it is
measured over whole refresh intervals, so that each window holds its share of refresh. Windows are spread over the transfer.
The transfer then takes its bursts over the mean rate, whose 95 % confidence interval is kept. Short batches go to the cycle
level; work that arrives during a sampled transfer waits for its end.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tiergarten.dram.kernels import layout as at
from tiergarten.dram.kernels.channel import run
from tiergarten.dram.memory_model import NO_RECORD, CycleMemory
from tiergarten.dram.simulate import DramConfig, empty_outcomes
from tiergarten.dram.tables import build_channel
from tiergarten.sim.contracts import AccessBatch, Completions
from tiergarten.sim.memory import memory_models
from tiergarten.sim.seeds import stream
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import NEVER_PS

NO_REPORT = empty_outcomes(0)
T_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t for a two-sided 95 % interval with 1, 2, ... degrees of freedom; 1.96 beyond is 7 % narrow at most."""
WARM_UP_BURSTS = 512
WINDOW_INTERVALS = 3
"""Refresh intervals that a window is measured over."""


@dataclass(frozen=True)
class Estimate:
    """A rate measured on windows, with its 95 % confidence interval."""

    bytes_per_s: float
    half_width_bytes_per_s: float
    windows: int

    @property
    def relative(self) -> float:
        """Half of the interval over the rate."""
        return self.half_width_bytes_per_s / self.bytes_per_s

    def __str__(self) -> str:
        rate, half = self.bytes_per_s / 1e9, self.half_width_bytes_per_s / 1e9
        return f"{rate:.4g} +- {half:.2g} GB/s (95 %, {self.windows} windows)"


@memory_models.register("sampled")
class SampledMemory:
    """A memory of equal DRAM channels: short batches command by command, long ones by the rate of sampled windows."""

    class Params(CycleMemory.Params):
        """The DRAM behind the tier, and when and how well to sample."""

        exact_bursts: int = Field(8192, gt=0, description="Bursts a channel up to which a batch is simulated in full.")
        precision: float = Field(
            0.005, gt=0, lt=1, description="Half of the confidence interval aimed at, over the rate."
        )
        max_windows: int = Field(16, ge=3, description="Windows after which the interval is taken as it is.")

    def __init__(self, config: DramConfig, num_channels: int, interleave_bytes: int, params: Params, seed: int):
        self._exact = CycleMemory(config, num_channels, interleave_bytes)
        self._num_channels = num_channels
        self._params = params
        self._rng = stream(seed, "sampled memory")
        self._busy_until_ps = 0
        self._sampled: list[tuple[int, int]] = []
        self.estimates: list[Estimate] = []
        """One for every sampled batch, in order."""

    @classmethod
    def build(cls, tier: TierSpec, params: "SampledMemory.Params", seed: int) -> "SampledMemory":
        exact = CycleMemory.build(tier, params, seed)
        return cls(exact.config, exact.num_channels, params.interleave_bytes, params, seed)

    def submit(self, now_ps: int, accesses: AccessBatch) -> None:
        burst_bytes = self._exact.config.device.transaction_bytes
        bursts = int(accesses.num_bytes.sum()) // burst_bytes
        if bursts <= max(self._params.exact_bursts, self._window_bursts()) * self._num_channels:
            self._exact.submit(max(now_ps, self._busy_until_ps), accesses)
            return
        estimate = self.estimate(accesses)
        self.estimates.append(estimate)
        start_ps = max(now_ps, self._busy_until_ps, self._exact.last_completion_ps())
        ends = np.cumsum(accesses.num_bytes) / estimate.bytes_per_s * 1e12
        first_ps = self._exact.config.device.read_latency * self._exact.config.device.tick_ps
        times = start_ps + first_ps + np.ceil(ends).astype(np.int64)
        self._sampled += zip(times.tolist(), accesses.ids.tolist(), strict=True)
        self._busy_until_ps = int(times[-1])

    def estimate(self, accesses: AccessBatch) -> Estimate:
        """Rate at which the whole memory works through a batch, from windows of one channel."""
        rates: list[float] = []
        while len(rates) < self._params.max_windows:
            rates.append(self._window_rate(accesses, self._position(len(rates))))
            if len(rates) >= 3 and _estimate(rates).relative < self._params.precision:
                break
        return _estimate(rates)

    def _position(self, window: int) -> float:
        """Where in the batch a window begins, 0 to 1: golden-ratio steps cover it evenly at any number of windows."""
        return (window * 0.6180339887498949 + 0.5 * self._rng.random() / self._params.max_windows) % 1.0

    def _window_bursts(self) -> int:
        """Bursts of a channel that a window can need at most; shorter batches are simulated in full."""
        device = self._exact.config.device
        measured = WINDOW_INTERVALS * device.timing["nREFI"] // device.data_ticks * device.num_data_buses
        return 2 * WARM_UP_BURSTS + measured

    def _window_rate(self, accesses: AccessBatch, position: float) -> float:
        """Bytes/s of the memory over whole refresh intervals from a place of the batch on."""
        config = self._exact.config
        interval = config.device.timing["nREFI"]
        needed = self._window_bursts()
        rows = self._exact.channel_rows(_window(accesses, position, needed * self._num_channels, config), needed)
        m = build_channel(config.device, config.controller)
        phase = int(self._rng.integers(0, interval))
        rows[:, at.REQUEST_TICK] = phase
        run(m, rows, NO_REPORT, NO_RECORD, phase, False)
        start = self._run_until(m, rows, WARM_UP_BURSTS)
        begun = _issued(m)
        run(m, rows, NO_REPORT, NO_RECORD, start + WINDOW_INTERVALS * interval, False)
        bursts = _issued(m) - begun
        seconds = WINDOW_INTERVALS * interval * config.device.tick_ps * 1e-12
        return bursts * config.device.transaction_bytes * self._num_channels / seconds

    def _run_until(self, m: NDArray[np.int64], rows: NDArray[np.int64], bursts: int) -> int:
        """Tick at which so many bursts have issued, to within a few hundred ticks."""
        while _issued(m) < min(bursts, len(rows) // 4):
            run(m, rows, NO_REPORT, NO_RECORD, int(m[at.CLOCK]) + 256, False)
        return int(m[at.CLOCK])

    def next_completion_ps(self) -> int:
        sampled = self._sampled[0][0] if self._sampled else NEVER_PS
        return min(sampled, self._exact.next_completion_ps())

    def advance(self, until_ps: int) -> Completions:
        exact = self._exact.advance(until_ps)
        count = sum(time <= until_ps for time, _ in self._sampled)
        ids = np.concatenate([exact.ids, np.array([ident for _, ident in self._sampled[:count]], np.int64)])
        times = np.concatenate([exact.times_ps, np.array([time for time, _ in self._sampled[:count]], np.int64)])
        del self._sampled[:count]
        order = np.argsort(times, kind="stable")
        return Completions(ids[order], times[order])


def _issued(m: NDArray[np.int64]) -> int:
    """Requests whose data command has been issued."""
    return int(m[at.NEXT_REQUEST] - m[at.NUM_READS] - m[at.NUM_WRITES] - m[at.NUM_ACTIVE])


def _estimate(rates: list[float]) -> Estimate:
    mean = float(np.mean(rates))
    degrees = len(rates) - 1
    t = T_95[degrees - 1] if degrees <= len(T_95) else 2.13
    return Estimate(mean, t * float(np.std(rates, ddof=1)) / sqrt(len(rates)), len(rates))


def _window(accesses: AccessBatch, position: float, bursts: int, config: DramConfig) -> AccessBatch:
    """The accesses of about `bursts` bursts from a place of the batch on; the first and the last are cut to fit."""
    size = config.device.transaction_bytes
    ends = np.cumsum(accesses.num_bytes)
    length = bursts * size
    begin = int(max(0, position * (ends[-1] - length))) // size * size
    starts = ends - accesses.num_bytes
    first, last = np.searchsorted(ends, [begin, begin + length], side="right")
    chosen = np.arange(first, min(last + 1, len(ends)))
    head = np.maximum(0, begin - starts[chosen])
    tail = np.minimum(accesses.num_bytes[chosen], begin + length - starts[chosen])
    kept = tail > head
    chosen, head, tail = chosen[kept], head[kept], tail[kept]
    return AccessBatch(accesses.ids[chosen], accesses.addresses[chosen] + head, tail - head, accesses.is_write[chosen])
