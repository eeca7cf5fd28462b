"""The public API: what the command line does, from Python. `import tiergarten as tg; r = tg.run("kv-tiers"); r.metrics`."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from tiergarten import sweep as sweeps
from tiergarten.result import RunResult
from tiergarten.scenario.load import Scenario, load_scenario, with_values
from tiergarten.simulate import simulate

SIMULATION_SHARE = 0.6
"""Where the progress bar of a run stands when figures begin; about their share of kv-tiers' time."""


class Plot:
    """Figures of a result: `r.plot.timeline()`; `r.plot.names()` lists them. Each returns the path of a PNG."""

    def __init__(self, result: "Result"):
        self._result = result

    def names(self) -> list[str]:
        """Names of all figures."""
        from tiergarten.reports.figures import FIGURES

        return FIGURES.names()

    def __getattr__(self, name: str) -> Callable[[], Path]:
        if name.startswith("_"):
            raise AttributeError(name)

        def draw() -> Path:
            from tiergarten.reports import make_figures

            figure = name.replace("_", "-")
            return Path(make_figures(self._result.saved_folder(), [figure])[figure])

        return draw


class Result(RunResult):
    """A RunResult that can draw itself."""

    @property
    def plot(self) -> Plot:
        """Figures of this result."""
        return Plot(self)

    def saved_folder(self) -> Path:
        """The result folder; a temporary one is written when the run was not saved."""
        if self.folder is None:
            object.__setattr__(self, "folder", self.save(Path(tempfile.mkdtemp(prefix="tiergarten-"))))
        assert self.folder is not None
        return self.folder


def run(name: str | Path, set: Mapping[str, Any] | None = None, out: str | Path | None = None) -> Result:
    """Run a bundled scenario or a YAML file.

    Args:
        name: as in `tiergarten run NAME`.
        set: dotted keys to override, as in {"tiers.hbm.capacity": "96 GiB"}.
        out: folder that the result folder is written to; None writes nothing.

    Raises ScenarioError with all problems of the scenario, TraceError for those of a trace.
    """
    scenario = load_scenario(name)
    if set:
        scenario = with_values(scenario, dict(set), "set")
    result = _as_result(simulate(scenario))
    if out is not None:
        object.__setattr__(result, "folder", result.save(Path(out)))
    return result


def run_scenario(
    scenario: Scenario, out: Path, figures: bool = True, progress: Callable[[float], None] | None = None
) -> tuple[RunResult, Path]:
    """Run a loaded scenario and write its folder, figures and report included. `progress` is told the finished share."""
    tell = progress or (lambda share: None)
    draws = figures and scenario.schema.outputs.figures
    result = simulate(scenario, lambda share: tell(share * (SIMULATION_SHARE if draws else 1.0)))

    def finish(folder: Path) -> None:
        from tiergarten.reports import make_report

        make_report(folder, progress=lambda share: tell(SIMULATION_SHARE + share * (1 - SIMULATION_SHARE)))

    return result, result.save(out, finish if draws else None)


def run_sweep(
    scenario: Scenario, out: Path, workers: int, progress: Callable[[float], None] | None = None
) -> tuple[Path, pa.Table]:
    """Run all points of the scenario's sweep and write the sweep's folder, figures and report included."""
    folder, table = sweeps.run_sweep(scenario, out, workers, progress)
    _finish(folder)
    return folder, table


def _finish(folder: Path) -> None:
    from tiergarten.reports import make_report

    make_report(folder)


def _as_result(result: RunResult) -> Result:
    return Result(**{item.name: getattr(result, item.name) for item in fields(RunResult)})
