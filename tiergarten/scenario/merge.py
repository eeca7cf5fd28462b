"""Includes, overrides and provenance: everything that happens to a scenario's tree before it is validated."""

from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

from tiergarten.scenario.yaml_tree import Key, Mark, Tree, dotted, parse_yaml, read_yaml
from tiergarten.sim.errors import Problem, ScenarioError, did_you_mean

PROVENANCE_KEYS = {"value", "source", "kind", "note"}


def bundled(folder: str) -> dict[str, Path]:
    """Bundled YAML files by name: `scenarios` and, as `devices/NAME`, the device files."""
    root = Path(str(files("tiergarten.scenarios" if folder == "scenarios" else "tiergarten.accelerators")))
    base = root if folder == "scenarios" else root / folder
    return {path.relative_to(base).with_suffix("").as_posix(): path for path in sorted(base.rglob("*.yaml"))}


def find_scenario(name: str) -> Path:
    """A path as it stands, or a bundled scenario by name. ScenarioError with the nearest names otherwise."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    scenarios = bundled("scenarios")
    if name not in scenarios:
        raise ScenarioError(
            Problem(f"no bundled scenario is called {name!r}. {did_you_mean(name, scenarios)}", path="")
        )
    return scenarios[name]


def read_with_includes(path: Path, chain: tuple[Path, ...] = ()) -> Tree:
    """The file's tree laid over the trees of everything it includes, in order."""
    resolved = path.resolve()
    if resolved in chain:
        names = " -> ".join(p.name for p in (*chain[chain.index(resolved) :], resolved))
        raise ScenarioError(Problem(f"files include each other in a circle: {names}", str(path), path="include"))
    tree = read_yaml(path, shown_as=path.name if len(chain) else str(path))
    if not isinstance(tree.value, dict):
        raise ScenarioError(Problem("must be a mapping (keys and values) at its top", str(path), 1))
    includes = tree.value.pop("include", [])
    includes = [includes] if isinstance(includes, str) else includes
    if not isinstance(includes, list) or not all(isinstance(item, str) for item in includes):
        raise ScenarioError(tree.problem(("include",), "must be a list of names, as in [devices/h100-sxm]"))
    merged = Tree({}, {(): Mark(str(path), 1)})
    for index, item in enumerate(includes):
        merged = overlay(merged, read_with_includes(_find_include(item, path, tree, index), (*chain, resolved)))
    return overlay(merged, tree)


def _find_include(item: str, path: Path, tree: Tree, index: int) -> Path:
    if item.startswith("devices/") and not item.endswith((".yaml", ".yml")):
        name = item.removeprefix("devices/")
        devices = bundled("devices")
        if name not in devices:
            raise ScenarioError(
                tree.problem(("include", index), f"no bundled device is called {name!r}. {did_you_mean(name, devices)}")
            )
        return devices[name]
    scenarios = bundled("scenarios")
    if item in scenarios:
        return scenarios[item]
    candidate = path.parent / item
    if not candidate.is_file():
        raise ScenarioError(tree.problem(("include", index), f"file not found: {item} (looked in {path.parent})"))
    return candidate


def overlay(below: Tree, above: Tree) -> Tree:
    """Mappings are merged key by key; anything else above replaces what is below. A null above removes the key."""
    marks = dict(below.marks)

    def forget(key: Key) -> None:
        for known in [known for known in marks if known[: len(key)] == key]:
            del marks[known]

    def lay(low: Any, high: Any, key: Key) -> Any:
        if not (isinstance(low, dict) and isinstance(high, dict)) or set(high) & {"value"}:
            forget(key)
            marks.update({known: mark for known, mark in above.marks.items() if known[: len(key)] == key})
            return high
        if key not in marks and key in above.marks:
            marks[key] = above.marks[key]
        result = dict(low)
        for name, value in high.items():
            place = (*key, name)
            if value is None and name in result:
                forget(place)
                del result[name]
            else:
                result[name] = lay(result.get(name), value, place)
        return result

    return Tree(lay(below.value, above.value, ()), marks, below.problems + above.problems)


def apply_override(tree: Tree, assignment: str, source: str = "--set") -> Tree:
    """Lay `dotted.key=value` over the tree; the value is read as YAML. ScenarioError if it is not of that form."""
    key_text, equals, value_text = assignment.partition("=")
    parts = key_text.strip().split(".")
    if not equals or not all(parts):
        raise ScenarioError(
            Problem(f"write it as dotted.key=value, as in tiers.hbm.capacity='96 GiB'; got {assignment!r}", source)
        )
    value_text = value_text.strip()
    parsed = parse_yaml(value_text, source) if value_text else Tree("")
    if parsed.problems:
        raise ScenarioError(parsed.problems)
    return set_value(tree, tuple(parts), parsed.value, source)


def set_value(tree: Tree, parts: Key, value: Any, source: str) -> Tree:
    """The tree with one value replaced; a mapping on the way is made where there is none."""
    root = deepcopy(tree.value)
    at = root
    for depth, part in enumerate(parts[:-1]):
        if isinstance(at, list):
            at = at[_index(at, part, parts[: depth + 1], source)]
        else:
            following = at.get(part)
            if (
                not isinstance(following, (dict, list)) or set(following) & {"value"}
                if isinstance(following, dict)
                else following is None
            ):
                following = {}
                at[part] = following
            at = following
        if not isinstance(at, (dict, list)):
            raise ScenarioError(
                Problem(f"{dotted(parts[: depth + 1])} is a single value and has no key {parts[depth + 1]!r}", source)
            )
    if isinstance(at, list):
        at[_index(at, parts[-1], parts, source)] = value
    elif value is None:
        at.pop(str(parts[-1]), None)
    else:
        at[str(parts[-1])] = value
    marks = {key: mark for key, mark in tree.marks.items() if key[: len(parts)] != parts}
    marks[parts] = Mark(source, None)
    return Tree(root, marks, tree.problems)


def _index(at: list[Any], part: str | int, place: Key, source: str) -> int:
    try:
        index = int(part)
    except ValueError:
        index = -1
    if not 0 <= index < len(at):
        raise ScenarioError(Problem(f"{dotted(place)}: the list has {len(at)} items, numbered from 0", source))
    return index


def strip_provenance(value: Any) -> Any:
    """Replace every `{value: ..., source: ..., kind: ..., note: ...}` by its value."""
    if isinstance(value, dict):
        if "value" in value and set(value) <= PROVENANCE_KEYS:
            return strip_provenance(value["value"])
        return {key: strip_provenance(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strip_provenance(item) for item in value]
    return value
