"""YAML 1.2 text to plain values with the place of every key.

Only the core schema is read (mappings, lists, text, numbers, true/false, null): no tags, so nothing in a file can make code run.
Size, depth and the total number of nodes after expansion of aliases are bounded.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tiergarten.sim.errors import Problem, ScenarioError

MAX_BYTES: Final = 4 * 2**20
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 64

Key = tuple[str | int, ...]
"""A place in a tree: keys and list indices from the root."""


@dataclass(frozen=True)
class Mark:
    """Where a value stands."""

    file: str
    line: int | None


@dataclass
class Tree:
    """Plain values and the mark of every key."""

    value: Any
    marks: dict[Key, Mark] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    """What was wrong with the text itself; reported with everything that validation finds."""

    def mark(self, key: Key) -> Mark:
        """The mark of the key, or of its nearest ancestor that has one."""
        while key not in self.marks and key:
            key = key[:-1]
        return self.marks.get(key, Mark("", None))

    def problem(self, key: Key, message: str) -> Problem:
        """A problem at that key."""
        mark = self.mark(key)
        return Problem(message, mark.file, mark.line, dotted(key))


def dotted(key: Key) -> str:
    """`tiers.hbm.capacity`; list items as `sweep.values.0`."""
    return ".".join(str(part) for part in key if part != "")


def read_yaml(path: Path, shown_as: str | None = None) -> Tree:
    """The tree of a file. ScenarioError for what cannot be read."""
    name = shown_as or str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ScenarioError(Problem(f"is larger than {MAX_BYTES // 2**20} MiB; a scenario file is not", name))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(Problem(f"cannot be read: {error.strerror or error}", name)) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(Problem(f"is not UTF-8 text (byte {error.start})", name)) from error
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Tree:
    """The tree of a text; `name` stands for the file in marks."""
    try:
        node = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ScenarioError(Problem(f"is not valid YAML: {error.problem or error.context}", name, line)) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ScenarioError(Problem(f"is not valid YAML: {str(error).splitlines()[0]}", name)) from error
    if node is None:
        raise ScenarioError(Problem("is empty", name, 1))
    reader = _Reader(name)
    value = reader.convert(node, ())
    return Tree(value, reader.marks, tuple(reader.problems[:50]))


class _Reader:
    """Turns nodes into values, collecting marks and problems."""

    def __init__(self, name: str):
        self.name = name
        self.marks: dict[Key, Mark] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def convert(self, node: Node, key: Key) -> Any:
        self.marks.setdefault(key, Mark(self.name, node.start_mark.line + 1))
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ScenarioError(Problem(f"has more than {MAX_NODES} values once its aliases are expanded", self.name))
        if len(key) > MAX_DEPTH:
            raise ScenarioError(
                Problem(f"is nested deeper than {MAX_DEPTH} levels", self.name, node.start_mark.line + 1)
            )
        if isinstance(node, MappingNode):
            return self._mapping(node, key)
        if isinstance(node, SequenceNode):
            return [self.convert(item, (*key, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, key)

    def _mapping(self, node: MappingNode, key: Key) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self.problems.append(Problem("a key must be plain text", self.name, line, dotted(key)))
                continue
            name = str(key_node.value)
            place = (*key, name)
            if name in result:
                first = self.marks[place].line
                self.problems.append(Problem(f"is given twice (first in line {first})", self.name, line, dotted(place)))
                continue
            self.marks[place] = Mark(self.name, line)
            result[name] = self.convert(value_node, place)
        return result

    def _scalar(self, node: ScalarNode, key: Key) -> Any:
        text = str(node.value)
        tag = str(node.tag).rsplit(":", 1)[-1] if node.tag is not None else "str"
        if node.style in ("'", '"', "|", ">"):
            tag = "str" if tag in ("str", "int", "float", "bool", "null") else tag
        try:
            if tag == "str":
                return text
            if tag == "int":
                return (
                    int(text.replace("_", ""), 0)
                    if text.lower().startswith(("0x", "0o"))
                    else int(text.replace("_", ""))
                )
            if tag == "float":
                number = float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
                if math.isfinite(number):
                    return number
                self.problems.append(
                    Problem(f"must be a finite number, got {text}", self.name, node.start_mark.line + 1, dotted(key))
                )
                return 0.0
            if tag == "bool":
                return text.lower() == "true"
            if tag == "null":
                return None
        except ValueError:
            self.problems.append(
                Problem(f"cannot read the number {text!r}", self.name, node.start_mark.line + 1, dotted(key))
            )
            return 0
        self.problems.append(
            Problem(f"tag {node.tag} is not allowed here", self.name, node.start_mark.line + 1, dotted(key))
        )
        return text
