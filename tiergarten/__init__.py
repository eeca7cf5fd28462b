"""Tiergarten: simulator and design-space explorer for the memory systems of AI hardware."""

__version__ = "0.1.0"
