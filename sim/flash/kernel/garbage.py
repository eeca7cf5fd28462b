"""Garbage collection: when, which block, and its steps (read valid pages, write them to the collection frontier, erase).

Policies as in MQSim; greedy is the most invalid pages, RGA ("d-choices") the best of a random sample (Van Houdt, SIGMETRICS 2013).
"""

from enum import IntEnum

from numba import njit

from tiergarten.sim.flash.kernel.blocks import next_page
from tiergarten.sim.flash.kernel.journal import put_block, put_lpn, put_map_page, put_owner
from tiergarten.sim.flash.kernel.layout import NONE, Block, Glob, Lpn, Op, Param, Plane, Source, Txn
from tiergarten.sim.flash.kernel.queues import enqueue, new_txn
from tiergarten.sim.flash.kernel.scheduler import close_batch, open_batch

RESERVED_BLOCKS = 10
"""Free blocks below which a plane takes no host writes; also the collections that may run in a plane at a time (MQSim)."""


class Policy(IntEnum):
    GREEDY = 0
    RGA = 1
    RANDOM = 2
    RANDOM_P = 3
    RANDOM_PP = 4
    FIFO = 5


@njit(cache=True)
def is_safe_victim(s, plane, block):
    """Neither a frontier nor a free, retired, or collected block, and without programs under way."""
    state = s.block
    return not (
        block == s.plane[plane, Plane.DATA_BLOCK]
        or block == s.plane[plane, Plane.MAPPING_BLOCK]
        or block == s.plane[plane, Plane.GC_BLOCK]
        or state[block, Block.PROGRAMS]
        or state[block, Block.IN_GC]
        or state[block, Block.RETIRED]
    )


@njit(cache=True)
def random_block(s, plane):
    """A block of the plane, from the prepared draws."""
    blocks = s.param[Param.BLOCKS]
    draw = s.random[s.glob[Glob.RANDOM_NEXT] % len(s.random)]
    s.glob[Glob.RANDOM_NEXT] += 1
    return plane * blocks + int(blocks * draw)


@njit(cache=True)
def greedy_victim(s, plane):
    """The full block with the most invalid pages; the first among equals."""
    best = NONE
    for block in range(plane * s.param[Param.BLOCKS], (plane + 1) * s.param[Param.BLOCKS]):
        if (
            s.block[block, Block.WRITTEN] == s.param[Param.PAGES]
            and (best == NONE or s.block[block, Block.INVALID] > s.block[best, Block.INVALID])
            and is_safe_victim(s, plane, block)
        ):
            best = block
    return best


@njit(cache=True)
def sampled_victim(s, plane):
    """RGA: the best of a sample of distinct safe blocks (free ones count as drawn)."""
    sample = s.batch[-s.param[Param.GC_SAMPLE] :]
    drawn = 0
    for _ in range(64 * s.param[Param.GC_SAMPLE]):
        if drawn == s.param[Param.GC_SAMPLE]:
            break
        block = random_block(s, plane)
        new = is_safe_victim(s, plane, block)
        for i in range(drawn):
            new = new and sample[i] != block
        if new:
            sample[drawn] = block
            drawn += 1
    best = NONE
    for i in range(drawn):
        block = sample[i]
        if s.block[block, Block.WRITTEN] == s.param[Param.PAGES]:
            more = best == NONE or s.block[block, Block.INVALID] > s.block[best, Block.INVALID]
            if more or (s.block[block, Block.INVALID] == s.block[best, Block.INVALID] and block < best):
                best = block
    return best


@njit(cache=True)
def random_victim(s, plane, must_be_full, min_invalid):
    """The first of at most as many draws as there are blocks that is safe and meets the conditions."""
    for _ in range(s.param[Param.BLOCKS] + 1):
        block = random_block(s, plane)
        full = s.block[block, Block.WRITTEN] == s.param[Param.PAGES]
        if (
            is_safe_victim(s, plane, block)
            and (full or not must_be_full)
            and s.block[block, Block.INVALID] >= min_invalid
        ):
            return block
    return NONE


@njit(cache=True)
def oldest_victim(s, plane):
    """FIFO: the full block that was opened first."""
    best = NONE
    for block in range(plane * s.param[Param.BLOCKS], (plane + 1) * s.param[Param.BLOCKS]):
        if (
            s.block[block, Block.WRITTEN] == s.param[Param.PAGES]
            and s.block[block, Block.INVALID]
            and (best == NONE or s.block[block, Block.OPENED] < s.block[best, Block.OPENED])
            and is_safe_victim(s, plane, block)
        ):
            best = block
    return best


