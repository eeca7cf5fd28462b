"""From the host's submission queue to page transactions, and from the last page of a request back to its completion.

Arrival, doorbell, fetch of the queue entry (at most FETCH_SIZE commands in the drive), controller, data of a write, split into pages;
at the end read data, the fetch of the next entry, the completion, the doorbell of the completion queue.
"""

from numba import njit

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.cache import access_dram, sectors_in_cache, write_through_cache
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import NONE, After, Glob, Op, Param, Req, Source, Txn
from tiergarten.sim.flash.kernel.mapping import count_sectors, dispatch_batch
from tiergarten.sim.flash.kernel.pcie import KIND_BITS, TO_DEVICE, TO_HOST, Message, send, start_message
from tiergarten.sim.flash.kernel.queues import free_txn, new_txn

COMMAND_IDS = 65535
"""Commands that a queue pair can name at a time: ids have 16 bits."""


# --- host side


@njit(cache=True)
def queue_is_full(s):
    g = s.glob
    in_queue = g[Glob.TAIL_AT_HOST] - g[Glob.HEAD_AT_HOST]
    return in_queue >= s.param[Param.QUEUE_DEPTH] - 1 or g[Glob.TAIL_AT_HOST] - g[Glob.COMPLETED] >= COMMAND_IDS


@njit(cache=True)
def ring_doorbell(s, r):
    """Put a request into the submission queue and tell the drive."""
    g = s.glob
    s.req[g[Glob.TAIL_AT_HOST] % len(s.req), Req.ORDER] = r
    g[Glob.TAIL_AT_HOST] += 1
    s.req[r, Req.SUBMIT] = g[Glob.NOW]
    send(s, TO_DEVICE, Message.SUBMISSION_DOORBELL, g[Glob.TAIL_AT_HOST])


@njit(cache=True)
def submit_or_wait(s, r):
    """Ring the doorbell, or wait in the host while the queue is full."""
    g = s.glob
    if not queue_is_full(s):
        ring_doorbell(s, r)
        return
    s.req[r, Req.NEXT] = NONE
    if g[Glob.HOST_WAIT_HEAD] == NONE:
        g[Glob.HOST_WAIT_HEAD] = r
    else:
        s.req[g[Glob.HOST_WAIT_TAIL], Req.NEXT] = r
    g[Glob.HOST_WAIT_TAIL] = r


@njit(cache=True)
def arrive(s, r, thread):
    """A request exists from now on; its thread needs HOST_NS for it before it reaches the queue."""
    g = s.glob
    s.req[r, Req.ARRIVAL] = g[Glob.NOW]
    s.req[r, Req.THREAD] = thread
    if s.param[Param.HOST_NS] == 0:
        submit_or_wait(s, r)
        return
    ready = max(g[Glob.NOW], s.thread[thread]) + s.param[Param.HOST_NS]
    s.thread[thread] = ready
    push_event(s, ready, Event.HOST_READY, r)


@njit(cache=True)
def start_closed_loop(s):
    """The first CLOSED_LOOP requests, dealt to the threads in turn."""
    g = s.glob
    for r in range(min(s.param[Param.CLOSED_LOOP], g[Glob.NUM_REQUESTS])):
        g[Glob.NEXT_ARRIVAL] = r + 1
        arrive(s, r, r % s.param[Param.HOST_THREADS])


@njit(cache=True)
def next_trace_arrival(s):
    """The request that is due now, and the event of the one after it."""
    g = s.glob
    r = g[Glob.NEXT_ARRIVAL]
    g[Glob.NEXT_ARRIVAL] = r + 1
    arrive(s, r, 0)
    if r + 1 < g[Glob.NUM_REQUESTS]:
        push_event(s, s.req[r + 1, Req.ARRIVAL], Event.ARRIVAL, 0)


