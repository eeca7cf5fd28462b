"""Search jobs: an agent looks for the values, or the policy, that make a metric of a scenario best.

A job is a small YAML file. Every evaluation is a whole run; what the agent proposes is checked like any scenario, and a proposal
that cannot run counts as worst instead of ending the job.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, ValidationError, model_validator

from tiergarten.result import RunResult, replace_folder, write_json, write_parquet
from tiergarten.rl_agents import require_rl
from tiergarten.scenario.load import Scenario, load_scenario, with_values
from tiergarten.scenario.schema import Name
from tiergarten.scenario.yaml_tree import read_yaml
from tiergarten.sim.errors import ScenarioError, TiergartenError, did_you_mean
from tiergarten.sim.params import StrictModel
from tiergarten.sim.registry import Registry
from tiergarten.simulate import simulate


class NumberRange(StrictModel):
    """A number between two ends; with a unit, text like "32 GiB"."""

    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    unit: str = Field("", description="Unit put after the number.")
    log: bool = Field(False, description="Draw and search on a logarithmic scale.")
    whole: bool = Field(False, description="Whole numbers only.")

    @model_validator(mode="after")
    def _is_a_range(self) -> "NumberRange":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("needs low < high, and low > 0 on a logarithmic scale")
        return self

    def text(self, value: float) -> Any:
        """The value as a scenario writes it."""
        number = round(value) if self.whole else float(f"{value:.6g}")
        return f"{number} {self.unit}" if self.unit else number


Space = dict[str, list[Any] | NumberRange]
"""What may be varied: dotted keys with a list of values or a range."""


class JobSchema(StrictModel):
    """A search job."""

    schema_version: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="Names the result folder.")
    scenario: str = Field(description="A bundled scenario or a file beside the job.")
    set: dict[str, Any] = Field({}, description="Dotted keys to override in every run.")
    agent: str = Field(description="random, tpe or ppo.")
    metric: str = Field(description="The metric to make best, a key of metrics.json.")
    direction: Literal["minimise", "maximise"] = Field("minimise", description="What best means.")
    space: Space = Field({}, description="What random and tpe may vary.")
    tier: str = Field("hbm", description="Tier whose eviction ppo learns.")
    budget: Annotated[int, Field(gt=0, le=10_000_000)] = Field(
        40, description="Evaluations of random and tpe; decisions of ppo while it learns."
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="One search per seed of the agent.")
    baselines: list[str] = Field([], description="Eviction policies to show beside the result.")


@dataclass(frozen=True, eq=False)
class Job:
    """A validated job: what agents work on."""

    schema: JobSchema
    scenario: Scenario

    @property
    def identity(self) -> str:
        """SHA-256 of everything that decides the outcome."""
        values = self.schema.model_dump(mode="json")
        return hashlib.sha256(json.dumps([self.scenario.hash, values], sort_keys=True).encode()).hexdigest()

    def score(self, metrics: dict[str, Any]) -> float:
        """The metric of a run, turned so that less is better. TiergartenError if the run has no such number."""
        value = metrics.get(self.schema.metric)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            numbers = [name for name, v in metrics.items() if isinstance(v, (int, float))]
            raise TiergartenError(
                f"the runs have no metric {self.schema.metric!r}. {did_you_mean(self.schema.metric, numbers)}"
            )
        return float(value) if self.schema.direction == "minimise" else -float(value)

    def shown(self, score: float) -> float:
        """A score as the metric it stands for."""
        return score if self.schema.direction == "minimise" else -score


@dataclass
class Evaluation:
    """One run of a search."""

    seed: int
    step: int
    values: dict[str, Any]
    score: float | None
    """None where the proposal could not run."""
    error: str = ""


@dataclass
class Outcome:
    """What an agent found."""

    best: dict[str, Any]
    """Dotted keys that make the scenario the best one."""
    evaluations: list[Evaluation]
    files: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    """Further files of the result, by name, with what writes them. Values of `best` may name them."""


SearchAgent = Callable[[Job, Callable[[float], None]], Outcome]
"""Works on a job and tells its progress, 0 to 1."""

search_agents: Registry[SearchAgent] = Registry("search agent", "tiergarten.rl_agents.agents")


def load_job(path: Path) -> Job:
    """Read a job file. ScenarioError with every problem, of the job and of its scenario."""
    tree = read_yaml(path)
    try:
        schema = JobSchema.model_validate(tree.value)
    except ValidationError as error:
        problems = [
            tree.problem(
                tuple(part for part in detail["loc"]),
                f"unknown key. {did_you_mean(str(detail['loc'][-1]), JobSchema.model_fields)}"
                if detail["type"] == "extra_forbidden"
                else detail["msg"].removeprefix("Value error, "),
            )
            for detail in error.errors()
        ]
        raise ScenarioError([*tree.problems, *problems]) from error
    if tree.problems:
        raise ScenarioError(tree.problems)
    require_rl()
    if schema.agent not in search_agents:
        raise ScenarioError(
            tree.problem(
                ("agent",), f"unknown agent {schema.agent!r}. {did_you_mean(schema.agent, search_agents.names())}"
            )
        )
    beside = path.parent / schema.scenario
    scenario = load_scenario(beside if schema.scenario.endswith((".yaml", ".yml")) else schema.scenario)
    if schema.set:
        scenario = with_values(scenario, schema.set, f"{path}: set")
    return Job(schema, with_values(scenario, {}, str(path)))


def evaluate(job: Job, seed: int, step: int, values: dict[str, Any]) -> Evaluation:
    """Run the scenario with `values`; a proposal that cannot run has no score."""
    try:
        result = simulate(with_values(job.scenario, values, f"step {step}"))
    except TiergartenError as error:
        return Evaluation(seed, step, values, None, str(error))
    return Evaluation(seed, step, values, job.score(result.metrics))


def run_job(path: Path, out: Path, progress: Callable[[float], None]) -> tuple[Path, RunResult, dict[str, Any]]:
    """Run a job and write its folder.

    The folder holds the evaluations, the learning curve with its reference lines, the best scenario as a file of its own
    (`best.yaml`, which `tiergarten run` takes) and its run. Returns (folder, result of the best run, summary).
    """
    job = load_job(path)
    outcome = search_agents.get(job.schema.agent)(job, progress)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{job.schema.name}-search-{job.identity[:8]}"
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=out))
    try:
        for name, write in outcome.files.items():
            write(staging / name)
        (staging / "best.yaml").write_text(_best_yaml(job, outcome, staging), encoding="utf-8")
        best = simulate(load_scenario(staging / "best.yaml"))
        references = {
            name: job.shown(job.score(simulate(_with_policy(job, name)).metrics)) for name in job.schema.baselines
        }
        summary = {
            "name": job.schema.name,
            "title": f"Search for the best {job.schema.metric} of {job.scenario.name} with {job.schema.agent}",
            "agent": job.schema.agent,
            "metric": job.schema.metric,
            "direction": job.schema.direction,
            "best": {key: str(value) for key, value in outcome.best.items()},
            "best_value": job.shown(job.score(best.metrics)),
            "baselines": references,
            "evaluations": len(outcome.evaluations),
            "scenario_hash": job.scenario.hash,
            "job_hash": job.identity,
        }
        _write_tables(job, outcome, references, staging)
        write_json(staging / "manifest.json", summary)
        write_json(staging / "metrics.json", best.metrics)
        replace_folder(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target, best, summary


def _best_yaml(job: Job, outcome: Outcome, folder: Path) -> str:
    scenario = with_values(
        Scenario(job.scenario.schema, job.scenario.tree, folder, job.scenario.driver), outcome.best, "best"
    )
    return scenario.to_yaml()


def _with_policy(job: Job, policy: str) -> Scenario:
    return with_values(job.scenario, {"policies.eviction": policy}, "baselines")


def _write_tables(job: Job, outcome: Outcome, references: dict[str, float], folder: Path) -> None:
    (folder / "series").mkdir()
    done = [e for e in outcome.evaluations if e.score is not None]
    keys = list(dict.fromkeys(key for e in outcome.evaluations for key in e.values))
    rows = {
        "seed": [e.seed for e in outcome.evaluations],
        "step": [e.step for e in outcome.evaluations],
        "value": [None if e.score is None else job.shown(e.score) for e in outcome.evaluations],
        "error": [e.error for e in outcome.evaluations],
        **{
            f"set.{key}": [None if key not in e.values else str(e.values[key]) for e in outcome.evaluations]
            for key in keys
        },
    }
    write_parquet(pa.table(rows), folder / "evaluations.parquet")
    curve = {
        "agent": [job.schema.agent] * len(done),
        "seed": [e.seed for e in done],
        "step": [e.step for e in done],
        "value": [job.shown(e.score) for e in done if e.score is not None],
    }
    write_parquet(pa.table(curve), folder / "series" / "learning_curve.parquet")
    reference = pa.table({"name": list(references), "value": pa.array(list(references.values()), pa.float64())})
    write_parquet(reference, folder / "series" / "learning_reference.parquet")
