"""The drive's DRAM: a write-back cache of pages, and one first-in-first-out channel to it.

A write is done when its data are in DRAM. The first write of a page inside a window of one second goes on to flash at once; later ones
stay until evicted. Writes stop entering when too many sectors are on their way to flash.
"""

from numba import njit

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.journal import put_cache, put_lpn
from tiergarten.sim.flash.kernel.layout import NONE, After, CacheSlot, Glob, Link, Lpn, Op, Param, Req, Source, Txn
from tiergarten.sim.flash.kernel.mapping import count_sectors, dispatch_batch
from tiergarten.sim.flash.kernel.queues import append, dram_row, free_txn, new_txn, take_first

CLEAN = 0
ONLY_COPY = 1
WRITING_BACK = 2


@njit(cache=True)
def dram_ns(s, num_bytes):
    """Time of one access. Accesses longer than a row take the form that MQSim has for them."""
    p = s.param
    row, burst, first, precharge = (
        p[Param.CACHE_ROW_BYTES],
        p[Param.CACHE_BURST_BYTES],
        p[Param.CACHE_T_RCD_CL],
        p[Param.CACHE_T_RP],
    )
    pair_ns = s.real[1]
    if num_bytes <= row:
        return first + int(float(num_bytes // burst // 2) * pair_ns)
    rows = float(int(float(row // burst // 2) * pair_ns + precharge)) * float(num_bytes // row // 2)
    return int(first + rows + first + int(float(num_bytes % row) / (float(burst) * pair_ns)))


@njit(cache=True)
def start_dram(s, access):
    s.glob[Glob.DRAM_BUSY] = 1
    push_event(s, s.glob[Glob.NOW] + dram_ns(s, s.txn[access, Txn.BYTES]), Event.DRAM_DONE, access)


@njit(cache=True)
def access_dram(s, num_bytes, request, after, related):
    """Queue an access; `after` says what follows it, `request` waits for it unless NONE."""
    access = new_txn(s, Op.DRAM, Source.USER, NONE, num_bytes, 0)
    s.txn[access, Txn.REQUEST] = request
    s.txn[access, Txn.AFTER] = after
    s.txn[access, Txn.RELATED] = related
    if s.glob[Glob.DRAM_BUSY]:
        append(s, dram_row(s), access)
    else:
        start_dram(s, access)


@njit(cache=True)
def next_dram_access(s):
    """The channel is free: start the next access."""
    s.glob[Glob.DRAM_BUSY] = 0
    row = dram_row(s)
    if s.queue[row, Link.COUNT]:
        start_dram(s, take_first(s, row))


# --- slots, newest first


@njit(cache=True)
def unlink_slot(s, slot):
    newer = s.cache[slot, CacheSlot.NEWER]
    older = s.cache[slot, CacheSlot.OLDER]
    if newer == NONE:
        s.glob[Glob.SLOT_NEWEST] = older
    else:
        put_cache(s, newer, CacheSlot.OLDER, older)
    if older == NONE:
        s.glob[Glob.SLOT_OLDEST] = newer
    else:
        put_cache(s, older, CacheSlot.NEWER, newer)


@njit(cache=True)
def link_slot(s, slot):
    newest = s.glob[Glob.SLOT_NEWEST]
    put_cache(s, slot, CacheSlot.NEWER, NONE)
    put_cache(s, slot, CacheSlot.OLDER, newest)
    if newest == NONE:
        s.glob[Glob.SLOT_OLDEST] = slot
    else:
        put_cache(s, newest, CacheSlot.NEWER, slot)
    s.glob[Glob.SLOT_NEWEST] = slot


@njit(cache=True)
def touch_slot(s, slot):
    """Make a slot the newest."""
    if s.glob[Glob.SLOT_NEWEST] != slot:
        unlink_slot(s, slot)
        link_slot(s, slot)


@njit(cache=True)
def drop_slot(s, slot):
    """Empty a slot."""
    unlink_slot(s, slot)
    put_lpn(s, s.cache[slot, CacheSlot.LPN], Lpn.SLOT_1, 0)
    put_cache(s, slot, CacheSlot.OLDER, s.glob[Glob.SLOT_FREE])
    s.glob[Glob.SLOT_FREE] = slot
    s.glob[Glob.SLOTS_USED] -= 1


@njit(cache=True)
def insert_slot(s, lpn, sectors, stamp, dirty):
    """Put a page into a free slot."""
    slot = s.glob[Glob.SLOT_FREE]
    if slot == NONE:
        slot = s.glob[Glob.SLOTS_USED]
    else:
        s.glob[Glob.SLOT_FREE] = s.cache[slot, CacheSlot.OLDER]
    s.glob[Glob.SLOTS_USED] += 1
    put_cache(s, slot, CacheSlot.LPN, lpn)
    put_cache(s, slot, CacheSlot.SECTORS, sectors)
    put_cache(s, slot, CacheSlot.STAMP, stamp)
    put_cache(s, slot, CacheSlot.DIRTY, dirty)
    put_lpn(s, lpn, Lpn.SLOT_1, slot + 1)
    link_slot(s, slot)


@njit(cache=True)
def evict_if_full(s, source, chain):
    """Make room for a slot. If the victim was the only copy, a write of it goes to the front of `chain`; returns the chain."""
    if s.glob[Glob.SLOTS_USED] < len(s.cache):
        return chain
    slot = s.glob[Glob.SLOT_OLDEST]
    if s.cache[slot, CacheSlot.DIRTY] == ONLY_COPY:
        sectors = s.cache[slot, CacheSlot.SECTORS]
        write = new_txn(
            s, Op.PROGRAM, source, s.cache[slot, CacheSlot.LPN], count_sectors(sectors) * SECTOR_BYTES, sectors
        )
        s.txn[write, Txn.STAMP] = s.cache[slot, CacheSlot.STAMP]
        s.txn[write, Txn.NEXT] = chain
        chain = write
    drop_slot(s, slot)
    return chain


@njit(cache=True)
def chain_sectors(s, chain):
    """Sectors of the writes in a chain."""
    total = 0
    while chain != NONE:
        total += s.txn[chain, Txn.BYTES] // SECTOR_BYTES
        chain = s.txn[chain, Txn.NEXT]
    return total


@njit(cache=True)
def write_back_evicted(s, chain):
    """Dispatch the writes of evicted pages, oldest eviction first."""
    count = 0
    while chain != NONE:
        s.batch[count] = chain
        count += 1
        chain = s.txn[chain, Txn.NEXT]
    for i in range(count // 2):
        s.batch[i], s.batch[count - 1 - i] = s.batch[count - 1 - i], s.batch[i]
    s.glob[Glob.BATCH_COUNT] = count
    dispatch_batch(s)


@njit(cache=True)
def store_page(s, t, evicted):
    """Merge one written page into its slot, or give it one; returns the chain of evicted pages."""
    lpn = s.txn[t, Txn.LPN]
    slot = s.lpn[lpn, Lpn.SLOT_1] - 1
    if slot == NONE:
        evicted = evict_if_full(s, Source.CACHE, evicted)
        insert_slot(s, lpn, s.txn[t, Txn.SECTORS], s.txn[t, Txn.STAMP], ONLY_COPY)
    else:
        touch_slot(s, slot)
        put_cache(s, slot, CacheSlot.SECTORS, s.cache[slot, CacheSlot.SECTORS] | s.txn[t, Txn.SECTORS])
        put_cache(s, slot, CacheSlot.STAMP, max(s.cache[slot, CacheSlot.STAMP], s.txn[t, Txn.STAMP]))
        put_cache(s, slot, CacheSlot.DIRTY, ONLY_COPY)
    return evicted


@njit(cache=True)
def store_request(s, r):
    """Take as many pages of a write request into the cache as may enter now; the rest stays in its list."""
    g = s.glob
    evicted = NONE
    evicted_sectors = 0
    stored_sectors = 0
    write_back_sectors = 0
    batch = 0
    t = s.req[r, Req.PAGES]
    while (
        t != NONE
        and g[Glob.OUTSTANDING_SECTORS] + evicted_sectors + write_back_sectors < s.param[Param.CACHE_LIMIT_SECTORS]
    ):
        after = s.txn[t, Txn.NEXT]
        lpn = s.txn[t, Txn.LPN]
        sectors = s.txn[t, Txn.BYTES] // SECTOR_BYTES
        evicted = store_page(s, t, evicted)
        evicted_sectors = chain_sectors(s, evicted)
        stored_sectors += sectors
        s.req[r, Req.PENDING] -= 1
        if s.lpn[lpn, Lpn.WINDOW] != g[Glob.WINDOW_NUMBER]:
            put_lpn(s, lpn, Lpn.WINDOW, g[Glob.WINDOW_NUMBER])
            put_cache(s, s.lpn[lpn, Lpn.SLOT_1] - 1, CacheSlot.DIRTY, WRITING_BACK)
            write_back_sectors += sectors
            s.txn[t, Txn.REQUEST] = NONE
            s.batch[batch] = t
            batch += 1
        else:
            free_txn(s, t)
        t = after
    s.req[r, Req.PAGES] = t
    g[Glob.OUTSTANDING_SECTORS] += evicted_sectors + write_back_sectors
    if evicted != NONE:
        access_dram(s, evicted_sectors * SECTOR_BYTES, NONE, After.WRITE_BACK, evicted)
    if stored_sectors:
        s.req[r, Req.PENDING] += 1
        access_dram(s, stored_sectors * SECTOR_BYTES, r, After.REQUEST, NONE)
    g[Glob.BATCH_COUNT] = batch
    if batch:
        dispatch_batch(s)
    if g[Glob.NOW] > g[Glob.WINDOW_END]:
        g[Glob.WINDOW_NUMBER] += 1
        g[Glob.WINDOW_END] = g[Glob.NOW] + s.param[Param.WINDOW]


@njit(cache=True)
def write_through_cache(s, r):
    """A write request has arrived with its data."""
    store_request(s, r)
    if s.req[r, Req.PAGES] != NONE:
        s.req[r, Req.NEXT] = NONE
        if s.glob[Glob.WAITING_HEAD] == NONE:
            s.glob[Glob.WAITING_HEAD] = r
        else:
            s.req[s.glob[Glob.WAITING_TAIL], Req.NEXT] = r
        s.glob[Glob.WAITING_TAIL] = r


@njit(cache=True)
def retry_waiting_requests(s):
    """Let waiting write requests enter, in order, until too much is on its way to flash."""
    g = s.glob
    before = NONE
    r = g[Glob.WAITING_HEAD]
    while r != NONE:
        after = s.req[r, Req.NEXT]
        store_request(s, r)
        if s.req[r, Req.PAGES] == NONE:
            if before == NONE:
                g[Glob.WAITING_HEAD] = after
            else:
                s.req[before, Req.NEXT] = after
            if after == NONE:
                g[Glob.WAITING_TAIL] = before
        else:
            before = r
        if g[Glob.OUTSTANDING_SECTORS] > s.param[Param.CACHE_LIMIT_SECTORS]:
            return
        r = after


@njit(cache=True)
def written_back(s, t):
    """A cached page has reached flash: its slot is dropped unless written again since, and waiting writes may enter."""
    s.glob[Glob.OUTSTANDING_SECTORS] -= s.txn[t, Txn.BYTES] // SECTOR_BYTES
    slot = s.lpn[s.txn[t, Txn.LPN], Lpn.SLOT_1] - 1
    if slot != NONE:
        touch_slot(s, slot)
        if s.txn[t, Txn.STAMP] >= s.cache[slot, CacheSlot.STAMP]:
            drop_slot(s, slot)
    retry_waiting_requests(s)


@njit(cache=True)
def sectors_in_cache(s, t):
    """Sectors of a read that the cache holds; the slot becomes the newest."""
    slot = s.lpn[s.txn[t, Txn.LPN], Lpn.SLOT_1] - 1
    if slot == NONE:
        return 0
    touch_slot(s, slot)
    return s.cache[slot, CacheSlot.SECTORS] & s.txn[t, Txn.SECTORS]


@njit(cache=True)
def keep_read_page(s, t):
    """READ_CACHE: keep a page just read."""
    lpn = s.txn[t, Txn.LPN]
    slot = s.lpn[lpn, Lpn.SLOT_1] - 1
    if slot != NONE:
        touch_slot(s, slot)
        put_cache(s, slot, CacheSlot.SECTORS, s.cache[slot, CacheSlot.SECTORS] | s.txn[t, Txn.SECTORS])
        put_cache(s, slot, CacheSlot.STAMP, max(s.cache[slot, CacheSlot.STAMP], s.txn[t, Txn.STAMP]))
        put_cache(s, slot, CacheSlot.DIRTY, ONLY_COPY)
        return
    evicted = evict_if_full(s, Source.USER, NONE)
    if evicted != NONE:
        sectors = chain_sectors(s, evicted)
        s.glob[Glob.OUTSTANDING_SECTORS] += sectors
        access_dram(s, sectors * SECTOR_BYTES, NONE, After.WRITE_BACK, evicted)
    insert_slot(s, lpn, s.txn[t, Txn.SECTORS], s.txn[t, Txn.STAMP], CLEAN)
    access_dram(s, count_sectors(s.txn[t, Txn.SECTORS]) * SECTOR_BYTES, NONE, After.NOTHING, NONE)
