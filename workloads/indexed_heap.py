"""A compiled binary heap of nodes by rank from which any node can be taken out; rank and place are kept per node."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.jit import njit

OUTSIDE = -1
"""Place of a node that is not in the heap."""


class Heap(NamedTuple):
    """Nodes in heap order, lowest rank on top. N nodes can exist; ranks in one heap are unique."""

    nodes: NDArray[np.int64]
    """int64[N], the first `size[0]` are in the heap."""
    ranks: NDArray[np.int64]
    """int64[N], rank of the node at the same place."""
    places: NDArray[np.int64]
    """int64[N], place of each node, OUTSIDE if it is not in."""
    size: NDArray[np.int64]
    """int64[1]."""


@njit(cache=True)
def new_heap(num_nodes):
    """An empty heap for nodes 0 to num_nodes - 1."""
    return Heap(
        np.empty(num_nodes, np.int64),
        np.empty(num_nodes, np.int64),
        np.full(num_nodes, OUTSIDE, np.int64),
        np.zeros(1, np.int64),
    )


@njit(cache=True)
def _settle(heap, place, node, rank):
    """Put `node` at `place` or wherever above or below it belongs."""
    nodes, ranks, places, size = heap
    while place > 0:
        above = (place - 1) >> 1
        if ranks[above] <= rank:
            break
        nodes[place], ranks[place] = nodes[above], ranks[above]
        places[nodes[place]] = place
        place = above
    while True:
        below = 2 * place + 1
        if below >= size[0]:
            break
        if below + 1 < size[0] and ranks[below + 1] < ranks[below]:
            below += 1
        if ranks[below] >= rank:
            break
        nodes[place], ranks[place] = nodes[below], ranks[below]
        places[nodes[place]] = place
        place = below
    nodes[place], ranks[place], places[node] = node, rank, place


@njit(cache=True)
def push(heap, node, rank):
    """Add `node`, which is not in the heap."""
    heap.size[0] += 1
    _settle(heap, heap.size[0] - 1, node, rank)


@njit(cache=True)
def take(heap, node):
    """Take `node` out if it is in."""
    place = heap.places[node]
    if place == OUTSIDE:
        return
    heap.places[node] = OUTSIDE
    heap.size[0] -= 1
    last = heap.size[0]
    if place < last:
        _settle(heap, place, heap.nodes[last], heap.ranks[last])


@njit(cache=True)
def lowest(heap):
    """Node of lowest rank, OUTSIDE if the heap is empty."""
    return heap.nodes[0] if heap.size[0] > 0 else OUTSIDE
