"""How an item says that this machine cannot run it: not a failure, and the suite notes the reason."""

from typing import Final

LEFT_OUT: Final = 3
"""Exit code of a program or Python item for it; the reason is the last line on standard error."""


class LeftOutError(Exception):
    """This machine lacks what the item needs; the message says what."""
