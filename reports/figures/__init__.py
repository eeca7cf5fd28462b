"""One figure per file. A figure takes its data from a result folder, and its picture from that data alone.

The data is what is saved as CSV beside the picture: drawing again from the CSV gives the same picture.
"""

from typing import Protocol

import pandas as pd
from matplotlib.figure import Figure

from tiergarten.reports.folder import RunFolder
from tiergarten.sim.registry import Registry


class NothingToDrawError(Exception):
    """The tables are there, but hold nothing that this figure could show; the message says why."""


class FigureKind(Protocol):
    """A kind of figure; its fields, if any, are options with defaults."""

    @property
    def title(self) -> str:
        """Heading of the figure."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Tables that must be there, with their declared columns and at least one row."""
        ...

    def data(self, folder: RunFolder) -> pd.DataFrame:
        """Tidy data of the figure, base units in the column names. Raises NothingToDrawError."""
        ...

    def draw(self, data: pd.DataFrame) -> Figure:
        """The picture of that data."""
        ...

    def caption(self, data: pd.DataFrame) -> str:
        """Plain text: what is shown, how it was reduced, what to notice."""
        ...


FIGURES: Registry[type[FigureKind]] = Registry("figure", "tiergarten.reports.figures")


def names() -> list[str]:
    """Names of all figures."""
    return FIGURES.names()
