"""A GPU with unified memory: configuration, memory, and the machine that replays page touches on it.

The kernels do the work; this module checks the input, lowers policies to numbers, and answers plug-in policies.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging import costs as cost_presets
from tiergarten.accelerators.paging.access_counters import migrate_block
from tiergarten.accelerators.paging.advance import ASK_EVICTOR, ASK_PREFETCHER, FINISHED, advance
from tiergarten.accelerators.paging.costs import UvmCosts
from tiergarten.accelerators.paging.eviction import LeastRecentlyAllocated, MemoryView
from tiergarten.accelerators.paging.hints import Hint
from tiergarten.accelerators.paging.history import mark_now
from tiergarten.accelerators.paging.kernel_config import EvictionKind, KernelConfig
from tiergarten.accelerators.paging.prefetch import BlockView, TreePrefetch
from tiergarten.accelerators.paging.replay_policy import BatchFlushReplay
from tiergarten.accelerators.paging.residency import take_from_device
from tiergarten.accelerators.paging.state import (
    AHEAD,
    DEVICE,
    FAULTED,
    HOST,
    LONG_AGO_PS,
    NOTHING,
    VALID,
    Cause,
    Count,
    Mark,
    Now,
    PagingState,
    check_conservation,
)
from tiergarten.accelerators.paging.thrashing import ThrashDetection
from tiergarten.accelerators.paging.touch import Lanes
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.seeds import stream
from tiergarten.sim.units import PS_PER_S, format_bytes

MAX_PAGES = 1 << 28
"""Bounds the arrays of a run: 1 TiB of 4 KiB pages."""
LINE_BYTES = 128
"""What a touch occupies in the GPU's cache."""
NUM_DRAWS = 65_536
"""Random numbers drawn before a run for the random policies; used in turn."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of the paging hardware and driver; defaults: NVIDIA open kernel module 545.23.06."""

    page_bytes: int = 4 << 10
    region_bytes: int = 64 << 10
    """Big page."""
    block_bytes: int = 2 << 20
    """VABlock: unit of service, limit of the prefetcher."""

    def problems(self) -> list[Problem]:
        found = []
        for name, value in vars(self).items():
            if value <= 0 or value & (value - 1):
                found.append(Problem(f"must be a power of two above zero, got {value}", path=f"geometry.{name}"))
        if not found and not self.page_bytes <= self.region_bytes <= self.block_bytes:
            sizes = f"{self.page_bytes}, {self.region_bytes}, {self.block_bytes}"
            found.append(
                Problem(f"page, region and VABlock must not shrink in this order, got {sizes}", path="geometry")
            )
        return found


@dataclass(frozen=True)
class FaultHardware:
    """What limits faults in flight. Defaults: Volta with 40 TPCs (Allen & Ge, SC'21: 56 per uTLB)."""

    utlbs: int = 40
    parked_per_utlb: int = 56
    buffer_entries: int = 4096
    """Fault buffer; the hardware's size was not found in a source, so an estimate above utlbs * parked_per_utlb."""
    batch_entries: int = 256
    touch_ps: int = 1000
    """Reciprocal of the rate at which the whole GPU touches resident pages."""
    l2_bytes: int = 0
    """Second-level cache; 0 = none."""
    l2_touch_ps: int = 0
    """As `touch_ps`, for touches of lines that the cache holds."""
    launch_ps: int = 0
    """Time of a kernel that touches nothing."""

    def problems(self) -> list[Problem]:
        found = [
            Problem(f"must be above zero, got {getattr(self, name)}", path=f"hardware.{name}")
            for name in ("utlbs", "parked_per_utlb", "buffer_entries", "batch_entries")
            if getattr(self, name) <= 0
        ]
        found += [
            Problem(f"must not be negative, got {getattr(self, name)}", path=f"hardware.{name}")
            for name in ("touch_ps", "l2_bytes", "l2_touch_ps", "launch_ps")
            if getattr(self, name) < 0
        ]
        return found


