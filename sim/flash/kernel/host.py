"""From the host's submission queue to page transactions, and from the last page of a request back to its completion.

Arrival, doorbell, fetch of the queue entry (at most FETCH_SIZE commands in the drive), controller, data of a write, split into pages;
at the end read data, the fetch of the next entry, the completion, the doorbell of the completion queue.
"""

from tiergarten.sim.flash.geometry import SECTOR_BYTES
from tiergarten.sim.flash.kernel.borrow import fetch_early
from tiergarten.sim.flash.kernel.cache import access_dram, sectors_in_cache, write_through_cache
from tiergarten.sim.flash.kernel.events import Event, push_event
from tiergarten.sim.flash.kernel.layout import NONE, After, Glob, Op, Param, Req, Source, Txn
from tiergarten.sim.flash.kernel.mapping import count_sectors, dispatch_batch
from tiergarten.sim.flash.kernel.pcie import KIND_BITS, TO_DEVICE, TO_HOST, Message, place_in_ring, send, start_message
from tiergarten.sim.flash.kernel.records import free_txn, lpn_at, new_txn, request_at
from tiergarten.sim.jit import njit

COMMAND_IDS = 65535
"""Commands that a queue pair can name at a time: ids have 16 bits."""


# --- host side


@njit(cache=True)
def queue_is_full(m):
    in_queue = m[Glob.TAIL_AT_HOST] - m[Glob.HEAD_AT_HOST]
    return in_queue >= m[Param.QUEUE_DEPTH] - 1 or m[Glob.TAIL_AT_HOST] - m[Glob.COMPLETED] >= COMMAND_IDS


@njit(cache=True)
def ring_doorbell(m, r):
    """Put a request into the submission queue and tell the drive."""
    m[request_at(m, m[Glob.TAIL_AT_HOST]) + Req.ORDER] = r
    m[Glob.TAIL_AT_HOST] += 1
    m[r + Req.SUBMIT] = m[Glob.NOW]
    send(m, TO_DEVICE, Message.SUBMISSION_DOORBELL, m[Glob.TAIL_AT_HOST])


@njit(cache=True)
def submit_or_wait(m, r):
    """Ring the doorbell, or wait in the host while the queue is full."""
    if not queue_is_full(m):
        ring_doorbell(m, r)
        return
    m[r + Req.NEXT] = NONE
    if m[Glob.HOST_WAIT_HEAD] == NONE:
        m[Glob.HOST_WAIT_HEAD] = r
    else:
        m[m[Glob.HOST_WAIT_TAIL] + Req.NEXT] = r
    m[Glob.HOST_WAIT_TAIL] = r


@njit(cache=True)
def arrive(m, r, thread):
    """A request exists from now on; its thread needs HOST_NS for it before it reaches the queue."""
    m[r + Req.ARRIVAL] = m[Glob.NOW]
    m[r + Req.THREAD] = thread
    if m[Param.HOST_NS] == 0:
        submit_or_wait(m, r)
        return
    ready = max(m[Glob.NOW], m[m[Param.THREAD_AT] + thread]) + m[Param.HOST_NS]
    m[m[Param.THREAD_AT] + thread] = ready
    push_event(m, ready, Event.HOST_READY, r)


@njit(cache=True)
def next_request(m):
    """The next row of the request table; those that follow soon are fetched early, and what they will look up."""
    number = m[Glob.NEXT_ARRIVAL]
    m[Glob.NEXT_ARRIVAL] = number + 1
    fetch_early(m, request_at(m, number + 8))
    soon = request_at(m, number + 4)
    fetch_early(m, lpn_at(m, m[soon + Req.FIRST_SECTOR] >> m[Param.SECTOR_SHIFT]))
    return request_at(m, number)


@njit(cache=True)
def start_closed_loop(m):
    """The first CLOSED_LOOP requests, dealt to the threads in turn."""
    for number in range(min(m[Param.CLOSED_LOOP], m[Glob.NUM_REQUESTS])):
        arrive(m, next_request(m), number % m[Param.HOST_THREADS])


@njit(cache=True)
def next_trace_arrival(m):
    """The request that is due now, and the event of the one after it."""
    arrive(m, next_request(m), 0)
    following = m[Glob.NEXT_ARRIVAL]
    if following < m[Glob.NUM_REQUESTS]:
        push_event(m, m[request_at(m, following) + Req.ARRIVAL], Event.ARRIVAL, 0)


