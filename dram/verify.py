"""Replay of every case of a manifest of recorded command traces, compared command for command and request for request."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.mapping import bank_coordinates
from tiergarten.dram.resolve import DramDevice, resolve
from tiergarten.dram.simulate import DramConfig, DramResult, simulate
from tiergarten.dram.tables import scope_level
from tiergarten.dram.traces import read_address_trace
from tiergarten.sim.errors import DeadlockError, InputError, Problem

CONTEXT = 3
"""Commands shown on either side of the first difference."""


@dataclass(frozen=True)
class CaseOutcome:
    """How far a replay agrees with its recording."""

    name: str
    matched_commands: int
    total_commands: int
    matched_requests: int
    total_requests: int
    difference: str
    """The first difference with its context; empty if there is none."""

    @property
    def is_exact(self) -> bool:
        return not self.difference


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest as a mapping. InputError if it cannot be read or lacks its parts."""
    try:
        manifest = YAML(typ="safe", pure=False).load(path.read_text())
    except OSError as error:
        raise InputError(Problem(error.strerror or str(error), file=str(path))) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"not YAML: {error}", file=str(path))) from error
    missing = [key for key in ("drams", "cases") if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise InputError([Problem("missing", file=str(path), path=key) for key in missing])
    return manifest


def verify_manifest(path: Path, only: str = "", names: Collection[str] = ()) -> Iterator[CaseOutcome]:
    """One outcome a case, in the manifest's order: the cases whose id contains `only` and, if given, is in `names`."""
    yield from verify_cases(path, load_manifest(path), only, names)


def verify_cases(
    path: Path, manifest: Mapping[str, Any], only: str = "", names: Collection[str] = ()
) -> Iterator[CaseOutcome]:
    """As `verify_manifest`, for a manifest of `path` that has been loaded."""
    for number, case in enumerate(manifest["cases"]):
        try:
            name = str(case["id"])
            if only in name and (not names or name in names):
                yield _verify_case(path.parent, manifest, case, name)
        except (KeyError, TypeError) as error:
            raise InputError(
                Problem(f"not of the expected form: {error}", str(path), path=f"cases.{number}")
            ) from error


def _verify_case(folder: Path, manifest: Mapping[str, Any], case: Mapping[str, Any], name: str) -> CaseOutcome:
    dram = manifest["drams"][case["dram"]]
    device = resolve(dram["standard"], dram["org_preset"], dram["timing_preset"], dram.get("overrides"))
    settings = {**manifest.get("defaults", {}), **case["config"]}
    config = DramConfig(device, ControllerConfig.from_mapping(settings, compat="ramulator-2.1"))
    trace = read_address_trace(folder / "traces" / case["trace"])
    expected = _load_expected(folder / case["expected"]["file"])
    arrive = np.cumsum(expected["darrive"].astype(np.int64))
    depart = arrive + expected["latency"].astype(np.int64)
    requests = np.stack([arrive, depart, depart + expected["extra"].astype(np.int64)], axis=1)
    wanted = _expected_commands(expected, dram["commands"], dram["levels"])
    try:
        result = simulate(config, trace, record="commands")
    except DeadlockError as error:
        return CaseOutcome(name, 0, len(wanted), 0, len(requests), str(error))
    found = command_table(result)
    assert result.arrive is not None, "recorded with commands"
    assert result.depart is not None
    assert result.done is not None
    found_requests = np.stack([result.arrive, result.depart, result.done], axis=1)
    difference = _first_difference(wanted, found, dram["levels"], "command") or _first_difference(
        requests, found_requests, None, "request"
    )
    if not difference and result.total_ticks != case["total_cycles"]:
        difference = f"total: expected {case['total_cycles']} ticks, found {result.total_ticks}"
    return CaseOutcome(
        name, _matching(wanted, found), len(wanted), _matching(requests, found_requests), len(requests), difference
    )


def _load_expected(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(Problem(f"cannot be read: {error}", file=str(path))) from error


def _expected_commands(expected: Mapping[str, NDArray[Any]], commands: list[str], levels: list[str]) -> NDArray[Any]:
    names = np.array([command_number(name) for name in commands])
    columns = [np.cumsum(expected["dclk"].astype(np.int64)), names[expected["cmd"].astype(np.int64)]]
    columns += [expected[f"lv_{level}"].astype(np.int64) for level in levels[1:]]
    return np.stack(columns, axis=1)


def command_number(name: str) -> int:
    """The kernels' number of a command; one number for both directions of CAS."""
    return COMMANDS[name].kernel_id


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


def _first_difference(wanted: NDArray[Any], found: NDArray[Any], levels: list[str] | None, what: str) -> str:
    shared = min(len(wanted), len(found))
    unequal = np.flatnonzero((wanted[:shared] != found[:shared]).any(axis=1))
    if not len(unequal) and len(wanted) == len(found):
        return ""
    first = int(unequal[0]) if len(unequal) else shared
    lines = [f"first difference at {what} {first} of {len(wanted)} expected and {len(found)} found"]
    for row in range(max(0, first - CONTEXT), first + CONTEXT + 1):
        sides = [_row_text(table[row], levels) if row < len(table) else "-" for table in (wanted, found)]
        lines.append(f"  {'>' if row == first else ' '} {row}: expected {sides[0]}   found {sides[1]}")
    return "\n".join(lines)


def _row_text(row: NDArray[Any], levels: list[str] | None) -> str:
    if levels is None:
        return f"arrive {row[0]} depart {row[1]} done {row[2]}"
    name = next((name for name, command in COMMANDS.items() if command.kernel_id == row[1]), str(row[1]))
    return f"{row[0]} {name} " + ",".join(str(value) for value in row[2:])


def summarise(outcomes: list[CaseOutcome]) -> dict[str, Any]:
    """Totals over cases, as printed and as JSON."""
    return {
        "cases_exact": sum(outcome.is_exact for outcome in outcomes),
        "cases": len(outcomes),
        "commands_matched": sum(outcome.matched_commands for outcome in outcomes),
        "commands": sum(outcome.total_commands for outcome in outcomes),
        "requests_matched": sum(outcome.matched_requests for outcome in outcomes),
        "requests": sum(outcome.total_requests for outcome in outcomes),
        "differences": {outcome.name: outcome.difference for outcome in outcomes if not outcome.is_exact},
    }