@njit(cache=True)
def completed_at_host(s, r):
    """The host reads a completion: waiting requests may enter the queue, and a closed loop issues its next request."""
    g = s.glob
    s.req[r, Req.COMPLETE] = g[Glob.NOW]
    g[Glob.COMPLETED] += 1
    g[Glob.HEAD_AT_HOST] = s.req[r, Req.HEAD]
    s.req[r, Req.NEXT] = NONE
    if g[Glob.DONE_HEAD] == NONE:
        g[Glob.DONE_HEAD] = r
    else:
        s.req[g[Glob.DONE_TAIL], Req.NEXT] = r
    g[Glob.DONE_TAIL] = r
    while g[Glob.HOST_WAIT_HEAD] != NONE and not queue_is_full(s):
        waiting = g[Glob.HOST_WAIT_HEAD]
        g[Glob.HOST_WAIT_HEAD] = s.req[waiting, Req.NEXT]
        ring_doorbell(s, waiting)
    send(s, TO_DEVICE, Message.COMPLETION_DOORBELL, 0)
    if s.param[Param.CLOSED_LOOP] and g[Glob.NEXT_ARRIVAL] < g[Glob.NUM_REQUESTS]:
        following = g[Glob.NEXT_ARRIVAL]
        g[Glob.NEXT_ARRIVAL] = following + 1
        arrive(s, following, s.req[r, Req.THREAD])


# --- drive side


@njit(cache=True)
def fetch_entry(s):
    """Ask the host for the next submission-queue entry."""
    g = s.glob
    r = s.req[g[Glob.FETCHED] % len(s.req), Req.ORDER]
    g[Glob.FETCHED] += 1
    g[Glob.IN_DEVICE] += 1
    send(s, TO_HOST, Message.ENTRY_REQUEST, r)


@njit(cache=True)
def doorbell_arrived(s, tail):
    s.glob[Glob.TAIL_AT_DEVICE] = tail
    if s.glob[Glob.IN_DEVICE] < s.param[Param.FETCH_SIZE]:
        fetch_entry(s)


