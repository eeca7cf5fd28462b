"""Writes fitted parameters as the YAML file that a scenario's `calibration:` names."""

import os
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from tiergarten.scenario.fitted import FittedParameters


def write_fitted(parameters: FittedParameters, path: Path) -> None:
    """Write the file; a reader finds the old one or the whole new one."""
    values = parameters.model_dump(mode="json", exclude_none=True)
    values["per_copy"] = f"{parameters.per_copy} ps"
    values["bandwidth"] = f"{parameters.bandwidth / 1e9:.9g} GB/s"
    text = StringIO()
    text.write(
        "# Fitted parameters: time of n bytes = per_copy + n / bandwidth. Written by `tiergarten calibrate fit`.\n"
    )
    YAML().dump(values, text)
    staging = path.with_name(f".{path.name}.part")
    staging.write_text(text.getvalue(), encoding="utf-8")
    os.replace(staging, path)
