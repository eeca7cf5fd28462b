"""From logical to physical pages: the cached mapping table, first placement, overwrites, pages locked by collection.

The mapping table lies on flash in translation pages; a limited number of its entries is cached. A miss reads the translation page,
and everything that waits for that page is translated when it arrives. A dirty entry that is evicted writes its translation page back.
"""

from numba import njit

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.blocks import invalidate, next_page, plane_of_lpn, ppn_of_lpn
from tiergarten.sim.flash.kernel.garbage import RESERVED_BLOCKS, collect_if_needed
from tiergarten.sim.flash.kernel.journal import put_block, put_cached, put_lpn, put_map_page
from tiergarten.sim.flash.kernel.layout import NONE, Block, Cached, Glob, Lpn, MapPage, Op, Param, Plane, Source, Txn
from tiergarten.sim.flash.kernel.queues import append, enqueue, full_plane_row, new_txn
from tiergarten.sim.flash.kernel.scheduler import close_batch, open_batch

ABSENT = 0
ARRIVING = 1
PRESENT = 2


@njit(cache=True)
def count_sectors(mask):
    """Set bits of a 64-bit sector mask."""
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


# --- the list of cached entries, newest first


@njit(cache=True)
def unlink_entry(s, lpn):
    newer = s.cached[lpn, Cached.NEWER_1] - 1
    older = s.cached[lpn, Cached.OLDER_1] - 1
    if newer == NONE:
        s.glob[Glob.CMT_NEWEST] = older
    else:
        put_cached(s, newer, Cached.OLDER_1, older + 1)
    if older == NONE:
        s.glob[Glob.CMT_OLDEST] = newer
    else:
        put_cached(s, older, Cached.NEWER_1, newer + 1)


@njit(cache=True)
def link_newest(s, lpn):
    newest = s.glob[Glob.CMT_NEWEST]
    put_cached(s, lpn, Cached.NEWER_1, 0)
    put_cached(s, lpn, Cached.OLDER_1, newest + 1)
    if newest == NONE:
        s.glob[Glob.CMT_OLDEST] = lpn
    else:
        put_cached(s, newest, Cached.NEWER_1, lpn + 1)
    s.glob[Glob.CMT_NEWEST] = lpn


@njit(cache=True)
def touch_entry(s, lpn):
    """Make an entry the newest."""
    if s.glob[Glob.CMT_NEWEST] != lpn:
        unlink_entry(s, lpn)
        link_newest(s, lpn)


@njit(cache=True)
def write_back_map_page(s, page):
    """Read the translation page, merge the dirty entries that are cached, write it to a new place."""
    p = s.param
    per_page = p[Param.ENTRIES_PER_MAP_PAGE]
    for lpn in range(page * per_page, min((page + 1) * per_page, len(s.lpn))):
        put_cached(s, lpn, Cached.DIRTY, 0)
    old = s.map_page[page, MapPage.PPN_1] - 1
    if old == NONE or s.map_page[page, MapPage.DEPARTING]:
        return
    put_map_page(s, page, MapPage.DEPARTING, 1)
    open_batch(s)
    write = new_txn(s, Op.PROGRAM, Source.MAPPING, page, p[Param.PAGE_BYTES], 0)
    read = new_txn(s, Op.READ, Source.MAPPING, page, p[Param.PAGE_BYTES], 0)
    place_read(s, read, old)
    s.txn[read, Txn.RELATED] = write
    s.txn[write, Txn.WAITS_FOR] = 1
    plane = plane_of_lpn(s, page)
    invalidate(s, old)
    ppn, full = next_page(s, plane, Plane.MAPPING_BLOCK, -(page + 1))
    put_map_page(s, page, MapPage.PPN_1, ppn + 1)
    place_program(s, write, ppn)
    enqueue(s, read)
    enqueue(s, write)
    s.glob[Glob.MAPPING_READS] += 1
    s.glob[Glob.MAPPING_WRITES] += 1
    if full:
        collect_if_needed(s, plane, ppn % p[Param.PAGES])
    close_batch(s)


