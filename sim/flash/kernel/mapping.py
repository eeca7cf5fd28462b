"""From logical to physical pages: the cached mapping table, first placement, overwrites, pages locked by collection.

The mapping table lies on flash in translation pages; a limited number of its entries is cached. A miss reads the translation page,
and everything that waits for that page is translated when it arrives. A dirty entry that is evicted writes its translation page back.
"""

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.blocks import invalidate, next_page, plane_of_first_read, plane_of_lpn, ppn_of_lpn
from tiergarten.sim.flash.kernel.garbage import RESERVED_BLOCKS, collect_if_needed
from tiergarten.sim.flash.kernel.journal import add, put
from tiergarten.sim.flash.kernel.layout import NONE, Block, Entry, Glob, Lpn, MapPage, Op, Param, Plane, Source, Txn
from tiergarten.sim.flash.kernel.records import (
    block_of_ppn,
    enqueue,
    entry_at,
    insert_by_handle,
    lpn_at,
    map_page_at,
    new_txn,
)
from tiergarten.sim.flash.kernel.scheduler import close_batch, open_batch
from tiergarten.sim.jit import njit

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
def unlink_entry(m, lpn):
    newer = m[entry_at(m, lpn) + Entry.NEWER_1] - 1
    older = m[entry_at(m, lpn) + Entry.OLDER_1] - 1
    if newer == NONE:
        m[Glob.CMT_NEWEST] = older
    else:
        put(m, entry_at(m, newer) + Entry.OLDER_1, older + 1)
    if older == NONE:
        m[Glob.CMT_OLDEST] = newer
    else:
        put(m, entry_at(m, older) + Entry.NEWER_1, newer + 1)


@njit(cache=True)
def link_newest(m, lpn):
    newest = m[Glob.CMT_NEWEST]
    put(m, entry_at(m, lpn) + Entry.NEWER_1, 0)
    put(m, entry_at(m, lpn) + Entry.OLDER_1, newest + 1)
    if newest == NONE:
        m[Glob.CMT_OLDEST] = lpn
    else:
        put(m, entry_at(m, newest) + Entry.NEWER_1, lpn + 1)
    m[Glob.CMT_NEWEST] = lpn


@njit(cache=True)
def touch_entry(m, lpn):
    """Make an entry the newest."""
    if m[Glob.CMT_NEWEST] != lpn:
        unlink_entry(m, lpn)
        link_newest(m, lpn)


