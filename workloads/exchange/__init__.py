"""Traces in other tools' formats."""
