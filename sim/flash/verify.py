"""Replays the cases of a golden manifest recorded with MQSim and compares.

A case without collection must agree in every recorded request (arrival, submission and completion to the ns) and in every command
counter. A case with collection is compared in throughput, collections and write amplification, against the record of the repaired MQSim
where there is one: there the order of waiting writes follows heap addresses, so no two builds agree request by request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tiergarten.sim.errors import InputError, Problem, did_you_mean
from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import DriveResult, Requests, empty_drive, run_requests
from tiergarten.sim.flash.mqsim import drive_from_mqsim
from tiergarten.sim.flash.precondition import precondition
from tiergarten.sim.flash.streams import requests_of

TOLERANCE = 0.02
"""Of throughput, collections and write amplification where request-by-request agreement cannot be had."""
COLUMNS = ("seq", "type", "lba", "sectors", "arrival_ns", "submit_ns", "complete_ns")
COMPARED = ("type", "lba", "sectors", "arrival_ns", "submit_ns", "complete_ns")
COUNTERS = {
    "read_cmds": "read_commands",
    "multiplane_read_cmds": "multiplane_reads",
    "program_cmds": "program_commands",
    "multiplane_program_cmds": "multiplane_programs",
    "erase_cmds": "erase_commands",
    "mapping_read_cmds": "mapping_reads",
    "gc_executions": "gc_runs",
}


@dataclass(frozen=True)
class CaseReport:
    """How one case compares."""

    name: str
    is_exact: bool
    """Compared request by request; otherwise by deviations."""
    passed: bool
    matched: int
    total: int
    """Recorded requests; a case with step > 1 records every step-th."""
    deviations: dict[str, float]
    """Relative, ours over the reference's minus 1."""
    difference: str
    """What differs first, with the requests around it; empty if nothing does."""


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest's content. Raises InputError if it cannot be read or lacks its parts."""
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read: {error}", file=str(path))) from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(Problem("is not YAML", file=str(path), line=mark.line + 1 if mark else None)) from error
    found = []
    for key in ("device_presets", "cases"):
        if not isinstance(content, dict) or not isinstance(content.get(key), dict):
            found.append(Problem("missing, or not a table", file=str(path), path=key))
    if found:
        raise InputError(found)
    for name, case in content["cases"].items():
        found += [
            Problem(problem.message, str(path), path=f"cases.{name}.{problem.path}")
            for problem in _case_problems(content, case)
        ]
    if found:
        raise InputError(found)
    return dict(content)


def _case_problems(content: Mapping[str, Any], case: Any) -> list[Problem]:
    if not isinstance(case, dict):
        return [Problem("must be a table", path="")]
    found = [Problem("missing", path=key) for key in ("device", "workload", "requests", "stock") if key not in case]
    found += [
        Problem("must be a table", path=key)
        for key in ("workload", "requests", "stock", "device_overrides", "patched", "patched_requests")
        if key in case and not isinstance(case[key], dict)
    ]
    if not found and case["device"] not in content["device_presets"]:
        presets = content["device_presets"]
        found.append(
            Problem(f"unknown device {case['device']!r}. {did_you_mean(str(case['device']), presets)}", path="device")
        )
    if not found:
        reference = case["patched"] if "patched" in case else case["stock"]
        found += [
            Problem("missing", path=f"stock.{key}")
            for key in ("makespan_ns", "requests_serviced", "flash")
            if key not in reference
        ]
        found += [] if "file" in case["requests"] else [Problem("missing", path="requests.file")]
    return found


def select_cases(manifest: Mapping[str, Any], names: list[str]) -> list[str]:
    """The named cases, all if none is named. Raises InputError for unknown names."""
    cases = manifest["cases"]
    unknown = [Problem(f"unknown case {name!r}. {did_you_mean(name, cases)}") for name in names if name not in cases]
    if unknown:
        raise InputError(unknown)
    return names or list(cases)


def drive_of(manifest: Mapping[str, Any], name: str) -> tuple[DriveConfig, dict[str, Any]]:
    """The drive of a case, and its device fields."""
    case = manifest["cases"][name]
    device = {**manifest["device_presets"][case["device"]], **case.get("device_overrides", {})}
    return drive_from_mqsim(name, device, case["workload"].get("cache", "WRITE_CACHE")), device


def replay(manifest: Mapping[str, Any], name: str) -> tuple[Requests, DriveResult]:
    """Run one case."""
    config, device = drive_of(manifest, name)
    workload = manifest["cases"][name]["workload"]
    requests = requests_of(config, workload)
    drive = empty_drive(config, len(requests), int(requests.num_sectors.max()), requests.queue_depth)
    if device.get("Enabled_Preconditioning"):
        precondition(drive, config, workload)
    return requests, run_requests(config, requests, drive)


