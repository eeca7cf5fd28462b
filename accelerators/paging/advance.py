"""The loop that joins GPU and driver: touch, fetch a batch, service it, replay. Resumable, so that plug-ins can be asked.

The GPU runs until every lane is parked or done, then the driver serves one batch. Where faults enough for a whole batch were raised
on the way, the driver had begun meanwhile, and its work hides behind the GPU's; otherwise it waits for the last of them.
"""

import numpy as np

from tiergarten.accelerators.paging.access_counters import serve_notices
from tiergarten.accelerators.paging.history import mark, mark_now
from tiergarten.accelerators.paging.kernel_config import KernelConfig, ReplayKind
from tiergarten.accelerators.paging.kernels import entry_kernel, kernel
from tiergarten.accelerators.paging.service import (
    ASK_EVICTOR,
    ASK_PREFETCHER,
    DONE,
    POSTPONED,
    fetch_batch,
    service_block,
)
from tiergarten.accelerators.paging.state import Count, Now, PagingState, Step
from tiergarten.accelerators.paging.touch import Lanes, replay, run_gpu

BLOCK, BATCH_ONCE = int(ReplayKind.BLOCK), int(ReplayKind.ONCE)
FINISHED = 10
"""All lanes are done."""


@kernel
def spend(state: PagingState, duration: int) -> None:
    """The driver worked or waited for `duration` picoseconds, as far as possible beside the GPU's touches before."""
    hidden = min(duration, state.now[Now.GPU_AHEAD_PS])
    state.now[Now.GPU_AHEAD_PS] -= hidden
    state.counts[Count.HIDDEN_PS] += hidden
    state.now[Now.TIME_PS] += duration - hidden
    state.now[Now.BATCH_CPU_PS] += duration
    state.counts[Count.DRIVER_PS] += duration


@kernel
def let_driver_begin(state: PagingState, config: KernelConfig) -> None:
    """The GPU has stopped: with a whole batch of faults in the buffer, the driver began when the GPU did."""
    if state.now[Now.BUFFER_COUNT] >= config.batch_entries:
        state.now[Now.GPU_AHEAD_PS] = state.counts[Count.GPU_PS] - state.now[Now.GPU_SINCE_PS]
    else:
        state.now[Now.GPU_AHEAD_PS] = 0


@kernel
def wait_for_copies(state: PagingState, config: KernelConfig) -> None:
    """Wait for the copies pushed so far: after the driver's own work and one by one, or beside it and both ways at once."""
    if config.pipelined:
        link = max(state.now[Now.IN_PS], state.now[Now.OUT_PS])
        spend(state, max(0, link - state.now[Now.BATCH_CPU_PS]))
    else:
        spend(state, state.now[Now.IN_PS] + state.now[Now.OUT_PS])
    state.now[Now.IN_PS] = 0
    state.now[Now.OUT_PS] = 0


@kernel
def end_of_block(state: PagingState, config: KernelConfig, begin: int) -> int:
    """First batch entry behind those of the VABlock of entry `begin`."""
    block = (state.batch[begin] >> 1) // config.pages_per_block
    end = begin + 1
    while end < state.now[Now.BATCH_COUNT] and (state.batch[end] >> 1) // config.pages_per_block == block:
        end += 1
    return end


@kernel
def wait_for_naps(state: PagingState, config: KernelConfig) -> None:
    """Every VABlock of the batch naps: the GPU sleeps until the first wakes."""
    wake = np.int64(2**62)
    for entry in range(state.now[Now.BATCH_COUNT]):
        block = (state.batch[entry] >> 1) // config.pages_per_block
        wake = min(wake, state.block_nap_until_ps[block])
    state.now[Now.TIME_PS] = max(state.now[Now.TIME_PS], wake)


@kernel
def service_batch(state: PagingState, config: KernelConfig, lanes: Lanes) -> int:
    """Service the rest of the batch. Returns DONE, ASK_PREFETCHER or ASK_EVICTOR."""
    while state.now[Now.BATCH_NEXT] < state.now[Now.BATCH_COUNT]:
        begin = state.now[Now.BATCH_NEXT]
        end = end_of_block(state, config, begin)
        status, duration = service_block(state, config, begin, end)
        if status == ASK_PREFETCHER or status == ASK_EVICTOR:
            return status
        spend(state, duration)
        state.now[Now.BATCH_NEXT] = end
        if not config.pipelined:
            wait_for_copies(state, config)
        if config.replay == BLOCK and status != POSTPONED:
            replay(state, config, lanes)
            run_gpu(state, config, lanes)
    wait_for_copies(state, config)
    mark(state)
    if state.now[Now.SERVICED] == 0:
        wait_for_naps(state, config)
    return DONE


@entry_kernel
def advance(state: PagingState, config: KernelConfig, lanes: Lanes) -> int:
    """Run until all lanes are done or a plug-in has to be asked.

    Returns:
        FINISHED; ASK_PREFETCHER: extend `plan` and `wanted` of VABlock `now[LOCKED_BLOCK]`, then call again; ASK_EVICTOR: put a
        chunk into `now[GIVEN_VICTIM]`, then call again.
    """
    while True:
        step = state.now[Now.STEP]
        if step == Step.TOUCH:
            run_gpu(state, config, lanes)
            let_driver_begin(state, config)
            spend(state, serve_notices(state, config))
            wait_for_copies(state, config)
            if state.now[Now.BUFFER_COUNT] == 0:
                if replay(state, config, lanes) == 0 and not any_ready(lanes):
                    mark_now(state)
                    return FINISHED
                continue
            state.now[Now.STEP] = Step.FETCH
        elif step == Step.FETCH:
            state.now[Now.BATCH_CPU_PS] = 0
            spend(state, fetch_batch(state, config))
            state.now[Now.STEP] = Step.SERVICE
        elif step == Step.SERVICE:
            status = service_batch(state, config, lanes)
            if status != DONE:
                return status
            state.now[Now.BATCH_COUNT] = 0
            state.now[Now.GPU_AHEAD_PS] = 0
            state.now[Now.GPU_SINCE_PS] = state.counts[Count.GPU_PS]
            state.now[Now.STEP] = Step.REPLAY
        else:
            if config.replay == BATCH_ONCE and state.now[Now.BUFFER_COUNT] > 0:
                state.now[Now.STEP] = Step.FETCH
            else:
                if config.replay != BLOCK:
                    replay(state, config, lanes)
                state.now[Now.STEP] = Step.TOUCH


@kernel
def any_ready(lanes: Lanes) -> bool:
    """Whether some lane can touch."""
    for utlb in range(len(lanes.ring_count)):
        if lanes.ring_count[utlb] > 0:
            return True
    return False
