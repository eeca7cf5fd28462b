"""Writes the generated pages of the documentation: every key of a scenario, and every command.

Run `python docs/generate.py` after a change of the schema or the command line; a test compares the pages with the code.
"""

from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tiergarten.cli import app, mount
from tiergarten.driver import drivers
from tiergarten.scenario.fitted import FittedParameters
from tiergarten.scenario.schema import ScenarioSchema
from tiergarten.sim.link_model import link_models
from tiergarten.sim.memory import memory_models
from tiergarten.sim.registry import summary

HERE = Path(__file__).resolve().parent


def pages() -> dict[Path, str]:
    """Text of every generated page."""
    return {HERE / "reference" / "scenario.md": scenario_page(), HERE / "reference" / "cli.md": cli_page()}


def scenario_page() -> str:
    """Every key of a scenario file."""
    lines = [
        "# Keys of a scenario",
        "",
        "Generated from the schema by `docs/generate.py`. Every dimensioned value is text with its unit (`80 GiB`, `3.35 TB/s`,",
        "`45 ns`) and may be given with its provenance: `{value: 80 GB, source: datasheet, kind: datasheet, note: ...}`.",
        "",
        "`include:` takes a list of bundled device files (`devices/h100-sxm`), bundled scenarios or paths; mappings are merged key by",
        "key, later ones win, and `null` removes a key.",
        "",
    ]
    lines += _model_tables("", ScenarioSchema)
    lines += ["## Memory models", ""]
    for name, model in memory_models.items():
        lines += [f"### `model: {name}`", "", summary(model), "", *_table(model.Params)]  # type: ignore[attr-defined]
    lines += ["## Link models", ""]
    for name, model in link_models.items():
        lines += [f"### `model: {name}` of a link", "", summary(model), "", *_table(model.Params)]  # type: ignore[attr-defined]
    lines += ["## Workloads", ""]
    for name, driver in drivers.items():
        lines += [f"### `kind: {name}`", "", summary(driver), "", *_model_tables("workload", driver.Params)]
        if driver.Policies.model_fields:
            lines += [f"#### `policies` of `{name}`", "", *_table(driver.Policies)]
    lines += [
        "## Calibration files",
        "",
        "Written by `tiergarten calibrate fit`, named by `calibration:` of a tier or link.",
        "",
    ]
    lines += _table(FittedParameters)
    return "\n".join(lines).rstrip() + "\n"


def _model_tables(title: str, model: type[BaseModel]) -> list[str]:
    lines = [f"## `{title}`" if title and title != "workload" else "", ""] if title != "workload" else []
    lines = [line for line in lines if line] + ([""] if title and title != "workload" else [])
    lines += _table(model)
    for name, info in model.model_fields.items():
        for inner in _models(info.annotation):
            if title or name not in ("workload",):
                lines += _model_tables(f"{title}.{name}".lstrip(".").replace("workload.", ""), inner)
    return lines


def _table(model: type[BaseModel]) -> list[str]:
    if not model.model_fields:
        return ["No keys of its own.", ""]
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, info in model.model_fields.items():
        rows.append(f"| `{name}` | {_type(info)} | {_default(info)} | {_escape(info.description or '')} |")
    return [*rows, ""]


def _type(info: FieldInfo) -> str:
    if info.examples:
        return f"like `{info.examples[0]}`"
    for meta in info.metadata:
        if isinstance(meta, FieldInfo) and meta.examples:
            return f"like `{meta.examples[0]}`"
    return _escape(_annotation(info.annotation))


def _annotation(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        example = next((m.examples[0] for m in arguments[1:] if isinstance(m, FieldInfo) and m.examples), None)
        return f"values like `{example}`" if example else _annotation(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_annotation(a) for a in arguments if a is not NoneType))
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin is dict:
        return f"mapping of {_annotation(arguments[1])}"
    if origin in (list, tuple):
        return f"list of {_annotation(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "name, or mapping with `name`" if annotation.__name__ == "Component" else "mapping"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", "any").lower())


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel):
        return ""
    return f"`{value}`"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for argument in get_args(annotation) or (annotation,):
        if argument is not annotation:
            yield from _models(argument)
        elif isinstance(argument, type) and issubclass(argument, BaseModel) and argument.__name__ != "Component":
            yield argument


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def cli_page() -> str:
    """Every command with its options."""
    mount()
    lines = ["# Command line", "", "Generated from the commands by `docs/generate.py`.", ""]
    lines += _command_lines("tiergarten", typer.main.get_command(app))
    return "\n".join(lines).rstrip() + "\n"


def _command_lines(path: str, command: Any) -> list[str]:
    lines = [f"## `{path}`", "", *(command.help or "").strip().splitlines(), ""]
    rows = []
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        names = parameter.name.upper() if is_argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
        rows.append(f"| `{names}` | {_escape(getattr(parameter, 'help', None) or '')} |")
    if rows:
        lines += ["| argument or option | meaning |", "| --- | --- |", *rows, ""]
    for name, child in sorted(getattr(command, "commands", {}).items()):
        lines += _command_lines(f"{path} {name}", child)
    return lines


def main() -> None:
    """Write all pages."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
