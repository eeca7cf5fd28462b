"""Environments keep Gymnasium's and PettingZoo's contracts; the trivial agent is LRU; runs are deterministic."""

import pytest

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra `rl`")
pytest.importorskip("pettingzoo", reason="needs the extra `rl`")

import warnings

from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test

import tiergarten as tg
import tiergarten.rl_agents  # registers the environment
from tiergarten.rl_agents.envs.kv_eviction import KvEviction
from tiergarten.rl_agents.envs.tier_eviction import TierEviction
from tiergarten.sim.errors import TiergartenError


def episode(seed: int, choose) -> tuple[list[float], dict]:
    environment = KvEviction()
    observation, _ = environment.reset(seed=seed)
    rewards, done, info = [], False, {}
    while not done:
        assert environment.observation_space.contains(observation)
        observation, reward, done, _, info = environment.step(choose(len(rewards)))
        rewards.append(reward)
    return rewards, info["metrics"]


def test_gymnasium_accepts_the_environment() -> None:
    environment = gymnasium.make("tiergarten/KvEviction-v0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the bounds of the observation
        check_env(environment.unwrapped, skip_render_check=True)
    environment.close()


def test_pettingzoo_accepts_the_environment() -> None:
    parallel_api_test(TierEviction(), num_cycles=30)


def test_always_the_first_candidate_is_lru() -> None:
    """The least recently used candidate is LRU's victim, so the metrics of the run are those of LRU."""
    _, metrics = episode(3, lambda step: 0)
    lru = tg.run("kv-agent", set={"run.seed": 3, "policies.eviction": "lru"}).metrics
    assert metrics == lru


def test_actions_matter_and_repeat() -> None:
    first = episode(3, lambda step: step % 8)
    assert first == episode(3, lambda step: step % 8)
    assert first[1]["hit_rate"] != episode(3, lambda step: 0)[1]["hit_rate"]


def test_an_abandoned_run_ends() -> None:
    environment = KvEviction()
    environment.reset(seed=1)
    thread = environment._run._thread
    environment.reset(seed=2)
    assert not thread.is_alive()
    environment.close()


def test_a_tier_without_evictions_is_said_so() -> None:
    with pytest.raises(TiergartenError, match="no tier of the scenario's cache"):
        KvEviction(tier="nvme")
