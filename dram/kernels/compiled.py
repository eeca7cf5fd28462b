"""How the kernels are compiled.

Kernels allocate nothing, so they go without numba's reference counting: its atomic increments at every call of a small
function would cost several times the work itself.
"""

from tiergarten.sim.jit import njit

kernel = njit(cache=True, _nrt=False, nogil=True)
"""Compile a kernel and keep it on disk. It lets go of the interpreter's lock, so that channels can run side by side."""
inlined = njit(cache=True, _nrt=False, forceinline=True)
"""The same for small steps of the inner loop, which become part of the kernels that call them."""
step = njit(_nrt=False)
"""A function that only kernels call, kept on disk as part of them."""