@njit(cache=True)
def make_room_for_entry(s):
    """Evict the least recently used entry that is not on its way, if the table is full."""
    if s.glob[Glob.CMT_COUNT] < s.param[Param.CMT_ENTRIES]:
        return
    victim = s.glob[Glob.CMT_OLDEST]
    while victim != NONE and s.cached[victim, Cached.STATE] != PRESENT:
        victim = s.cached[victim, Cached.NEWER_1] - 1
    if victim == NONE:  # every entry is on its way: hold one more rather than lose a request
        return
    unlink_entry(s, victim)
    put_cached(s, victim, Cached.STATE, ABSENT)
    s.glob[Glob.CMT_COUNT] -= 1
    if s.cached[victim, Cached.DIRTY]:
        write_back_map_page(s, victim // s.param[Param.ENTRIES_PER_MAP_PAGE])


@njit(cache=True)
def add_entry(s, lpn, state):
    make_room_for_entry(s)
    put_cached(s, lpn, Cached.STATE, state)
    put_cached(s, lpn, Cached.DIRTY, 0)
    link_newest(s, lpn)
    s.glob[Glob.CMT_COUNT] += 1


@njit(cache=True)
def expect_entry(s, page, lpn):
    """Note that this entry shall be filled when its translation page arrives."""
    tail = s.map_page[page, MapPage.ARRIVING_TAIL_1]
    if tail == 0:
        put_map_page(s, page, MapPage.ARRIVING_HEAD_1, lpn + 1)
    else:
        put_cached(s, tail - 1, Cached.ARRIVING_NEXT_1, lpn + 1)
    put_map_page(s, page, MapPage.ARRIVING_TAIL_1, lpn + 1)
    put_cached(s, lpn, Cached.ARRIVING_NEXT_1, 0)


@njit(cache=True)
def request_entry(s, lpn):
    """Ask for an entry that is not there. True if it is to be had at once: never stored, or its page is just being written."""
    page = lpn // s.param[Param.ENTRIES_PER_MAP_PAGE]
    stored = s.map_page[page, MapPage.PPN_1] - 1
    if stored == NONE:
        add_entry(s, lpn, PRESENT)
        return True
    if s.map_page[page, MapPage.ARRIVING_HEAD_1]:
        if s.cached[lpn, Cached.STATE] == ABSENT:
            add_entry(s, lpn, ARRIVING)
            expect_entry(s, page, lpn)
        return False
    if s.map_page[page, MapPage.DEPARTING]:
        add_entry(s, lpn, PRESENT)
        return True
    add_entry(s, lpn, ARRIVING)
    expect_entry(s, page, lpn)
    open_batch(s)
    read = new_txn(s, Op.READ, Source.MAPPING, page, SECTOR_BYTES, 0)
    place_read(s, read, s.map_page[page, MapPage.PPN_1] - 1)
    enqueue(s, read)
    s.glob[Glob.MAPPING_READS] += 1
    close_batch(s)
    return False


# --- places


@njit(cache=True)
def place_read(s, t, ppn):
    """Point a read at its page; the block notes that a read is under way."""
    block = ppn // s.param[Param.PAGES]
    s.txn[t, Txn.PLANE] = block // s.param[Param.BLOCKS]
    s.txn[t, Txn.BLOCK] = block
    s.txn[t, Txn.PAGE] = ppn % s.param[Param.PAGES]
    s.txn[t, Txn.PLACED] = 1
    put_block(s, block, Block.READS, s.block[block, Block.READS] + 1)


@njit(cache=True)
def place_program(s, t, ppn):
    """Point a program at its page; the block notes that a program is under way."""
    block = ppn // s.param[Param.PAGES]
    s.txn[t, Txn.PLANE] = block // s.param[Param.BLOCKS]
    s.txn[t, Txn.BLOCK] = block
    s.txn[t, Txn.PAGE] = ppn % s.param[Param.PAGES]
    s.txn[t, Txn.PLACED] = 1
    put_block(s, block, Block.PROGRAMS, s.block[block, Block.PROGRAMS] + 1)


@njit(cache=True)
def translate_read(s, t):
    """Find the page to read. A page never written gets a place on the spot and counts as written in the sectors asked for."""
    lpn = s.txn[t, Txn.LPN]
    ppn = ppn_of_lpn(s, lpn)
    if ppn == NONE:
        plane = plane_of_lpn(s, lpn)
        ppn, full = next_page(s, plane, Plane.DATA_BLOCK, lpn + 1)
        put_lpn(s, lpn, Lpn.PPN_1, ppn + 1)
        put_lpn(s, lpn, Lpn.SECTORS, s.txn[t, Txn.SECTORS])
        if not s.param[Param.IDEAL_MAPPING]:
            put_cached(s, lpn, Cached.DIRTY, 1)
        if full:
            collect_if_needed(s, plane, ppn % s.param[Param.PAGES])
    place_read(s, t, ppn)


@njit(cache=True)
def translate_write(s, t):
    """Give a write its page. False if the plane takes no writes now. Sectors of the old page that the write does not cover are read first."""
    lpn = s.txn[t, Txn.LPN]
    plane = plane_of_lpn(s, lpn)
    s.txn[t, Txn.PLANE] = plane
    if s.plane[plane, Plane.FREE_BLOCKS] < (RESERVED_BLOCKS if s.glob[Glob.WORN_OUT_AT] == NONE else 1):
        return False
    sectors = s.txn[t, Txn.SECTORS]
    old = ppn_of_lpn(s, lpn)
    if old != NONE:
        missing = s.lpn[lpn, Lpn.SECTORS] & ~sectors
        if missing:
            read = new_txn(s, Op.READ, s.txn[t, Txn.SOURCE], lpn, count_sectors(missing) * SECTOR_BYTES, missing)
            place_read(s, read, old)
            s.txn[read, Txn.RELATED] = t
            s.txn[t, Txn.RELATED] = read
            s.txn[t, Txn.WAITS_FOR] = 1
        invalidate(s, old)
    ppn, full = next_page(s, plane, Plane.DATA_BLOCK, lpn + 1)
    put_lpn(s, lpn, Lpn.PPN_1, ppn + 1)
    put_lpn(s, lpn, Lpn.SECTORS, s.lpn[lpn, Lpn.SECTORS] | sectors)
    place_program(s, t, ppn)
    if full:
        collect_if_needed(s, plane, ppn % s.param[Param.PAGES])
    if not s.param[Param.IDEAL_MAPPING]:
        put_cached(s, lpn, Cached.DIRTY, 1)
    s.glob[Glob.HOST_PAGES_WRITTEN] += 1
    return True


@njit(cache=True)
def translate(s, t):
    """Place a transaction whose mapping entry is at hand; False if it has to wait for a free block."""
    if not s.param[Param.IDEAL_MAPPING]:
        touch_entry(s, s.txn[t, Txn.LPN])
    if s.txn[t, Txn.OP] == Op.READ:
        translate_read(s, t)
        return True
    return translate_write(s, t)


# --- waiting


@njit(cache=True)
def wait_behind_lock(s, t):
    """Wait until collection has moved the page."""
    lpn = s.txn[t, Txn.LPN]
    s.txn[t, Txn.NEXT] = NONE
    tail = s.lpn[lpn, Lpn.BEHIND_TAIL_1] - 1
    if tail == NONE:
        put_lpn(s, lpn, Lpn.BEHIND_HEAD_1, t + 1)
    else:
        s.txn[tail, Txn.NEXT] = t
    put_lpn(s, lpn, Lpn.BEHIND_TAIL_1, t + 1)


@njit(cache=True)
def wait_for_entry(s, t):
    """Wait until the mapping entry arrives."""
    lpn = s.txn[t, Txn.LPN]
    s.txn[t, Txn.NEXT] = NONE
    tail = s.cached[lpn, Cached.WAITING_TAIL_1] - 1
    if tail == NONE:
        put_cached(s, lpn, Cached.WAITING_HEAD_1, t + 1)
    else:
        s.txn[tail, Txn.NEXT] = t
    put_cached(s, lpn, Cached.WAITING_TAIL_1, t + 1)


@njit(cache=True)
def translate_or_wait(s, t):
    """Place a transaction, or leave it where what it waits for will find it. True if it was placed."""
    lpn = s.txn[t, Txn.LPN]
    if s.lpn[lpn, Lpn.LOCKED]:
        wait_behind_lock(s, t)
        return False
    if not s.param[Param.IDEAL_MAPPING] and s.cached[lpn, Cached.STATE] != PRESENT and not request_entry(s, lpn):
        wait_for_entry(s, t)
        return False
    if translate(s, t):
        return True
    append(s, full_plane_row(s, s.txn[t, Txn.PLANE]), t)
    return False


@njit(cache=True)
def enqueue_placed(s, t):
    """Queue a placed transaction and, behind a write, the read of the sectors it lacks."""
    enqueue(s, t)
    if s.txn[t, Txn.OP] != Op.READ and s.txn[t, Txn.RELATED] != NONE:
        enqueue(s, s.txn[t, Txn.RELATED])


@njit(cache=True)
def dispatch_batch(s):
    """Translate all transactions of the batch in order, then queue those that were placed, together."""
    count = s.glob[Glob.BATCH_COUNT]
    for i in range(count):
        if not translate_or_wait(s, s.batch[i]):
            s.batch[i] = NONE
    open_batch(s)
    for i in range(count):
        if s.batch[i] != NONE:
            enqueue_placed(s, s.batch[i])
    s.glob[Glob.BATCH_COUNT] = 0
    close_batch(s)


@njit(cache=True)
def dispatch_chain(s, head, only):
    """Dispatch those transactions of a NEXT chain whose op is `only`; returns the chain of the others."""
    rest = NONE
    last = NONE
    t = head
    while t != NONE:
        after = s.txn[t, Txn.NEXT]
        if s.txn[t, Txn.OP] == only:
            if translate_or_wait(s, t):
                enqueue_placed(s, t)
        else:
            if rest == NONE:
                rest = t
            else:
                s.txn[last, Txn.NEXT] = t
            s.txn[t, Txn.NEXT] = NONE
            last = t
        t = after
    return rest


@njit(cache=True)
def map_page_arrived(s, page):
    """A translation page was read: its entries are there, what waited for them is translated, reads of an entry before writes."""
    open_batch(s)
    lpn = s.map_page[page, MapPage.ARRIVING_HEAD_1] - 1
    put_map_page(s, page, MapPage.ARRIVING_HEAD_1, 0)
    put_map_page(s, page, MapPage.ARRIVING_TAIL_1, 0)
    while lpn != NONE:
        after = s.cached[lpn, Cached.ARRIVING_NEXT_1] - 1
        put_cached(s, lpn, Cached.STATE, PRESENT)
        put_cached(s, lpn, Cached.DIRTY, 0)
        head = s.cached[lpn, Cached.WAITING_HEAD_1] - 1
        put_cached(s, lpn, Cached.WAITING_HEAD_1, 0)
        put_cached(s, lpn, Cached.WAITING_TAIL_1, 0)
        dispatch_chain(s, dispatch_chain(s, head, Op.READ), Op.PROGRAM)
        lpn = after
    close_batch(s)


@njit(cache=True)
def unlock(s, lpn):
    """Collection has moved the page: dispatch what waited, reads before writes."""
    put_lpn(s, lpn, Lpn.LOCKED, 0)
    head = s.lpn[lpn, Lpn.BEHIND_HEAD_1] - 1
    if head == NONE:
        return
    put_lpn(s, lpn, Lpn.BEHIND_HEAD_1, 0)
    put_lpn(s, lpn, Lpn.BEHIND_TAIL_1, 0)
    open_batch(s)
    dispatch_chain(s, dispatch_chain(s, head, Op.READ), Op.PROGRAM)
    close_batch(s)
