"""Times PyTorch calls: on a GPU as replays of a captured graph between device events, so that launches do not count."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch

from tiergarten.calibration.measure.item import Request
from tiergarten.calibration.measure.left_out import LeftOutError
from tiergarten.calibration.measure.spread import Spread, spread

MAX_ERROR: Final = {torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Largest relative error against float64 that passes: inputs of bfloat16 alone are off by up to 2^-9 = 2e-3 each."""


class Timing(NamedTuple):
    """Microseconds of one call."""

    us: Spread
    repeats: int
    launch: str
    """graph or eager."""


def use_device(request: Request) -> torch.device:
    """The GPU, or the host as its stand-in. LeftOutError if PyTorch cannot use the GPU."""
    torch.manual_seed(request.seed)
    if request.is_stand_in:
        torch.set_num_threads(1)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LeftOutError("PyTorch cannot use the GPU (torch.cuda.is_available() is false)")
    return torch.device("cuda", 0)


def timed(device: torch.device, calls: Sequence[Callable[[], Any]], repeats: int) -> Timing:
    """Time calls that do the same on different data; together their data should not fit the cache.

    Each round runs all calls once and gives the mean of one call; the spread is over rounds.
    """
    for call in calls:
        call()
    if device.type != "cuda":
        return Timing(spread([_host_us(calls) for _ in range(repeats)]), repeats, "eager")
    run, launch = _captured(calls)
    run()
    torch.cuda.synchronize()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times_us = []
    for _ in range(repeats):
        begin.record()
        run()
        end.record()
        end.synchronize()
        times_us.append(1e3 * begin.elapsed_time(end) / len(calls))
    return Timing(spread(times_us), repeats, launch)


def _host_us(calls: Sequence[Callable[[], Any]]) -> float:
    started = time.perf_counter()
    for call in calls:
        call()
    return (time.perf_counter() - started) * 1e6 / len(calls)


def _captured(calls: Sequence[Callable[[], Any]]) -> tuple[Callable[[], Any], str]:
    def all_calls() -> None:
        for call in calls:
            call()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        all_calls()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            all_calls()
    except RuntimeError:  # an operation that cannot be captured
        torch.cuda.synchronize()
        return all_calls, "eager"
    return graph.replay, "graph"


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """||found - exact|| / ||exact|| in float64; a NaN stays one and passes no bound."""
    exact = exact.double()
    return float((found.double() - exact).norm() / exact.norm())


def require_close(found: torch.Tensor, exact: torch.Tensor, what: str) -> float:
    """The relative error, or ValueError if it is above what the number format allows."""
    error = relative_error(found, exact)
    if not error <= MAX_ERROR[found.dtype]:
        raise ValueError(f"{what}: relative error {error:.3g} against float64, at most {MAX_ERROR[found.dtype]:g}")
    return error


def num_sets(device: torch.device, bytes_of_one: int) -> int:
    """How many sets of inputs do not fit the second-level cache together, 1 to 64."""
    if device.type != "cuda":
        return 1
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(1, min(64, -(-2 * cache // bytes_of_one)))


def timing_columns(timing: Timing) -> dict[str, str | int | float]:
    """The columns that every table of kernels has."""
    return {
        "time_us": timing.us.median, "time_low_us": timing.us.low, "time_high_us": timing.us.high,
        "repeats": timing.repeats, "launch": timing.launch,
    }  # fmt: skip
