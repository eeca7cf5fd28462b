"""Page streams of synthetic programs, as lanes: sequential, strided, random, pointer chase, and the first touch of SC'21.

The over-subscription patterns follow the micro-benchmark of eunomia-bpf/gpu_ext (3f4cc2d, microbench/memory): 65 536 threads,
each with a chunk of its own, one touch per 4 KiB page. Its generator is reproduced, so the pages are the benchmark's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tiergarten.accelerators.paging.touch import Lanes
from tiergarten.accelerators.paging.uvm import FaultHardware
from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.registry import Registry


def make_lanes(
    touches: Sequence[Sequence[int] | NDArray[np.integer]] | NDArray[np.integer],
    hardware: FaultHardware,
    lanes_per_turn: int = 1,
    is_write: NDArray[np.uint8] | bool = False,
    width: int = 1,
) -> Lanes:
    """Deal lanes to uTLBs, `lanes_per_turn` at a time (a thread block goes to one SM).

    Args:
        touches: pages of each lane in order; a 2-D array [L, touches of a lane] or a list of 1-D arrays.
        hardware: uTLBs and their slots.
        lanes_per_turn: lanes that follow each other on one uTLB before the next uTLB's turn.
        is_write: one value for all touches, or uint8 in the order of the lanes' touches.
        width: touches that a lane issues together; every lane's count must be a multiple of it.
    """
    if lanes_per_turn <= 0:
        raise InputError(Problem(f"must be above zero, got {lanes_per_turn}", path="lanes_per_turn"))
    if isinstance(touches, np.ndarray):
        pages = np.ascontiguousarray(touches, np.int32).reshape(-1)
        lengths = np.full(len(touches), touches.shape[1] if touches.ndim > 1 else 1, np.int64)
    else:
        filled = [lane for lane in touches if len(lane)]
        pages = np.concatenate(filled).astype(np.int32) if filled else np.zeros(0, np.int32)
        lengths = np.array([len(lane) for lane in filled], np.int64)
    if pages.size and (lengths == 0).any():
        raise InputError(Problem("a lane without touches", path="touches"))
    if width <= 0 or (lengths % width).any():
        raise InputError(Problem(f"a lane's touches are no multiple of width {width}", path="touches"))
    num_lanes = len(lengths) if pages.size else 0
    lengths = lengths[:num_lanes]
    ends = np.cumsum(lengths)
    utlb = (np.arange(num_lanes) // lanes_per_turn) % hardware.utlbs
    order = np.argsort(utlb, kind="stable").astype(np.int32)
    per_utlb = np.bincount(utlb, minlength=hardware.utlbs).astype(np.int64)
    writes = np.array([is_write], np.uint8) if isinstance(is_write, bool) else np.asarray(is_write, np.uint8)
    return Lanes(
        pages=pages,
        is_write=writes,
        ends=ends,
        width=width,
        next=ends - lengths,
        pending=np.zeros(num_lanes, np.int32),
        ring=order,
        ring_first=np.concatenate([[0], np.cumsum(per_utlb)]).astype(np.int64),
        ring_head=np.zeros(hardware.utlbs, np.int64),
        ring_count=per_utlb.copy(),
        parked=np.zeros((hardware.parked_per_utlb, hardware.utlbs), np.int64),
        parked_lane=np.zeros((hardware.parked_per_utlb, hardware.utlbs), np.int32),
        parked_count=np.zeros(hardware.utlbs, np.int64),
    )


@dataclass(frozen=True)
class Threads:
    """Launch of a pattern: how many threads share the working set and how they are dealt to uTLBs."""

    count: int = 65_536
    per_block: int = 256
    """Threads of a block, which runs on one SM."""


PATTERNS: Final[Registry[Callable[..., NDArray[np.int32]]]] = Registry("page pattern", "tiergarten.accelerators.paging")
"""name -> function(num_pages, threads, seed) giving int32[threads, touches]: one thread's pages in order."""


