"""Manifests of recorded command traces (the form of spec/dram.md, section 16): read, checked as a whole, resolved."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tiergarten.dram.commands import COMMANDS
from tiergarten.dram.config import ControllerConfig
from tiergarten.dram.resolve import DramDevice, resolve
from tiergarten.dram.simulate import DramConfig
from tiergarten.dram.tables import build_channel
from tiergarten.sim.errors import InputError, Problem, TiergartenError, did_you_mean

SINGLE_CHANNEL = {"channels": 1, "frontend_clock_ratio": 1, "memory_clock_ratio": 1}
"""What a manifest's `common` may say of these: a recording is of one channel, offered one request a tick."""


@dataclass(frozen=True)
class RecordedCase:
    """One recorded run: what ran, on what, and where its recording is."""

    name: str
    config: DramConfig
    trace: Path
    expected: Path
    commands: tuple[str, ...]
    """Names of the commands that the recording numbers."""
    total_ticks: int
    stats: Mapping[str, float]
    """The reference's own counters."""


def read_manifest(path: Path, only: str = "", names: Collection[str] = ()) -> list[RecordedCase]:
    """The cases of a manifest, in its order: those whose id contains `only` and, if `names` is given, is in it.

    Keys that no replay needs are ignored. Raises InputError with every fault of the chosen cases: what is missing or of
    the wrong form, unknown presets and settings, files that are not there.
    """
    manifest = load_manifest(path)
    problems = _common_problems(manifest.get("common"), path)
    cases: list[RecordedCase] = []
    for number, entry in enumerate(manifest["cases"]):
        place = f"cases.{number}"
        if isinstance(entry, dict) and "id" in entry:
            if only not in str(entry["id"]) or (names and str(entry["id"]) not in names):
                continue
            place += f" ({entry['id']})"
        try:
            cases.append(_case(path, manifest, entry))
        except InputError as error:
            problems += [
                replace(problem, file=problem.file or str(path), path=_joined(place, problem.path))
                for problem in error.problems
            ]
        except TiergartenError as error:
            problems.append(Problem(str(error), str(path), path=place))
    if problems:
        raise InputError(problems)
    return cases


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest as a mapping. InputError if it cannot be read or lacks its parts."""
    try:
        manifest = YAML(typ="safe", pure=False).load(path.read_text())
    except OSError as error:
        raise InputError(Problem(error.strerror or str(error), file=str(path))) from error
    except (YAMLError, ValueError) as error:
        raise InputError(Problem(f"not YAML: {error}", file=str(path))) from error
    if not isinstance(manifest, dict):
        raise InputError(Problem("must be a mapping with the keys drams and cases", file=str(path)))
    forms = {"drams": dict, "cases": list, **({"defaults": dict} if "defaults" in manifest else {})}
    problems = [
        Problem("missing" if key not in manifest else f"must be a {_form_name(form)}", str(path), path=key)
        for key, form in forms.items()
        if not isinstance(manifest.get(key), form)
    ]
    if problems:
        raise InputError(problems)
    return manifest


def _form_name(form: type) -> str:
    return {dict: "mapping", list: "list", str: "text", int: "whole number"}[form]


def _joined(place: str, path: str) -> str:
    return f"{place}.{path}" if path else place


def _common_problems(common: Any, path: Path) -> list[Problem]:
    if not isinstance(common, dict):
        return []
    return [
        Problem(f"only {wanted} can be replayed, got {common[key]!r}", str(path), path=f"common.{key}")
        for key, wanted in SINGLE_CHANNEL.items()
        if common.get(key, wanted) != wanted
    ]


def _need(entry: Any, keys: Mapping[str, type]) -> Iterator[Problem]:
    """A problem for each key that is missing or of the wrong form."""
    if not isinstance(entry, dict):
        yield Problem(f"must be a mapping, got {entry!r}")
        return
    for key, form in keys.items():
        if key not in entry:
            yield Problem("missing", path=key)
        elif not isinstance(entry[key], form) or isinstance(entry[key], bool):
            yield Problem(f"must be a {_form_name(form)}, got {entry[key]!r}", path=key)


def _case(path: Path, manifest: Mapping[str, Any], entry: Any) -> RecordedCase:
    forms = {"id": str, "dram": str, "config": dict, "trace": str, "total_cycles": int}
    problems = list(_need(entry, forms))
    if problems:
        raise InputError(problems)
    expected = entry.get("expected")
    expected = expected.get("file") if isinstance(expected, dict) else expected
    if not isinstance(expected, str):
        problems.append(Problem("missing", path="expected.file"))
    trace_path = _found(path.parent, "traces", entry["trace"], "trace", problems)
    expected_path = _found(path.parent, "expected", str(expected), "expected.file", problems)
    if entry["dram"] not in manifest["drams"]:
        problems.append(Problem(f"unknown dram. {did_you_mean(entry['dram'], manifest['drams'])}", path="dram"))
    if problems:
        raise InputError(problems)
    dram = manifest["drams"][entry["dram"]]
    device = _device(dram)
    settings = {**manifest.get("defaults", {}), **entry["config"]}
    config = DramConfig(device, ControllerConfig.from_mapping(settings, compat="ramulator-2.1"))
    build_channel(device, config.controller)
    stats = entry.get("stats")
    return RecordedCase(
        name=entry["id"],
        config=config,
        trace=trace_path,
        expected=expected_path,
        commands=_command_names(dram, device),
        total_ticks=entry["total_cycles"],
        stats=stats if isinstance(stats, dict) else {},
    )


def _found(folder: Path, subfolder: str, name: str, key: str, problems: list[Problem]) -> Path:
    """A file in its usual folder, or by its path from the manifest."""
    places = (folder / subfolder / name, folder / name)
    for place in places:
        if place.is_file():
            return place
    problems.append(Problem(f"no such file: {places[0]}", path=key))
    return places[0]


def _device(dram: Any) -> DramDevice:
    forms: dict[str, type] = {"standard": str, "org_preset": str, "timing_preset": str}
    if isinstance(dram, dict) and dram.get("overrides") is not None:
        forms["overrides"] = dict
    problems = list(_need(dram, forms))
    if problems:
        raise InputError([replace(problem, path=_joined("dram", problem.path)) for problem in problems])
    return resolve(dram["standard"], dram["org_preset"], dram["timing_preset"], dram.get("overrides"))


def _command_names(dram: Mapping[str, Any], device: DramDevice) -> tuple[str, ...]:
    """The commands that the recording numbers, those of the standard if the manifest lists none."""
    usual = device.standard
    names = dram.get("commands", usual.commands)
    unknown = [name for name in names if name not in COMMANDS] if isinstance(names, (list, tuple)) else [names]
    problems = [
        Problem(f"unknown name {name!r}. {did_you_mean(str(name), usual.commands)}", path="dram.commands")
        for name in unknown
    ]
    levels = dram.get("levels", usual.levels)
    if list(usual.levels) != (list(levels) if isinstance(levels, (list, tuple)) else levels):
        problems.append(Problem(f"must be {', '.join(usual.levels)}, got {levels!r}", path="dram.levels"))
    if problems:
        raise InputError(problems)
    return tuple(names)