@njit(cache=True)
def split(s, r):
    """Cut a request at page boundaries into a chain of transactions (Req.PAGES)."""
    p = s.param
    per_page = p[Param.SECTORS]
    op = Op.PROGRAM if s.req[r, Req.IS_WRITE] else Op.READ
    sector = s.req[r, Req.FIRST_SECTOR]
    left = s.req[r, Req.SECTORS]
    last = NONE
    pages = 0
    while left > 0:
        if sector > p[Param.LAST_SECTOR]:
            sector %= p[Param.LAST_SECTOR]
        offset = sector % per_page
        count = min(per_page - offset, left)
        mask = -1 if count == 64 else (1 << count) - 1
        t = new_txn(s, op, Source.USER, sector // per_page, count * SECTOR_BYTES, mask << offset)
        s.txn[t, Txn.REQUEST] = r
        if last == NONE:
            s.req[r, Req.PAGES] = t
        else:
            s.txn[last, Txn.NEXT] = t
        last = t
        pages += 1
        sector += count
        left -= count
    s.req[r, Req.PENDING] = pages
    s.glob[Glob.USER_PAGES] += pages


@njit(cache=True)
def serve_read(s, r):
    """Take from the cache what it holds, read the rest from flash."""
    cached_sectors = 0
    count = 0
    t = s.req[r, Req.PAGES]
    while t != NONE:
        after = s.txn[t, Txn.NEXT]
        hit = sectors_in_cache(s, t) if s.param[Param.CACHE_WRITES] or s.param[Param.CACHE_READS] else 0
        if hit == s.txn[t, Txn.SECTORS]:
            cached_sectors += s.txn[t, Txn.BYTES] // SECTOR_BYTES
            s.req[r, Req.PENDING] -= 1
            free_txn(s, t)
        else:
            if hit:
                num = count_sectors(hit)
                cached_sectors += num
                s.txn[t, Txn.SECTORS] &= ~hit
                s.txn[t, Txn.BYTES] -= num * SECTOR_BYTES
            s.batch[count] = t
            count += 1
        t = after
    s.req[r, Req.PAGES] = NONE
    if cached_sectors:
        s.req[r, Req.PENDING] += 1
        access_dram(s, cached_sectors * SECTOR_BYTES, r, After.REQUEST, NONE)
    s.glob[Glob.BATCH_COUNT] = count
    if count:
        dispatch_batch(s)


@njit(cache=True)
def serve_write(s, r):
    """Write a request's pages, through the cache where there is one."""
    if s.param[Param.CACHE_WRITES]:
        write_through_cache(s, r)
        return
    count = 0
    t = s.req[r, Req.PAGES]
    while t != NONE:
        s.batch[count] = t
        count += 1
        t = s.txn[t, Txn.NEXT]
    s.req[r, Req.PAGES] = NONE
    s.glob[Glob.BATCH_COUNT] = count
    dispatch_batch(s)


@njit(cache=True)
def serve(s, r):
    """The controller has the request, and the data of a write: on to the flash. A worn-out drive refuses writes."""
    if s.req[r, Req.IS_WRITE] and s.glob[Glob.WORN_OUT_AT] != NONE:
        s.req[r, Req.FAILED] = 1
        s.glob[Glob.FAILED_WRITES] += 1
        finish_request(s, r)
        return
    split(s, r)
    if s.req[r, Req.IS_WRITE]:
        serve_write(s, r)
    else:
        serve_read(s, r)


@njit(cache=True)
def through_controller(s, r):
    """Let the controller take its time: one command after the other, then a latency that overlaps with others'."""
    g = s.glob
    p = s.param
    latency = p[Param.CONTROLLER_WRITE_NS if s.req[r, Req.IS_WRITE] else Param.CONTROLLER_READ_NS]
    if latency == 0 and p[Param.CONTROLLER_COMMAND_NS] == 0:
        serve(s, r)
        return
    begin = max(g[Glob.NOW], g[Glob.CONTROLLER_FREE_AT])
    g[Glob.CONTROLLER_FREE_AT] = begin + p[Param.CONTROLLER_COMMAND_NS]
    push_event(s, g[Glob.CONTROLLER_FREE_AT] + latency, Event.CONTROLLER_DONE, r)


@njit(cache=True)
def finish_request(s, r):
    """All pages of a request are done: send what it read, fetch the next entry, send the completion."""
    g = s.glob
    g[Glob.IN_DEVICE] -= 1
    if not s.req[r, Req.IS_WRITE]:
        send(s, TO_HOST, Message.READ_DATA, r)
    if g[Glob.FETCHED] != g[Glob.TAIL_AT_DEVICE]:
        fetch_entry(s)
    s.req[r, Req.HEAD] = g[Glob.ENTRIES_ARRIVED]
    send(s, TO_HOST, Message.COMPLETION, r)


@njit(cache=True)
def part_done(s, r):
    """One thing that a request waits for is done."""
    s.req[r, Req.PENDING] -= 1
    if s.req[r, Req.PENDING] == 0:
        finish_request(s, r)


# --- messages


@njit(cache=True)
def delivered_to_device(s, kind, about):
    if kind == Message.SUBMISSION_DOORBELL:
        doorbell_arrived(s, about)
    elif kind == Message.ENTRY:
        s.glob[Glob.ENTRIES_ARRIVED] += 1
        if s.req[about, Req.IS_WRITE]:
            send(s, TO_HOST, Message.DATA_REQUEST, about)
        else:
            through_controller(s, about)
    elif kind == Message.WRITE_DATA:
        through_controller(s, about)


@njit(cache=True)
def delivered_to_host(s, kind, about):
    if kind == Message.ENTRY_REQUEST:
        send(s, TO_DEVICE, Message.ENTRY, about)
    elif kind == Message.DATA_REQUEST:
        send(s, TO_DEVICE, Message.WRITE_DATA, about)
    elif kind == Message.COMPLETION:
        completed_at_host(s, about)


@njit(cache=True)
def deliver(s, direction):
    """The first message of a direction has arrived: act on it, then start the next."""
    ends = s.link_ends
    message = s.link[direction, ends[direction, 0] % s.link.shape[1]]
    ends[direction, 0] += 1
    kind = message & ((1 << KIND_BITS) - 1)
    if direction == TO_DEVICE:
        delivered_to_device(s, kind, message >> KIND_BITS)
    else:
        delivered_to_host(s, kind, message >> KIND_BITS)
    if ends[direction, 0] != ends[direction, 1]:
        start_message(s, direction)
