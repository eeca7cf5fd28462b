"""Page streams of synthetic programs, as lanes: sequential, strided, random, pointer chase, and the first touch of SC'21.

The over-subscription patterns follow the micro-benchmark of eunomia-bpf/gpu_ext (3f4cc2d, microbench/memory): 65 536 threads,
each with a chunk of its own, one touch per 4 KiB page.
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
from tiergarten.sim.seeds import stream


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


@PATTERNS.register("random")
def random(num_pages: int, threads: int, seed: int) -> NDArray[np.int32]:
    """Each thread visits the pages of its own chunk once, in an order of its own."""
    chunk, firsts = _own_chunks(num_pages, threads)
    order = stream(seed, "pattern.random").random((len(firsts), chunk)).argsort(axis=1)
    return np.minimum(firsts[:, None] + order, num_pages - 1).astype(np.int32)


@PATTERNS.register("pointer_chase")
def pointer_chase(num_pages: int, threads: int, seed: int) -> NDArray[np.int32]:
    """Each thread follows eight pointers inside its own chunk, the first from the chunk's start."""
    chunk, firsts = _own_chunks(num_pages, threads)
    hops = stream(seed, "pattern.pointer_chase").integers(0, chunk, (len(firsts), 8))
    hops[:, 0] = 0
    return np.minimum(firsts[:, None] + hops, num_pages - 1).astype(np.int32)


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
