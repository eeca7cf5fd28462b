"""The paging models against a file of measurements: every comparison with its band, for `tiergarten paging verify`.

The file is YAML with sections of rows {id, value, ...}; sections that it lacks are left out. Names of the sections and order of
the values are those of the reference collection (see docs/paging.md).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tiergarten.accelerators.paging import costs
from tiergarten.accelerators.paging.cuda_vmm import MANY_HANDLES, ONE_HANDLE
from tiergarten.accelerators.paging.oversubscription import run_point
from tiergarten.accelerators.paging.patterns import first_touch_lanes, make_lanes
from tiergarten.accelerators.paging.prefetch import NoPrefetch
from tiergarten.accelerators.paging.state import Cause
from tiergarten.accelerators.paging.uvm import FaultHardware, UvmConfig, UvmMachine
from tiergarten.accelerators.paging.uvmsmart import reported_ps
from tiergarten.sim.copy_cost import PCIE3_X16_D2H, PCIE3_X16_H2D
from tiergarten.sim.errors import InputError, Problem

MIB: Final = 1 << 20
Rows = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One figure of ours beside one of theirs."""

    section: str
    name: str
    unit: str
    ours: float
    theirs: float
    band: float
    """Largest factor between the two that passes, minus one (0.2: 20 %; 1.0: within 2x)."""

    @property
    def error(self) -> float:
        """Ours over theirs, minus one."""
        return self.ours / self.theirs - 1

    @property
    def is_within(self) -> bool:
        ratio = max(self.ours / self.theirs, self.theirs / self.ours) if min(self.ours, self.theirs) > 0 else np.inf
        return abs(self.error) <= self.band if self.band < 0.5 else ratio <= 1 + self.band


def read_reference(path: Path) -> dict[str, Rows]:
    """Sections of a reference file, each {id: value}. Raises InputError for a file that is not of that form."""
    try:
        tree = YAML(typ="safe").load(path)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(path))) from error
    if not isinstance(tree, dict):
        raise InputError(Problem("is not a mapping of sections", str(path)))
    problems, sections = [], {}
    for name, rows in tree.items():
        if not isinstance(rows, list) or any(
            not isinstance(row, dict) or not {"id", "value"} <= row.keys() for row in rows
        ):
            problems.append(Problem("is not a list of rows with `id` and `value`", str(path), path=str(name)))
        else:
            sections[str(name)] = {str(row["id"]): row["value"] for row in rows}
    if problems:
        raise InputError(problems)
    return sections


def compare(reference: dict[str, Rows], progress: Callable[[float], None] = lambda share: None) -> list[Comparison]:
    """Every comparison that the sections allow. Raises InputError for a row of the wrong shape."""
    found = []
    wanted = [name for name in CHECKS if name in reference]
    for number, name in enumerate(wanted):
        for ident, value in reference[name].items():
            try:
                found += list(CHECKS[name](ident, value))
            except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
                message = f"row {ident!r} does not have the values that this section has: {error}"
                raise InputError(Problem(message, path=name)) from error
        progress((number + 1) / len(wanted))
    return found


MEAN_BANDS: Final = {"fault groups": 0.15}
"""Sections whose mean absolute error has a band of its own, tighter than that of a single figure."""


def means_outside(found: list[Comparison]) -> dict[str, float]:
    """Sections whose mean error is outside its band, with that mean."""
    outside = {}
    for section, band in MEAN_BANDS.items():
        errors = [abs(comparison.error) for comparison in found if comparison.section == section]
        if errors and sum(errors) / len(errors) > band:
            outside[section] = sum(errors) / len(errors)
    return outside


def _profiles(ident: str, value: list[float]) -> Iterator[Comparison]:
    _, _, in_n, in_mib, in_us, out_n, out_mib, out_us, groups, group_us = value
    for name, cost, count, mib, us in (
        ("H2D", PCIE3_X16_H2D, in_n, in_mib, in_us),
        ("D2H", PCIE3_X16_D2H, out_n, out_mib, out_us),
    ):
        ours = count * cost.duration_ps(round(mib * MIB / count)) / 1e6
        yield Comparison("copy time", f"{ident} {name}", "us", ours, us, 0.03)
    ours = costs.GTX_1080_TI.group_ps(int(groups), int(in_n), round(in_mib * MIB), round(out_mib * MIB)) / 1e6
    yield Comparison("fault groups", ident, "us", ours, group_us, 0.40)


def _sequence(ident: str, value: list[list[float]]) -> Iterator[Comparison]:
    if ident != "transfers":
        return
    hardware = FaultHardware()
    machine = UvmMachine(UvmConfig(device_bytes=64 * MIB, log_copies=100), [2 * MIB])
    for region, (demand, ahead) in zip((0, 1, 2, 4, 8, 16), value, strict=True):
        before = len(machine.copies())
        machine.touch(make_lanes(np.array([[region * 16]]), hardware))
        copies = machine.copies()[before:]
        for cause, kib in ((Cause.DEMAND, demand), (Cause.PREFETCH, ahead)):
            ours = float(copies[copies[:, 1] == cause, 3].sum() * 4)
            yield Comparison("prefetch sequence", f"64 KiB block {region} {cause.name.lower()}", "KiB", ours, kib, 0.0)


def _first_touch(ident: str, value: float) -> Iterator[Comparison]:
    if ident.startswith("direct"):
        return
    megabytes = float(ident.removesuffix("MB"))
    size = 2 ** round(np.log2(megabytes * 1e6))  # the paper's sizes are powers of two, printed in MB
    machine = UvmMachine(UvmConfig(device_bytes=12 << 30, prefetcher=NoPrefetch()), [size])
    ours = machine.touch(first_touch_lanes(machine.num_pages[0], FaultHardware())).time_ps / 1e9
    yield Comparison("first touch", ident, "ms", ours, value, 0.20)


PATTERN_NAMES: Final = {"seq": "sequential", "rand": "random", "chase": "pointer_chase"}


def _oversubscription(ident: str, value: float) -> Iterator[Comparison]:
    kind, _, factor = ident.partition("_")
    if kind in PATTERN_NAMES:
        ours = run_point(PATTERN_NAMES[kind], float(factor)).pass_ps / 1e9
        yield Comparison("over-subscription", ident, "ms", ours, value, 1.0)


def _uvmsmart(ident: str, value: list[float]) -> Iterator[Comparison]:
    total_us, kernel_us, faults = value[:3]
    yield Comparison(
        "UVMSmart time", ident, "us", reported_ps(round(kernel_us * 1e6), int(faults)) / 1e6, total_us, 1e-4
    )


def _handles(ident: str, value: Any) -> Iterator[Comparison]:
    kind, _, size = ident.rpartition("_")
    if kind in ("one_handle", "n_handles"):
        mib = int(size[:-1]) * (1024 if size.endswith("G") else 1)
        ours = ONE_HANDLE.cycle_ps(1, mib * MIB) if kind == "one_handle" else MANY_HANDLES.cycle_ps(mib // 2)
        yield Comparison("CUDA VMM", ident, "us", ours / 1e6, value, 0.02)


CHECKS: Final[dict[str, Callable[[str, Any], Iterator[Comparison]]]] = {
    "gtx1080ti_oversub_real": _profiles,
    "gtx1080ti_prefetcher": _sequence,
    "sc21_uvm_regular_access_total": _first_touch,
    "uvmsmart_sim": _uvmsmart,
    "rtx5090_oversub": _oversubscription,
    "cuda_vmm": _handles,
}
