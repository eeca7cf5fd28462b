"""The driver's tree prefetcher: what else of a VABlock is fetched with its faulted pages.

Each VABlock is a binary tree over its big-page regions. After the faulted pages were grown to whole regions, every faulted
region climbs the tree and takes the largest sub-tree of which more than `percent` of the pages are, or are about to be, on the
device; what that sub-tree lacks is fetched. Pages outside the allocation do not count.
Source: NVIDIA open kernel module 545.23.06, uvm_perf_prefetch.c (threshold 51 %, minimum one fault), as described in
Allen & Ge, SC'21.
"""

from tiergarten.accelerators.paging.kernels import entry_kernel


@entry_kernel
def climb(soon, valid, leaf, percent):
    """The sub-tree that one leaf claims.

    Args:
        soon: int64[N], pages of each leaf on the device or about to be; N a power of two.
        valid: int64[N], pages of each leaf inside the allocation.
        leaf: index of the faulted leaf.
        percent: sub-trees with `100 * soon > percent * valid` are dense.

    Returns:
        (first leaf, number of leaves) of the largest dense sub-tree above `leaf`; the leaf itself if none is.
    """
    best_first, best_size = leaf, 1
    size = 2
    while size <= len(soon):
        first = leaf // size * size
        have, all_pages = 0, 0
        for index in range(first, first + size):
            have += soon[index]
            all_pages += valid[index]
        if 100 * have > percent * all_pages:
            best_first, best_size = first, size
        size *= 2
    return best_first, best_size


@entry_kernel
def mark_dense(soon, valid, faulted, percent, dense):
    """Set dense[leaf] to 1 inside any dense sub-tree of two leaves or more above a faulted leaf, to 0 elsewhere.

    All leaves climb on the same counts, taken before anything is prefetched.

    Args:
        soon, valid: as in `climb`.
        faulted: int64[N], 1 where a page of the leaf faulted.
        percent: as in `climb`.
        dense: int64[N], written.
    """
    dense[:] = 0
    done = 0  # leaves below this one lie in a sub-tree already climbed to: they would claim the same
    for leaf in range(len(soon)):
        if faulted[leaf] and leaf >= done:
            first, size = climb(soon, valid, leaf, percent)
            if size > 1:
                for index in range(first, first + size):
                    dense[index] = 1
            done = first + size


@entry_kernel
def sparse_subtree(left, valid, leaf, percent):
    """The sub-tree that the tree evictor empties together with `leaf`, the mirror image of `climb`.

    Climbs while less than `percent` of the sub-tree's pages would stay on the device.

    Args:
        left: int64[N], pages of each leaf on the device once `leaf` itself is evicted.
        valid: int64[N], pages inside the allocation.

    Returns:
        (first leaf, number of leaves).
    """
    best_first, best_size = leaf, 1
    size = 2
    while size <= len(left):
        first = leaf // size * size
        have, all_pages = 0, 0
        for index in range(first, first + size):
            have += left[index]
            all_pages += valid[index]
        if 100 * have < percent * all_pages:
            best_first, best_size = first, size
        size *= 2
    return best_first, best_size
