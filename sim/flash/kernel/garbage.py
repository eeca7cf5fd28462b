"""Garbage collection: when, which block, and its steps (read valid pages, write them to the collection frontier, erase).

Policies as in MQSim; greedy is the most invalid pages, RGA ("d-choices") the best of a random sample (Van Houdt, SIGMETRICS 2013).
"""

from enum import IntEnum

from tiergarten.sim.flash.kernel.blocks import end_of_blocks, invalidate, next_page
from tiergarten.sim.flash.kernel.journal import put
from tiergarten.sim.flash.kernel.layout import NONE, Block, Glob, List, Lpn, MapPage, Op, Param, Plane, Source, Txn
from tiergarten.sim.flash.kernel.records import block_of_ppn, enqueue, lpn_at, map_page_at, new_txn
from tiergarten.sim.flash.kernel.scheduler import close_batch, open_batch
from tiergarten.sim.jit import njit

RESERVED_BLOCKS = 10
"""Free blocks below which a plane takes no host writes; also the collections that may run in a plane at a time (MQSim)."""
DRAW_BITS = 40
"""Random draws are integers of so many bits."""


class Policy(IntEnum):
    GREEDY = 0
    RGA = 1
    RANDOM = 2
    RANDOM_P = 3
    RANDOM_PP = 4
    FIFO = 5


@njit(cache=True)
def is_safe_victim(m, plane, block):
    """Neither a frontier nor a retired or collected block, and without programs under way."""
    return not (
        block == m[plane + Plane.DATA_BLOCK]
        or block == m[plane + Plane.MAPPING_BLOCK]
        or block == m[plane + Plane.GC_BLOCK]
        or m[block + Block.PROGRAMS]
        or m[block + Block.IN_GC]
        or m[block + Block.RETIRED]
    )


@njit(cache=True)
def random_block(m, plane):
    """A block of the plane, from the prepared draws."""
    draw = m[m[Param.RANDOM_AT] + m[Glob.RANDOM_NEXT] % m[Param.NUM_RANDOM]]
    m[Glob.RANDOM_NEXT] += 1
    return m[plane + Plane.FIRST_BLOCK] + (m[Param.BLOCKS] * draw >> DRAW_BITS) * Block.WORDS


@njit(cache=True)
def is_full(m, block):
    return m[block + Block.WRITTEN] == m[Param.PAGES]


@njit(cache=True)
def greedy_victim(m, plane):
    """The full block with the most invalid pages; the first among equals."""
    best = NONE
    for block in range(m[plane + Plane.FIRST_BLOCK], end_of_blocks(m, plane), Block.WORDS):
        more = best == NONE or m[block + Block.INVALID] > m[best + Block.INVALID]
        if more and is_full(m, block) and is_safe_victim(m, plane, block):
            best = block
    return best


@njit(cache=True)
def sampled_victim(m, plane):
    """RGA: the best of a sample of distinct safe blocks; free ones count as drawn, as in MQSim."""
    sample = m[Param.SAMPLE_AT]
    size = m[Param.GC_SAMPLE]
    drawn = 0
    for _ in range(64 * size):
        if drawn == size:
            break
        block = random_block(m, plane)
        new = is_safe_victim(m, plane, block)
        for i in range(drawn):
            new = new and m[sample + i] != block
        if new:
            m[sample + drawn] = block
            drawn += 1
    best = NONE
    for i in range(drawn):
        block = m[sample + i]
        if not is_full(m, block):
            continue
        if best == NONE or m[block + Block.INVALID] > m[best + Block.INVALID]:
            best = block
        elif m[block + Block.INVALID] == m[best + Block.INVALID] and block < best:
            best = block
    return best


@njit(cache=True)
def random_victim(m, plane, must_be_full, min_invalid):
    """The first of at most as many draws as there are blocks that is safe and meets the conditions."""
    for _ in range(m[Param.BLOCKS] + 1):
        block = random_block(m, plane)
        if (
            (is_full(m, block) or not must_be_full)
            and m[block + Block.INVALID] >= min_invalid
            and is_safe_victim(m, plane, block)
        ):
            return block
    return NONE


@njit(cache=True)
def oldest_victim(m, plane):
    """FIFO: the full block with something to gain that was opened first."""
    best = NONE
    for block in range(m[plane + Plane.FIRST_BLOCK], end_of_blocks(m, plane), Block.WORDS):
        older = best == NONE or m[block + Block.OPENED] < m[best + Block.OPENED]
        if older and is_full(m, block) and m[block + Block.INVALID] and is_safe_victim(m, plane, block):
            best = block
    return best


