"""The memory controller's settings, checked when constructed, and how they are written in YAML, manifests and `--set`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tiergarten.sim.errors import InputError, Problem, did_you_mean

CONTROLLERS = ("GenericDDR", "HBM12", "HBM34", "LPDDR5", "LPDDR6", "GDDR7")
CHOICES = {
    "controller": ("", *CONTROLLERS),
    "scheduler": ("FRFCFS", "FRFCFS-RowHit"),
    "row_policy": ("Open", "ClosedCAP"),
    "refresh": ("AllBank", "NoRefresh", "PerBank", "HBM34PerBankRefresh", "SameBank"),
    "addr_mapper": ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR"),
    "wck_sync_mode": ("need_sync", "always_on"),
    "rck_mode": ("always_on", "start_with_read", "start_with_rckstrt"),
    "compat": ("", "ramulator-2.1"),
}


@dataclass(frozen=True)
class ControllerConfig:
    """How one channel's controller works. Names and defaults are those of the reference simulator.

    compat "ramulator-2.1" reproduces that simulator's known defects, which are otherwise not there (docs/dram.md).
    """

    controller: str = ""
    """Family; empty = the standard's own."""
    scheduler: str = "FRFCFS"
    row_policy: str = "Open"
    cap: int = 4
    """ClosedCAP: accesses an open row may take."""
    refresh: str = "AllBank"
    scatter_interval: int = 0
    """All-bank refresh: ticks between the first refreshes of one scope and the next; 0 = all together."""
    addr_mapper: str = "RoBaRaCoCh"
    read_buffer_size: int = 32
    write_buffer_size: int = 32
    priority_buffer_size: int = 1568
    wr_low_watermark: float = 0.2
    wr_high_watermark: float = 0.8
    wck_sync_mode: str = "need_sync"
    rck_mode: str = "always_on"
    rck_idle_threshold: int = 32
    compat: str = ""

    def __post_init__(self) -> None:
        problems = [
            Problem(f"unknown value {value!r}. {did_you_mean(str(value), known)}", path=f"controller.{name}")
            for name, known in CHOICES.items()
            if (value := getattr(self, name)) not in known
        ]
        for name, least, most in (
            ("cap", 1, 1 << 30),
            ("scatter_interval", 0, 1 << 40),
            ("read_buffer_size", 1, 65536),
            ("write_buffer_size", 1, 65536),
            ("priority_buffer_size", 1, 1 << 20),
            ("rck_idle_threshold", 0, 1 << 40),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                message = f"must be a whole number from {least} to {most}, got {value!r}"
                problems.append(Problem(message, path=f"controller.{name}"))
        low, high = self.wr_low_watermark, self.wr_high_watermark
        if not all(isinstance(mark, (int, float)) and 0 <= mark <= 1 for mark in (low, high)) or low >= high:
            message = f"watermarks must satisfy 0 <= low < high <= 1, got {low!r} and {high!r}"
            problems.append(Problem(message, path="controller.wr_low_watermark"))
        if problems:
            raise InputError(problems)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any], compat: str = "") -> "ControllerConfig":
        """The configuration of a mapping of settings; every unknown name and bad value is reported at once."""
        known = {field.name: field.type for field in fields(cls)}
        problems = [
            Problem(f"unknown setting. {did_you_mean(str(name), known)}", path=f"controller.{name}")
            for name in settings
            if name not in known
        ]
        if problems:
            raise InputError(problems)
        return cls(**{"compat": compat, **settings})

    @classmethod
    def from_texts(cls, settings: Mapping[str, str]) -> "ControllerConfig":
        """As `from_mapping` for values given as text on a command line."""
        parsed: dict[str, Any] = {}
        types = {field.name: field.type for field in fields(cls)}
        for name, text in settings.items():
            kind = types.get(name, str)
            try:
                parsed[name] = {int: int, "int": int, float: float, "float": float}.get(kind, str)(text)
            except ValueError as error:
                raise InputError(Problem(f"not a number: {text!r}", path=f"controller.{name}")) from error
        return cls.from_mapping(parsed)