def _recorded(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read: {error}", file=str(path))) from error
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise InputError(Problem(f"lacks the columns {', '.join(missing)}", file=str(path), line=1))
    bad = rows[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").isna().any(axis=1)
    if bad.any():
        raise InputError(Problem("is not a row of numbers", file=str(path), line=int(np.argmax(bad)) + 2))
    return rows[list(COLUMNS)].astype(np.int64)


def _ours(requests: Requests, result: DriveResult, seq: pd.Series) -> pd.DataFrame:
    at = seq.to_numpy()
    return pd.DataFrame(
        {
            "seq": at,
            "type": (~requests.is_write[at]).astype(np.int64),
            "lba": requests.first_sectors[at],
            "sectors": requests.num_sectors[at],
            "arrival_ns": result.arrivals_ns[at],
            "submit_ns": result.submits_ns[at],
            "complete_ns": result.completions_ns[at],
        }
    )


def first_difference(expected: pd.DataFrame, ours: pd.DataFrame) -> str:
    """The first recorded request that differs, which fields do, and the requests around it; empty if none differs."""
    differs = (expected[list(COMPARED)].to_numpy() != ours[list(COMPARED)].to_numpy()).any(axis=1)
    if not differs.any():
        return ""
    row = int(np.argmax(differs))
    fields = [column for column in COMPARED if expected[column].iloc[row] != ours[column].iloc[row]]
    lines = [
        f"request {expected['seq'].iloc[row]} differs in {', '.join(fields)}:",
        "  " + " ".join(f"{c:>12}" for c in COLUMNS),
    ]
    for i in range(max(0, row - 2), min(len(expected), row + 3)):
        lines.append("  " + " ".join(f"{expected[c].iloc[i]:>12}" for c in COLUMNS) + "  expected")
        if differs[i]:
            lines.append("  " + " ".join(f"{ours[c].iloc[i]:>12}" for c in COLUMNS) + "  ours")
    return "\n".join(lines)


def _counter_differences(reference: Mapping[str, Any], result: DriveResult) -> list[str]:
    flash = reference["flash"]
    return [
        f"{theirs}: expected {flash[theirs]}, ours {result.counters[ours]}"
        for theirs, ours in COUNTERS.items()
        if flash.get(theirs) is not None and flash[theirs] != result.counters[ours]
    ]


def deviations(reference: Mapping[str, Any], result: DriveResult) -> dict[str, float]:
    """Relative deviations of throughput, collections and write amplification."""
    served = reference["requests_serviced"] / reference["makespan_ns"]
    found = {"throughput": len(result.completions_ns) / result.makespan_ns / served - 1}
    runs = reference["flash"].get("gc_executions") or 0
    host_pages = result.counters["host_pages_written"]
    if runs and host_pages:
        moved = runs * reference["flash"]["gc_mean_pages_moved"]
        found["collections"] = result.counters["gc_runs"] / runs - 1
        ours = 1 + result.counters["gc_moved_pages"] / host_pages
        found["write amplification"] = ours / (1 + moved / host_pages) - 1
    return found


def verify_case(manifest: Mapping[str, Any], folder: Path, name: str) -> CaseReport:
    """Replay one case and compare it. Raises InputError for a case that cannot be replayed."""
    case = manifest["cases"][name]
    reference = case.get("patched", case["stock"])
    record = case.get("patched_requests", case["requests"]) if "patched" in case else case["requests"]
    expected = _recorded(folder / record["file"])
    requests, result = replay(manifest, name)
    if len(expected) == 0 or expected["seq"].min() < 0 or expected["seq"].max() >= len(requests):
        message = f"records other requests than the {len(requests)} of the workload"
        raise InputError(Problem(message, file=str(folder / record["file"])))
    ours = _ours(requests, result, expected["seq"])
    same = (expected[list(COMPARED)].to_numpy() == ours[list(COMPARED)].to_numpy()).all(axis=1)
    relative = deviations(reference, result)
    has_collection = bool(reference["flash"].get("gc_executions"))
    if has_collection:
        outside = [f"{what} deviates by {value:+.2%}" for what, value in relative.items() if abs(value) > TOLERANCE]
        return CaseReport(name, False, not outside, int(same.sum()), len(same), relative, "\n".join(outside))
    difference = "\n".join(filter(None, [first_difference(expected, ours), *_counter_differences(reference, result)]))
    return CaseReport(name, True, not difference, int(same.sum()), len(same), relative, difference)


def verify(path: Path, names: list[str] | None = None) -> Iterator[CaseReport]:
    """Report case by case."""
    manifest = read_manifest(path)
    for name in select_cases(manifest, names or []):
        yield verify_case(manifest, path.parent, name)
