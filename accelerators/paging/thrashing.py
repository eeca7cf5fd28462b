"""Thrash detection: VABlocks that fault again soon after they were evicted are first throttled, then pinned to the host.

Three evict-then-fault events, each within a lapse (500 us), make the GPU nap for a lapse; ten map the faulted pages remotely for
300 lapses; counts are forgotten every 2000 lapses, at most four times.
Source: NVIDIA open kernel module 545.23.06, uvm_perf_thrashing.c (module parameters and their defaults). The driver keeps the
record per page inside the VABlock; here it is kept per VABlock.
"""

from dataclasses import dataclass

from tiergarten.accelerators.paging.kernel_config import KernelConfig
from tiergarten.accelerators.paging.kernels import kernel
from tiergarten.accelerators.paging.state import LONG_AGO_PS, Count, Now, PagingState
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.units import PS_PER_US

CALM = 0
THROTTLED = 1
PINNED = 2


@dataclass(frozen=True)
class ThrashDetection:
    """Thresholds of the detector; the defaults are the driver's."""

    lapse_ps: int = 500 * PS_PER_US
    throttle_events: int = 3
    pin_events: int = 10
    nap_lapses: int = 1
    pin_lapses: int = 300
    epoch_lapses: int = 2000
    max_resets: int = 4

    def __post_init__(self) -> None:
        problems = [
            Problem(f"must be above zero, got {getattr(self, name)}", path=f"thrash.{name}")
            for name in ("lapse_ps", "throttle_events", "pin_events", "nap_lapses", "pin_lapses", "epoch_lapses")
            if getattr(self, name) <= 0
        ]
        if not problems and self.pin_events < self.throttle_events:
            message = f"{self.pin_events} lies below throttle_events {self.throttle_events}: pages would never be pinned after a throttle"
            problems.append(Problem(message, path="thrash.pin_events"))
        if problems:
            raise InputError(problems)


@kernel
def forget_epoch(state: PagingState, config: KernelConfig) -> None:
    """At the start of a new epoch forget the events of VABlocks that were not reset too often."""
    epoch = state.now[Now.TIME_PS] // config.thrash_epoch_ps
    if epoch != state.now[Now.EPOCH]:
        state.now[Now.EPOCH] = epoch
        for block in range(len(state.block_thrash)):
            if state.block_thrash[block] > 0 and state.block_resets[block] < config.thrash_max_resets:
                state.block_thrash[block] = 0
                state.block_resets[block] += 1


@kernel
def thrash_verdict(state: PagingState, config: KernelConfig, block: int) -> int:
    """What to do with a fault in `block` now: CALM (serve it), THROTTLED (let the GPU nap) or PINNED (map it remotely).

    Each eviction counts as one event at most.
    """
    if config.thrash_lapse_ps == 0:
        return CALM
    forget_epoch(state, config)
    now = state.now[Now.TIME_PS]
    if state.block_pinned_until_ps[block] > now:
        return PINNED
    if state.block_nap_until_ps[block] > now:
        return THROTTLED
    evicted = state.block_evicted_ps[block]
    if evicted == LONG_AGO_PS:
        return CALM
    state.block_evicted_ps[block] = LONG_AGO_PS
    if now - evicted > config.thrash_lapse_ps:
        state.block_thrash[block] = 0
        return CALM
    state.block_thrash[block] += 1
    if state.block_thrash[block] >= config.thrash_pin_events:
        state.block_thrash[block] = 0
        state.block_pinned_until_ps[block] = now + config.thrash_pin_ps
        return PINNED
    if state.block_thrash[block] >= config.thrash_throttle_events:
        state.block_nap_until_ps[block] = now + config.thrash_nap_ps
        state.counts[Count.THROTTLED] += 1
        return THROTTLED
    return CALM
