"""Replay of every case of a manifest of recorded command traces, compared command for command and request for request."""

import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiergarten.dram.commands import CAS_RD, CAS_WR, COMMANDS, RCKSTOP, RCKSTRT
from tiergarten.dram.manifest import RecordedCase, read_manifest
from tiergarten.dram.mapping import bank_coordinates
from tiergarten.dram.resolve import DramDevice
from tiergarten.dram.simulate import DramResult, check_trace, simulate
from tiergarten.dram.tables import scope_level
from tiergarten.dram.traces import read_address_trace
from tiergarten.sim.errors import DeadlockError, InputError, Problem
from tiergarten.sim.trace import AddressTrace

CONTEXT = 3
"""Rows shown on either side of the first difference."""
INTERNAL = -1
"""Kind of a command that no request caused: refresh or row policy. Otherwise 0 for a read, 1 for a write."""
REQUEST_COLUMNS = ("darrive", "latency", "extra")
COUNTERS = {
    "cycles": "cycles",
    "read_row_hits": "read_row_hits",
    "read_row_misses": "read_row_misses",
    "read_row_conflicts": "read_row_conflicts",
    "write_row_hits": "write_row_hits",
    "write_row_misses": "write_row_misses",
    "write_row_conflicts": "write_row_conflicts",
    "num_read_reqs": "reads",
    "num_write_reqs": "writes",
    "num_maintenance_reqs": "maintenance",
    "num_read_reqs_served": "reads_issued",
    "num_write_reqs_served": "writes_issued",
    "num_maintenance_reqs_served": "maintenance_served",
    "num_read_reqs_forwarded": "reads_forwarded",
    "num_write_reqs_coalesced": "writes_coalesced",
    "read_latency": "read_latency_ticks",
    "read_queue_len": "read_queue_length_sum",
    "write_queue_len": "write_queue_length_sum",
    "priority_queue_len": "priority_queue_length_sum",
    "stall_ticks": "stall_ticks",
}
"""The reference's counters and ours of the same meaning. Its other ones follow from these, or are not counted here."""


@dataclass(frozen=True)
class CaseOutcome:
    """How far a replay agrees with its recording."""

    name: str
    matched_commands: int
    total_commands: int
    matched_requests: int
    total_requests: int
    matched_counters: int
    total_counters: int
    difference: str
    """The first difference with its context; empty if there is none."""

    @property
    def is_exact(self) -> bool:
        return not self.difference


def verify_manifest(path: Path, only: str = "", names: Collection[str] = ()) -> Iterator[CaseOutcome]:
    """One outcome a case, in the manifest's order: the cases whose id contains `only` and, if given, is in `names`."""
    yield from verify_cases(read_manifest(path, only, names))


def verify_cases(cases: Iterable[RecordedCase]) -> Iterator[CaseOutcome]:
    """One outcome a case. InputError if a trace or a recording cannot be used."""
    for case in cases:
        yield _verify_case(case)


def _verify_case(case: RecordedCase) -> CaseOutcome:
    trace = in_order(read_address_trace(case.trace))
    check_trace(trace, case.config.device, str(case.trace))
    expected = _load_recording(case)
    arrive = np.cumsum(expected["darrive"])
    depart = arrive + expected["latency"]
    requests = np.stack([arrive, depart, depart + expected["extra"]], axis=1)
    wanted = _recorded_commands(case, expected)
    try:
        result = simulate(case.config, trace, record="commands")
    except DeadlockError as error:
        return CaseOutcome(case.name, 0, len(wanted), 0, len(requests), 0, len(case.stats), str(error))
    found = _issued_commands(result, trace.is_write)
    assert result.arrive is not None, "recorded with commands"
    assert result.depart is not None
    assert result.done is not None
    found_requests = np.stack([result.arrive, result.depart, result.done], axis=1)
    counted = _counters(result)
    counters = [(name, value, counted[name]) for name, value in case.stats.items() if name in counted]
    unequal = [f"{name}: expected {value}, found {ours}" for name, value, ours in counters if value != ours]
    difference = _first_difference(wanted, found, "command") or _first_difference(requests, found_requests, "request")
    if not difference and result.total_ticks != case.total_ticks:
        difference = f"total: expected {case.total_ticks} ticks, found {result.total_ticks}"
    if not difference and unequal:
        difference = "counters differ\n  " + "\n  ".join(unequal)
    return CaseOutcome(
        name=case.name,
        matched_commands=_matching(wanted, found),
        total_commands=len(wanted),
        matched_requests=_matching(requests, found_requests),
        total_requests=len(requests),
        matched_counters=len(counters) - len(unequal),
        total_counters=len(counters),
        difference=difference,
    )


