"""Request streams: MQSim's closed-loop flows, and open-loop traces (Poisson, bursts, weight streaming, fill and overwrite).

The closed-loop flow draws type and address from two MRG32k3a substreams (seed, seed + 1), as MQSim's synthetic flow does.
The traces use numpy's default generator; the same parameters always give the same trace.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem, did_you_mean
from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import Requests
from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.mrg32k3a import Mrg32k3a

Int = NDArray[np.int64]
FILL_SECTORS = 256
"""The fill of `fill_overwrite` writes 128 KiB at a time."""
SETTLE_NS = 20_000_000
"""Pause between the fill and the overwrites."""

COMMON = {"kind", "cache", "size", "n", "seed"}
CLOSED = COMMON | {"dist", "qd", "read_pct", "align", "occupancy", "working_set"}
TRACES = {
    "poisson": COMMON | {"gen", "iops", "read_pct", "working_set"},
    "bursts": COMMON | {"gen", "burst", "period_ns", "working_set"},
    "weights": COMMON | {"gen", "per_layer", "period_ns"},
    "fill_overwrite": COMMON | {"gen", "iops", "read_pct", "working_set", "fill_gap_ns"},
}
OPTIONAL = {"cache", "occupancy", "working_set", "seed"}


def _random_addresses(stream: Mrg32k3a, last_sector: int, num_sectors: int, align: int, count: int) -> Int:
    sectors = stream.integers(0, last_sector, count)
    sectors[sectors + num_sectors > last_sector] = 0
    return sectors - sectors % align


def _sequential_addresses(stream: Mrg32k3a, last_sector: int, num_sectors: int, align: int, count: int) -> Int:
    following = int(stream.integers(0, last_sector, 1)[0])
    following -= following % align
    sectors = np.empty(count, np.int64)
    for i in range(count):
        sectors[i] = following if following + num_sectors <= last_sector else 0
        following += num_sectors
        if following > last_sector:
            following = 0
        if following % align:
            following += align - following % align
    return sectors - sectors % align


def closed_loop(config: DriveConfig, workload: Mapping[str, Any]) -> Requests:
    """The requests that MQSim's synthetic flow issues at constant queue depth, in order."""
    last_sector = int((config.logical_sectors - 1) * (workload.get("working_set", 50) / 100.0))
    count = workload["n"]
    num_sectors = workload["size"] // SECTOR_BYTES
    is_read = Mrg32k3a(workload["seed"]).uniform(count) <= workload["read_pct"] / 100.0
    addresses = _sequential_addresses if workload["dist"] == "STREAMING" else _random_addresses
    return Requests(
        is_write=~is_read,
        first_sectors=addresses(Mrg32k3a(workload["seed"] + 1), last_sector, num_sectors, workload["align"], count),
        num_sectors=np.full(count, num_sectors, np.int64),
        arrivals_ns=np.empty(0, np.int64),
        queue_depth=workload["qd"],
    )


def _slots(config: DriveConfig, workload: Mapping[str, Any], num_sectors: int) -> int:
    return int(config.logical_sectors * workload.get("working_set", 50) / 100) // num_sectors - 1


def _poisson_arrivals(draws: np.random.Generator, iops: float, count: int) -> Int:
    return np.cumsum(draws.exponential(1e9 / iops, count)).astype(np.int64)


def _trace(arrivals: Int, sectors: Int, num_sectors: int, is_read: NDArray[np.bool_]) -> Requests:
    return Requests(~is_read, sectors, np.full(len(arrivals), num_sectors, np.int64), arrivals)


def poisson(config: DriveConfig, workload: Mapping[str, Any]) -> Requests:
    """Independent arrivals at `iops`, uniform aligned addresses, `read_pct` percent reads."""
    draws = np.random.default_rng(workload["seed"])
    count, num_sectors = workload["n"], workload["size"] // SECTOR_BYTES
    arrivals = _poisson_arrivals(draws, workload["iops"], count) + 1
    sectors = draws.integers(0, _slots(config, workload, num_sectors), count) * num_sectors
    return _trace(arrivals, sectors, num_sectors, draws.random(count) < workload["read_pct"] / 100.0)


