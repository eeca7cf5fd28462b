"""The drive's DRAM: a write-back cache of pages, and one first-in-first-out channel to it.

A write is done when its data are in DRAM. The first write of a page inside a window of one second goes on to flash at once; later ones
stay until evicted. Writes stop entering when too many sectors are on their way to flash.
"""

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.borrow import float_at
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.journal import put
from tiergarten.sim.flash.kernel.layout import NONE, After, Glob, Lpn, Op, Param, Req, Slot, Source, Txn
from tiergarten.sim.flash.kernel.mapping import count_sectors, dispatch_batch
from tiergarten.sim.flash.kernel.records import append, free_txn, lpn_at, new_txn, slot_at, take_first
from tiergarten.sim.jit import njit

CLEAN = 0
ONLY_COPY = 1
WRITING_BACK = 2


@njit(cache=True)
def dram_ns(m, num_bytes):
    """Time of one access. Accesses longer than a row take the form that MQSim has for them."""
    row, burst, first, precharge = (
        m[Param.CACHE_ROW_BYTES],
        m[Param.CACHE_BURST_BYTES],
        m[Param.CACHE_T_RCD_CL],
        m[Param.CACHE_T_RP],
    )
    pair_ns = float_at(m, Param.DRAM_PAIR_NS)
    if num_bytes <= row:
        return first + int(float(num_bytes // burst // 2) * pair_ns)
    rows = float(int(float(row // burst // 2) * pair_ns + precharge)) * float(num_bytes // row // 2)
    return int(first + rows + first + int(float(num_bytes % row) / (float(burst) * pair_ns)))


@njit(cache=True)
def start_dram(m, access):
    m[Glob.DRAM_BUSY] = 1
    push_event(m, m[Glob.NOW] + dram_ns(m, m[access + Txn.BYTES]), Event.DRAM_DONE, access)


@njit(cache=True)
def access_dram(m, num_bytes, request, after, related):
    """Queue an access; `after` says what follows it, `request` waits for it unless NONE."""
    access = new_txn(m, Op.DRAM, Source.USER, NONE, num_bytes, 0)
    m[access + Txn.REQUEST] = request
    m[access + Txn.AFTER] = after
    m[access + Txn.RELATED] = related
    if m[Glob.DRAM_BUSY]:
        append(m, Glob.DRAM_HEAD, access)
    else:
        start_dram(m, access)


@njit(cache=True)
def next_dram_access(m):
    """The channel is free: start the next access."""
    m[Glob.DRAM_BUSY] = 0
    if m[Glob.DRAM_COUNT]:
        start_dram(m, take_first(m, Glob.DRAM_HEAD))


# --- slots, newest first


@njit(cache=True)
def unlink_slot(m, slot):
    newer = m[slot_at(m, slot) + Slot.NEWER]
    older = m[slot_at(m, slot) + Slot.OLDER]
    if newer == NONE:
        m[Glob.SLOT_NEWEST] = older
    else:
        put(m, slot_at(m, newer) + Slot.OLDER, older)
    if older == NONE:
        m[Glob.SLOT_OLDEST] = newer
    else:
        put(m, slot_at(m, older) + Slot.NEWER, newer)


@njit(cache=True)
def link_slot(m, slot):
    newest = m[Glob.SLOT_NEWEST]
    put(m, slot_at(m, slot) + Slot.NEWER, NONE)
    put(m, slot_at(m, slot) + Slot.OLDER, newest)
    if newest == NONE:
        m[Glob.SLOT_OLDEST] = slot
    else:
        put(m, slot_at(m, newest) + Slot.NEWER, slot)
    m[Glob.SLOT_NEWEST] = slot


@njit(cache=True)
def touch_slot(m, slot):
    """Make a slot the newest."""
    if m[Glob.SLOT_NEWEST] != slot:
        unlink_slot(m, slot)
        link_slot(m, slot)


@njit(cache=True)
def drop_slot(m, slot):
    """Empty a slot."""
    unlink_slot(m, slot)
    put(m, lpn_at(m, m[slot_at(m, slot) + Slot.LPN]) + Lpn.SLOT_1, 0)
    put(m, slot_at(m, slot) + Slot.OLDER, m[Glob.SLOT_FREE])
    m[Glob.SLOT_FREE] = slot
    m[Glob.SLOTS_USED] -= 1


@njit(cache=True)
def insert_slot(m, lpn, sectors, stamp, dirty):
    """Put a page into a free slot."""
    slot = m[Glob.SLOT_FREE]
    if slot == NONE:
        slot = m[Glob.SLOTS_USED]
    else:
        m[Glob.SLOT_FREE] = m[slot_at(m, slot) + Slot.OLDER]
    m[Glob.SLOTS_USED] += 1
    put(m, slot_at(m, slot) + Slot.LPN, lpn)
    put(m, slot_at(m, slot) + Slot.SECTORS, sectors)
    put(m, slot_at(m, slot) + Slot.STAMP, stamp)
    put(m, slot_at(m, slot) + Slot.DIRTY, dirty)
    put(m, lpn_at(m, lpn) + Lpn.SLOT_1, slot + 1)
    link_slot(m, slot)


@njit(cache=True)
def evict_if_full(m, source, chain):
    """Make room for a slot. If the victim was the only copy, a write of it goes to the front of `chain`; returns the chain."""
    if m[Glob.SLOTS_USED] < m[Param.NUM_SLOTS]:
        return chain
    slot = m[Glob.SLOT_OLDEST]
    if m[slot_at(m, slot) + Slot.DIRTY] == ONLY_COPY:
        sectors = m[slot_at(m, slot) + Slot.SECTORS]
        write = new_txn(
            m, Op.PROGRAM, source, m[slot_at(m, slot) + Slot.LPN], count_sectors(sectors) * SECTOR_BYTES, sectors
        )
        m[write + Txn.STAMP] = m[slot_at(m, slot) + Slot.STAMP]
        m[write + Txn.NEXT] = chain
        chain = write
    drop_slot(m, slot)
    return chain


@njit(cache=True)
def chain_sectors(m, chain):
    """Sectors of the writes in a chain."""
    total = 0
    while chain != NONE:
        total += m[chain + Txn.BYTES] // SECTOR_BYTES
        chain = m[chain + Txn.NEXT]
    return total


@njit(cache=True)
def write_back_evicted(m, chain):
    """Dispatch the writes of evicted pages, oldest eviction first."""
    count = 0
    while chain != NONE:
        m[m[Param.BATCH_AT] + count] = chain
        count += 1
        chain = m[chain + Txn.NEXT]
    for i in range(count // 2):
        m[m[Param.BATCH_AT] + i], m[m[Param.BATCH_AT] + count - 1 - i] = (
            m[m[Param.BATCH_AT] + count - 1 - i],
            m[m[Param.BATCH_AT] + i],
        )
    m[Glob.BATCH_COUNT] = count
    dispatch_batch(m)


@njit(cache=True)
def store_page(m, t, evicted):
    """Merge one written page into its slot, or give it one; returns the chain of evicted pages."""
    lpn = m[t + Txn.LPN]
    slot = m[lpn_at(m, lpn) + Lpn.SLOT_1] - 1
    if slot == NONE:
        evicted = evict_if_full(m, Source.CACHE, evicted)
        insert_slot(m, lpn, m[t + Txn.SECTORS], m[t + Txn.STAMP], ONLY_COPY)
    else:
        touch_slot(m, slot)
        put(m, slot_at(m, slot) + Slot.SECTORS, m[slot_at(m, slot) + Slot.SECTORS] | m[t + Txn.SECTORS])
        put(m, slot_at(m, slot) + Slot.STAMP, max(m[slot_at(m, slot) + Slot.STAMP], m[t + Txn.STAMP]))
        put(m, slot_at(m, slot) + Slot.DIRTY, ONLY_COPY)
    return evicted


@njit(cache=True)
def store_request(m, r):
    """Take as many pages of a write request into the cache as may enter now; the rest stays in its list."""
    evicted = NONE
    evicted_sectors = 0
    stored_sectors = 0
    write_back_sectors = 0
    batch = 0
    t = m[r + Req.PAGES]
    while (
        t != NONE and m[Glob.OUTSTANDING_SECTORS] + evicted_sectors + write_back_sectors < m[Param.CACHE_LIMIT_SECTORS]
    ):
        after = m[t + Txn.NEXT]
        lpn = m[t + Txn.LPN]
        sectors = m[t + Txn.BYTES] // SECTOR_BYTES
        evicted = store_page(m, t, evicted)
        evicted_sectors = chain_sectors(m, evicted)
        stored_sectors += sectors
        m[r + Req.PENDING] -= 1
        if m[lpn_at(m, lpn) + Lpn.WINDOW] != m[Glob.WINDOW_NUMBER]:
            put(m, lpn_at(m, lpn) + Lpn.WINDOW, m[Glob.WINDOW_NUMBER])
            put(m, slot_at(m, m[lpn_at(m, lpn) + Lpn.SLOT_1] - 1) + Slot.DIRTY, WRITING_BACK)
            write_back_sectors += sectors
            m[t + Txn.REQUEST] = NONE
            m[m[Param.BATCH_AT] + batch] = t
            batch += 1
        else:
            free_txn(m, t)
        t = after
    m[r + Req.PAGES] = t
    m[Glob.OUTSTANDING_SECTORS] += evicted_sectors + write_back_sectors
    if evicted != NONE:
        access_dram(m, evicted_sectors * SECTOR_BYTES, NONE, After.WRITE_BACK, evicted)
    if stored_sectors:
        m[r + Req.PENDING] += 1
        access_dram(m, stored_sectors * SECTOR_BYTES, r, After.REQUEST, NONE)
    m[Glob.BATCH_COUNT] = batch
    if batch:
        dispatch_batch(m)
    if m[Glob.NOW] > m[Glob.WINDOW_END]:
        m[Glob.WINDOW_NUMBER] += 1
        m[Glob.WINDOW_END] = m[Glob.NOW] + m[Param.WINDOW]


@njit(cache=True)
def write_through_cache(m, r):
    """A write request has arrived with its data."""
    store_request(m, r)
    if m[r + Req.PAGES] != NONE:
        m[r + Req.NEXT] = NONE
        if m[Glob.WAITING_HEAD] == NONE:
            m[Glob.WAITING_HEAD] = r
        else:
            m[m[Glob.WAITING_TAIL] + Req.NEXT] = r
        m[Glob.WAITING_TAIL] = r


@njit(cache=True)
def retry_waiting_requests(m):
    """Let waiting write requests enter, in order, until too much is on its way to flash."""
    before = NONE
    r = m[Glob.WAITING_HEAD]
    while r != NONE:
        after = m[r + Req.NEXT]
        store_request(m, r)
        if m[r + Req.PAGES] == NONE:
            if before == NONE:
                m[Glob.WAITING_HEAD] = after
            else:
                m[before + Req.NEXT] = after
            if after == NONE:
                m[Glob.WAITING_TAIL] = before
        else:
            before = r
        if m[Glob.OUTSTANDING_SECTORS] > m[Param.CACHE_LIMIT_SECTORS]:
            return
        r = after


@njit(cache=True)
def written_back(m, t):
    """A cached page has reached flash: its slot is dropped unless written again since, and waiting writes may enter."""
    m[Glob.OUTSTANDING_SECTORS] -= m[t + Txn.BYTES] // SECTOR_BYTES
    slot = m[lpn_at(m, m[t + Txn.LPN]) + Lpn.SLOT_1] - 1
    if slot != NONE:
        touch_slot(m, slot)
        if m[t + Txn.STAMP] >= m[slot_at(m, slot) + Slot.STAMP]:
            drop_slot(m, slot)
    retry_waiting_requests(m)


@njit(cache=True)
def sectors_in_cache(m, t):
    """Sectors of a read that the cache holds; the slot becomes the newest."""
    slot = m[lpn_at(m, m[t + Txn.LPN]) + Lpn.SLOT_1] - 1
    if slot == NONE:
        return 0
    touch_slot(m, slot)
    return m[slot_at(m, slot) + Slot.SECTORS] & m[t + Txn.SECTORS]


@njit(cache=True)
def keep_read_page(m, t):
    """READ_CACHE: keep a page just read.

    Outside modern mode, as in MQSim: a page that is not programmed yet has no name on flash, so all of these share one slot that no read finds.
    """
    lpn = m[t + Txn.LPN]
    dirty = ONLY_COPY
    if m[lpn_at(m, lpn) + Lpn.UNPROGRAMMED] and not m[Param.MODERN]:
        lpn = m[Param.NUM_LPNS]
        dirty = CLEAN
    slot = m[lpn_at(m, lpn) + Lpn.SLOT_1] - 1
    if slot != NONE:
        touch_slot(m, slot)
        put(m, slot_at(m, slot) + Slot.SECTORS, m[slot_at(m, slot) + Slot.SECTORS] | m[t + Txn.SECTORS])
        put(m, slot_at(m, slot) + Slot.STAMP, max(m[slot_at(m, slot) + Slot.STAMP], m[t + Txn.STAMP]))
        put(m, slot_at(m, slot) + Slot.DIRTY, dirty)
        return
    evicted = evict_if_full(m, Source.USER, NONE)
    if evicted != NONE:
        sectors = chain_sectors(m, evicted)
        m[Glob.OUTSTANDING_SECTORS] += sectors
        access_dram(m, sectors * SECTOR_BYTES, NONE, After.WRITE_BACK, evicted)
    insert_slot(m, lpn, m[t + Txn.SECTORS], m[t + Txn.STAMP], CLEAN)
    access_dram(m, count_sectors(m[t + Txn.SECTORS]) * SECTOR_BYTES, NONE, After.NOTHING, NONE)
