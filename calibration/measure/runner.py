"""Runs items one after the other, each in a process of its own with a time limit, and keeps whatever was measured."""

import contextlib
import datetime
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from tiergarten.calibration.measure.build import BuildError, build, find_compilers
from tiergarten.calibration.measure.item import Item, Program, Request
from tiergarten.calibration.measure.left_out import LEFT_OUT
from tiergarten.calibration.measure.machine import Machine, describe, find_machine, identity, load_average
from tiergarten.calibration.measure.manifest import (
    Status,
    commit,
    read_manifest,
    replace_text,
    sources_sha256,
    write_manifest,
)
from tiergarten.calibration.measure.piece import encode
from tiergarten.sim.errors import InputError, Problem

MAX_ROWS: Final = 100_000
"""A program that prints more than this has lost its way; the rest is not kept."""
MAX_ERROR_LINES: Final = 1000


@dataclass(frozen=True)
class Suite:
    """What to run, how and where to."""

    items: tuple[Item, ...]
    folder: Path
    is_quick: bool
    is_dry_run: bool
    oversubscribe: float
    command: str
    before_item: Callable[[Item, Path], None] = lambda item, folder: None
    """Called before an item starts (the prediction of the decode loop is written here)."""


@dataclass(frozen=True)
class Outcome:
    """How one item went."""

    status: Status
    reason: str
    lines: tuple[str, ...]
    """Header and rows as printed."""


def run_suite(suite: Suite, on_progress: Callable[[str, float], None]) -> dict[str, Any]:
    """Run every item that the folder does not already hold. Returns the manifest.

    Args:
        suite: what to run.
        on_progress: called with an item's name and the finished share of all time limits, 0 to 1.

    Raises InputError if the folder holds measurements of another machine or another kind of run.
    """
    machine = find_machine(find_compilers())
    suite.folder.mkdir(parents=True, exist_ok=True)
    manifest = _opened_manifest(suite, machine)
    limits = [item.timeout_s(_request(suite)) for item in suite.items]
    missing = [item for item in suite.items if manifest["items"].get(item.name, {}).get("status") != "done"]
    with tempfile.TemporaryDirectory(prefix="tiergarten-") as scratch:
        programs = _built(missing, suite, machine, Path(scratch))
        for number, item in enumerate(suite.items):
            on_progress(item.name, sum(limits[:number]) / sum(limits))
            if item not in missing:
                continue
            started, load_before = time.monotonic(), load_average()

            def on_tick(elapsed_s: float, name: str = item.name, number: int = number) -> None:
                on_progress(name, (sum(limits[:number]) + min(elapsed_s, limits[number])) / sum(limits))

            outcome = _run_item(item, suite, machine, programs, on_tick)
            manifest["items"][item.name] = _recorded(item, outcome, suite.folder) | {
                "seconds": round(time.monotonic() - started, 2),
                "load_average_before": load_before,
                "load_average_after": load_average(),
            }
            write_manifest(suite.folder, manifest)
    return manifest


def _request(suite: Suite) -> Request:
    return Request(suite.is_quick, suite.is_dry_run, secrets.randbits(48), suite.oversubscribe, suite.folder.resolve())


def _opened_manifest(suite: Suite, machine: Machine) -> dict[str, Any]:
    description = describe(machine)
    kind = "dry run" if suite.is_dry_run else "quick" if suite.is_quick else "full"
    old = read_manifest(suite.folder)
    fresh = {
        "kind": kind,
        "machine": description,
        "sources_sha256": sources_sha256(),
        "commit": commit(),
        "commands": [suite.command],
        "date_utc": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "items": {},
    }
    if old is None:
        return fresh
    differs = [key for key in ("kind", "sources_sha256") if old.get(key) != fresh[key]]
    try:
        differs += ["machine"] * (identity(old["machine"]) != identity(description))
    except (KeyError, TypeError):
        differs.append("machine")
    if differs:
        raise InputError(
            Problem(
                f"holds measurements that differ in {', '.join(differs)}; give another folder with --out",
                str(suite.folder),
            )
        )
    old["commands"] = [*old.get("commands", []), suite.command]
    return old


