"""Tiergarten: simulator and design-space explorer for the memory systems of AI hardware.

import tiergarten as tg
r = tg.run("kv-tiers")
r.metrics, r.transfers.to_pandas(), r.plot.timeline()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiergarten.api import Result, run
    from tiergarten.scenario.load import Scenario, load_scenario

__version__ = "0.1.0"
__all__ = ["Result", "Scenario", "__version__", "load_scenario", "run"]

_HOMES = {
    "Result": "tiergarten.api",
    "run": "tiergarten.api",
    "Scenario": "tiergarten.scenario.load",
    "load_scenario": "tiergarten.scenario.load",
}


def __getattr__(name: str) -> Any:
    """Load the API at first use: importing the package alone stays fast and light."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tiergarten' has no attribute {name!r}")
