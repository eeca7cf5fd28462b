"""From a file name to a validated Scenario: include, override, validate, check across fields, collect every problem."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from tiergarten.driver import Driver, drivers
from tiergarten.scenario.fitted import read_fitted
from tiergarten.scenario.merge import apply_override, find_scenario, read_with_includes, set_value, strip_provenance
from tiergarten.scenario.schema import Component, ScenarioSchema
from tiergarten.scenario.wire import build_wire
from tiergarten.scenario.yaml_tree import Key, Tree
from tiergarten.sim.errors import InputError, Problem, ScenarioError, did_you_mean
from tiergarten.sim.link_model import link_models
from tiergarten.sim.memory import memory_models
from tiergarten.sim.params import locate
from tiergarten.sim.registry import Registry

_PLAIN_MESSAGES = {
    "missing": "is missing",
    "dict_type": "must be a mapping (keys and values)",
    "model_type": "must be a mapping (keys and values)",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
}


@dataclass(frozen=True, eq=False)
class Scenario:
    """A complete, validated input. Two scenarios with the same hash give the same result."""

    schema: ScenarioSchema
    tree: Tree
    """Everything as written, includes merged and overrides applied, with provenance and marks."""
    base: Path
    """Folder that relative paths in the file start from."""
    driver: Driver

    @property
    def name(self) -> str:
        return self.schema.name

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what can change a result: values and the contents of the files they name.

        Provenance, titles, outputs and the sweep are left out.
        """
        values = strip_provenance(self.tree.value)
        kept = {key: value for key, value in values.items() if key not in ("title", "sources", "outputs", "sweep")}
        kept["files"] = {name: _digest(path) for name, path in sorted(_files(kept, self.base))}
        return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved scenario: one file without includes that gives the same run."""
        yaml = YAML()
        yaml.width = 120
        text = StringIO()
        yaml.dump(self.tree.value, text)
        return text.getvalue()


def _files(value: Any, base: Path) -> Iterable[tuple[str, Path]]:
    """Every text in the tree that names a file, with that file."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _files(item, base)
    elif isinstance(value, str) and "." in value and len(value) < 4096 and "\0" not in value:
        path = locate(Path(value), base)
        if path is not None:
            yield value, path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_scenario(name: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Load a file or a bundled scenario and apply `dotted.key=value` overrides.

    Raises ScenarioError with every problem that can be found, each with its file, line and key.
    """
    path = find_scenario(str(name))
    tree = read_with_includes(path)
    for assignment in overrides:
        tree = apply_override(tree, assignment)
    return validate(tree, path.parent)


def with_values(scenario: Scenario, values: dict[str, Any], source: str) -> Scenario:
    """The scenario with dotted keys replaced: one point of a sweep or a search. The sweep itself is dropped."""
    tree = scenario.tree
    for dotted_key, value in values.items():
        tree = set_value(tree, tuple(dotted_key.split(".")), value, source)
    tree = Tree({key: value for key, value in tree.value.items() if key != "sweep"}, tree.marks, tree.problems)
    return validate(tree, scenario.base)


def validate(tree: Tree, base: Path) -> Scenario:
    """Build the Scenario of a tree, or raise ScenarioError with all problems."""
    values = strip_provenance(tree.value)
    context = {"base": base}
    problems = list(tree.problems)
    version = values.get("schema_version")
    if version is not None and version != 1:
        raise ScenarioError(
            tree.problem(("schema_version",), f"is {version!r}; this version of Tiergarten reads schema_version: 1")
        )
    schema: ScenarioSchema | None = None
    try:
        schema = ScenarioSchema.model_validate(values, context=context)
    except ValidationError as error:
        problems += _problems(tree, ScenarioSchema, error)
    workload = values.get("workload")
    driver_class = _registered(
        tree, drivers, ("workload", "kind"), workload.get("kind") if isinstance(workload, dict) else None, problems
    )
    driver: Driver | None = None
    if driver_class is not None and isinstance(workload, dict):
        params = {key: value for key, value in workload.items() if key != "kind"}
        parts = [
            _part(tree, driver_class.Params, params, ("workload",), context, problems),
            _part(tree, driver_class.Policies, values.get("policies", {}), ("policies",), context, problems),
        ]
        if None not in parts:
            driver = driver_class(*parts)
    _check_models(tree, values, ("tiers", memory_models, "analytic"), context, problems)
    _check_models(tree, values, ("links", link_models, "bandwidth"), context, problems)
    if schema is not None:
        problems += _cross_checks(tree, schema)
        for section in ("tiers", "links"):
            problems += _fitted_problems(tree, section, getattr(schema, section))
        if not problems:
            problems += _wire_problems(tree, schema, base)
        if schema.faults and driver is not None and driver.keeps_own_time:
            problems.append(
                tree.problem(
                    ("faults",),
                    f"a workload of kind {schema.workload.kind} keeps its own time: no link's fault reaches it",
                )
            )
        if driver is not None and not problems:
            problems += [tree.problem(tuple(key.split(".")), message) for key, message in driver.check(schema)]
    if problems or schema is None or driver is None:
        textual = {(p.file, p.path) for p in tree.problems}  # what validation says of such a value is an echo
        problems = [p for p in problems if p in tree.problems or (p.file, p.path) not in textual]
        raise ScenarioError(sorted(set(problems), key=lambda p: (p.file, p.line or 0, p.path)))
    return Scenario(schema, tree, base, driver)


def component_params(registry: Registry[Any], component: Component, base: Path) -> tuple[type, Any]:
    """(class, its validated Params) of a component that has passed validation."""
    cls = registry.get(component.name)
    return cls, cls.Params.model_validate(component.params, context={"base": base})


def _check_models(
    tree: Tree,
    values: dict[str, Any],
    where: tuple[str, Registry[Any], str],
    context: dict[str, Any],
    problems: list[Problem],
) -> None:
    """Names and parameters of the models of a section: (its key, the registry, the model where none is given)."""
    section, registry, default = where
    entries = values.get(section)
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        model = entry.get("model", default) if isinstance(entry, dict) else None
        place: Key = (section, name, "model")
        if isinstance(model, str):
            cls = _registered(tree, registry, place, model, problems)
            model = {}
        elif isinstance(model, dict):
            cls = _registered(tree, registry, (*place, "name"), model.get("name"), problems)
        else:
            continue
        if cls is not None:
            params = {key: value for key, value in model.items() if key != "name"}
            _part(tree, cls.Params, params, place, context, problems)


def _registered(tree: Tree, registry: Registry[Any], key: Key, name: Any, problems: list[Problem]) -> Any:
    if not isinstance(name, str):
        return None  # the schema reports what is missing or of the wrong type
    if name not in registry:
        problems.append(tree.problem(key, f"unknown {registry.kind} {name!r}. {did_you_mean(name, registry.names())}"))
        return None
    return registry.get(name)


def _part(
    tree: Tree, model: type[BaseModel], values: Any, key: Key, context: dict[str, Any], problems: list[Problem]
) -> Any:
    try:
        return model.model_validate(values, context=context)
    except ValidationError as error:
        problems += _problems(tree, model, error, key)
        return None


def _cross_checks(tree: Tree, schema: ScenarioSchema) -> Iterable[Problem]:
    ends = [*schema.tiers, *schema.switches]
    for name, link in schema.links.items():
        for index, end in enumerate(link.between):
            if end not in ends:
                yield tree.problem(
                    ("links", name, "between", index), f"unknown tier {end!r}. {did_you_mean(end, ends)}"
                )
    for name in schema.switches:
        if name in schema.tiers:
            yield tree.problem(("switches", name), "is the name of a tier too")
    for index, fault in enumerate(schema.faults):
        for key, known in (("link", schema.links), ("tier", schema.tiers)):
            named = getattr(fault, key)
            if named is not None and named not in known:
                yield tree.problem(("faults", index, key), f"unknown {key} {named!r}. {did_you_mean(named, known)}")
    for name, tier in schema.tiers.items():
        if tier.device is not None and tier.device not in schema.devices:
            yield tree.problem(
                ("tiers", name, "device"),
                f"unknown device {tier.device!r}. {did_you_mean(tier.device, schema.devices)}",
            )


def _fitted_problems(tree: Tree, section: str, configs: Mapping[str, Any]) -> Iterable[Problem]:
    """Problems of the files that `calibration:` names."""
    for name, config in configs.items():
        if config.calibration is not None:
            try:
                read_fitted(config.calibration)
            except ScenarioError as error:
                yield tree.problem((section, name, "calibration"), f"cannot be used: {error.problems[0]}")


def _wire_problems(tree: Tree, schema: ScenarioSchema, base: Path) -> Iterable[Problem]:
    """What the links' models find wrong with parameters that are each right: a width that does not exist, a broken table."""
    for name, config in schema.links.items():
        try:
            build_wire(config, schema, base)
        except InputError as error:
            for problem in error.problems:
                in_file = Problem(problem.message, problem.file, problem.line) if problem.file else None
                key = ("links", name, "model", *([problem.path] if problem.path and not in_file else []))
                yield tree.problem(key, str(in_file or problem.message))


def _problems(tree: Tree, model: type[BaseModel], error: ValidationError, prefix: Key = ()) -> list[Problem]:
    problems = []
    for detail in error.errors(include_url=False):
        place = tuple(part for part in detail["loc"] if not (isinstance(part, str) and "[" in part))
        key = (*prefix, *place)
        kind = detail["type"]
        if kind == "extra_forbidden":
            known = _fields_at(model, place[:-1])
            problems.append(tree.problem(key, f"unknown key. {did_you_mean(str(place[-1]), known)}"))
            continue
        message = _PLAIN_MESSAGES.get(kind) or detail["msg"].removeprefix("Value error, ")
        if kind == "missing":
            message = f"is missing{_example(model, place)}"
        elif kind in _PLAIN_MESSAGES:
            message += f", got {_short(detail['input'])}"
        elif kind == "string_pattern_mismatch":
            message = (
                f"must be letters, digits, _ and -, beginning with a letter or digit; got {_short(detail['input'])}"
            )
        elif kind == "literal_error":
            message = f"{_short(detail['input'])} is not one of {detail['ctx']['expected']}"
        elif kind != "value_error":
            message = message[0].lower() + message[1:] + f", got {_short(detail['input'])}"
        problems.append(tree.problem(tuple(part for part in key if part != "[key]"), message))
    return problems


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _example(model: type[BaseModel], place: tuple[Any, ...]) -> str:
    owner = _model_at(model, place[:-1])
    info = owner.model_fields.get(str(place[-1])) if owner is not None else None
    if info is None:
        return ""
    described = f" ({info.description})" if info.description else ""
    examples = f", as in {place[-1]}: {info.examples[0]}" if info.examples else ""
    return examples + described


def _fields_at(model: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    owner = _model_at(model, place)
    return list(owner.model_fields) if owner is not None else []


def _model_at(model: type[BaseModel] | None, place: tuple[Any, ...]) -> type[BaseModel] | None:
    """The pydantic model that holds the fields below `place`, following mappings, lists and unions."""
    at: Any = model
    for part in place:
        at = _step(at, part)
    return next((option for option in _models_in(at)), None)


def _step(at: Any, part: Any) -> Any:
    for option in _options(at):
        if isinstance(option, type) and issubclass(option, BaseModel):
            info = option.model_fields.get(str(part))
            if info is not None:
                return info.annotation
        elif get_origin(option) in (dict, list, tuple):
            return get_args(option)[-1]
    return None


def _options(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for option in get_args(annotation) for inner in _options(option)]
    return [annotation]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    return [option for option in _options(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]