def _built(items: list[Item], suite: Suite, machine: Machine, scratch: Path) -> dict[Program, Path | BuildError]:
    """Compile the programs that this machine can run, side by side, before anything is timed."""

    def one(program: Program) -> Path | BuildError:
        try:
            return build(program, machine.compilers, scratch, suite.is_dry_run, machine.cuda_arch)
        except BuildError as error:
            return error

    wanted = [i.how for i in items if isinstance(i.how, Program) and not machine.lacks(i.needs, suite.is_dry_run)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


def _run_item(
    item: Item,
    suite: Suite,
    machine: Machine,
    programs: dict[Program, Path | BuildError],
    on_tick: Callable[[float], None],
) -> Outcome:
    reason = machine.lacks(item.needs, suite.is_dry_run)
    if reason:
        return Outcome("left out", reason, ())
    request = _request(suite)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=suite.folder) as own:
        request = replace(request, folder=Path(own))
        suite.before_item(item, suite.folder)
        if isinstance(item.how, Program):
            program = programs[item.how]
            if isinstance(program, BuildError):
                return Outcome("failed", _scrubbed(str(program), suite.folder), ())
            command = [str(program), *request.arguments()]
        else:
            command = [sys.executable, "-P", "-m", "tiergarten.calibration.measure.piece", item.name, encode(request)]
        outcome = run_limited(command, item.timeout_s(request), on_tick)
        for path in sorted(Path(own).iterdir()):
            if not path.name.startswith("."):
                os.replace(path, suite.folder / path.name)
    return replace(outcome, reason=_scrubbed(outcome.reason, suite.folder))


def run_limited(
    command: list[str], limit_s: float, on_tick: Callable[[float], None] = lambda elapsed_s: None
) -> Outcome:
    """Run a process that prints a table; end it, with its children, after `limit_s`. Rows printed by then are kept.

    `on_tick` is called about twice a second with the seconds gone by.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    lines: deque[str] = deque()
    errors: deque[str] = deque(maxlen=MAX_ERROR_LINES)
    readers = [
        threading.Thread(target=_take_rows, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True),
    ]
    for reader in readers:
        reader.start()
    started = time.monotonic()
    is_late = False
    try:
        while process.poll() is None and not is_late:
            elapsed_s = time.monotonic() - started
            on_tick(elapsed_s)
            is_late = elapsed_s >= limit_s
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, min(0.5, limit_s - elapsed_s)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # a process in an uninterruptible driver call outlives SIGKILL; nobody waits for it longer than this
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    for reader in readers:
        reader.join(5)
    table = _table(list(lines))
    said = "".join(list(errors)).strip()
    if is_late:
        return Outcome("timed out", f"was ended after its limit of {limit_s:g} s", table)
    if process.returncode == LEFT_OUT:
        return Outcome("left out", said.splitlines()[-1] if said else "gave no reason", table)
    if process.returncode:
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        return Outcome("failed", f"{how}: {said[-1500:]}", table)
    if len(table) < 2:
        return Outcome("failed", "printed no rows", table)
    return Outcome("done", "", table)


def _take_rows(stream: IO[str], lines: deque[str]) -> None:
    """Read to the end, whatever comes, and keep the first MAX_ROWS lines."""
    for line in stream:
        if len(lines) <= MAX_ROWS:
            lines.append(line.rstrip("\n"))


def _table(lines: list[str]) -> tuple[str, ...]:
    """Whole rows only: what a killed process left half printed is dropped."""
    columns = lines[0].count(",") if lines else 0
    return tuple(line for line in lines if line.count(",") == columns and line.strip())


def _recorded(item: Item, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """Write the table and return the manifest's entry."""
    entry: dict[str, Any] = {"status": outcome.status, "group": item.group, "rows": max(len(outcome.lines) - 1, 0)}
    if outcome.reason:
        entry["reason"] = outcome.reason
    if entry["rows"]:
        replace_text(folder / f"{item.name}.csv", "\n".join(outcome.lines) + "\n")
        entry["file"] = f"{item.name}.csv"
    return entry


def _scrubbed(text: str, folder: Path) -> str:
    """A message without the folders of this machine: `/a/b/c.py` becomes `c.py`."""
    text = text.replace(str(folder.resolve()), "OUT")
    return re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", text)
