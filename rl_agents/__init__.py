"""Environments over runs, learning agents and search jobs."""
