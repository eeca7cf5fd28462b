"""numba's `njit` whose cache on disk also sees changes in the files of called functions.

numba compares a cached function with its own source file only; functions and constants of other files that were compiled into it
can change unnoticed, and the stale code runs on. Functions of this project are stamped with all sources of their part
and of `sim` instead. Import `njit` from here, never from numba.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from numba import njit
from numba.core import caching

__all__ = ["njit"]

ROOT: Final = Path(__file__).resolve().parents[1]
"""The folder that holds the parts: the checkout, or `tiergarten` in site-packages."""


@cache
def sources_stamp(part: str) -> bytes:
    """Hash of every Python file of a part (`dram`, ...) and of `sim`: their names and contents."""
    digest = sha256()
    for folder in sorted({part, "sim"}):
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.digest()


def part_of(file: str) -> str | None:
    """The part that a file belongs to, None if it is not one of ours."""
    path = Path(file).resolve()
    return path.relative_to(ROOT).parts[0] if path.is_relative_to(ROOT) else None


class _StampedByPart:
    """A cache locator for our own functions; it leaves those of others to numba's own locators."""

    _py_file: str

    def get_source_stamp(self) -> bytes:
        part = part_of(self._py_file)
        assert part is not None, "from_function took only our own files"
        return sources_stamp(part)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        return None if part_of(py_file) is None else super().from_function(py_func, py_file)  # type: ignore[misc]


class _UserProvided(_StampedByPart, caching.UserProvidedCacheLocator):  # type: ignore[misc]
    """In the folder named by NUMBA_CACHE_DIR."""


class _InTree(_StampedByPart, caching.InTreeCacheLocator):  # type: ignore[misc]
    """In `__pycache__` beside the source."""


class _UserWide(_StampedByPart, caching.UserWideCacheLocator):  # type: ignore[misc]
    """In the user's cache folder, where the sources cannot be written to."""


caching.CacheImpl._locator_classes[:0] = [_UserProvided, _InTree, _UserWide]