@dataclass(frozen=True)
class UvmConfig:
    """One GPU with managed memory. Raises InputError with every problem at once."""

    device_bytes: int
    """Memory that managed pages may use."""
    costs: UvmCosts = cost_presets.TITAN_V
    hardware: FaultHardware = field(default_factory=FaultHardware)
    geometry: Geometry = field(default_factory=Geometry)
    prefetcher: object = field(default_factory=TreePrefetch)
    prefetcher_when_full: object | None = None
    """Takes over once device memory has been full; None = the same one."""
    evictor: object = field(default_factory=LeastRecentlyAllocated)
    replay: object = field(default_factory=BatchFlushReplay)
    thrash: ThrashDetection | None = None
    counter_threshold: int = 0
    """Remote touches of a VABlock that migrate it; 0 = access counters off (the driver's default; 256 when on)."""
    remote_when_full: bool = False
    host_bytes: int | None = None
    """Memory behind the device; None = as much as needed."""
    log_copies: int = 0
    """Rows kept of the copy log."""
    history_rows: int = 0
    """Rows for the history of a `touch`, even; 0 keeps none. Longer histories are thinned out."""
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [*self.geometry.problems(), *self.hardware.problems()]
        chunk = getattr(self.evictor, "chunk_bytes", 0)
        geometry = self.geometry
        if chunk <= 0 or chunk & (chunk - 1) or not geometry.page_bytes <= chunk <= geometry.block_bytes:
            message = f"must be a power of two from a page to a VABlock, got {chunk}"
            problems.append(Problem(message, path="evictor.chunk_bytes"))
        if getattr(self.evictor, "kind", None) == EvictionKind.TREE and chunk != geometry.region_bytes:
            problems.append(Problem("the tree evictor works on regions", path="evictor.chunk_bytes"))
        if self.device_bytes < geometry.block_bytes:
            message = f"device memory of {format_bytes(self.device_bytes)} holds no VABlock ({format_bytes(geometry.block_bytes)})"
            problems.append(Problem(message + "; give at least one", path="device_bytes"))
        if self.history_rows < 0 or self.history_rows % 2:
            problems.append(Problem(f"must be even and not negative, got {self.history_rows}", path="history_rows"))
        if self.counter_threshold < 0:
            problems.append(Problem(f"must not be negative, got {self.counter_threshold}", path="counter_threshold"))
        if problems:
            raise InputError(problems)

    def lower(self) -> KernelConfig:
        """The flat numbers for the kernels."""
        geometry, hardware, cost = self.geometry, self.hardware, self.costs
        full = self.prefetcher_when_full or self.prefetcher
        thrash = self.thrash
        tree = self.prefetcher if isinstance(self.prefetcher, TreePrefetch) else full
        return KernelConfig(
            pages_per_block=geometry.block_bytes // geometry.page_bytes,
            pages_per_region=geometry.region_bytes // geometry.page_bytes,
            pages_per_chunk=self.evictor.chunk_bytes // geometry.page_bytes,  # type: ignore[attr-defined]
            batch_entries=hardware.batch_entries,
            utlbs=hardware.utlbs,
            parked_per_utlb=hardware.parked_per_utlb,
            prefetch=int(self.prefetcher.kind),  # type: ignore[attr-defined]
            prefetch_when_full=int(full.kind),  # type: ignore[attr-defined]
            prefetch_percent=getattr(tree, "percent", 0),
            prefetch_grows=int(getattr(tree, "grow_to_region", False)),
            eviction=int(self.evictor.kind),  # type: ignore[attr-defined]
            eviction_percent=getattr(self.evictor, "percent", 0),
            replay=int(self.replay.kind),  # type: ignore[attr-defined]
            thrash_lapse_ps=thrash.lapse_ps if thrash else 0,
            thrash_throttle_events=thrash.throttle_events if thrash else 0,
            thrash_pin_events=thrash.pin_events if thrash else 0,
            thrash_nap_ps=thrash.nap_lapses * thrash.lapse_ps if thrash else 0,
            thrash_pin_ps=thrash.pin_lapses * thrash.lapse_ps if thrash else 0,
            thrash_epoch_ps=thrash.epoch_lapses * thrash.lapse_ps if thrash else 1,
            thrash_max_resets=thrash.max_resets if thrash else 0,
            counter_threshold=self.counter_threshold,
            remote_when_full=int(self.remote_when_full),
            touch_ps=hardware.touch_ps,
            remote_read_ps=cost.remote_read_ps,
            remote_write_ps=cost.remote_write_ps,
            batch_ps=cost.batch_ps,
            entry_ps=cost.entry_ps,
            block_ps=cost.block_ps,
            setup_ps=cost.setup_ps,
            unmap_ps=cost.unmap_ps,
            copy_ps=cost.copy_ps,
            page_ps=cost.page_ps,
            evict_ps=cost.evict_ps,
            evict_copy_ps=cost.evict_copy_ps,
            pipelined=int(cost.pipelined),
            h2d_ps_per_byte=PS_PER_S / cost.h2d_bytes_per_s,
            d2h_ps_per_byte=PS_PER_S / cost.d2h_bytes_per_s,
            page_bytes=geometry.page_bytes,
        )


