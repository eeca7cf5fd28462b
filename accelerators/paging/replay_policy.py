"""When the GPU is told to try parked accesses again: the four policies of the UVM driver.

Source: NVIDIA open kernel module 545.23.06, uvm_gpu_replayable_faults.c (`uvm_perf_fault_replay_policy`, default BATCH_FLUSH).
"""

from dataclasses import dataclass
from typing import ClassVar

from tiergarten.accelerators.paging.kernel_config import ReplayKind
from tiergarten.sim.registry import Registry

REPLAYS: Registry[type] = Registry("paging replay policy", "tiergarten.accelerators.paging")


@REPLAYS.register("block")
@dataclass(frozen=True)
class BlockReplay:
    """After every VABlock."""

    kind: ClassVar[ReplayKind] = ReplayKind.BLOCK


@REPLAYS.register("batch")
@dataclass(frozen=True)
class BatchReplay:
    """After every batch; entries that stay in the buffer become duplicates of those raised again."""

    kind: ClassVar[ReplayKind] = ReplayKind.BATCH


@REPLAYS.register("batch_flush")
@dataclass(frozen=True)
class BatchFlushReplay:
    """After every batch, with the fault buffer emptied first (the driver's default)."""

    kind: ClassVar[ReplayKind] = ReplayKind.BATCH_FLUSH


@REPLAYS.register("once")
@dataclass(frozen=True)
class OnceReplay:
    """When the fault buffer is empty."""

    kind: ClassVar[ReplayKind] = ReplayKind.ONCE
