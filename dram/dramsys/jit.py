"""How the functions of the controller kernel are compiled: without reference counting, and cached by their sources.

The functions allocate nothing, so counting references to the arrays they pass on would only cost time (ten times the
simulation's own).
"""

from collections.abc import Callable
from hashlib import sha256
from importlib import resources
from typing import Any

from tiergarten.sim.jit import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function called by other compiled ones; compiled anew whenever its caller is."""
    return njit(_nrt=False)(function)  # type: ignore[call-overload, no-any-return]


def entry_point(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function called from Python, kept in numba's cache; it releases the interpreter lock."""
    return njit(cache=True, nogil=True, _nrt=False)(function)  # type: ignore[call-overload, no-any-return]


def sources_stamp(package: str) -> int:
    """A number that changes with any source file of a package.

    Numba's cache notices a change in the file of the cached function only, not in the files of the functions and constants
    compiled into it. It does compare closure variables: a cached function that closes over this number is compiled anew.
    """
    digest = sha256()
    for file in sorted(resources.files(package).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")
