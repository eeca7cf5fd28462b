"""The file that `tiergarten calibrate fit` writes and a tier's or link's `calibration:` names: parameters with their error."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tiergarten.scenario.yaml_tree import read_yaml
from tiergarten.sim.errors import ScenarioError
from tiergarten.sim.params import PositiveRate, Ps, StrictModel


class Interval(StrictModel):
    """A 95 % interval."""

    low: str = Field(description="Lower end, with its unit.")
    high: str = Field(description="Upper end, with its unit.")


class FitError(StrictModel):
    """Mean absolute relative error of predicted times, 0.03 = 3 %."""

    fitted_mape: float = Field(ge=0, description="On the rows of the fit.")
    held_out_mape: float | None = Field(None, ge=0, description="On the rows that the fit has not seen.")
    held_out_worst: float | None = Field(None, ge=0, description="Largest relative error among those.")
    interval: tuple[float, float] | None = Field(
        None, description="95 % interval of the held-out mean error, by bootstrap."
    )


class FittedParameters(StrictModel):
    """Time of n bytes = `per_copy` + n / `bandwidth`, as fitted to measurements."""

    kind: Literal["affine"] = Field("affine", description="The form of the model.")
    per_copy: Ps = Field(description="Time at zero bytes: set-up of a copy, or latency of an access.")
    bandwidth: PositiveRate = Field(description="Rate of large transfers.")
    per_copy_interval: Interval | None = Field(None, description="95 % interval.")
    bandwidth_interval: Interval | None = Field(None, description="95 % interval.")
    error: FitError = Field(description="How far off the fit is.")
    smallest: str = Field("", description="Smallest measured size; a prediction below it extrapolates.")
    largest: str = Field("", description="Largest measured size; a prediction above it extrapolates.")
    rows_fitted: int = Field(gt=0, description="Measurements in the fit.")
    rows_held_out: int = Field(0, ge=0, description="Measurements kept back for the score.")
    measured_file: str = Field("", description="Name of the measured file.")
    measured_sha256: str = Field("", description="Its hash.")
    seed: int = Field(0, description="Decided which rows were kept back.")


def read_fitted(path: Path) -> FittedParameters:
    """Read a fitted file. ScenarioError with every problem and its line otherwise."""
    tree = read_yaml(path)
    try:
        parameters = FittedParameters.model_validate(tree.value)
    except ValidationError as error:
        raise ScenarioError(
            [
                tree.problem(tuple(e["loc"]), f"{e['msg']}; write the file with `tiergarten calibrate fit`")
                for e in error.errors()
            ]
        ) from error
    if tree.problems:
        raise ScenarioError(tree.problems)
    return parameters


def provenance(path: Path | None) -> dict[str, Any] | None:
    """What a manifest says of a calibration: its file and its error."""
    if path is None:
        return None
    error = read_fitted(path).error
    mape = error.fitted_mape if error.held_out_mape is None else error.held_out_mape
    return {"file": path.name, "error": {"mape": mape, "interval": list(error.interval) if error.interval else None}}
