"""One registry for everything that a newcomer adds in one file: models, policies, workloads, standards, agents."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from tiergarten.sim.errors import UnknownNameError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to classes or functions.

    Every module of `package` is imported at the first look-up, so a new file needs no list to be edited.
    Third parties register through the entry-point group `tiergarten.<kind>`.
    """

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that names a class or function. A second registration of a name raises ValueError."""

        def decorate(entry: T) -> T:
            if name in self._entries and self._entries[name] is not entry:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return decorate

    def get(self, name: str) -> T:
        """The entry of that name; UnknownNameError with the nearest names otherwise."""
        self._load()
        if name not in self._entries:
            raise UnknownNameError(f"unknown {self.kind} {name!r}. {did_you_mean(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._entries)

    def items(self) -> Iterator[tuple[str, T]]:
        """(name, entry) in order of names."""
        return ((name, self._entries[name]) for name in self.names())

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, self._package + "."):
            importlib.import_module(module.name)
        for point in entry_points(group=f"tiergarten.{self.kind.replace(' ', '_')}"):
            self._entries.setdefault(point.name, point.load())


def summary(entry: object) -> str:
    """First sentence of the entry's docstring: what `tiergarten list` prints beside its name."""
    text = (getattr(entry, "__doc__", None) or "").strip().split("\n\n")[0]
    return " ".join(text.split())