@njit(cache=True)
def choose_victim(s, plane):
    """Victim under the drive's policy, NONE if there is none."""
    policy = s.param[Param.GC_POLICY]
    if policy == Policy.GREEDY:
        return greedy_victim(s, plane)
    if policy == Policy.RGA:
        return sampled_victim(s, plane)
    if policy == Policy.RANDOM:
        return random_victim(s, plane, False, 0)
    if policy == Policy.RANDOM_P:
        return random_victim(s, plane, True, 0)
    if policy == Policy.RANDOM_PP:
        return random_victim(s, plane, True, s.param[Param.GC_MIN_INVALID])
    return oldest_victim(s, plane)


@njit(cache=True)
def copy_back(s, block, ppn, erase):
    """Queue the move of one page inside its plane, without data on the channel."""
    plane = block // s.param[Param.BLOCKS]
    owner = s.owner[ppn]
    frontier = Plane.MAPPING_BLOCK if owner < 0 else Plane.GC_BLOCK
    move = new_txn(s, Op.COPYBACK, Source.GC, owner, s.param[Param.PAGE_BYTES], 0)
    s.txn[move, Txn.RELATED] = erase
    place_moved_page(s, move, ppn, plane, frontier)


@njit(cache=True)
def place_moved_page(s, move, old_ppn, plane, frontier):
    """Give a page that is being moved its new place; the mapping follows at once. The move is queued."""
    owner = s.owner[old_ppn]
    put_owner(s, old_ppn, 0)
    put_block(
        s, old_ppn // s.param[Param.PAGES], Block.INVALID, s.block[old_ppn // s.param[Param.PAGES], Block.INVALID] + 1
    )
    ppn, full = next_page(s, plane, frontier, owner)
    if owner > 0:
        put_lpn(s, owner - 1, Lpn.PPN_1, ppn + 1)
    else:
        put_map_page(s, -owner - 1, 0, ppn + 1)
    s.txn[move, Txn.PLANE] = plane
    s.txn[move, Txn.BLOCK] = ppn // s.param[Param.PAGES]
    s.txn[move, Txn.PAGE] = ppn % s.param[Param.PAGES]
    enqueue(s, move)
    return full


@njit(cache=True)
def start_moving(s, block, page):
    """Queue the reads of a victim's valid pages and its erase, which waits for the moves."""
    g = s.glob
    pages = s.param[Param.PAGES]
    plane = block // s.param[Param.BLOCKS]
    g[Glob.GC_RUNS] += 1
    put_block(s, block, Block.IN_GC, 2)
    open_batch(s)
    erase = new_txn(s, Op.ERASE, Source.GC, NONE, 0, 0)
    s.txn[erase, Txn.PLANE] = plane
    s.txn[erase, Txn.BLOCK] = block
    s.txn[erase, Txn.PAGE] = page
    s.txn[erase, Txn.WAITS_FOR] = s.block[block, Block.WRITTEN] - s.block[block, Block.INVALID]
    g[Glob.GC_MOVED_PAGES] += s.txn[erase, Txn.WAITS_FOR]
    for ppn in range(block * pages, block * pages + s.block[block, Block.WRITTEN]):
        if s.owner[ppn] == 0:
            continue
        if s.param[Param.GC_COPYBACK]:
            copy_back(s, block, ppn, erase)
            continue
        read = new_txn(s, Op.READ, Source.GC, s.owner[ppn], s.param[Param.PAGE_BYTES], 0)
        s.txn[read, Txn.PLANE] = plane
        s.txn[read, Txn.BLOCK] = block
        s.txn[read, Txn.PAGE] = ppn % pages
        s.txn[read, Txn.RELATED] = erase
        enqueue(s, read)
    enqueue(s, erase)
    close_batch(s)


@njit(cache=True)
def collect_if_needed(s, plane, page):
    """Start a collection in this plane if its free pool is low and not too many run; `page` is where the plane's writes stand."""
    if s.plane[plane, Plane.FREE_BLOCKS] >= s.param[Param.GC_THRESHOLD]:
        return
    if s.plane[plane, Plane.GC_RUNNING] >= RESERVED_BLOCKS:
        return
    block = choose_victim(s, plane)
    if block == NONE or s.block[block, Block.WRITTEN] == 0 or s.block[block, Block.INVALID] == 0:
        return
    put_block(s, block, Block.IN_GC, 1)
    s.plane[plane, Plane.GC_RUNNING] += 1
    pages = s.param[Param.PAGES]
    for ppn in range(block * pages, block * pages + s.block[block, Block.WRITTEN]):
        if s.owner[ppn] > 0:
            put_lpn(s, s.owner[ppn] - 1, Lpn.LOCKED, 1)
    if s.block[block, Block.PROGRAMS] + s.block[block, Block.READS] == 0:
        start_moving(s, block, page)


@njit(cache=True)
def start_postponed(s, block, page):
    """A collection that waited for the last access to its victim may start now."""
    if s.block[block, Block.IN_GC] == 1 and s.block[block, Block.PROGRAMS] + s.block[block, Block.READS] == 0:
        start_moving(s, block, page)
