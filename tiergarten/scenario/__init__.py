"""Scenario files: YAML in, a frozen and complete Scenario or all errors at once out."""

from tiergarten.scenario.load import Scenario, load_scenario

__all__ = ["Scenario", "load_scenario"]
