"""`tiergarten/KvEviction-v0`: which KV block leaves a full tier? Gymnasium."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from tiergarten.rl_agents.stepped import SteppedRun
from tiergarten.scenario.load import Scenario, load_scenario, with_values
from tiergarten.sim.chooser import FEATURES, NUM_CANDIDATES
from tiergarten.sim.errors import TiergartenError

REWARD_SCALE = 0.01
"""Makes the return of an episode a few units: one per hundred blocks found."""


def learning_scenario(scenario: Scenario, tiers: tuple[str, ...]) -> Scenario:
    """The scenario with the policy `learned` in `tiers`. TiergartenError for a tier that caches nothing."""
    cached = scenario.schema.workload.params.get("cache", [])
    for tier in tiers:
        if tier not in cached:
            raise TiergartenError(f"{tier!r} is no tier of the scenario's cache ({', '.join(map(str, cached))})")
    # the weights are stood in for by the agent; a file of that name is never opened
    eviction = {tier: {"name": "learned", "agent": True} for tier in tiers}
    return with_values(scenario, {"policies.eviction": eviction}, "environment")


class KvEviction(gymnasium.Env):
    """Which KV block leaves a tier that is full.

    ## Description
    A run of a serving scenario, advanced from one eviction of `tier` to the next. The candidates are the eight least recently
    used blocks that nobody uses and that have no successor in the tier.

    ## Action Space
    `Discrete(8)`: the candidate that leaves, 0 = the least recently used. An index without a candidate means 0.

    ## Observation Space
    `Box(-inf, inf, (32,), float32)`: for each candidate 1 if there is one, then the logarithms (over 16) of the accesses since
    its last use and since it came in, and of its uses.

    ## Rewards
    Blocks found in the tier since the last decision, times 0.01. The sum over an episode is the number of hits.

    ## Starting State
    The start of the run, with the requests that the seed draws. Without a seed, another one for each episode.

    ## Episode End
    Terminates when all requests are served. `info["metrics"]` then holds the metrics of the run. Never truncates.

    ## Arguments
    `scenario`: a bundled scenario, a file or a loaded Scenario of the workload `serving`, default `kv-agent`. `tier`: default `hbm`.

    ## Version History
    v0: first.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, scenario: str | Scenario = "kv-agent", tier: str = "hbm", render_mode: str | None = None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (NUM_CANDIDATES * len(FEATURES),), np.float32)
        self.action_space = spaces.Discrete(NUM_CANDIDATES)
        self.render_mode = render_mode
        self._tier = tier
        self._scenario = learning_scenario(load_scenario(scenario) if isinstance(scenario, str) else scenario, (tier,))
        self._run: SteppedRun | None = None
        self._hits = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a run. `seed` decides the requests."""
        super().reset(seed=seed)
        run_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        self.close()
        self._run = SteppedRun(with_values(self._scenario, {"run.seed": run_seed}, "environment"), (self._tier,))
        self._hits = 0
        if self._run.question is None:
            raise TiergartenError(f"nothing is ever evicted from {self._tier!r} in this scenario: make it smaller")
        return self._observation(), {"seed": run_seed}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Evict and run on to the next eviction."""
        assert self._run is not None, "reset first"
        self._run.answer(int(action))
        result = self._run.result
        hits = self._run.last[self._tier].hits
        reward = (hits - self._hits) * REWARD_SCALE
        self._hits = hits
        info = {} if result is None else {"metrics": result.metrics}
        return self._observation(), reward, result is not None, False, info

    def close(self) -> None:
        """Abandon a run that has not ended."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def _observation(self) -> np.ndarray:
        assert self._run is not None
        question = self._run.question
        if question is None:
            return np.zeros(NUM_CANDIDATES * len(FEATURES), np.float32)
        return question.decision.features.ravel()
