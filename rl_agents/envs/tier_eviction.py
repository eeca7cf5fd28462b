"""One eviction agent per tier of a KV cache. PettingZoo parallel environment."""

from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from tiergarten.rl_agents.envs.kv_eviction import REWARD_SCALE, learning_scenario
from tiergarten.rl_agents.stepped import SteppedRun
from tiergarten.scenario.load import load_scenario, with_values
from tiergarten.sim.chooser import FEATURES, NUM_CANDIDATES
from tiergarten.sim.errors import TiergartenError


class TierEviction(ParallelEnv):
    """An agent for each tier decides which KV block leaves it; all are paid for every block found anywhere.

    A step ends at the next eviction in any tier. Only the tier that evicts uses its agent's action; the first feature of the
    others' observations is 0 in every row. Spaces, rewards and episodes are otherwise those of `KvEviction`.
    """

    metadata: dict[str, Any] = {"name": "tier_eviction_v0", "render_modes": []}

    def __init__(
        self, scenario: str = "kv-agent", tiers: tuple[str, ...] = ("hbm", "ddr"), render_mode: str | None = None
    ):
        self.possible_agents = list(tiers)
        self.agents: list[str] = []
        self.render_mode = render_mode
        self._scenario = learning_scenario(load_scenario(scenario), tiers)
        self._run: SteppedRun | None = None
        self._hits = 0
        self._rng = np.random.default_rng(0)

    @cache  # noqa: B019 - PettingZoo wants the same object every time; environments are few
    def observation_space(self, agent: str) -> spaces.Space:
        """As in `KvEviction`."""
        return spaces.Box(-np.inf, np.inf, (NUM_CANDIDATES * len(FEATURES),), np.float32)

    @cache  # noqa: B019
    def action_space(self, agent: str) -> spaces.Space:
        """As in `KvEviction`."""
        return spaces.Discrete(NUM_CANDIDATES)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start a run. `seed` decides the requests."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.close()
        run_seed = int(self._rng.integers(2**31))
        self._run = SteppedRun(
            with_values(self._scenario, {"run.seed": run_seed}, "environment"), tuple(self.possible_agents)
        )
        if self._run.question is None:
            raise TiergartenError("nothing is ever evicted in this scenario: make its tiers smaller")
        self._hits = 0
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Evict from the tier that waits and run on to the next eviction in any tier."""
        assert self._run is not None, "reset first"
        question = self._run.question
        assert question is not None, "the episode has ended"
        self._run.answer(int(actions[question.tier]))
        result = self._run.result
        hits = sum(decision.hits for decision in self._run.last.values())
        reward = (hits - self._hits) * REWARD_SCALE
        self._hits = hits
        agents = self.agents
        observations = self._observations()
        if result is not None:
            self.agents = []
        infos = {agent: {} if result is None else {"metrics": result.metrics} for agent in agents}
        return (
            observations,
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, result is not None),
            dict.fromkeys(agents, False),
            infos,
        )

    def close(self) -> None:
        """Abandon a run that has not ended."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def _observations(self) -> dict[str, np.ndarray]:
        assert self._run is not None
        question = self._run.question
        empty = np.zeros(NUM_CANDIDATES * len(FEATURES), np.float32)
        return {
            agent: question.decision.features.ravel()
            if question is not None and question.tier == agent
            else empty.copy()
            for agent in self.possible_agents
        }