def _chunk_pages(num_pages: int, threads: int) -> int:
    return max(1, -(-num_pages // threads))


def _own_chunks(num_pages: int, threads: int) -> tuple[int, NDArray[np.int64]]:
    """Pages of a chunk and the first page of each thread that has one."""
    chunk = _chunk_pages(num_pages, threads)
    return chunk, np.arange(-(-num_pages // chunk), dtype=np.int64) * chunk


@PATTERNS.register("sequential")
def sequential(num_pages: int, threads: int, seed: int) -> NDArray[np.int32]:
    """Each thread walks its own chunk page by page."""
    chunk, firsts = _own_chunks(num_pages, threads)
    return np.minimum(firsts[:, None] + np.arange(chunk), num_pages - 1).astype(np.int32)


@PATTERNS.register("strided")
def strided(num_pages: int, threads: int, seed: int) -> NDArray[np.int32]:
    """Thread t touches pages t, t + threads, ...: neighbouring threads touch neighbouring pages."""
    rounds = _chunk_pages(num_pages, threads)
    used = min(threads, num_pages)
    return np.minimum(np.arange(used)[:, None] + used * np.arange(rounds), num_pages - 1).astype(np.int32)


def _next_random(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The benchmark's linear congruential generator: 32-bit successors (Numerical Recipes' constants)."""
    return (np.uint64(1_664_525) * values + np.uint64(1_013_904_223)) & np.uint64(0xFFFF_FFFF)


@PATTERNS.register("random")
def random(num_pages: int, threads: int, seed: int) -> NDArray[np.int32]:
    """Each thread visits the pages of its own chunk by an odd step of its own, from an offset of its own.

    That is each page once where the step and the chunk's pages have no common divisor, as the benchmark has it.
    """
    chunk, firsts = _own_chunks(num_pages, threads)
    drawn = _next_random(np.uint64(0x1234_5678 ^ (seed & 0xFFFF_FFFF)) ^ np.arange(len(firsts), dtype=np.uint64))
    steps, offsets = drawn | np.uint64(1), _next_random(drawn ^ np.uint64(0xDEAD_BEEF)) % np.uint64(chunk)
    order = (offsets[:, None] + np.arange(chunk, dtype=np.uint64) * steps[:, None]) % np.uint64(chunk)
    return np.minimum(firsts[:, None] + order.astype(np.int64), num_pages - 1).astype(np.int32)


PAGE_BYTES: Final = 4096
NODE_BYTES: Final = 12
NODES_PER_PAGE: Final = PAGE_BYTES // NODE_BYTES
"""A chunk of the pointer chase holds a multiple of this many nodes, so it is a little smaller than its pages."""
HOPS: Final = 8


def chase_bytes(limit_bytes: int, threads: int) -> int:
    """Array of a pointer chase that uses nine tenths of `limit_bytes`: a chunk of nodes for each thread, rounded up.

    Fewer threads have one where so many chunks would exceed the limit.
    """
    nodes = int(limit_bytes * 0.9) // NODE_BYTES
    chunk = max(1, -(-nodes // (threads * NODES_PER_PAGE))) * NODES_PER_PAGE * NODE_BYTES
    return max(1, min(threads, limit_bytes // chunk)) * chunk


@PATTERNS.register("pointer_chase")
def pointer_chase(num_pages: int, threads: int, seed: int) -> NDArray[np.int32]:
    """Each thread follows eight pointers inside its own chunk of nodes, the first from the chunk's start.

    Node i points to node `generator(i) mod nodes of a chunk` of its chunk, as the benchmark's initialisation sets it; another seed
    begins the generator elsewhere.
    """
    held = max(num_pages * PAGE_BYTES // (NODES_PER_PAGE * NODE_BYTES), 1)
    threads = min(threads, held)
    chunk = np.uint64(held // threads * NODES_PER_PAGE)
    firsts = np.arange(threads, dtype=np.uint64) * chunk
    at, hops = firsts, []
    for _ in range(HOPS):
        hops.append(at)
        at = firsts + _next_random((at + np.uint64(seed)) & np.uint64(0xFFFF_FFFF)) % chunk
    pages = np.stack(hops, axis=1) * np.uint64(NODE_BYTES) // np.uint64(PAGE_BYTES)
    return np.minimum(pages, np.uint64(num_pages - 1)).astype(np.int32)


def interleave(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int32]:
    """Lanes that touch first[lane, i], then second[lane, i], for each i: read an input, write an output."""
    return np.stack([first, second], axis=2).reshape(len(first), -1)


WARP: Final = 32


def warps(threads: NDArray[np.int32]) -> NDArray[np.int32]:
    """Threads [N, touches] as lanes of 32 that touch together: [ceil(N / 32), touches * 32], to be used with width 32.

    A last warp that is not full repeats its last thread.
    """
    missing = -len(threads) % WARP
    full = np.concatenate([threads, np.repeat(threads[-1:], missing, axis=0)]) if missing else threads
    return full.reshape(-1, WARP, full.shape[1]).transpose(0, 2, 1).reshape(len(full) // WARP, -1)


def first_touch_lanes(num_pages: int, hardware: FaultHardware, pages_per_utlb_turn: int = 512) -> Lanes:
    """The "regular" program of Allen & Ge, SC'21: one thread per page, every page once.

    Consecutive runs of 512 pages go to one uTLB, so that each of the 40 uTLBs works in a VABlock of its own: the paper counts 41
    VABlocks and 245 faults in a batch (Table 3).
    """
    return make_lanes(np.arange(num_pages, dtype=np.int32)[:, None], hardware, pages_per_utlb_turn)
