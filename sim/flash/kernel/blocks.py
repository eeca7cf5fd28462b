"""Blocks of a plane: the free pool, the write frontiers, which pages are valid.

The pool gives the block with the fewest erases, the longest in the pool among equals (dynamic wear levelling). A plane has three
frontiers: host data, translation pages, pages moved by collection.
"""

from tiergarten.sim.flash.kernel.journal import add, put
from tiergarten.sim.flash.kernel.layout import NONE, Block, Glob, Lpn, Param, Plane
from tiergarten.sim.flash.kernel.records import block_of_ppn, lpn_at
from tiergarten.sim.jit import njit


@njit(cache=True)
def end_of_blocks(m, plane):
    """One past the handle of the plane's last block; its first is Plane.FIRST_BLOCK."""
    return m[plane + Plane.FIRST_BLOCK] + m[Param.BLOCKS] * Block.WORDS


@njit(cache=True)
def take_free_block(m, plane, holds_mapping):
    """Take a block out of the pool, NONE from an empty pool."""
    best = NONE
    for block in range(m[plane + Plane.FIRST_BLOCK], end_of_blocks(m, plane), Block.WORDS):
        if m[block + Block.IN_POOL] == 0:
            continue
        if (
            best == NONE
            or m[block + Block.ERASES] < m[best + Block.ERASES]
            or (
                m[block + Block.ERASES] == m[best + Block.ERASES] and m[block + Block.IN_POOL] < m[best + Block.IN_POOL]
            )
        ):
            best = block
    if best == NONE:
        return NONE
    m[Glob.POOL_NUMBER] += 1
    put(m, best + Block.IN_POOL, 0)
    put(m, best + Block.HOLDS_MAPPING, holds_mapping)
    put(m, best + Block.OPENED, m[Glob.POOL_NUMBER])
    m[plane + Plane.FREE_BLOCKS] -= 1
    return best


@njit(cache=True)
def erase_block(m, block):
    """Book an erase: the block returns to the pool, or is retired when its endurance is used up."""
    put(m, block + Block.WRITTEN, 0)
    put(m, block + Block.INVALID, 0)
    add(m, block + Block.ERASES, 1)
    put(m, block + Block.HOLDS_MAPPING, 0)
    plane = m[block + Block.PLANE]
    limit = m[Param.ENDURANCE_CYCLES]
    if limit and m[block + Block.ERASES] >= limit:
        put(m, block + Block.RETIRED, 1)
        m[plane + Plane.GOOD_BLOCKS] -= 1
        m[Glob.BLOCKS_RETIRED] += 1
    else:
        m[Glob.POOL_NUMBER] += 1
        put(m, block + Block.IN_POOL, m[Glob.POOL_NUMBER])
        m[plane + Plane.FREE_BLOCKS] += 1


@njit(cache=True)
def next_page(m, plane, frontier, owner):
    """Append a page to a frontier (a field of Plane) for `owner`; returns its physical number and whether the block is now full.

    A plane without a block to open sets OUT_OF_BLOCKS, on which the event loop stops.
    """
    block = m[plane + frontier]
    if block == NONE:
        m[Glob.OUT_OF_BLOCKS] = 1
        return m[m[plane + Plane.FIRST_BLOCK] + Block.FIRST_PPN], False
    page = m[block + Block.WRITTEN]
    put(m, block + Block.WRITTEN, page + 1)
    ppn = m[block + Block.FIRST_PPN] + page
    put(m, m[Param.OWNER_AT] + ppn, owner)
    full = page + 1 == m[Param.PAGES]
    if full:
        m[plane + frontier] = take_free_block(m, plane, frontier == Plane.MAPPING_BLOCK)
    return ppn, full


@njit(cache=True)
def invalidate(m, ppn):
    """The page no longer holds the newest data of its owner."""
    put(m, m[Param.OWNER_AT] + ppn, 0)
    add(m, block_of_ppn(m, ppn) + Block.INVALID, 1)


@njit(cache=True)
def plane_of_lpn(m, lpn):
    """Plane on which a logical page is placed: the orders repeat after as many pages as there are planes."""
    return m[m[Param.PLANE_MAP_AT] + lpn % m[Param.PLANES]]


@njit(cache=True)
def plane_of_first_read(m, lpn):
    """Plane of a logical page that is read before it was ever written."""
    return m[m[Param.FIRST_READ_MAP_AT] + lpn % m[Param.PLANES]]


@njit(cache=True)
def ppn_of_lpn(m, lpn):
    """Physical page of a logical page, NONE if it was never written."""
    return m[lpn_at(m, lpn) + Lpn.PPN_1] - 1
