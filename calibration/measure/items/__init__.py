"""The items of the suite. A module that has a tuple `ITEMS` adds them; `ORDER` decides which group runs first."""

import importlib
import pkgutil
from typing import Final

from tiergarten.calibration.measure.item import Item
from tiergarten.sim.errors import InputError, Problem, did_you_mean

ORDER: Final = ("host", "device memory", "on chip", "copies", "virtual memory", "kernels", "decode loop")
"""The decode loop comes last: its prediction is written from the tables before it."""


def all_items() -> tuple[Item, ...]:
    """Every item, in the order in which the suite runs them."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        found += importlib.import_module(f"{__name__}.{module.name}").ITEMS
    return tuple(sorted(found, key=lambda item: (ORDER.index(item.group), item.name)))


def chosen_items(names: list[str]) -> tuple[Item, ...]:
    """The named items or groups, all where none is named. InputError for names that are neither."""
    items = all_items()
    known = {item.name for item in items} | {item.group for item in items}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise InputError([Problem(f"no item or group {name!r}. {did_you_mean(name, known)}") for name in wrong])
    return tuple(item for item in items if not names or item.name in names or item.group in names)
