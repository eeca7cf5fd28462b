"""Which preset and load stand for which published measurement, and how far off they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.flash.presets import preset
from tiergarten.sim.flash.throughput import ClosedLoad, measure

TOLERANCE = 0.15
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Comparison:
    """How a published number is had from a preset."""

    point: str
    """Id in the file of published measurements."""
    index: int
    """Which of its values, where it has several."""
    drive: str
    load: ClosedLoad
    unit: str
    scale: float
    """Published value times this = IOPS or bytes/s of one drive."""


def _random(queue_depth: int, threads: int, read_share: float = 1.0) -> ClosedLoad:
    return ClosedLoad(4096, queue_depth, threads, read_share, num_requests=max(3000, 400 * queue_depth * threads))


def _rated(is_sequential: bool, read_share: float) -> ClosedLoad:
    """How makers rate: 128 KiB one after the other or 4 KiB random, 256 in flight."""
    if is_sequential:
        return ClosedLoad(131072, 256, 1, read_share, is_sequential=True, num_requests=40_000)
    return ClosedLoad(4096, 32, 8, read_share, num_requests=100_000)


def _sequential(queue_depth: int, threads: int, read_share: float, num_requests: int) -> ClosedLoad:
    return ClosedLoad(MIB, queue_depth, threads, read_share, is_sequential=True, num_requests=num_requests)


COMPARISONS = (
    Comparison("nm790_qd1t1", 0, "pcie4-tlc", _random(1, 1), "IOPS", 1),
    Comparison("nm790_qd1t4", 0, "pcie4-tlc", _random(1, 4), "IOPS", 1),
    Comparison("nm790_qd8t1", 0, "pcie4-tlc", _random(8, 1), "IOPS", 1),
    Comparison("nm790_qd8t4", 0, "pcie4-tlc", _random(8, 4), "IOPS", 1),
    Comparison("nm790_w", 0, "pcie4-tlc", _random(1, 1, 0.0), "IOPS", 1),
    Comparison("nm790_w", 1, "pcie4-tlc", _random(1, 4, 0.0), "IOPS", 1),
    Comparison("990pro_seq", 0, "pcie4-tlc", _sequential(8, 1, 1.0, 1500), "MiB/s", MIB),
    Comparison("p5plus_qd16t4", 0, "p5-plus", _random(16, 4), "IOPS", 1),
    Comparison("p5plus_qd32t8", 0, "p5-plus", _random(32, 8), "IOPS", 1),
    Comparison("gds_raid_4gpu", 0, "pcie5-tlc", _sequential(16, 4, 1.0, 3000), "GiB/s by 4 drives", GIB / 4),
    Comparison("gds_raid_4gpu", 1, "pcie5-tlc", _sequential(16, 4, 0.0, 6000), "GiB/s by 4 drives", GIB / 4),
    Comparison("d5p5430_read", 0, "qlc", _rated(True, 1.0), "GB/s", 1e9),
    Comparison("d5p5430_read", 1, "qlc", _rated(False, 1.0), "IOPS", 1),
    Comparison("d5p5430_write", 0, "qlc", _rated(True, 0.0), "GB/s", 1e9),
    Comparison("d5p5430_write", 1, "qlc", _rated(False, 0.0), "IOPS", 1),
)
"""Where a drive's number is for an array of four, each is taken to give a quarter. The QLC ones are ratings (`qlc_points.yaml`)."""


@dataclass(frozen=True)
class PublishedPoint:
    """One comparison's outcome."""

    drive: str
    what: str
    published: float
    ours: float
    """In the published unit."""
    unit: str
    deviation: float
    source: str


def _measurements(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(Problem(f"cannot be read: {error}", file=str(path))) from error
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "id" in entry for entry in content):
        raise InputError(Problem("must be a list of entries with an id", file=str(path)))
    return {entry["id"]: entry for entry in content}


def compare(path: Path) -> list[PublishedPoint]:
    """Every comparison whose point the file has. Raises InputError if it has none or cannot be read."""
    entries = _measurements(path)
    found = []
    for comparison in COMPARISONS:
        entry = entries.get(comparison.point)
        if entry is None:
            continue
        value = entry["value"]
        published = float(value[comparison.index] if isinstance(value, list) else value)
        measured = measure(preset(comparison.drive), comparison.load)
        ours = (measured.iops if comparison.unit == "IOPS" else measured.bytes_per_s) / comparison.scale
        what = f"{entry['device']}: {entry['what']}"
        found.append(
            PublishedPoint(
                comparison.drive, what, published, ours, comparison.unit, ours / published - 1, str(entry["source"])
            )
        )
    if not found:
        raise InputError(Problem("holds none of the points that are compared", file=str(path)))
    return found
