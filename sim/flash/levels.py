"""The two cheap levels made from the event kernel: bounds from the parameters (analytic) and latency against size and load (curve).

The curve holds mean latencies measured with the kernel at constant numbers of requests in flight; by Little's law latency = in flight /
throughput, so an access that meets n others in flight and takes the latency of n + 1 gets the throughput of n + 1.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem, UnknownNameError, did_you_mean
from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.throughput import ClosedLoad, Measured

BUNDLED_CURVES = "curves.csv"
"""Made by `tiergarten flash curve` from the presets."""
COLUMNS = ("drive", "write", "request_bytes", "queue_depth", "threads", "GBps", "mean_us", "p99_us")
NO_HOST_THREADS = 0
"""In the column `threads`: the drive alone, without the host's time per I/O."""


@dataclass(frozen=True)
class Bounds:
    """What a drive cannot exceed, from its parameters alone."""

    read_bytes_per_s: float
    write_bytes_per_s: float
    read_latency_ns: float
    write_latency_ns: float


def bounds(config: DriveConfig) -> Bounds:
    """Bandwidth: the least of link, channels and planes at work; latency: the fastest page type, without data.

    A write ends in the drive's DRAM if that holds writes, so its latency is the controller's, else it is a program's.
    """
    geometry, timing, pcie = config.geometry, config.timing, config.pcie
    share = pcie.packet_payload_bytes / (pcie.packet_payload_bytes + pcie.packet_overhead_bytes)
    link = pcie.lanes * pcie.lane_gbytes_per_s * 1e9 * share
    ns_per_byte = timing.data_grain_ns / timing.data_grain_bytes
    channels = geometry.channels * 1e9 / ns_per_byte if ns_per_byte else float("inf")
    at_once = geometry.num_planes if _dies_overlap(config) else geometry.num_chips * geometry.planes_per_die
    page = geometry.page_bytes
    planes_read = at_once * page * 1e9 / min(timing.read_ns)
    planes_write = at_once * page * 1e9 / (sum(timing.program_ns[: geometry.cell]) / geometry.cell)
    controller = config.modern
    write_ns = controller.controller_write_ns + (0 if config.cache.mode.holds_writes else min(timing.program_ns))
    return Bounds(
        read_bytes_per_s=min(link, channels, planes_read),
        write_bytes_per_s=min(link, channels, planes_write),
        read_latency_ns=controller.controller_read_ns + min(timing.read_ns),
        write_latency_ns=write_ns,
    )


def _dies_overlap(config: DriveConfig) -> bool:
    return config.modern.die_interleaving or config.geometry.dies_per_chip == 1


@dataclass(frozen=True, eq=False)
class LatencyCurve:
    """Mean latency of reads and writes against request size and requests in flight."""

    sizes_bytes: NDArray[np.float64]
    """float64[S], rising."""
    in_flight: NDArray[np.float64]
    """float64[N], rising."""
    latency_ns: NDArray[np.float64]
    """float64[2, S, N]: reads, writes."""

    def at(self, is_write: bool, num_bytes: float, in_flight: float) -> float:
        """Latency [ns], interpolated in the logarithms; beyond the last load it grows in proportion to it (the drive is saturated)."""
        last = self.in_flight[-1]
        excess = max(1.0, in_flight / float(last))
        column = self._columns(is_write, min(in_flight, last))
        size = np.log(min(max(num_bytes, self.sizes_bytes[0]), self.sizes_bytes[-1]))
        return float(np.exp(np.interp(size, np.log(self.sizes_bytes), column))) * excess

    def _columns(self, is_write: bool, in_flight: float) -> NDArray[np.float64]:
        """Logarithm of the latency of every size at one load."""
        logs = np.log(self.latency_ns[int(is_write)])
        position = np.interp(np.log(in_flight), np.log(self.in_flight), np.arange(len(self.in_flight)))
        low = min(int(position), len(self.in_flight) - 2)
        share = position - low
        column: NDArray[np.float64] = (1 - share) * logs[:, low] + share * logs[:, low + 1]
        return column


def curve_rows(drive: str, points: Iterable[tuple[ClosedLoad, Measured]]) -> list[dict[str, object]]:
    """Rows for a curve file."""
    return [
        {
            "drive": drive,
            "write": int(load.read_share == 0),
            "request_bytes": load.num_bytes,
            "queue_depth": load.queue_depth,
            "threads": load.threads,
            "GBps": f"{measured.bytes_per_s / 1e9:.6g}",
            "mean_us": f"{measured.mean_ns / 1e3:.6g}",
            "p99_us": f"{measured.p99_ns / 1e3:.6g}",
        }
        for load, measured in points
    ]


def read_curves(path: Path | None = None) -> dict[str, LatencyCurve]:
    """The curves of a file by drive, those of the drive alone (threads = 0); the bundled file by default.

    Raises InputError for rows that are no numbers or a grid with holes.
    """
    if path is None:
        text = resources.files("tiergarten.sim.flash").joinpath(BUNDLED_CURVES).read_text(encoding="utf-8")
        name = BUNDLED_CURVES
    else:
        try:
            text, name = path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(Problem(f"cannot be read: {error}", file=str(path))) from error
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(Problem(f"lacks the columns {', '.join(missing)}", name, 1))
    points: dict[str, dict[tuple[int, int, int], float]] = {}
    problems = []
    for row in reader:
        try:
            key = (int(row["write"]), int(row["request_bytes"]), int(row["queue_depth"]))
            latency, threads = float(row["mean_us"]), int(row["threads"])
            if key[0] not in (0, 1) or key[1] <= 0 or key[2] <= 0 or not 0 < latency < 1e12:
                raise ValueError
        except (TypeError, ValueError):
            problems.append(Problem("is not a row of positive numbers", name, reader.line_num))
            continue
        if threads == NO_HOST_THREADS:
            points.setdefault(row["drive"], {})[key] = latency * 1e3
    if problems:
        raise InputError(problems[:20])
    return {drive: _grid(name, drive, grid) for drive, grid in points.items()}


def _grid(file: str, drive: str, points: dict[tuple[int, int, int], float]) -> LatencyCurve:
    sizes = sorted({size for _, size, _ in points})
    loads = sorted({load for _, _, load in points})
    holes = [(w, s, n) for w in (0, 1) for s in sizes for n in loads if (w, s, n) not in points]
    if holes or len(sizes) < 2 or len(loads) < 2:
        what = (
            f"lacks write={holes[0][0]} {holes[0][1]} bytes at depth {holes[0][2]}"
            if holes
            else "needs two sizes and two depths"
        )
        raise InputError(Problem(f"drive {drive!r}: {what}", file))
    latency = np.array([[[points[w, s, n] for n in loads] for s in sizes] for w in (0, 1)])
    return LatencyCurve(np.array(sizes, float), np.array(loads, float), latency)


def curve_of(drive: str, curves: dict[str, LatencyCurve]) -> LatencyCurve:
    """One drive's curve; UnknownNameError if the file has none."""
    if drive not in curves:
        raise UnknownNameError(f"there is no curve of flash drive {drive!r}. {did_you_mean(drive, curves)}")
    return curves[drive]
