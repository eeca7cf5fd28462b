"""Compiled replays of a prefix tree against one cache, one kernel per family of eviction policies.

They follow the same rules as `tiergarten.sim.prefix.PrefixCache` with the classes of `tiergarten.sim.policies`, which tests
hold them to; `docs/kv-tiers.md` has the rules in words. Letters: R requests, E blocks asked for, N nodes with the root.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.jit import njit
from tiergarten.sim.policies.s3fifo import MAX_USES, SMALL_SHARE
from tiergarten.workloads.indexed_heap import OUTSIDE, lowest, new_heap, push, take


class Ranking(IntEnum):
    """What the rank is that the lowest of which is evicted."""

    LRU = 0
    LFU = 1
    OPT = 2


class Counts(NamedTuple):
    """What a replay counts."""

    hit_blocks: NDArray[np.int64]
    """int64[R], cached blocks at the beginning of each request."""
    num_evicted: int
    full_at: int
    """First request after which the cache was full at some moment, R if none."""


class Ghost(NamedTuple):
    """Evicted nodes, oldest first, that a policy remembers."""

    order: NDArray[np.int64]
    """int64[...], nodes as they were added."""
    serials: NDArray[np.int64]
    """int64[N], 1 + place in `order`, 0 = not remembered."""
    state: NDArray[np.int64]
    """int64[3]: next to read in `order`, next to write, nodes remembered."""


_LFU_SHIFT = 40
_NEXT_SHIFT = 31
_LATEST_NEXT = 2**31 - 1


@njit(cache=True)
def replay_fifo(tree, capacity):
    """First in, first out, without regard to the tree: a block leaves when `capacity` others came after it."""
    num_requests = len(tree.offsets) - 1
    hit_blocks = np.zeros(num_requests, np.int64)
    is_cached = np.zeros(len(tree.parents), np.bool_)
    ring = np.zeros(capacity, np.int64)
    inserted = 0
    full_at = num_requests
    for request in range(num_requests):
        start, end = tree.offsets[request], tree.offsets[request + 1]
        while start + hit_blocks[request] < end and is_cached[tree.nodes[start + hit_blocks[request]]]:
            hit_blocks[request] += 1
        for event in range(start + hit_blocks[request], end):
            node = tree.nodes[event]
            if is_cached[node]:
                continue
            place = inserted % capacity
            is_cached[ring[place]] = False
            ring[place] = node
            is_cached[node] = True
            inserted += 1
            if inserted == capacity:
                full_at = request
    return Counts(hit_blocks, max(0, inserted - capacity), full_at)


@njit(cache=True)
def _rank(ranking, node, clock, uses, next_request):
    """Unique rank: time of the last use; uses, then that; minus the next use, then minus the node."""
    if ranking == Ranking.LRU:
        return clock
    if ranking == Ranking.LFU:
        return (uses << _LFU_SHIFT) | clock
    return -((min(next_request, _LATEST_NEXT) << _NEXT_SHIFT) | node)


@njit(cache=True)
def replay_ranked(tree, capacity, ranking):
    """LRU, LFU or OPT over the leaves of what is cached. The heap holds the cached leaves off the current path."""
    num_requests, num_nodes = len(tree.offsets) - 1, len(tree.parents)
    hit_blocks = np.zeros(num_requests, np.int64)
    is_cached = np.zeros(num_nodes, np.bool_)
    children = np.zeros(num_nodes, np.int64)
    uses = np.zeros(num_nodes, np.int64)
    ranks = np.zeros(num_nodes, np.int64)
    heap = new_heap(num_nodes)
    size, clock, num_evicted, full_at = 0, 0, 0, num_requests
    for request in range(num_requests):
        start, end = tree.offsets[request], tree.offsets[request + 1]
        event = start
        while event < end and is_cached[tree.nodes[event]]:
            node = tree.nodes[event]
            clock += 1
            uses[node] += 1
            ranks[node] = _rank(ranking, node, clock, uses[node], tree.next_requests[event])
            event += 1
        hit_blocks[request] = event - start
        if event > start:
            take(heap, tree.nodes[event - 1])
        while event < end:
            node = tree.nodes[event]
            parent = tree.parents[node]
            rank = _rank(ranking, node, clock + 1, 1, tree.next_requests[event])
            if size == capacity:
                victim = lowest(heap)
                if victim == OUTSIDE and event > start + hit_blocks[request]:
                    victim = parent
                if victim == OUTSIDE:
                    break
                if ranking == Ranking.OPT and tree.next_requests[event] >= -ranks[victim] >> _NEXT_SHIFT:
                    break
                take(heap, victim)
                is_cached[victim] = False
                size -= 1
                num_evicted += 1
                above = tree.parents[victim]
                children[above] -= 1
                if victim == parent:
                    event -= 1
                    break
                if above != 0 and children[above] == 0 and above != parent:
                    push(heap, above, ranks[above])
            clock += 1
            is_cached[node] = True
            uses[node] = 1
            ranks[node] = rank
            children[parent] += 1
            size += 1
            if size == capacity and full_at == num_requests:
                full_at = request
            event += 1
        if event > start:
            tail = tree.nodes[event - 1]
            if children[tail] == 0:
                push(heap, tail, ranks[tail])
    return Counts(hit_blocks, num_evicted, full_at)


@njit(cache=True)
def _new_ghost(num_nodes, num_blocks):
    """An empty ghost for at most `num_blocks` additions."""
    return Ghost(np.empty(num_blocks + 1, np.int64), np.zeros(num_nodes, np.int64), np.zeros(3, np.int64))


@njit(cache=True)
def _forget_oldest(ghost):
    """Forget the node remembered longest; there is one."""
    order, serials, state = ghost
    while True:
        node = order[state[0]]
        state[0] += 1
        if serials[node] == state[0]:
            serials[node] = 0
            state[2] -= 1
            return


@njit(cache=True)
def _remember(ghost, node, capacity):
    """Add `node` as the newest."""
    order, serials, state = ghost
    if capacity <= 0:
        return
    order[state[1]] = node
    state[1] += 1
    serials[node] = state[1]
    state[2] += 1
    if state[2] > capacity:
        _forget_oldest(ghost)


@njit(cache=True)
def _forget(ghost, node):
    """Forget `node` if it is remembered."""
    if ghost.serials[node] != 0:
        ghost.serials[node] = 0
        ghost.state[2] -= 1


_ABSENT, _FIRST, _SECOND = 0, 1, 2
"""Where a node is: not cached, in the first queue (S3-FIFO: small, ARC: T1) or in the second (main, T2)."""


@njit(cache=True)
def _s3fifo_victim(where, uses, ranks, small, main, sizes, clock, small_target):
    """The leaf that S3-FIFO gives up next, OUTSIDE if there is none; and the clock after the moves on the way."""
    while True:
        victim = lowest(small) if sizes[_FIRST] >= small_target else lowest(main)
        if victim == OUTSIDE:
            victim = lowest(main) if sizes[_FIRST] >= small_target else lowest(small)
        if victim == OUTSIDE:
            return victim, clock
        if where[victim] == _FIRST:
            if uses[victim] <= 1:
                return victim, clock
            take(small, victim)
            where[victim] = _SECOND
            sizes[_FIRST] -= 1
            sizes[_SECOND] += 1
            uses[victim] = 0
        else:
            if uses[victim] == 0:
                return victim, clock
            take(main, victim)
            uses[victim] -= 1
        clock += 1
        ranks[victim] = clock
        push(main, victim, clock)


@njit(cache=True)
def replay_s3fifo(tree, capacity):
    """S3-FIFO over the leaves of what is cached."""
    num_requests, num_nodes = len(tree.offsets) - 1, len(tree.parents)
    hit_blocks = np.zeros(num_requests, np.int64)
    where = np.zeros(num_nodes, np.int8)
    children = np.zeros(num_nodes, np.int64)
    uses = np.zeros(num_nodes, np.int64)
    ranks = np.zeros(num_nodes, np.int64)
    small, main = new_heap(num_nodes), new_heap(num_nodes)
    ghost = _new_ghost(num_nodes, len(tree.nodes))
    small_target = max(1, int(capacity * SMALL_SHARE))
    sizes = np.zeros(3, np.int64)
    clock, num_evicted, full_at = 0, 0, num_requests
    for request in range(num_requests):
        start, end = tree.offsets[request], tree.offsets[request + 1]
        event = start
        while event < end and where[tree.nodes[event]] != _ABSENT:
            node = tree.nodes[event]
            uses[node] = min(uses[node] + 1, MAX_USES)
            event += 1
        hit_blocks[request] = event - start
        if event > start:
            take(small, tree.nodes[event - 1])
            take(main, tree.nodes[event - 1])
        while event < end:
            node = tree.nodes[event]
            parent = tree.parents[node]
            if sizes[_FIRST] + sizes[_SECOND] == capacity:
                victim, clock = _s3fifo_victim(where, uses, ranks, small, main, sizes, clock, small_target)
                if victim == OUTSIDE and event > start + hit_blocks[request]:
                    victim = parent
                if victim == OUTSIDE:
                    break
                take(small, victim)
                take(main, victim)
                if where[victim] == _FIRST:
                    _remember(ghost, victim, capacity - small_target)
                sizes[where[victim]] -= 1
                where[victim] = _ABSENT
                num_evicted += 1
                above = tree.parents[victim]
                children[above] -= 1
                if victim == parent:
                    event -= 1
                    break
                if above != 0 and children[above] == 0 and above != parent:
                    push(small if where[above] == _FIRST else main, above, ranks[above])
            clock += 1
            ranks[node] = clock
            uses[node] = 0
            where[node] = _SECOND if ghost.serials[node] != 0 else _FIRST
            _forget(ghost, node)
            sizes[where[node]] += 1
            children[parent] += 1
            if sizes[_FIRST] + sizes[_SECOND] == capacity and full_at == num_requests:
                full_at = request
            event += 1
        if event > start:
            tail = tree.nodes[event - 1]
            if children[tail] == 0:
                push(small if where[tail] == _FIRST else main, tail, ranks[tail])
    return Counts(hit_blocks, num_evicted, full_at)


@njit(cache=True)
def _arc_adapted(node, p, capacity, b1, b2):
    """The paper's p after a request for `node`, which is not cached."""
    if b1.serials[node] != 0:
        return min(float(capacity), p + max(1.0, b2.state[2] / b1.state[2]))
    if b2.serials[node] != 0:
        return max(0.0, p - max(1.0, b1.state[2] / b2.state[2]))
    return p