@njit(cache=True)
def choose_victim(m, plane):
    """Victim under the drive's policy, NONE if there is none."""
    policy = m[Param.GC_POLICY]
    if policy == Policy.GREEDY:
        return greedy_victim(m, plane)
    if policy == Policy.RGA:
        return sampled_victim(m, plane)
    if policy == Policy.RANDOM:
        return random_victim(m, plane, False, 0)
    if policy == Policy.RANDOM_P:
        return random_victim(m, plane, True, 0)
    if policy == Policy.RANDOM_PP:
        return random_victim(m, plane, True, m[Param.GC_MIN_INVALID])
    return oldest_victim(m, plane)


@njit(cache=True)
def place_moved_page(m, move, old_ppn, plane):
    """Give a page that is being moved its new place and queue the move; the mapping follows at once. True if that filled a block."""
    owner = m[m[Param.OWNER_AT] + old_ppn]
    invalidate(m, old_ppn)
    ppn, full = next_page(m, plane, Plane.MAPPING_BLOCK if owner < 0 else Plane.GC_BLOCK, owner)
    if owner > 0:
        put(m, lpn_at(m, owner - 1) + Lpn.PPN_1, ppn + 1)
    else:
        put(m, map_page_at(m, -owner - 1) + MapPage.PPN_1, ppn + 1)
    block = block_of_ppn(m, ppn)
    m[move + Txn.LPN] = owner
    m[move + Txn.PLANE] = plane
    m[move + Txn.BLOCK] = block
    m[move + Txn.PAGE] = ppn - m[block + Block.FIRST_PPN]
    enqueue(m, move)
    return full


@njit(cache=True)
def queue_move(m, block, ppn, erase):
    """Queue the first step of moving one page: its read, or a copyback that needs no data on the channel."""
    op = Op.COPYBACK if m[Param.GC_COPYBACK] else Op.READ
    move = new_txn(m, op, Source.GC, m[m[Param.OWNER_AT] + ppn], m[Param.PAGE_BYTES], 0)
    m[move + Txn.RELATED] = erase
    if op == Op.COPYBACK:
        place_moved_page(m, move, ppn, m[block + Block.PLANE])
        return
    m[move + Txn.PLANE] = m[block + Block.PLANE]
    m[move + Txn.BLOCK] = block
    m[move + Txn.PAGE] = ppn - m[block + Block.FIRST_PPN]
    enqueue(m, move)


@njit(cache=True)
def start_moving(m, block, page):
    """Queue the reads of a victim's valid pages and its erase, which waits for the moves."""
    valid = m[block + Block.WRITTEN] - m[block + Block.INVALID]
    m[Glob.GC_RUNS] += 1
    m[Glob.GC_MOVED_PAGES] += valid
    put(m, block + Block.IN_GC, 2)
    open_batch(m)
    erase = new_txn(m, Op.ERASE, Source.GC, NONE, 0, 0)
    m[erase + Txn.PLANE] = m[block + Block.PLANE]
    m[erase + Txn.BLOCK] = block
    m[erase + Txn.PAGE] = page
    m[erase + Txn.WAITS_FOR] = valid
    first = m[block + Block.FIRST_PPN]
    for ppn in range(first, first + m[block + Block.WRITTEN]):
        if m[m[Param.OWNER_AT] + ppn]:
            queue_move(m, block, ppn, erase)
    enqueue(m, erase)
    close_batch(m)


@njit(cache=True)
def collect_if_needed(m, plane, page):
    """Start a collection in this plane if its free pool is low and not too many run; `page` is where the plane's writes stand."""
    if m[plane + Plane.FREE_BLOCKS] >= m[Param.GC_THRESHOLD] or m[plane + Plane.GC_RUNNING] >= RESERVED_BLOCKS:
        return
    block = choose_victim(m, plane)
    if (block == NONE or m[block + Block.INVALID] == 0) and m[plane + Plane.FREE_BLOCKS] < RESERVED_BLOCKS:
        block = greedy_victim(m, plane)  # host writes wait: a policy that found nothing to gain must not stop the drive
    if block == NONE or m[block + Block.INVALID] == 0:
        return
    put(m, block + Block.IN_GC, 1)
    m[plane + Plane.GC_RUNNING] += 1
    first = m[block + Block.FIRST_PPN]
    for ppn in range(first, first + m[block + Block.WRITTEN]):
        owner = m[m[Param.OWNER_AT] + ppn]
        if owner > 0:
            put(m, lpn_at(m, owner - 1) + Lpn.LOCKED, 1)
    start_if_quiet(m, block, page)


@njit(cache=True)
def collect_if_stuck(m, plane, page):
    """Start a collection if writes wait for this plane and none is running: no victim was safe when one was looked for."""
    if m[plane + Plane.WAITING_WRITES + List.COUNT] and m[plane + Plane.GC_RUNNING] == 0:
        collect_if_needed(m, plane, page)


@njit(cache=True)
def start_if_quiet(m, block, page):
    """Start the chosen collection of a block once no host access to it is under way."""
    if m[block + Block.IN_GC] == 1 and m[block + Block.PROGRAMS] + m[block + Block.READS] == 0:
        start_moving(m, block, page)
