"""The record of a suite: what ran, what it found, what was left out and why. Written after every item."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final, Literal

from tiergarten.calibration.measure.build import HERE
from tiergarten.sim.errors import InputError, Problem

FILE: Final = "manifest.json"
Status = Literal["done", "left out", "failed", "timed out"]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None if it has none. InputError if it is damaged."""
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(path))) from error
    try:
        manifest = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            Problem(f"is not JSON ({error.msg}); delete it to start anew", str(path), error.lineno)
        ) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("items"), dict):
        raise InputError(Problem("is no manifest of measurements; choose another folder", str(path)))
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write it; a reader finds the old one or the whole new one."""
    replace_text(folder / FILE, json.dumps(manifest, indent=1) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Put a file in place at once."""
    staging = path.with_name(f".{path.name}.part")
    staging.write_text(text, encoding="utf-8")
    os.replace(staging, path)


def sources_sha256() -> str:
    """Hash over every source of the suite: the same hash, the same measurement."""
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*")):
        if path.suffix in (".py", ".c", ".h", ".cu", ".cuh", ".hpp"):
            digest.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def commit() -> str | None:
    """The checkout's commit, None outside of one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
