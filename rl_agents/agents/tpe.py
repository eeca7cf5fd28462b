"""Tree-structured Parzen estimator: Bayesian optimisation over any declared fields of a scenario, by Optuna.

Bergstra, Bardenet, Bengio and Kegl, Algorithms for Hyper-Parameter Optimization, NeurIPS 2011.
"""

from collections.abc import Callable

import optuna

from tiergarten.rl_agents.agents.random_search import best_of, require_space
from tiergarten.rl_agents.search import Job, NumberRange, Outcome, evaluate, search_agents


@search_agents.register("tpe")
def tpe(job: Job, progress: Callable[[float], None]) -> Outcome:
    """Models which values make good runs and proposes the most promising ones."""
    require_space(job)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    evaluations = []
    for seed in job.schema.seeds:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        for step in range(job.schema.budget):
            trial = study.ask()
            values = {key: _suggest(trial, key, choices) for key, choices in job.schema.space.items()}
            evaluation = evaluate(job, seed, step, values)
            evaluations.append(evaluation)
            if evaluation.score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, evaluation.score)
            progress(len(evaluations) / (job.schema.budget * len(job.schema.seeds)))
    return best_of(job, evaluations)


def _suggest(trial: optuna.Trial, key: str, choices: object) -> object:
    if isinstance(choices, NumberRange):
        if choices.whole:
            return choices.text(trial.suggest_int(key, round(choices.low), round(choices.high), log=choices.log))
        return choices.text(trial.suggest_float(key, choices.low, choices.high, log=choices.log))
    assert isinstance(choices, list)
    return choices[trial.suggest_categorical(key, list(range(len(choices))))]
