"""What a memory model itself answers under a steady load of 64-byte accesses, beside what was measured at that load."""

from collections.abc import Callable
from typing import Final

import numpy as np

from tiergarten.calibration.curves import CurveFit, LoadedLatency, Score, score
from tiergarten.sim.memory import DeterminateModel
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.models.curve import CurveModel
from tiergarten.sim.seeds import stream
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import PS_PER_NS, PS_PER_S, PS_PER_US

ACCESS_BYTES: Final = 64
WINDOW_PS: Final = PS_PER_US
"""Of the curve model; the load is steady, so a short one only saves time."""
SETTLE_PS: Final = 6 * WINDOW_PS
"""After this an exponential mean over the window is off by 0.25 % (e^-6)."""


def latency_under_load_ns(model: DeterminateModel, read_percent: float, bytes_per_s: float) -> float:
    """Mean latency after SETTLE_PS, over half as long again, of evenly spaced accesses.

    Args:
        model: a fresh one.
        read_percent: share of reads, spread evenly.
        bytes_per_s: offered load, > 0.
    """
    interval_ps = ACCESS_BYTES * PS_PER_S / bytes_per_s
    num_settle = max(100, int(SETTLE_PS / interval_ps))
    latencies, credit = [], 0.0
    for number in range(num_settle + num_settle // 2):
        now_ps = round(number * interval_ps)
        credit += read_percent
        is_write = credit < 100
        credit -= 0 if is_write else 100
        _, done_ps = model.serve(now_ps, number * ACCESS_BYTES, ACCESS_BYTES, is_write)
        if number >= num_settle:
            latencies.append(done_ps - now_ps)
    return float(np.mean(latencies)) / PS_PER_NS


def model_scores(fit: CurveFit, points: LoadedLatency) -> tuple[Score | None, Score | None, int]:
    """(curve model, analytic model, points used): scores of the models themselves on measured points.

    The analytic model has the fit's constant latency and largest bandwidth. Points above 98 % of a share's fitted largest
    bandwidth are left out: there a model queues and has no steady latency. So are points without load, and the scores are
    None where none is left.
    """
    family = fit.family()
    limits = np.array([family.max_bytes_per_s(share) for share in points.read_percents]) / 1e9
    used = points.rows((points.bandwidths_GBps > 0) & (points.bandwidths_GBps <= 0.98 * limits))
    if not len(used):
        return None, None, 0
    top = max(float(curve.bandwidths_GBps[-1]) for curve in fit.curves) * 1e9
    tier = TierSpec("memory", "ddr", 2**40, top, top, round(fit.analytic_latency_ns * PS_PER_NS))
    rng = stream(0, "calibration model parity")
    return (
        _scored(lambda: CurveModel(family, window_ps=WINDOW_PS), used, rng),
        _scored(lambda: AnalyticModel(tier), used, rng),
        len(used),
    )


def _scored(new_model: Callable[[], DeterminateModel], points: LoadedLatency, rng: np.random.Generator) -> Score:
    pairs = zip(points.read_percents.tolist(), points.bandwidths_GBps.tolist(), strict=True)
    latencies = [latency_under_load_ns(new_model(), share, 1e9 * bandwidth) for share, bandwidth in pairs]
    return score(np.array(latencies), points.latencies_ns, rng)
