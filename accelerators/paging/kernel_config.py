"""The numbers that the paging kernels are driven by: geometry, policies as integers, costs in picoseconds.

`UvmConfig` in `uvm.py` is what people write; it lowers itself to this flat tuple, which numba passes by value.
"""

from enum import IntEnum
from typing import NamedTuple


class PrefetchKind(IntEnum):
    """What is fetched beside a faulted page, inside its VABlock."""

    NONE = 0
    TREE = 1
    REGION = 2
    """The faulted page's big-page region."""
    RANDOM_PAGE = 3
    """One page of the VABlock, drawn beforehand."""
    WHOLE_BLOCK = 4
    PLUGIN = 5
    """A Python object is asked, see `prefetch.Prefetcher`."""


class EvictionKind(IntEnum):
    """Which chunk of device memory is emptied when none is free."""

    LEAST_RECENTLY_ALLOCATED = 0
    LEAST_RECENTLY_USED = 1
    LEAST_FREQUENTLY_USED = 2
    RANDOM = 3
    TREE = 4
    """The least recently used chunk, then the rest of every sub-tree that it leaves half empty."""
    PLUGIN = 5


class ReplayKind(IntEnum):
    """When parked accesses are tried again (values as in the driver's `uvm_perf_fault_replay_policy`)."""

    BLOCK = 0
    BATCH = 1
    BATCH_FLUSH = 2
    ONCE = 3


class KernelConfig(NamedTuple):
    """Everything is an int64 except the two rates; times in ps, P = base pages."""

    pages_per_block: int
    pages_per_region: int
    pages_per_chunk: int
    batch_entries: int
    utlbs: int
    parked_per_utlb: int
    prefetch: int
    prefetch_when_full: int
    prefetch_percent: int
    prefetch_grows: int
    """1 = a faulted page is first grown to its region."""
    eviction: int
    eviction_percent: int
    replay: int
    thrash_lapse_ps: int
    """0 = no thrash detection."""
    thrash_throttle_events: int
    thrash_pin_events: int
    thrash_nap_ps: int
    thrash_pin_ps: int
    thrash_epoch_ps: int
    thrash_max_resets: int
    counter_threshold: int
    """Remote touches of a VABlock that raise a notification; 0 = no access counters."""
    remote_when_full: int
    """1 = once memory is full, faults map host pages remotely instead of migrating (a mode of UVMSmart)."""
    touch_ps: int
    remote_read_ps: int
    remote_write_ps: int
    batch_ps: int
    entry_ps: int
    block_ps: int
    setup_ps: int
    unmap_ps: int
    copy_ps: int
    page_ps: int
    evict_ps: int
    evict_copy_ps: int
    pipelined: int
    """1 = copies of a batch run beside the driver and each other's direction, and are waited for at its end."""
    h2d_ps_per_byte: float
    d2h_ps_per_byte: float
    page_bytes: int