def in_order(trace: AddressTrace) -> AddressTrace:
    """The trace with no time before the row above: recordings offer requests in order, whatever their earliest ticks."""
    return replace(trace, ticks=np.maximum.accumulate(trace.ticks))


def _counters(result: DramResult) -> dict[str, int]:
    """Our counts by the reference's names."""
    assert result.commands is not None
    numbers = result.commands.commands
    accesses = result.counters["reads_issued"] + result.counters["writes_issued"]
    cas = int(np.isin(numbers, (CAS_RD, CAS_WR)).sum())
    return {name: result.counters[ours] for name, ours in COUNTERS.items()} | {
        "row_hits": result.counters["read_row_hits"] + result.counters["write_row_hits"],
        "row_misses": result.counters["read_row_misses"] + result.counters["write_row_misses"],
        "row_conflicts": result.counters["read_row_conflicts"] + result.counters["write_row_conflicts"],
        "cas_issued": cas,
        "cas_skipped": accesses - cas,
        "num_rckstrt_issued": int((numbers == RCKSTRT).sum()),
        "num_rckstop_issued": int((numbers == RCKSTOP).sum()),
    }


def _load_recording(case: RecordedCase) -> dict[str, NDArray[np.int64]]:
    """The arrays of a recording as int64. InputError if they cannot be read, are missing or do not fit together."""
    try:
        with np.load(case.expected, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(Problem(f"cannot be read as npz: {error}", file=str(case.expected))) from error
    columns = ("dclk", "cmd", "type", *(f"lv_{level}" for level in case.config.device.standard.levels[1:]))
    problems = []
    for names in (columns, REQUEST_COLUMNS):
        present = [name for name in names if name in arrays]
        problems += [(name, "missing") for name in names if name not in arrays]
        problems += [
            (name, "must be a row of whole numbers")
            for name in present
            if arrays[name].ndim != 1 or not np.issubdtype(arrays[name].dtype, np.integer)
        ]
        if len({len(np.atleast_1d(arrays[name])) for name in present}) > 1:
            problems.append((", ".join(present), "differ in length"))
    if not problems and not np.isin(arrays["cmd"], np.arange(len(case.commands))).all():
        problems.append(("cmd", f"numbers must be below {len(case.commands)}, the commands of the manifest"))
    if problems:
        raise InputError([Problem(what, str(case.expected), path=name) for name, what in problems])
    return {name: arrays[name].astype(np.int64) for name in (*columns, *REQUEST_COLUMNS)}


def _recorded_commands(case: RecordedCase, expected: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Rows as of `command_table`, and the kind of request as a last column."""
    numbers = np.array([COMMANDS[name].kernel_id for name in case.commands])
    columns = [np.cumsum(expected["dclk"]), numbers[expected["cmd"]]]
    columns += [expected[f"lv_{level}"] for level in case.config.device.standard.levels[1:]]
    return np.stack([*columns, expected["type"]], axis=1)


def _issued_commands(result: DramResult, is_write: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The same of a replay; `is_write` by request of the trace."""
    assert result.commands is not None, "recorded"
    requests = result.commands.requests
    kinds = np.where(requests < 0, INTERNAL, np.append(is_write, False)[requests])
    return np.column_stack([command_table(result), kinds])


def command_table(result: DramResult) -> NDArray[np.int64]:
    """Commands as rows of (tick, number, coordinates from below Channel to Column); -1 is a wildcard."""
    trace, device = result.commands, result.config.device
    if trace is None:
        raise ValueError("the replay did not record commands")
    numbers = trace.commands.astype(np.int64)
    if "CAS" in device.standard.commands:
        numbers[numbers == COMMANDS["CAS_WR"].kernel_id] = COMMANDS["CAS"].kernel_id
    table = np.full((len(numbers), 2 + len(device.counts) - 1), -1, np.int64)
    table[:, 0], table[:, 1] = trace.ticks, numbers
    wide = np.isin(
        numbers, [COMMANDS[name].kernel_id for name in device.standard.commands if COMMANDS[name].target == "all"]
    )
    for level, column in enumerate(bank_coordinates(device, trace.targets.astype(np.int64)), start=2):
        table[:, level] = np.where(wide, -1, column)
    if scope_level(device) == 1:
        table[wide, 2] = trace.targets[wide]
    asked = trace.requests >= 0
    table[asked, -2] = result.coordinates.rows[trace.requests[asked]]
    table[asked, -1] = result.coordinates.columns[trace.requests[asked]]
    _clear_groups(table, device)
    return table


def _clear_groups(table: NDArray[np.int64], device: DramDevice) -> None:
    """Same-bank commands name no bank group."""
    if "REFsb" in device.standard.commands:
        same = table[:, 1] == COMMANDS["REFsb"].kernel_id
        table[same, device.standard.levels.index("BankGroup") + 1] = -1


def _matching(wanted: NDArray[Any], found: NDArray[Any]) -> int:
    shared = min(len(wanted), len(found))
    return int((wanted[:shared] == found[:shared]).all(axis=1).sum())


def _first_difference(wanted: NDArray[Any], found: NDArray[Any], what: str) -> str:
    shared = min(len(wanted), len(found))
    unequal = np.flatnonzero((wanted[:shared] != found[:shared]).any(axis=1))
    if not len(unequal) and len(wanted) == len(found):
        return ""
    first = int(unequal[0]) if len(unequal) else shared
    lines = [f"first difference at {what} {first} of {len(wanted)} expected and {len(found)} found"]
    for row in range(max(0, first - CONTEXT), first + CONTEXT + 1):
        sides = [_row_text(table[row], what) if row < len(table) else "-" for table in (wanted, found)]
        lines.append(f"  {'>' if row == first else ' '} {row}: expected {sides[0]}   found {sides[1]}")
    return "\n".join(lines)


def _row_text(row: NDArray[Any], what: str) -> str:
    if what == "request":
        return f"arrive {row[0]} depart {row[1]} done {row[2]}"
    name = next((name for name, command in COMMANDS.items() if command.kernel_id == row[1]), str(row[1]))
    cause = {INTERNAL: "internal", 0: "read", 1: "write"}.get(int(row[-1]), f"type {row[-1]}")
    return f"{row[0]} {name} " + ",".join(str(value) for value in row[2:-1]) + f" ({cause})"


def summarise(outcomes: list[CaseOutcome]) -> dict[str, Any]:
    """Totals over cases, as printed and as JSON."""
    return {
        "cases_exact": sum(outcome.is_exact for outcome in outcomes),
        "cases": len(outcomes),
        "commands_matched": sum(outcome.matched_commands for outcome in outcomes),
        "commands": sum(outcome.total_commands for outcome in outcomes),
        "requests_matched": sum(outcome.matched_requests for outcome in outcomes),
        "requests": sum(outcome.total_requests for outcome in outcomes),
        "counters_matched": sum(outcome.matched_counters for outcome in outcomes),
        "counters": sum(outcome.total_counters for outcome in outcomes),
        "differences": {outcome.name: outcome.difference for outcome in outcomes if not outcome.is_exact},
    }
