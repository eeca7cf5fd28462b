"""Environments over runs, learning agents and search jobs. Needs `pip install tiergarten[rl]`.

Importing this package registers `tiergarten/KvEviction-v0` with Gymnasium where that is installed.
"""

from importlib.util import find_spec

from tiergarten.sim.errors import TiergartenError


def require_rl() -> None:
    """Raise TiergartenError naming the extra unless its packages are there."""
    missing = [
        name for name in ("gymnasium", "pettingzoo", "optuna", "stable_baselines3", "torch") if find_spec(name) is None
    ]
    if missing:
        raise TiergartenError(f"this needs {', '.join(missing)}: pip install 'tiergarten[rl]'")


if find_spec("gymnasium") is not None:
    import gymnasium

    gymnasium.register("tiergarten/KvEviction-v0", entry_point="tiergarten.rl_agents.envs.kv_eviction:KvEviction")