@njit(cache=True)
def clean_entries(m, page):
    """Take the dirty cached entries of a translation page along, each as a use of it; returns the bytes to be read for the clean ones.

    As in MQSim only sectors with a cached clean entry count.
    """
    per_page = m[Param.ENTRIES_PER_MAP_PAGE]
    entry_bytes = m[Param.PAGE_BYTES] // per_page
    sectors = 0
    for lpn in range(page * per_page, min((page + 1) * per_page, m[Param.NUM_LPNS])):
        if m[entry_at(m, lpn) + Entry.STATE] == PRESENT:
            if m[entry_at(m, lpn) + Entry.DIRTY]:
                put(m, entry_at(m, lpn) + Entry.DIRTY, 0)
                touch_entry(m, lpn)
            else:
                sectors |= 1 << ((lpn - page * per_page) * entry_bytes // SECTOR_BYTES)
    return count_sectors(sectors) * SECTOR_BYTES


@njit(cache=True)
def write_back_map_page(m, page):
    """Read the translation page, merge the dirty entries that are cached, write it to a new place.

    Outside modern mode, as in MQSim, the write never leaves its queue: nothing tells it that its read is over. The page
    stays on its way out for good, and its entries are to be had at once as soon as no read of it is under way.
    """
    num_bytes = clean_entries(m, page)
    old = m[map_page_at(m, page) + MapPage.PPN_1] - 1
    if old == NONE or (m[Param.MODERN] and m[map_page_at(m, page) + MapPage.DEPARTING]):
        return
    put(m, map_page_at(m, page) + MapPage.DEPARTING, 1)
    put(m, map_page_at(m, page) + MapPage.ARRIVING, 1)
    open_batch(m)
    read = new_txn(m, Op.READ, Source.MAPPING, page, num_bytes, 0)
    place(m, read, old)
    plane = plane_of_lpn(m, page)
    invalidate(m, old)
    ppn, full = next_page(m, plane, Plane.MAPPING_BLOCK, -(page + 1))
    put(m, map_page_at(m, page) + MapPage.PPN_1, ppn + 1)
    enqueue(m, read)
    if m[Param.MODERN]:
        write = new_txn(m, Op.PROGRAM, Source.MAPPING, page, m[Param.PAGE_BYTES], 0)
        place(m, write, ppn)
        m[read + Txn.RELATED] = write
        m[write + Txn.WAITS_FOR] = 1
        enqueue(m, write)
    else:
        add(m, block_of_ppn(m, ppn) + Block.PROGRAMS, 1)
    m[Glob.MAPPING_READS] += 1
    m[Glob.MAPPING_WRITES] += 1
    if full:
        collect_if_needed(m, plane, ppn % m[Param.PAGES])
    close_batch(m)


@njit(cache=True)
def make_room_for_entry(m):
    """Evict the least recently used entry that is not on its way, if the table is full."""
    if m[Glob.CMT_COUNT] < m[Param.CMT_ENTRIES]:
        return
    victim = m[Glob.CMT_OLDEST]
    while victim != NONE and m[entry_at(m, victim) + Entry.STATE] != PRESENT:
        victim = m[entry_at(m, victim) + Entry.NEWER_1] - 1
    if victim == NONE:  # every entry is on its way: hold one more rather than lose a request
        return
    unlink_entry(m, victim)
    put(m, entry_at(m, victim) + Entry.STATE, ABSENT)
    m[Glob.CMT_COUNT] -= 1
    if m[entry_at(m, victim) + Entry.DIRTY]:
        write_back_map_page(m, victim // m[Param.ENTRIES_PER_MAP_PAGE])


@njit(cache=True)
def add_entry(m, lpn, state):
    make_room_for_entry(m)
    put(m, entry_at(m, lpn) + Entry.STATE, state)
    put(m, entry_at(m, lpn) + Entry.DIRTY, 0)
    link_newest(m, lpn)
    m[Glob.CMT_COUNT] += 1


@njit(cache=True)
def expect_entry(m, page, lpn):
    """Note that this entry shall be filled when its translation page arrives."""
    tail = m[map_page_at(m, page) + MapPage.ARRIVING_TAIL_1]
    if tail == 0:
        put(m, map_page_at(m, page) + MapPage.ARRIVING_HEAD_1, lpn + 1)
    else:
        put(m, entry_at(m, tail - 1) + Entry.ARRIVING_NEXT_1, lpn + 1)
    put(m, map_page_at(m, page) + MapPage.ARRIVING_TAIL_1, lpn + 1)
    put(m, entry_at(m, lpn) + Entry.ARRIVING_NEXT_1, 0)


@njit(cache=True)
def request_entry(m, lpn):
    """Ask for an entry that is not there. True if it is to be had at once: never stored, or its page is just being written."""
    page = lpn // m[Param.ENTRIES_PER_MAP_PAGE]
    stored = m[map_page_at(m, page) + MapPage.PPN_1] - 1
    if stored == NONE:
        add_entry(m, lpn, PRESENT)
        return True
    if m[map_page_at(m, page) + MapPage.ARRIVING]:
        if m[entry_at(m, lpn) + Entry.STATE] == ABSENT:
            add_entry(m, lpn, ARRIVING)
            expect_entry(m, page, lpn)
        return False
    if m[map_page_at(m, page) + MapPage.DEPARTING]:
        add_entry(m, lpn, PRESENT)
        return True
    add_entry(m, lpn, ARRIVING)
    expect_entry(m, page, lpn)
    put(m, map_page_at(m, page) + MapPage.ARRIVING, 1)
    open_batch(m)
    read = new_txn(m, Op.READ, Source.MAPPING, page, SECTOR_BYTES, 0)
    place(m, read, m[map_page_at(m, page) + MapPage.PPN_1] - 1)
    enqueue(m, read)
    m[Glob.MAPPING_READS] += 1
    close_batch(m)
    return False


# --- places


@njit(cache=True)
def place(m, t, ppn):
    """Point a transaction at its page; the block notes that it is under way."""
    block = block_of_ppn(m, ppn)
    m[t + Txn.PLANE] = m[block + Block.PLANE]
    m[t + Txn.BLOCK] = block
    m[t + Txn.PAGE] = ppn - m[block + Block.FIRST_PPN]
    add(m, block + (Block.READS if m[t + Txn.OP] == Op.READ else Block.PROGRAMS), 1)


@njit(cache=True)
def translate_read(m, t):
    """Find the page to read. A page never written gets a place on the spot and counts as written in the sectors asked for."""
    lpn = m[t + Txn.LPN]
    ppn = ppn_of_lpn(m, lpn)
    if ppn == NONE:
        plane = plane_of_first_read(m, lpn)
        ppn, full = next_page(m, plane, Plane.DATA_BLOCK, lpn + 1)
        put(m, lpn_at(m, lpn) + Lpn.PPN_1, ppn + 1)
        put(m, lpn_at(m, lpn) + Lpn.SECTORS, m[t + Txn.SECTORS])
        put(m, lpn_at(m, lpn) + Lpn.UNPROGRAMMED, 1)
        if not m[Param.IDEAL_MAPPING]:
            put(m, entry_at(m, lpn) + Entry.DIRTY, 1)
        if full:
            collect_if_needed(m, plane, ppn % m[Param.PAGES])
    place(m, t, ppn)


@njit(cache=True)
def translate_write(m, t):
    """Give a write its page. False if the plane takes no writes now. Sectors of the old page that the write does not cover are read first."""
    lpn = m[t + Txn.LPN]
    plane = plane_of_lpn(m, lpn)
    m[t + Txn.PLANE] = plane
    if m[plane + Plane.FREE_BLOCKS] < (RESERVED_BLOCKS if m[Glob.WORN_OUT_AT] == NONE else 1):
        return False
    sectors = m[t + Txn.SECTORS]
    old = ppn_of_lpn(m, lpn)
    if old != NONE:
        missing = m[lpn_at(m, lpn) + Lpn.SECTORS] & ~sectors
        if missing:
            read = new_txn(m, Op.READ, m[t + Txn.SOURCE], lpn, count_sectors(missing) * SECTOR_BYTES, missing)
            place(m, read, old)
            m[read + Txn.RELATED] = t
            m[t + Txn.RELATED] = read
            m[t + Txn.WAITS_FOR] = 1
        invalidate(m, old)
    ppn, full = next_page(m, plane, Plane.DATA_BLOCK, lpn + 1)
    put(m, lpn_at(m, lpn) + Lpn.PPN_1, ppn + 1)
    put(m, lpn_at(m, lpn) + Lpn.SECTORS, m[lpn_at(m, lpn) + Lpn.SECTORS] | sectors)
    put(m, lpn_at(m, lpn) + Lpn.UNPROGRAMMED, 1)
    place(m, t, ppn)
    if full:
        collect_if_needed(m, plane, ppn % m[Param.PAGES])
    if not m[Param.IDEAL_MAPPING]:
        put(m, entry_at(m, lpn) + Entry.DIRTY, 1)
    m[Glob.HOST_PAGES_WRITTEN] += 1
    return True


@njit(cache=True)
def translate(m, t):
    """Place a transaction whose mapping entry is at hand; False if it has to wait for a free block."""
    if not m[Param.IDEAL_MAPPING]:
        touch_entry(m, m[t + Txn.LPN])
    if m[t + Txn.OP] == Op.READ:
        translate_read(m, t)
        return True
    return translate_write(m, t)


# --- waiting


@njit(cache=True)
def wait_behind_lock(m, t):
    """Wait until collection has moved the page."""
    lpn = m[t + Txn.LPN]
    m[t + Txn.NEXT] = NONE
    tail = m[lpn_at(m, lpn) + Lpn.BEHIND_TAIL_1] - 1
    if tail == NONE:
        put(m, lpn_at(m, lpn) + Lpn.BEHIND_HEAD_1, t + 1)
    else:
        m[tail + Txn.NEXT] = t
    put(m, lpn_at(m, lpn) + Lpn.BEHIND_TAIL_1, t + 1)


@njit(cache=True)
def wait_for_entry(m, t):
    """Wait until the mapping entry arrives."""
    lpn = m[t + Txn.LPN]
    m[t + Txn.NEXT] = NONE
    tail = m[entry_at(m, lpn) + Entry.WAITING_TAIL_1] - 1
    if tail == NONE:
        put(m, entry_at(m, lpn) + Entry.WAITING_HEAD_1, t + 1)
    else:
        m[tail + Txn.NEXT] = t
    put(m, entry_at(m, lpn) + Entry.WAITING_TAIL_1, t + 1)


@njit(cache=True)
def translate_or_wait(m, t):
    """Place a transaction, or leave it where what it waits for will find it. True if it was placed."""
    lpn = m[t + Txn.LPN]
    if m[lpn_at(m, lpn) + Lpn.LOCKED]:
        wait_behind_lock(m, t)
        return False
    if not m[Param.IDEAL_MAPPING] and m[entry_at(m, lpn) + Entry.STATE] != PRESENT and not request_entry(m, lpn):
        wait_for_entry(m, t)
        return False
    if translate(m, t):
        return True
    insert_by_handle(m, m[t + Txn.PLANE] + Plane.WAITING_WRITES, t)
    return False


@njit(cache=True)
def enqueue_placed(m, t):
    """Queue a placed transaction and, behind a write, the read of the sectors it lacks."""
    enqueue(m, t)
    if m[t + Txn.OP] != Op.READ and m[t + Txn.RELATED] != NONE:
        enqueue(m, m[t + Txn.RELATED])


@njit(cache=True)
def dispatch_batch(m):
    """Translate all transactions of the batch in order, then queue those that were placed, together."""
    count = m[Glob.BATCH_COUNT]
    for i in range(count):
        if not translate_or_wait(m, m[m[Param.BATCH_AT] + i]):
            m[m[Param.BATCH_AT] + i] = NONE
    open_batch(m)
    for i in range(count):
        if m[m[Param.BATCH_AT] + i] != NONE:
            enqueue_placed(m, m[m[Param.BATCH_AT] + i])
    m[Glob.BATCH_COUNT] = 0
    close_batch(m)


@njit(cache=True)
def dispatch_chain(m, head, only):
    """Dispatch those transactions of a NEXT chain whose op is `only`; returns the chain of the others."""
    rest = NONE
    last = NONE
    t = head
    while t != NONE:
        after = m[t + Txn.NEXT]
        if m[t + Txn.OP] == only:
            if translate_or_wait(m, t):
                enqueue_placed(m, t)
        else:
            if rest == NONE:
                rest = t
            else:
                m[last + Txn.NEXT] = t
            m[t + Txn.NEXT] = NONE
            last = t
        t = after
    return rest


@njit(cache=True)
def map_page_arrived(m, page):
    """A translation page was read: its entries are there, what waited for them is translated, reads of an entry before writes."""
    open_batch(m)
    lpn = m[map_page_at(m, page) + MapPage.ARRIVING_HEAD_1] - 1
    put(m, map_page_at(m, page) + MapPage.ARRIVING, 0)
    put(m, map_page_at(m, page) + MapPage.ARRIVING_HEAD_1, 0)
    put(m, map_page_at(m, page) + MapPage.ARRIVING_TAIL_1, 0)
    while lpn != NONE:
        after = m[entry_at(m, lpn) + Entry.ARRIVING_NEXT_1] - 1
        put(m, entry_at(m, lpn) + Entry.STATE, PRESENT)
        put(m, entry_at(m, lpn) + Entry.DIRTY, 0)
        head = m[entry_at(m, lpn) + Entry.WAITING_HEAD_1] - 1
        put(m, entry_at(m, lpn) + Entry.WAITING_HEAD_1, 0)
        put(m, entry_at(m, lpn) + Entry.WAITING_TAIL_1, 0)
        dispatch_chain(m, dispatch_chain(m, head, Op.READ), Op.PROGRAM)
        lpn = after
    close_batch(m)


@njit(cache=True)
def unlock(m, lpn):
    """Collection has moved the page: dispatch what waited, reads before writes."""
    put(m, lpn_at(m, lpn) + Lpn.LOCKED, 0)
    head = m[lpn_at(m, lpn) + Lpn.BEHIND_HEAD_1] - 1
    if head == NONE:
        return
    put(m, lpn_at(m, lpn) + Lpn.BEHIND_HEAD_1, 0)
    put(m, lpn_at(m, lpn) + Lpn.BEHIND_TAIL_1, 0)
    open_batch(m)
    dispatch_chain(m, dispatch_chain(m, head, Op.READ), Op.PROGRAM)
    close_batch(m)
