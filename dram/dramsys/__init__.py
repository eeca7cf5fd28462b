"""The controller space of DRAMSys and ArchGym's DRAMGym: ten knobs, one channel, one call per evaluation.

>>> from tiergarten.dram.dramsys import ControllerDesign, evaluate, part, read_stl
>>> trace = read_stl("random.stl.gz", tick_ps=833)  # doctest: +SKIP
>>> evaluate(ControllerDesign(), trace, part("DDR4-2400")).time_ps  # doctest: +SKIP
"""

from tiergarten.dram.dramsys.design import (
    KNOB_SIZES,
    KNOBS,
    NUM_GRID_DESIGNS,
    Arbiter,
    ControllerDesign,
    PagePolicy,
    RefreshPolicy,
    ResponseQueue,
    Scheduler,
    SchedulerBuffer,
    grid_designs,
)
from tiergarten.dram.dramsys.evaluate import Metrics, evaluate
from tiergarten.dram.dramsys.part import PARTS, Part, part
from tiergarten.dram.dramsys.semantics import DRAMSYS_2021, DRAMSYS_2026, OURS, Semantics, semantics
from tiergarten.dram.dramsys.trace import read_stl

__all__ = [
    "DRAMSYS_2021",
    "DRAMSYS_2026",
    "KNOBS",
    "KNOB_SIZES",
    "NUM_GRID_DESIGNS",
    "OURS",
    "PARTS",
    "Arbiter",
    "ControllerDesign",
    "Metrics",
    "PagePolicy",
    "Part",
    "RefreshPolicy",
    "ResponseQueue",
    "Scheduler",
    "SchedulerBuffer",
    "Semantics",
    "evaluate",
    "grid_designs",
    "part",
    "read_stl",
    "semantics",
]
