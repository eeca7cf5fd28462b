"""The prefix tree of a request trace, and a cache of its nodes under one eviction policy.

A node is a block of tokens together with everything before it, so two requests share a node exactly when they share the
whole prefix up to it. `docs/kv-tiers.md` holds the definition of hit rate that these two make precise.
"""

from typing import NamedTuple

import numpy as np

from tiergarten.sim.errors import Problem, TraceError
from tiergarten.sim.eviction import NEVER, EvictionPolicy
from tiergarten.sim.jit import njit
from tiergarten.sim.trace import Int, RequestTrace

ROOT = 0
"""The node above every first block; it is no block itself and always present."""


class PrefixTree(NamedTuple):
    """A trace seen as walks in its prefix tree. Letters: R requests, E blocks asked for, N nodes with the root."""

    offsets: Int
    """int64[R+1]: request r asks for blocks offsets[r] to offsets[r+1]."""
    nodes: Int
    """int64[E], node of each block asked for; numbered from 1 in order of first appearance."""
    tokens: Int
    """int64[E], prompt tokens in the block: `block_tokens`, fewer in the last one of a request."""
    next_requests: Int
    """int64[E], the next request that asks for the same node, NEVER if none does."""
    parents: Int
    """int64[N], the node before; ROOT's is ROOT."""

    @property
    def num_nodes(self) -> int:
        """Distinct blocks, the root not counted."""
        return len(self.parents) - 1


@njit(cache=True)
def _walk(offsets: Int, block_ids: Int) -> tuple[Int, Int]:
    """Number the (parent, block id) pairs in order of appearance: (nodes int64[E], parents int64[N]).

    Open addressing with linear probing; the table has at least twice as many places as there are blocks.
    """
    size = 16
    while size < 2 * len(block_ids):
        size *= 2
    table = np.zeros(size, np.int64)
    nodes = np.empty(len(block_ids), np.int64)
    parents = np.zeros(len(block_ids) + 1, np.int64)
    ids = np.zeros(len(block_ids) + 1, np.int64)
    count = 1
    for request in range(len(offsets) - 1):
        parent = 0
        for event in range(offsets[request], offsets[request + 1]):
            block = block_ids[event]
            mixed = (np.uint64(block) * np.uint64(0x9E3779B97F4A7C15)) ^ (
                np.uint64(parent) * np.uint64(0xC2B2AE3D27D4EB4F)
            )
            mixed ^= mixed >> np.uint64(29)
            place = np.int64(mixed & np.uint64(size - 1))
            while table[place] != 0:
                node = table[place]
                if parents[node] == parent and ids[node] == block:
                    break
                place = (place + 1) & (size - 1)
            if table[place] == 0:
                table[place] = count
                parents[count] = parent
                ids[count] = block
                count += 1
            parent = table[place]
            nodes[event] = parent
    return nodes, parents[:count].copy()


@njit(cache=True)
def _next_requests(offsets: Int, nodes: Int, num_nodes: int, never: int) -> Int:
    """For each block asked for, the next request with the same node."""
    upcoming = np.full(num_nodes, never, np.int64)
    result = np.empty(len(nodes), np.int64)
    for request in range(len(offsets) - 2, -1, -1):
        for event in range(offsets[request], offsets[request + 1]):
            result[event] = upcoming[nodes[event]]
        for event in range(offsets[request], offsets[request + 1]):
            upcoming[nodes[event]] = request
    return result


def chain_ids(offsets: Int, block_ids: Int) -> Int:
    """int64[E]: ids that name single blocks, replaced by ids that name the block and everything before it, from 0."""
    nodes, _ = _walk(np.ascontiguousarray(offsets, np.int64), np.ascontiguousarray(block_ids, np.int64))
    return np.asarray(nodes) - 1


def block_token_counts(trace: RequestTrace) -> Int:
    """int64[E]: block i of a request with n tokens and blocks of B holds min(B, n - i B) tokens, at least one."""
    counts = np.diff(trace.block_offsets)
    index = np.arange(len(trace.block_ids)) - np.repeat(trace.block_offsets[:-1], counts)
    left = np.repeat(trace.input_tokens, counts) - index * trace.block_tokens
    return np.asarray(np.clip(left, 1, trace.block_tokens), np.int64)


