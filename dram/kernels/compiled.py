"""How the kernels are compiled."""

from numba import njit

kernel = njit(cache=True, _nrt=False)
"""Compile a kernel and keep it on disk. Kernels allocate nothing, so they go without numba's reference counting, whose
atomic increments at every call would cost several times the work itself."""
