"""Where tables go. A terminal's width is kept; a file or a pipe gets room enough that no name is cut."""

import sys

from rich.console import Console

PIPE_COLUMNS = 180


def console() -> Console:
    """Standard output for rich text, without colours that mean nothing to a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