def bursts(config: DriveConfig, workload: Mapping[str, Any]) -> Requests:
    """Every `period_ns` a burst of random reads, 1 ns apart: the reads of a KV cache."""
    draws = np.random.default_rng(workload["seed"])
    count, num_sectors = workload["n"], workload["size"] // SECTOR_BYTES
    number = np.arange(count)
    arrivals = number // workload["burst"] * workload["period_ns"] + number % workload["burst"] + 1
    sectors = draws.integers(0, _slots(config, workload, num_sectors), count) * num_sectors
    return _trace(arrivals, sectors, num_sectors, np.ones(count, np.bool_))


def weights(config: DriveConfig, workload: Mapping[str, Any]) -> Requests:
    """Layer after layer, each a run of sequential reads issued at once: weights streamed from flash."""
    count, num_sectors = workload["n"], workload["size"] // SECTOR_BYTES
    number = np.arange(count)
    arrivals = number // workload["per_layer"] * workload["period_ns"] + number % workload["per_layer"] + 1
    return _trace(arrivals, number * num_sectors, num_sectors, np.ones(count, np.bool_))


def fill_overwrite(config: DriveConfig, workload: Mapping[str, Any]) -> Requests:
    """The working set written once in order, then random requests as a Poisson stream over it."""
    draws = np.random.default_rng(workload["seed"])
    filled = int(config.logical_sectors * workload["working_set"] / 100) // FILL_SECTORS * FILL_SECTORS
    fills = filled // FILL_SECTORS
    number = np.arange(fills)
    count, num_sectors = workload["n"], workload["size"] // SECTOR_BYTES
    gap = workload["fill_gap_ns"]
    arrivals = fills * gap + SETTLE_NS + _poisson_arrivals(draws, workload["iops"], count)
    is_read = draws.random(count) < workload["read_pct"] / 100.0
    sectors = draws.integers(0, filled // num_sectors, count) * num_sectors
    return Requests(
        is_write=np.concatenate([np.ones(fills, np.bool_), ~is_read]),
        first_sectors=np.concatenate([number * FILL_SECTORS, sectors]),
        num_sectors=np.concatenate([np.full(fills, FILL_SECTORS), np.full(count, num_sectors)]),
        arrivals_ns=np.concatenate([number * gap + 1, arrivals]),
    )


GENERATORS: dict[str, Callable[[DriveConfig, Mapping[str, Any]], Requests]] = {
    "poisson": poisson,
    "bursts": bursts,
    "weights": weights,
    "fill_overwrite": fill_overwrite,
}


def workload_problems(workload: Mapping[str, Any]) -> list[Problem]:
    """What makes a workload description unusable."""
    kind = workload.get("kind")
    if kind == "closed":
        needed = CLOSED
    elif kind == "trace":
        generator = workload.get("gen")
        if generator not in TRACES:
            return [Problem(f"unknown generator {generator!r}. {did_you_mean(str(generator), TRACES)}", path="workload.gen")]
        needed = TRACES[generator]
    else:
        return [Problem(f"unknown kind {kind!r}; use closed or trace", path="workload.kind")]
    found = [Problem("missing", path=f"workload.{key}") for key in sorted(needed - OPTIONAL - set(workload))]
    found += [
        Problem(f"unknown field. {did_you_mean(key, needed)}", path=f"workload.{key}")
        for key in workload
        if key not in needed and not (kind == "trace" and key == "read_pct")
    ]
    for key, value in workload.items():
        if key in ("kind", "gen", "dist", "cache"):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0 or (value == 0 and key not in ("read_pct", "seed")):
            found.append(Problem(f"must be a positive number, is {value!r}", path=f"workload.{key}"))
    if kind == "closed" and workload.get("dist") not in ("RANDOM_UNIFORM", "STREAMING"):
        dist = workload.get("dist")
        found.append(Problem(f"unknown distribution {dist!r}; use RANDOM_UNIFORM or STREAMING", path="workload.dist"))
    if not found and workload["size"] % SECTOR_BYTES:
        found.append(Problem(f"must be a multiple of {SECTOR_BYTES}", path="workload.size"))
    return found


def requests_of(config: DriveConfig, workload: Mapping[str, Any]) -> Requests:
    """The requests that a workload description stands for. Raises InputError with every problem."""
    found = workload_problems(workload)
    if found:
        raise InputError(found)
    if workload["kind"] == "closed":
        return closed_loop(config, workload)
    return GENERATORS[workload["gen"]](config, workload)