@dataclass(frozen=True)
class UvmResult:
    """What happened between two points of a run."""

    time_ps: int
    counts: dict[str, int]
    """Keys are the names of `Count` in lower case."""

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


class UvmMachine:
    """A GPU's managed memory in a run: allocations, the page table, the clock.

    Pages begin on the host, or, as far as it lacks room, on the device. Only this object and its kernels change the state; `check` raises if a page is lost.
    """

    def __init__(self, config: UvmConfig, allocations_bytes: list[int], filled: Sequence[bool] | None = None):
        """Raises InputError for an empty allocation or one that host and device together cannot hold.

        Args:
            config: the GPU, its driver and their policies.
            allocations_bytes: size of each allocation; it begins at a VABlock.
            filled: which allocations the CPU has filled before; the pages of others begin where they are first touched. None = all.
        """
        self.config = config
        geometry = config.geometry
        problems = [
            Problem(f"an allocation needs at least one byte, got {size}", path=f"allocations row {row}")
            for row, size in enumerate(allocations_bytes)
            if size <= 0
        ]
        total = sum(allocations_bytes)
        if total > MAX_PAGES * geometry.page_bytes:
            message = f"{format_bytes(total)} are more than {MAX_PAGES} pages of {format_bytes(geometry.page_bytes)}"
            problems.append(Problem(message + "; use larger pages", path="allocations"))
        if not allocations_bytes:
            problems.append(Problem("at least one allocation is needed", path="allocations"))
        filled = [True] * len(allocations_bytes) if filled is None else list(filled)
        first_on_device = _blocks_beyond_host(config, [s for s, f in zip(allocations_bytes, filled, strict=True) if f])
        room = sys.maxsize if config.host_bytes is None else config.host_bytes + config.device_bytes
        if total > room or first_on_device > config.device_bytes // geometry.block_bytes:
            tiers = f"{format_bytes(config.host_bytes or 0)} on the host and {format_bytes(config.device_bytes)} on the device"
            message = f"working set of {format_bytes(total)} does not fit {tiers}; shrink it or add memory"
            problems.append(Problem(message, path="allocations"))
        if problems:
            raise InputError(problems)
        self.kernel = config.lower()
        blocks = [-(-size // geometry.block_bytes) for size in allocations_bytes]
        per_block = self.kernel.pages_per_block
        self.first_pages = tuple(int(start) * per_block for start in np.cumsum([0, *blocks[:-1]]))
        self.num_pages = tuple(-(-size // geometry.page_bytes) for size in allocations_bytes)
        self.state = _new_state(config, self.kernel, sum(blocks))
        for first, count, is_filled in zip(self.first_pages, self.num_pages, filled, strict=True):
            self.state.pages[first : first + count] = VALID | HOST if is_filled else VALID
        on_host = int(np.count_nonzero(self.state.pages & HOST))
        self.state.now[[Now.HOST_PAGES, Now.POPULATED_PAGES]] = on_host
        valid = (self.state.pages & VALID) != 0
        self.state.region_valid[:] = valid.reshape(len(self.state.region_valid), -1).sum(axis=1)
        with_host_pages = np.flatnonzero((self.state.pages & HOST).reshape(-1, per_block).any(axis=1))
        for block in with_host_pages[:first_on_device]:
            migrate_block(self.state, self.kernel, int(block), int(Cause.HINT))
        self.state.counts[:] = 0
        self.state.now[[Now.IN_PS, Now.OUT_PS, Now.LOG_COUNT]] = 0

    @property
    def time_ps(self) -> int:
        return int(self.state.now[Now.TIME_PS])

    def touch(self, lanes: Lanes, is_repeat: bool = False) -> UvmResult:
        """Launch a kernel that touches all that `lanes` holds; returns what that took.

        Args:
            lanes: pages, a line of each.
            is_repeat: whether the kernel before touched the same lines, so that they are in the GPU's cache if that is large enough.
        """
        self._check_pages(lanes)
        self._begin_history()
        before, start = self.state.counts.copy(), self.time_ps
        self.state.now[Now.GPU_SINCE_PS] = self.state.counts[Count.GPU_PS]
        hardware, kernel = self.config.hardware, self.kernel
        if is_repeat and len(lanes.pages) * LINE_BYTES <= hardware.l2_bytes:
            kernel = kernel._replace(touch_ps=hardware.l2_touch_ps)
        self.state.now[Now.TIME_PS] += hardware.launch_ps
        self.state.counts[Count.GPU_PS] += hardware.launch_ps
        while (status := advance(self.state, kernel, lanes)) != FINISHED:
            if status == ASK_PREFETCHER:
                self._ask_prefetcher()
            elif status == ASK_EVICTOR:
                self._ask_evictor()
        return self._since(before, start)

    def prefetch(self, allocation: int) -> UvmResult:
        """cudaMemPrefetchAsync to the device: bulk copies at link rate, VABlock by VABlock, without faults."""
        self._begin_history()
        before, start = self.state.counts.copy(), self.time_ps
        bulk = self.kernel._replace(batch_ps=0, block_ps=0, page_ps=0)
        for block in self._blocks(allocation):
            self.state.now[Now.TIME_PS] += migrate_block(self.state, bulk, block, int(Cause.HINT))
            self.state.now[Now.TIME_PS] += self.state.now[Now.IN_PS] + self.state.now[Now.OUT_PS]
            self.state.now[[Now.IN_PS, Now.OUT_PS]] = 0
            mark_now(self.state)
        self.state.counts[Count.HINTED_PAGES] += (
            self.state.counts[Count.PREFETCHED_PAGES] - before[Count.PREFETCHED_PAGES]
        )
        return self._since(before, start)

    def advise(self, allocation: int, hint: Hint) -> None:
        """cudaMemAdvise on a whole allocation, see `hints.py`."""
        pages = self._pages(allocation)
        self.state.pages[pages] = hint.apply(self.state.pages[pages])

    def touch_on_host(self, allocation: int, first_page: int, num_pages: int) -> int:
        """The CPU touches pages: those on the device alone come back. Returns the pages moved; the GPU's clock stands still."""
        moved = 0
        base = self.first_pages[allocation] + first_page
        for page in range(base, base + num_pages):
            flags = self.state.pages[page]
            if not flags & (DEVICE | HOST):
                self.state.pages[page] = flags | HOST
                self.state.now[[Now.HOST_PAGES, Now.POPULATED_PAGES]] += 1
            elif flags & DEVICE and not flags & HOST:
                take_from_device(self.state, page, self.kernel.pages_per_region, self.kernel.pages_per_chunk)
                moved += 1
        self.state.counts[Count.D2H_PAGES] += moved
        return moved

    def counts(self) -> dict[str, int]:
        """Totals since the machine was made, by the names of `Count` in lower case."""
        return {count.name.lower(): int(self.state.counts[count]) for count in Count if count != Count.SIZE}

    def resident_bytes(self) -> int:
        """Bytes of pages on the device."""
        return int(np.count_nonzero(self.state.pages & DEVICE)) * self.config.geometry.page_bytes

    def pages_placed(self) -> tuple[int, int]:
        """(pages on the device, pages on the host)."""
        return int(self.state.now[Now.DEVICE_PAGES]), int(self.state.now[Now.HOST_PAGES])

    def check(self) -> None:
        """Raise ConservationError unless every page is where the law says, see `state.check_conservation`."""
        check_conservation(self.state, self.kernel.pages_per_block)

    def copies(self) -> NDArray[np.int64]:
        """int64[N, 5], the copy log: time_ps, `Cause`, first page, pages, VABlock."""
        return self.state.log[: self.state.now[Now.LOG_COUNT]]

    def history(self) -> NDArray[np.int64]:
        """int64[N, Mark.SIZE], running totals from the begin to the end of the last `touch` or `prefetch`, see `history.py`."""
        return self.state.history[: self.state.now[Now.MARKS]].copy()

    def _begin_history(self) -> None:
        self.state.now[[Now.MARKS, Now.MARKS_STRIDE]] = 0, 1
        mark_now(self.state)

    def _pages(self, allocation: int) -> slice:
        return slice(self.first_pages[allocation], self.first_pages[allocation] + self.num_pages[allocation])

    def _blocks(self, allocation: int) -> range:
        pages = self._pages(allocation)
        per_block = self.kernel.pages_per_block
        return range(pages.start // per_block, -(-pages.stop // per_block))

    def _check_pages(self, lanes: Lanes) -> None:
        if len(lanes.pages) == 0:
            return
        inside = (lanes.pages >= 0) & (lanes.pages < len(self.state.pages))
        inside[inside] &= (self.state.pages[lanes.pages[inside]] & VALID) != 0
        if not inside.all():
            row = int(np.flatnonzero(~inside)[0])
            message = f"page {lanes.pages[row]} lies outside every allocation"
            raise InputError(Problem(message, path=f"touches row {row}"))
        if len(lanes.ring_count) != self.kernel.utlbs or lanes.parked.shape[0] != self.kernel.parked_per_utlb:
            message = "the lanes were made for other hardware; make them with this machine's config.hardware"
            raise InputError(Problem(message, path="lanes"))

    def _ask_prefetcher(self) -> None:
        state, per_block = self.state, self.kernel.pages_per_block
        block = int(state.now[Now.LOCKED_BLOCK])
        flags = state.pages[block * per_block : (block + 1) * per_block]
        full = bool(state.now[Now.WAS_FULL])
        on_device, valid = (flags & DEVICE) != 0, (flags & VALID) != 0
        view = BlockView(block, self.time_ps, state.plan == FAULTED, on_device, valid, full)
        policy = (self.config.prefetcher_when_full or self.config.prefetcher) if full else self.config.prefetcher
        wish = np.asarray(policy.fetch(view), np.bool_)  # type: ignore[attr-defined]
        if wish.shape != (per_block,):
            message = f"{type(policy).__name__}.fetch returned shape {wish.shape}, expected ({per_block},)"
            raise InputError(Problem(message, path="prefetcher"))
        state.plan[wish & valid & ~on_device & (state.plan == 0)] = AHEAD
        state.wanted[:] = state.plan.reshape(len(state.wanted), -1).any(axis=1)

    def _ask_evictor(self) -> None:
        state = self.state
        locked = int(state.now[Now.LOCKED_BLOCK])
        candidates = []
        chunk = int(state.now[Now.USED_HEAD])
        per_block = self.kernel.pages_per_block // self.kernel.pages_per_chunk
        while chunk != NOTHING:
            if state.chunk_pages[chunk] > 0 and chunk // per_block != locked:
                candidates.append(chunk)
            chunk = int(state.chunk_after[chunk])
        allowed = np.array(candidates, np.int64)
        view = MemoryView(self.time_ps, allowed, state.chunk_pages[allowed], state.chunk_touches[allowed], locked)
        victim = int(self.config.evictor.victim(view))  # type: ignore[attr-defined]
        if victim not in candidates:
            message = f"{type(self.config.evictor).__name__}.victim named chunk {victim}, which is not a candidate"
            raise InputError(Problem(message, path="evictor"))
        state.now[Now.GIVEN_VICTIM] = victim

    def _since(self, before: NDArray[np.int64], start_ps: int) -> UvmResult:
        change = self.state.counts - before
        return UvmResult(self.time_ps - start_ps, {c.name.lower(): int(change[c]) for c in Count if c != Count.SIZE})


def _blocks_beyond_host(config: UvmConfig, allocations_bytes: list[int]) -> int:
    """VABlocks, counted from the first allocation's begin, that cannot begin on the host for want of room there."""
    if config.host_bytes is None:
        return 0
    geometry = config.geometry
    pages = (
        sum(-(-size // geometry.page_bytes) for size in allocations_bytes) - config.host_bytes // geometry.page_bytes
    )
    per_block, blocks = geometry.block_bytes // geometry.page_bytes, 0
    for size in allocations_bytes:
        held = -(-size // geometry.page_bytes)
        wanted = min(-(-held // per_block), -(-max(pages, 0) // per_block))
        pages -= min(held, wanted * per_block)
        blocks += wanted
    return blocks


def _new_state(config: UvmConfig, kernel: KernelConfig, blocks: int) -> PagingState:
    pages = blocks * kernel.pages_per_block
    regions, chunks = pages // kernel.pages_per_region, pages // kernel.pages_per_chunk
    now = np.zeros(Now.SIZE, np.int64)
    for name in (Now.USED_HEAD, Now.USED_TAIL, Now.UNUSED_HEAD, Now.UNUSED_TAIL, Now.GIVEN_VICTIM, Now.LOCKED_BLOCK):
        now[name] = NOTHING
    now[Now.FREE_CHUNKS] = config.device_bytes // config.evictor.chunk_bytes  # type: ignore[attr-defined]
    return PagingState(
        pages=np.zeros(pages, np.uint8),
        region_pages=np.zeros(regions, np.int32),
        region_valid=np.zeros(regions, np.int32),
        chunk_pages=np.zeros(chunks, np.int32),
        chunk_held=np.zeros(chunks, np.uint8),
        chunk_before=np.full(chunks, NOTHING, np.int32),
        chunk_after=np.full(chunks, NOTHING, np.int32),
        chunk_touches=np.zeros(chunks, np.int64),
        block_seen=np.zeros(blocks, np.uint8),
        block_evicted_ps=np.full(blocks, LONG_AGO_PS, np.int64),
        block_thrash=np.zeros(blocks, np.int32),
        block_nap_until_ps=np.zeros(blocks, np.int64),
        block_pinned_until_ps=np.zeros(blocks, np.int64),
        block_resets=np.zeros(blocks, np.int32),
        block_remote=np.zeros(blocks, np.int32),
        notices=np.zeros(256, np.int64),
        batch=np.zeros(kernel.batch_entries, np.int64),
        buffer=np.zeros(config.hardware.buffer_entries, np.int64),
        plan=np.zeros(kernel.pages_per_block, np.uint8),
        wanted=np.zeros(kernel.pages_per_block // kernel.pages_per_region, np.uint8),
        leaves=np.zeros((4, kernel.pages_per_block // kernel.pages_per_region), np.int64),
        turns=np.zeros((2, kernel.utlbs), np.int64),
        draws=stream(config.seed, "paging").integers(0, 2**62, NUM_DRAWS),
        log=np.zeros((config.log_copies, 5), np.int64),
        history=np.zeros((config.history_rows, Mark.SIZE), np.int64),
        now=now,
        counts=np.zeros(Count.SIZE, np.int64),
    )
