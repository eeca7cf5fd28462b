"""Random search: the baseline that every other agent has to beat."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tiergarten.rl_agents.search import Job, NumberRange, Outcome, evaluate, search_agents
from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.seeds import stream


@search_agents.register("random")
def random_search(job: Job, progress: Callable[[float], None]) -> Outcome:
    """Draws every value independently and evenly from its list or range."""
    require_space(job)
    evaluations = []
    for seed in job.schema.seeds:
        rng = stream(seed, "random search")
        for step in range(job.schema.budget):
            values = {key: draw(choices, rng) for key, choices in job.schema.space.items()}
            evaluations.append(evaluate(job, seed, step, values))
            progress(len(evaluations) / (job.schema.budget * len(job.schema.seeds)))
    return best_of(job, evaluations)


def draw(choices: list[Any] | NumberRange, rng: np.random.Generator) -> Any:
    """One value of a list or range."""
    if isinstance(choices, list):
        return choices[int(rng.integers(len(choices)))]
    if choices.log:
        return choices.text(math.exp(rng.uniform(math.log(choices.low), math.log(choices.high))))
    return choices.text(rng.uniform(choices.low, choices.high))


def require_space(job: Job) -> None:
    """Raise TiergartenError if there is nothing to vary."""
    if not job.schema.space or any(values == [] for values in job.schema.space.values()):
        raise TiergartenError(f"agent {job.schema.agent!r} needs a `space:` with values for every key")


def best_of(job: Job, evaluations: list) -> Outcome:
    """The outcome of a search over values. TiergartenError if no proposal could run."""
    scored = [e for e in evaluations if e.score is not None]
    if not scored:
        raise TiergartenError(f"none of {len(evaluations)} proposals could run; the last one: {evaluations[-1].error}")
    return Outcome(min(scored, key=lambda e: e.score).values, evaluations)
