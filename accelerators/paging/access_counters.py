"""Access counters (Volta and later): remote touches of a 2 MiB granule are counted, and a busy granule is migrated.

Source: NVIDIA open kernel module 545.23.06, uvm_gpu_access_counters.c: notifications in batches of 256, threshold 256 accesses,
off for paging by default. Grace-Hopper uses them for system memory (`ats.py`).
"""

from tiergarten.accelerators.paging.kernel_config import EvictionKind, KernelConfig
from tiergarten.accelerators.paging.kernels import entry_kernel, kernel
from tiergarten.accelerators.paging.service import hold_memory, move_planned, plan_region
from tiergarten.accelerators.paging.state import NOTHING, Cause, Count, Now, PagingState

PLUGIN = int(EvictionKind.PLUGIN)
LEAST_RECENTLY_ALLOCATED = int(EvictionKind.LEAST_RECENTLY_ALLOCATED)


@kernel
def serve_notices(state: PagingState, config: KernelConfig) -> int:
    """Migrate the VABlocks whose counters passed the threshold. Returns the driver's picoseconds.

    Evictions that this needs go by allocation order when the machine's evictor is a plug-in.
    """
    if state.now[Now.NOTICES] == 0:
        return 0
    duration = config.batch_ps
    for notice in range(state.now[Now.NOTICES]):
        duration += migrate_block(state, config, state.notices[notice], Cause.COUNTER)
        state.counts[Count.COUNTER_MIGRATIONS] += 1
    state.now[Now.NOTICES] = 0
    return duration


@entry_kernel
def migrate_block(state: PagingState, config: KernelConfig, block: int, cause: int) -> int:
    """Fetch all host pages of a VABlock at once. Returns driver time in ps."""
    if config.eviction == PLUGIN and state.now[Now.GIVEN_VICTIM] == NOTHING:
        # a bulk migration cannot stop to ask: take the head of the used list whenever memory runs out
        state.now[Now.GIVEN_VICTIM] = state.now[Now.USED_HEAD]
    state.now[Now.LOCKED_BLOCK] = block
    for region in range(len(state.wanted)):
        plan_region(state, config, block, region)
    hold_memory(state, config, block)
    duration = config.block_ps + state.now[Now.SPENT_PS]
    state.now[Now.SPENT_PS] = 0
    duration += move_planned(state, config, block, cause - 1)  # planned as prefetch, logged under `cause`
    state.now[Now.LOCKED_BLOCK] = NOTHING
    return duration
