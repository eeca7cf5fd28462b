"""Types of the values that scenario files hold: quantities with units, input files, components by name.

A component (memory model, eviction policy, workload) is written as its name or as a mapping `{name: ..., key: value}`; the keys
are the fields of the class's own `Params`.
"""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from tiergarten.sim import units
from tiergarten.sim.errors import did_you_mean
from tiergarten.sim.registry import Registry

T = TypeVar("T")


class StrictModel(BaseModel):
    """Immutable; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)


def _reads(parse: Callable[[object], Any], example: str) -> tuple[Any, Any]:
    return BeforeValidator(parse, json_schema_input_type=str), Field(examples=[example])


Bytes = Annotated[int, *_reads(units.parse_bytes, "80 GiB")]
Ps = Annotated[int, *_reads(units.parse_ps, "45 ns")]
BytesPerS = Annotated[float, *_reads(units.parse_bytes_per_s, "3.35 TB/s")]
Flops = Annotated[float, *_reads(units.parse_flops, "989 TFLOP/s")]
PjPerBit = Annotated[float, *_reads(units.parse_pj_per_bit, "3.9 pJ/bit")]
Pj = Annotated[float, *_reads(units.parse_pj, "1.2 nJ")]
Watts = Annotated[float, *_reads(units.parse_watts, "700 W")]
Usd = Annotated[float, *_reads(units.parse_usd, "30000 USD")]


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than zero")
    return value


PositiveBytes = Annotated[Bytes, AfterValidator(_positive)]
PositivePs = Annotated[Ps, AfterValidator(_positive)]
PositiveRate = Annotated[BytesPerS, AfterValidator(_positive)]
PositiveFlops = Annotated[Flops, AfterValidator(_positive)]
Share = Annotated[float, Field(gt=0, le=1)]


def locate(value: Path, base: Path) -> Path | None:
    """The file that a scenario in the folder `base` means: beside the scenario, else below the working folder."""
    return next((path for path in (base / value, Path.cwd() / value) if path.is_file()), None)


def _existing_file(value: Path, info: ValidationInfo) -> Path:
    base = Path((info.context or {}).get("base", "."))
    path = locate(value, base)
    if path is None:
        raise ValueError(f"file not found: {value} (looked in {base} and in the working folder)")
    return path


InputFile = Annotated[Path, AfterValidator(_existing_file)]
"""A file that the scenario reads: relative to the scenario's folder or, as `--set` on a bundled one needs, to the working folder."""


@dataclass(frozen=True)
class Chosen:
    """A registered class and its validated parameters."""

    name: str
    cls: Any
    params: StrictModel


def chosen(registry: Registry[Any]) -> PlainValidator:
    """Validator of a field that names an entry of `registry`: its name, or `{name: ..., key: value}` with its own Params."""

    def choose(value: Any, info: ValidationInfo) -> Chosen:
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            raise ValueError(
                f"must be the name of a registered {registry.kind}, or a mapping with `name`; got {value!r}"
            )
        name = given["name"]
        if name not in registry:
            raise ValueError(f"unknown {registry.kind} {name!r}. {did_you_mean(name, registry.names())}")
        cls = registry.get(name)
        values = {key: item for key, item in given.items() if key != "name"}
        model: type[StrictModel] = getattr(cls, "Params", StrictModel)
        try:
            return Chosen(name, cls, model.model_validate(values, context=info.context))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            known = f" {did_you_mean(where, model.model_fields)}" if first["type"] == "extra_forbidden" else ""
            raise ValueError(f"{name}: {where}: {first['msg'].removeprefix('Value error, ')}.{known}") from None

    return PlainValidator(choose, json_schema_input_type=str | dict[str, Any])


def configured(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a dataclass whose fields are its parameters, from values of a file or a command line.

    Raises ValueError with every unknown name, missing value and wrong type at once.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    found = [f"no parameter {name!r}. {did_you_mean(name, names)}" for name in values if name not in names]
    try:
        instance: T = TypeAdapter(kind).validate_python({name: values[name] for name in values if name in names})
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            found.append(f"{where}: {message}; got {problem['input']!r}" if where else message)
    if found:
        raise ValueError("; ".join(found))
    return instance


def open_text(path: Path) -> Any:
    """The file opened for reading as UTF-8 text, through gzip when its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return open(path, encoding="utf-8", newline="")
