"""Where the numbers of the bundled device files come from: every number is `{value, source, kind, note}`.

The scenario loader drops everything but the value; this module reads the rest, for the table of devices and its tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

KINDS: Final = {
    "datasheet": "printed by the maker",
    "measured": "measured by somebody, on this part unless the note says otherwise",
    "paper": "stated in a paper",
    "assumed": "our estimate; the note says how it was made",
}


@dataclass(frozen=True)
class Sourced:
    """One number of a device file."""

    path: str
    """Dotted key, as in `tiers.hbm.capacity`."""
    value: str | float
    source: str
    """A key of the file's `sources`."""
    kind: str
    """A key of KINDS."""
    note: str


@dataclass(frozen=True)
class DeviceFile:
    """A bundled device file as it stands, with provenance."""

    name: str
    title: str
    comment: str
    sources: dict[str, str]
    numbers: tuple[Sourced, ...]
    tree: dict[str, Any]


def device_files() -> list[DeviceFile]:
    """All bundled device files, by name."""
    folder = Path(str(files("tiergarten.accelerators"))) / "devices"
    return [read_device_file(path) for path in sorted(folder.glob("*.yaml"))]


def read_device_file(path: Path) -> DeviceFile:
    """One device file. Bundled files are ours, so a malformed one is a KeyError here and a failed test."""
    text = path.read_text(encoding="utf-8")
    tree = YAML(typ="safe", pure=True).load(text)
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    parts = {key: tree.get(key, {}) for key in ("devices", "tiers", "links")}
    return DeviceFile(path.stem, tree["title"], comment, tree["sources"], tuple(_sourced(parts, ())), tree)


def bare_numbers(tree: Any, place: tuple[str, ...] = ()) -> list[str]:
    """Dotted keys of numbers, or texts that begin with one, which stand without provenance."""
    if isinstance(tree, dict):
        if "value" in tree:
            return []
        return [key for name, item in tree.items() for key in bare_numbers(item, (*place, str(name)))]
    if isinstance(tree, list):
        return [key for index, item in enumerate(tree) for key in bare_numbers(item, (*place, str(index)))]
    is_number = isinstance(tree, (int, float)) or (isinstance(tree, str) and tree[:1].isdigit())
    return [".".join(place)] if is_number else []


def _sourced(tree: dict[str, Any], place: tuple[str, ...]) -> Iterator[Sourced]:
    for name, item in tree.items():
        here = (*place, str(name))
        if isinstance(item, dict) and "value" in item:
            yield Sourced(".".join(here), item["value"], item["source"], item["kind"], item.get("note", ""))
        elif isinstance(item, dict):
            yield from _sourced(item, here)
