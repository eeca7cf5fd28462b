"""Proximal policy optimisation of the eviction policy of one tier, by Stable-Baselines3.

Schulman et al., Proximal Policy Optimization Algorithms, arXiv 1707.06347. What is kept is the weights alone, as plain arrays,
so that a run needs neither PyTorch nor a pickle.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from tiergarten.rl_agents.envs.kv_eviction import KvEviction
from tiergarten.rl_agents.search import Evaluation, Job, Outcome, search_agents
from tiergarten.scenario.load import with_values
from tiergarten.sim.chooser import MlpChooser
from tiergarten.simulate import simulate

WEIGHTS_FILE = "policy.npz"
HIDDEN = (32, 32)


@search_agents.register("ppo")
def ppo(job: Job, progress: Callable[[float], None]) -> Outcome:
    """Learns which block leaves a tier; episodes are runs of the scenario with other requests than those of the score."""
    evaluations: list[Evaluation] = []
    best: tuple[float, MlpChooser] | None = None
    for number, seed in enumerate(job.schema.seeds):

        def tell(share: float, number: int = number) -> None:
            progress((number + share) / len(job.schema.seeds))

        watch = _Watch(job, seed, tell)
        environment = KvEviction(job.scenario, job.schema.tier)
        model = PPO(
            "MlpPolicy",
            environment,
            n_steps=1024,
            batch_size=256,
            gamma=0.995,
            ent_coef=0.01,
            learning_rate=1e-3,
            policy_kwargs={"net_arch": list(HIDDEN), "activation_fn": nn.Tanh},
            seed=seed,
            device="cpu",
        )
        model.learn(job.schema.budget, callback=watch)
        environment.close()
        evaluations += watch.evaluations
        if watch.best is not None and (best is None or watch.best[0] < best[0]):
            best = watch.best
    assert best is not None, "every seed is evaluated at its start and end"
    chooser = best[1]
    eviction = {job.schema.tier: {"name": "learned", "weights": WEIGHTS_FILE}}
    return Outcome({"policies.eviction": eviction}, evaluations, {WEIGHTS_FILE: chooser.save})


class _Watch(BaseCallback):
    """Scores the policy on the job's own requests at the start of every rollout and at the end; keeps the best."""

    def __init__(self, job: Job, seed: int, progress: Callable[[float], None]):
        super().__init__()
        self._job = job
        self._seed = seed
        self._tell = progress
        eviction = {job.schema.tier: {"name": "learned", "agent": True}}
        self._scenario = with_values(job.scenario, {"policies.eviction": eviction}, "ppo")
        self.evaluations: list[Evaluation] = []
        self.best: tuple[float, MlpChooser] | None = None

    def _on_rollout_start(self) -> None:
        chooser = weights_of(self.model)
        result = simulate(self._scenario, choosers={self._job.schema.tier: chooser})
        score = self._job.score(result.metrics)
        self.evaluations.append(Evaluation(self._seed, self.num_timesteps, {}, score))
        if self.best is None or score < self.best[0]:
            self.best = (score, chooser)

    def _on_step(self) -> bool:
        self._tell(min(1.0, self.num_timesteps / self._job.schema.budget))
        return True

    def _on_training_end(self) -> None:
        self._on_rollout_start()


def weights_of(model: Any) -> MlpChooser:
    """The deterministic part of an SB3 actor as a chooser."""
    policy = model.policy
    linear = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)] + [policy.action_net]
    return MlpChooser(tuple((_array(layer.weight), _array(layer.bias)) for layer in linear))


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().numpy(), np.float32)
