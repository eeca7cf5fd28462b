"""The decorator of the paging kernels: compiled, cached, and without reference counts.

A kernel gets its state as a tuple of some thirty arrays. Counting a reference at each use of a member costs ten times the work
itself, so it is switched off; a kernel therefore must not allocate: scratch arrays are part of the state.
"""

from numba import njit


def kernel(function):
    """Compile `function` with numba; it must not create arrays or lists."""
    return njit(cache=True, _nrt=False)(function)