@njit(cache=True)
def completed_at_host(m, r):
    """The host reads a completion: waiting requests may enter the queue, and a closed loop issues its next request."""
    m[r + Req.COMPLETE] = m[Glob.NOW]
    m[Glob.COMPLETED] += 1
    m[Glob.HEAD_AT_HOST] = m[r + Req.HEAD]
    m[r + Req.NEXT] = NONE
    if m[Glob.DONE_HEAD] == NONE:
        m[Glob.DONE_HEAD] = r
    else:
        m[m[Glob.DONE_TAIL] + Req.NEXT] = r
    m[Glob.DONE_TAIL] = r
    while m[Glob.HOST_WAIT_HEAD] != NONE and not queue_is_full(m):
        waiting = m[Glob.HOST_WAIT_HEAD]
        m[Glob.HOST_WAIT_HEAD] = m[waiting + Req.NEXT]
        ring_doorbell(m, waiting)
    send(m, TO_DEVICE, Message.COMPLETION_DOORBELL, 0)
    if m[Param.CLOSED_LOOP] and m[Glob.NEXT_ARRIVAL] < m[Glob.NUM_REQUESTS]:
        arrive(m, next_request(m), m[r + Req.THREAD])


# --- drive side


@njit(cache=True)
def fetch_entry(m):
    """Ask the host for the next submission-queue entry."""
    r = m[request_at(m, m[Glob.FETCHED]) + Req.ORDER]
    m[Glob.FETCHED] += 1
    m[Glob.IN_DEVICE] += 1
    send(m, TO_HOST, Message.ENTRY_REQUEST, r)


@njit(cache=True)
def doorbell_arrived(m, tail):
    m[Glob.TAIL_AT_DEVICE] = tail
    if m[Glob.IN_DEVICE] < m[Param.FETCH_SIZE]:
        fetch_entry(m)


@njit(cache=True)
def split(m, r):
    """Cut a request at page boundaries into a chain of transactions (Req.PAGES)."""
    per_page = m[Param.SECTORS]
    shift = m[Param.SECTOR_SHIFT]
    op = Op.PROGRAM if m[r + Req.IS_WRITE] else Op.READ
    sector = m[r + Req.FIRST_SECTOR]
    left = m[r + Req.SECTORS]
    last = NONE
    pages = 0
    while left > 0:
        if sector > m[Param.LAST_SECTOR]:
            sector %= m[Param.LAST_SECTOR]
        offset = sector & (per_page - 1)
        count = min(per_page - offset, left)
        mask = -1 if count == 64 else (1 << count) - 1
        t = new_txn(m, op, Source.USER, sector >> shift, count * SECTOR_BYTES, mask << offset)
        m[t + Txn.REQUEST] = r
        if last == NONE:
            m[r + Req.PAGES] = t
        else:
            m[last + Txn.NEXT] = t
        last = t
        pages += 1
        sector += count
        left -= count
    m[r + Req.PENDING] = pages
    m[Glob.USER_PAGES] += pages


@njit(cache=True)
def serve_read(m, r):
    """Take from the cache what it holds, read the rest from flash."""
    cached_sectors = 0
    count = 0
    t = m[r + Req.PAGES]
    while t != NONE:
        after = m[t + Txn.NEXT]
        hit = sectors_in_cache(m, t) if m[Param.CACHE_WRITES] or m[Param.CACHE_READS] else 0
        if hit == m[t + Txn.SECTORS]:
            cached_sectors += m[t + Txn.BYTES] // SECTOR_BYTES
            m[r + Req.PENDING] -= 1
            free_txn(m, t)
        else:
            if hit:
                num = count_sectors(hit)
                cached_sectors += num
                m[t + Txn.SECTORS] &= ~hit
                m[t + Txn.BYTES] -= num * SECTOR_BYTES
            m[m[Param.BATCH_AT] + count] = t
            count += 1
        t = after
    m[r + Req.PAGES] = NONE
    if cached_sectors:
        m[r + Req.PENDING] += 1
        access_dram(m, cached_sectors * SECTOR_BYTES, r, After.REQUEST, NONE)
    m[Glob.BATCH_COUNT] = count
    if count:
        dispatch_batch(m)


@njit(cache=True)
def serve_write(m, r):
    """Write a request's pages, through the cache where there is one."""
    if m[Param.CACHE_WRITES]:
        write_through_cache(m, r)
        return
    count = 0
    t = m[r + Req.PAGES]
    while t != NONE:
        m[m[Param.BATCH_AT] + count] = t
        count += 1
        t = m[t + Txn.NEXT]
    m[r + Req.PAGES] = NONE
    m[Glob.BATCH_COUNT] = count
    dispatch_batch(m)