@njit(cache=True)
def replay_arc(tree, capacity):
    """ARC over the leaves of what is cached."""
    num_requests, num_nodes = len(tree.offsets) - 1, len(tree.parents)
    hit_blocks = np.zeros(num_requests, np.int64)
    where = np.zeros(num_nodes, np.int8)
    children = np.zeros(num_nodes, np.int64)
    ranks = np.zeros(num_nodes, np.int64)
    t1, t2 = new_heap(num_nodes), new_heap(num_nodes)
    b1, b2 = _new_ghost(num_nodes, len(tree.nodes)), _new_ghost(num_nodes, len(tree.nodes))
    sizes = np.zeros(3, np.int64)
    p = 0.0
    clock, num_evicted, full_at = 0, 0, num_requests
    for request in range(num_requests):
        start, end = tree.offsets[request], tree.offsets[request + 1]
        event = start
        while event < end and where[tree.nodes[event]] != _ABSENT:
            node = tree.nodes[event]
            clock += 1
            ranks[node] = clock
            sizes[where[node]] -= 1
            sizes[_SECOND] += 1
            take(t1, node)
            take(t2, node)
            where[node] = _SECOND
            event += 1
        hit_blocks[request] = event - start
        while event < end:
            node = tree.nodes[event]
            parent = tree.parents[node]
            p = _arc_adapted(node, p, capacity, b1, b2)
            if sizes[_FIRST] + sizes[_SECOND] == capacity:
                from_t1 = sizes[_FIRST] > 0 and (sizes[_FIRST] > p or (sizes[_FIRST] == p and b2.serials[node] != 0))
                victim = lowest(t1) if from_t1 else lowest(t2)
                if victim == OUTSIDE:
                    victim = lowest(t2) if from_t1 else lowest(t1)
                if victim == OUTSIDE and event > start + hit_blocks[request]:
                    victim = parent
                if victim == OUTSIDE:
                    break
                take(t1, victim)
                take(t2, victim)
                if where[victim] == _FIRST:
                    _remember(b1, victim, capacity)
                else:
                    _remember(b2, victim, 2 * capacity)
                sizes[where[victim]] -= 1
                where[victim] = _ABSENT
                num_evicted += 1
                above = tree.parents[victim]
                children[above] -= 1
                if victim == parent:
                    event -= 1
                    break
                if above != 0 and children[above] == 0 and above != parent:
                    push(t1 if where[above] == _FIRST else t2, above, ranks[above])
            clock += 1
            ranks[node] = clock
            if b1.serials[node] != 0 or b2.serials[node] != 0:
                where[node] = _SECOND
                _forget(b1, node)
                _forget(b2, node)
                sizes[_SECOND] += 1
            else:
                where[node] = _FIRST
                sizes[_FIRST] += 1
                while b1.state[2] > 0 and sizes[_FIRST] + b1.state[2] > capacity:
                    _forget_oldest(b1)
                while b2.state[2] > 0 and sizes[_FIRST] + sizes[_SECOND] + b1.state[2] + b2.state[2] > 2 * capacity:
                    _forget_oldest(b2)
            children[parent] += 1
            if sizes[_FIRST] + sizes[_SECOND] == capacity and full_at == num_requests:
                full_at = request
            event += 1
        if event > start:
            tail = tree.nodes[event - 1]
            if children[tail] == 0:
                push(t1 if where[tail] == _FIRST else t2, tail, ranks[tail])
    return Counts(hit_blocks, num_evicted, full_at)
