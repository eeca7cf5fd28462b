"""The decorators of the paging kernels: compiled, cached, and without reference counts.

A kernel gets its state as a tuple of some thirty arrays. Counting a reference at each use of a member costs ten times the work
itself, so it is switched off; a kernel therefore must not allocate: scratch arrays are part of the state.
"""

from collections.abc import Callable
from typing import Any

from tiergarten.sim.jit import njit


def entry_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that Python calls; it must not create arrays or lists."""
    return njit(cache=True, _nrt=False)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that only other kernels call: without the wrappers, which take half of the compile time, and inlined.

    Handing the state, a tuple of thirty arrays, to a function that is not inlined costs more than most of these do.
    """
    return njit(cache=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)(function)
