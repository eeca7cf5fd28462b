"""A drive in steady state before the first request: which pages hold data, and how full the blocks are.

After MQSim: pages are drawn with the flow's own address stream until `occupancy` of the logical space is touched, then laid out so that the
number of valid pages per block has the distribution of the mean-field steady state of the collection policy (Van Houdt, SIGMETRICS 2013;
sequential flows: a block is full or empty).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.errors import InputError, Problem
from tiergarten.sim.flash.config import DriveConfig
from tiergarten.sim.flash.drive import table
from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.blocks import plane_of_lpn, take_free_block
from tiergarten.sim.flash.kernel.garbage import RESERVED_BLOCKS
from tiergarten.sim.flash.kernel.layout import Block, Entry, Glob, Lpn, Memory, Param, Plane
from tiergarten.sim.flash.kernel.mapping import PRESENT, link_newest
from tiergarten.sim.flash.mrg32k3a import Mrg32k3a
from tiergarten.sim.jit import njit

Float = NDArray[np.float64]
GREEDY_CHOICES = 30
"""Greedy is approximated by the best of 30, as in MQSim."""
EULER_STEP = 0.001
EULER_STEPS = 10_000
EULER_ACCURACY = 1e-10
CHUNK = 1 << 20


def best_of_d_steady_state(pages_per_block: int, utilisation: float, choices: int) -> Float:
    """float64[pages_per_block + 1]: share of blocks with so many valid pages when the best of `choices` random blocks is collected.

    Euler integration of Van Houdt's mean-field equations from the binomial distribution, with MQSim's step and stopping rule.
    """
    b = pages_per_block
    share = np.empty(b + 1)
    for i in range(b + 1):
        share[i] = _combinations(b, i) * utilisation**i * (1 - utilisation) ** (b - i)
    tail = np.zeros(b + 2)  # tail[i] = share of blocks with at least i valid pages
    tail[0] = 1
    for i in range(1, b + 1):
        tail[i] = sum(share[i:])
    valid = np.arange(1, b)
    for step in range(EULER_STEPS):
        powers = tail**choices
        drift = (
            1
            - powers[1:b]
            - (b - powers[1 : b + 1].sum()) * (valid * (tail[1:b] - tail[2 : b + 1]) / (b * utilisation))
        )
        following = tail.copy()
        following[1:b] += EULER_STEP * drift
        if step == 0:
            following[b] = 0  # MQSim drops the share of full blocks here
        moved = np.abs(following - tail)[: b + 1].max()
        tail = following
        if moved <= EULER_ACCURACY:
            break
    return tail[: b + 1] - tail[1 : b + 2]


def _combinations(n: int, k: int) -> float:
    k = min(k, n - k)
    result = 1.0 if k == 0 else float(n)
    for i in range(2, k + 1):
        result *= n - i + 1
        result /= i
    return result


def valid_page_distribution(config: DriveConfig, occupancy: float, is_sequential: bool) -> Float:
    """float64[pages + 1]: share of blocks with so many valid pages."""
    geometry = config.geometry
    threshold = max(int(config.collection.threshold * geometry.blocks_per_plane), RESERVED_BLOCKS)
    used = occupancy * (1 - config.mapping.overprovisioning) / (1 - threshold / geometry.blocks_per_plane)
    if is_sequential:
        share = np.zeros(geometry.pages_per_block + 1)
        share[0], share[-1] = 1 - used, used
        return share
    policy = config.collection.policy
    if policy in ("GREEDY", "FIFO"):
        return best_of_d_steady_state(geometry.pages_per_block, used, GREEDY_CHOICES)
    if policy == "RGA":
        return best_of_d_steady_state(geometry.pages_per_block, used, int(np.log2(geometry.blocks_per_plane)))
    return best_of_d_steady_state(geometry.pages_per_block, used, 1)


@njit(cache=True)
def _touch(lpns, stamp, first_sectors, num_sectors, sectors_per_page, masks, count, goal):
    """Mark the pages of requests, in order, until `goal` distinct ones are; `stamp` notes the order. Returns the number marked."""
    for r in range(len(first_sectors)):
        if count >= goal:
            break
        sector = first_sectors[r]
        left = num_sectors
        while left > 0:
            offset = sector % sectors_per_page
            here = min(sectors_per_page - offset, left)
            lpn = sector // sectors_per_page
            if masks[lpn] == 0:
                lpns[count] = lpn
                stamp[lpn] = count
                count += 1
            masks[lpn] |= 1 << offset
            sector += here
            left -= here
    return count


def _widened(config: DriveConfig, workload: Mapping[str, Any], last: int, goal: int) -> tuple[int, int]:
    """(last sector, pages to fill): a range that is too small for the occupancy is widened to the whole drive, as in MQSim."""
    per_page = config.geometry.sectors_per_page
    is_sequential = workload["dist"] == "STREAMING"
    margin = 1.0 if is_sequential else 1.1
    if last // per_page - 1 >= margin * goal:
        return last, goal
    last = int(last / (workload.get("working_set", 50) / 100.0))
    pages = last // per_page
    if pages < margin * goal:
        goal = pages + 1 if is_sequential else int(pages * 0.9)
    return last, goal


def _pages_touched(config: DriveConfig, workload: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(pages in order of first touch, written-sector mask of every page)."""
    per_page = config.geometry.sectors_per_page
    num_lpns = -(-config.logical_sectors // per_page)
    goal = int(workload.get("occupancy", 75) / 100.0 * num_lpns)
    flow_last = int((config.logical_sectors - 1) * (workload.get("working_set", 50) / 100.0)) - 1
    last, goal = _widened(config, workload, flow_last, goal)
    size = workload["size"] // SECTOR_BYTES
    align = workload["align"]
    stream = Mrg32k3a(workload["seed"] + 1)
    masks = np.zeros(num_lpns + 2, np.int64)
    stamp = np.zeros(num_lpns + 2, np.int64)
    touched = np.zeros(goal + size // per_page + 4, np.int64)
    count = 0
    following = int(stream.integers(0, flow_last, 1)[0]) if workload["dist"] == "STREAMING" else 0
    while count < goal:
        if workload["dist"] == "STREAMING":
            sectors = np.empty(4096, np.int64)
            for i in range(len(sectors)):
                sectors[i] = following if following + size <= last else 0
                following += size
                if following > last:
                    following = 0
                if following % align:
                    following += align - following % align
        else:
            sectors = stream.integers(0, last, CHUNK)
            sectors[sectors + size > last] = 0
        sectors -= sectors % align
        count = int(_touch(touched, stamp, sectors, size, per_page, masks, count, goal))
    return touched[:count], masks


def _block_sizes(config: DriveConfig, share: Float, num_pages: int) -> list[int]:
    """Valid pages of each block to be consumed in a plane, fullest first, so that `num_pages` find a place."""
    geometry = config.geometry
    pages = geometry.pages_per_block
    threshold = max(int(config.collection.threshold * geometry.blocks_per_plane), RESERVED_BLOCKS)
    blocks = geometry.blocks_per_plane - threshold // 2
    expected = float((share * np.arange(pages + 1) / pages).sum())
    shift_by = (num_pages / (blocks * pages) - expected) * pages
    shifted = share.copy()
    if abs(shift_by) > 0.9999:
        by = int(shift_by)
        if by > 0:
            shifted[:by] = 0
            shifted[by:pages] = share[: pages - by]
        elif by < 0:
            shifted[: pages + by] = share[-by:pages]
            shifted[pages + by : pages] = 0
    counts = (shifted * blocks).astype(np.int64)
    missing = max(0, num_pages - int((counts * np.arange(pages + 1)).sum()))
    left_blocks, left_pages = blocks, num_pages
    sizes: list[int] = []
    for valid in range(pages, -1, -1):
        number = int(counts[valid])
        if number > 0 and missing > 0 and valid > 0:
            number += -(-missing // valid)
            missing = 0
        number = min(number, left_blocks)
        left_blocks -= number
        for _ in range(number):
            take = min(valid, left_pages)
            sizes.append(take)
            left_pages -= take
    if left_pages:
        raise InputError(
            Problem(f"{left_pages} pages of a plane find no place; lower the occupancy", path="workload.occupancy")
        )
    return sizes


def _fill_plane(m: Memory, plane: int, lpns: list[int], sizes: list[int], masks: NDArray[np.int64]) -> None:
    """Write pages of one plane into blocks: the highest numbers first, the rest of each block invalid."""
    pages = int(m[Param.PAGES])
    lpn_table = table(m, Param.LPN_AT, Lpn.WORDS, int(m[Param.NUM_LPNS]))
    owner = int(m[Param.OWNER_AT])
    end = len(lpns)
    for size in sizes:
        block = int(m[plane + Plane.DATA_BLOCK])
        chosen = np.array(lpns[end - size : end][::-1], np.int64)
        end -= size
        first = int(m[block + Block.FIRST_PPN])
        m[owner + first : owner + first + size] = chosen + 1
        lpn_table[chosen, Lpn.PPN_1] = first + np.arange(size) + 1
        lpn_table[chosen, Lpn.SECTORS] = masks[chosen]
        m[block + Block.WRITTEN] = pages
        m[block + Block.INVALID] = pages - size
        m[plane + Plane.DATA_BLOCK] = take_free_block(m, plane, 0)


def precondition(m: Memory, config: DriveConfig, workload: Mapping[str, Any]) -> None:
    """Bring a fresh drive into the steady state of a closed-loop workload. Raises InputError where MQSim cannot do it either."""
    if workload["kind"] != "closed":
        raise InputError(Problem("preconditioning needs a closed-loop workload", path="workload.kind"))
    touched, masks = _pages_touched(config, workload)
    share = valid_page_distribution(config, workload.get("occupancy", 75) / 100.0, workload["dist"] == "STREAMING")
    by_plane: dict[int, list[int]] = {}
    room = config.geometry.pages_per_plane
    for lpn in np.sort(touched).tolist():
        mine = by_plane.setdefault(int(plane_of_lpn(m, lpn)), [])
        if len(mine) < room:
            mine.append(lpn)
    for number in range(config.geometry.num_planes):
        plane = int(m[Param.PLANE_AT]) + number * Plane.WORDS
        lpns = by_plane.get(plane, [])
        _fill_plane(m, plane, lpns, _block_sizes(config, share, len(lpns)), masks)
    if not config.mapping.ideal:
        _warm_mapping(m, touched)


def _warm_mapping(m: Memory, touched: NDArray[np.int64]) -> None:
    """Fill the cached mapping table with the pages touched first."""
    entries = table(m, Param.ENTRY_AT, Entry.WORDS, int(m[Param.NUM_LPNS]))
    for lpn in touched[: int(m[Param.CMT_ENTRIES])].tolist():
        entries[lpn, Entry.STATE] = PRESENT
        link_newest(m, lpn)
        m[Glob.CMT_COUNT] += 1