@njit(cache=True)
def serve(m, r):
    """The controller has the request, and the data of a write: on to the flash. A worn-out drive refuses writes, but not promised ones."""
    if m[r + Req.IS_WRITE] and m[Glob.WORN_OUT_AT] != NONE and not m[r + Req.PROMISED]:
        m[r + Req.FAILED] = 1
        m[Glob.FAILED_WRITES] += 1
        finish_request(m, r)
        return
    split(m, r)
    if m[r + Req.IS_WRITE]:
        serve_write(m, r)
    else:
        serve_read(m, r)


@njit(cache=True)
def through_controller(m, r):
    """Let the controller take its time: one command after the other, then a latency that overlaps with others'."""
    latency = m[Param.CONTROLLER_WRITE_NS if m[r + Req.IS_WRITE] else Param.CONTROLLER_READ_NS]
    if latency == 0 and m[Param.CONTROLLER_COMMAND_NS] == 0:
        serve(m, r)
        return
    begin = max(m[Glob.NOW], m[Glob.CONTROLLER_FREE_AT])
    m[Glob.CONTROLLER_FREE_AT] = begin + m[Param.CONTROLLER_COMMAND_NS]
    push_event(m, m[Glob.CONTROLLER_FREE_AT] + latency, Event.CONTROLLER_DONE, r)


@njit(cache=True)
def send_completion(m, r):
    """Put an entry into the completion queue."""
    m[Glob.ENTRIES_SENT] += 1
    m[r + Req.HEAD] = m[Glob.ENTRIES_ARRIVED]
    send(m, TO_HOST, Message.COMPLETION, r)


@njit(cache=True)
def completion_doorbell_arrived(m):
    """The host has taken an entry out of the completion queue: a request that waits for its place goes next."""
    m[Glob.ENTRIES_FREED] += 1
    r = m[Glob.UNSENT_HEAD]
    if r != NONE:
        m[Glob.UNSENT_HEAD] = m[r + Req.NEXT]
        send_completion(m, r)


@njit(cache=True)
def finish_request(m, r):
    """All pages of a request are done: send what it read, fetch the next entry, send the completion once its queue has room."""
    m[Glob.IN_DEVICE] -= 1
    if not m[r + Req.IS_WRITE]:
        send(m, TO_HOST, Message.READ_DATA, r)
    if m[Glob.FETCHED] != m[Glob.TAIL_AT_DEVICE]:
        fetch_entry(m)
    if m[Glob.ENTRIES_SENT] - m[Glob.ENTRIES_FREED] < m[Param.QUEUE_DEPTH] - 1:
        send_completion(m, r)
        return
    m[r + Req.NEXT] = NONE
    if m[Glob.UNSENT_HEAD] == NONE:
        m[Glob.UNSENT_HEAD] = r
    else:
        m[m[Glob.UNSENT_TAIL] + Req.NEXT] = r
    m[Glob.UNSENT_TAIL] = r


@njit(cache=True)
def part_done(m, r):
    """One thing that a request waits for is done."""
    m[r + Req.PENDING] -= 1
    if m[r + Req.PENDING] == 0:
        finish_request(m, r)


# --- messages


@njit(cache=True)
def delivered_to_device(m, kind, about):
    if kind == Message.SUBMISSION_DOORBELL:
        doorbell_arrived(m, about)
    elif kind == Message.ENTRY:
        m[Glob.ENTRIES_ARRIVED] += 1
        if m[about + Req.IS_WRITE]:
            send(m, TO_HOST, Message.DATA_REQUEST, about)
        else:
            through_controller(m, about)
    elif kind == Message.WRITE_DATA:
        through_controller(m, about)
    else:
        completion_doorbell_arrived(m)


@njit(cache=True)
def delivered_to_host(m, kind, about):
    if kind == Message.ENTRY_REQUEST:
        send(m, TO_DEVICE, Message.ENTRY, about)
    elif kind == Message.DATA_REQUEST:
        send(m, TO_DEVICE, Message.WRITE_DATA, about)
    elif kind == Message.COMPLETION:
        completed_at_host(m, about)


@njit(cache=True)
def deliver(m, direction):
    """The first message of a direction has arrived: act on it, then start the next."""
    first = Glob.TO_DEVICE_FIRST + 2 * direction
    message = m[place_in_ring(m, direction, m[first])]
    m[first] += 1
    kind = message & ((1 << KIND_BITS) - 1)
    if direction == TO_DEVICE:
        delivered_to_device(m, kind, message >> KIND_BITS)
    else:
        delivered_to_host(m, kind, message >> KIND_BITS)
    if m[first] != m[first + 1]:
        start_message(m, direction)
