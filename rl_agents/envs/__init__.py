"""Environments: a run of a scenario, advanced between decisions."""
