"""Blocks of a plane: the free pool, the write frontiers, which pages are valid.

The pool gives the block with the fewest erases, the longest in the pool among equals (dynamic wear levelling). A plane has three
frontiers: host data, translation pages, pages moved by collection.
"""

from numba import njit

from tiergarten.sim.flash.kernel.journal import put_block, put_owner
from tiergarten.sim.flash.kernel.layout import NONE, Block, Glob, Lpn, Param, Plane


@njit(cache=True)
def take_free_block(s, plane, holds_mapping):
    """Take a block out of the pool (over the whole drive's numbering), NONE from an empty pool."""
    blocks = s.param[Param.BLOCKS]
    best = NONE
    for block in range(plane * blocks, (plane + 1) * blocks):
        if s.block[block, Block.IN_POOL] and (
            best == NONE
            or s.block[block, Block.ERASES] < s.block[best, Block.ERASES]
            or (
                s.block[block, Block.ERASES] == s.block[best, Block.ERASES]
                and s.block[block, Block.IN_POOL] < s.block[best, Block.IN_POOL]
            )
        ):
            best = block
    if best == NONE:
        return NONE
    put_block(s, best, Block.IN_POOL, 0)
    put_block(s, best, Block.HOLDS_MAPPING, holds_mapping)
    s.glob[Glob.POOL_NUMBER] += 1
    put_block(s, best, Block.OPENED, s.glob[Glob.POOL_NUMBER])
    s.plane[plane, Plane.FREE_BLOCKS] -= 1
    return best


@njit(cache=True)
def put_free_block(s, block):
    """Put an erased block into its plane's pool."""
    s.glob[Glob.POOL_NUMBER] += 1
    put_block(s, block, Block.IN_POOL, s.glob[Glob.POOL_NUMBER])
    s.plane[block // s.param[Param.BLOCKS], Plane.FREE_BLOCKS] += 1


@njit(cache=True)
def erase_block(s, block):
    """Book an erase: the block returns to the pool, or is retired when its endurance is used up."""
    put_block(s, block, Block.WRITTEN, 0)
    put_block(s, block, Block.INVALID, 0)
    put_block(s, block, Block.ERASES, s.block[block, Block.ERASES] + 1)
    put_block(s, block, Block.HOLDS_MAPPING, 0)
    limit = s.param[Param.ENDURANCE_CYCLES]
    if limit and s.block[block, Block.ERASES] >= limit:
        put_block(s, block, Block.RETIRED, 1)
        s.plane[block // s.param[Param.BLOCKS], Plane.GOOD_BLOCKS] -= 1
        s.glob[Glob.BLOCKS_RETIRED] += 1
    else:
        put_free_block(s, block)


@njit(cache=True)
def next_page(s, plane, frontier, owner):
    """Append a page to a frontier (a Plane column) for `owner`; returns its physical number and whether the block is now full.

    A plane without a block to open sets OUT_OF_BLOCKS, on which the event loop stops.
    """
    block = s.plane[plane, frontier]
    if block == NONE:
        s.glob[Glob.OUT_OF_BLOCKS] = 1
        return plane * s.param[Param.BLOCKS] * s.param[Param.PAGES], False
    page = s.block[block, Block.WRITTEN]
    put_block(s, block, Block.WRITTEN, page + 1)
    ppn = block * s.param[Param.PAGES] + page
    put_owner(s, ppn, owner)
    full = page + 1 == s.param[Param.PAGES]
    if full:
        s.plane[plane, frontier] = take_free_block(s, plane, frontier == Plane.MAPPING_BLOCK)
    return ppn, full


@njit(cache=True)
def invalidate(s, ppn):
    """The page no longer holds the newest data of its owner."""
    put_owner(s, ppn, 0)
    put_block(s, ppn // s.param[Param.PAGES], Block.INVALID, s.block[ppn // s.param[Param.PAGES], Block.INVALID] + 1)


@njit(cache=True)
def plane_of_lpn(s, lpn):
    """Plane on which a logical page is placed."""
    p = s.param
    channel = lpn // p[Param.STRIDE_C] % p[Param.CHANNELS]
    chip = lpn // p[Param.STRIDE_W] % p[Param.CHIPS]
    die = lpn // p[Param.STRIDE_D] % p[Param.DIES]
    plane = lpn // p[Param.STRIDE_P] % p[Param.PLANES_PER_DIE]
    return ((channel * p[Param.CHIPS] + chip) * p[Param.DIES] + die) * p[Param.PLANES_PER_DIE] + plane


@njit(cache=True)
def ppn_of_lpn(s, lpn):
    """Physical page of a logical page, NONE if it was never written."""
    return s.lpn[lpn, Lpn.PPN_1] - 1