def prefix_tree(trace: RequestTrace) -> PrefixTree:
    """The prefix tree of `trace`. Raises TraceError if the trace has no prefix blocks."""
    if trace.block_tokens <= 0 or len(trace.block_ids) == 0:
        raise TraceError(Problem("the trace has no prefix blocks, so no hit rate can be measured", file=trace.name))
    offsets = np.ascontiguousarray(trace.block_offsets, np.int64)
    nodes, parents = _walk(offsets, np.ascontiguousarray(trace.block_ids, np.int64))
    return PrefixTree(
        offsets, nodes, block_token_counts(trace), _next_requests(offsets, nodes, len(parents), NEVER), parents
    )


class PrefixCache:
    """Which nodes of a prefix tree are cached. It evicts only nodes without cached children unless `keeps_prefixes` is False.

    With `keeps_prefixes`, what is cached is always closed: a node's parent is cached too. Without it every block stands
    for itself, and a hole in a prefix makes the blocks behind it useless until they are evicted.
    """

    def __init__(self, capacity_blocks: int, policy: EvictionPolicy, parents: Int, keeps_prefixes: bool = True):
        self._capacity_blocks = capacity_blocks
        self._policy = policy
        self._parents: list[int] = parents.tolist()
        self._keeps_prefixes = keeps_prefixes
        self._children = [0] * len(self._parents)
        self.num_evicted = 0

    def __len__(self) -> int:
        return len(self._policy)

    def __contains__(self, node: object) -> bool:
        return node in self._policy

    def hit_length(self, path: list[int]) -> int:
        """Cached blocks at the beginning of `path`."""
        for length, node in enumerate(path):
            if node not in self._policy:
                return length
        return len(path)

    def serve(self, path: list[int], now: int) -> int:
        """One request: look the whole path up, note the uses, then admit what is missing. Returns the blocks that hit."""
        hits = self.hit_length(path)
        for node in path[:hits]:
            self._policy.access(node, now)
        if self._keeps_prefixes:
            self._admit_closed(path, hits, now)
        else:
            self._admit_each(path, now)
        return hits

    def _admit_each(self, path: list[int], now: int) -> None:
        for node in path:
            if node in self._policy:
                continue
            if len(self._policy) >= self._capacity_blocks:
                victim = self._policy.victim(node, now)
                if victim is None:
                    continue
                self._policy.remove(victim)
                self.num_evicted += 1
            self._policy.insert(node, now)

    def _admit_closed(self, path: list[int], hits: int, now: int) -> None:
        """Admit in order behind the hits. The request's own blocks stay until it is done.

        If nothing else can go, the block admitted last goes and admission ends: a request longer than the cache leaves
        one place free. OPT, which may refuse, just refuses.
        """
        length = hits
        if hits:
            self._policy.pin(path[hits - 1])
        for node in path[hits:]:
            if len(self._policy) >= self._capacity_blocks and not self._make_room(node, now):
                if length > hits and not self._refuses(path[length - 1], node, now):
                    length -= 1
                    self._evict(path[length])
                break
            self._policy.insert(node, now)
            self._policy.pin(node)
            self._children[self._parents[node]] += 1
            length += 1
        if length and self._children[path[length - 1]] == 0:
            self._policy.unpin(path[length - 1])

    def _make_room(self, incoming: int, now: int) -> bool:
        victim = self._policy.victim(incoming, now)
        if victim is None:
            return False
        parent = self._evict(victim)
        if parent != ROOT and self._children[parent] == 0 and parent != self._parents[incoming]:
            self._policy.unpin(parent)
        return True

    def _refuses(self, own: int, incoming: int, now: int) -> bool:
        """Whether the policy keeps `own` rather than take `incoming`, were `own` the only candidate."""
        self._policy.unpin(own)
        refuses = self._policy.victim(incoming, now) is None
        self._policy.pin(own)
        return refuses

    def _evict(self, node: int) -> int:
        """Take `node` out and return its parent."""
        self._policy.remove(node)
        self.num_evicted += 1
        parent = self._parents[node]
        self._children[parent] -= 1
        return parent
