"""Measurements of the machine at hand: memory, copies, files and, where there is an NVIDIA GPU, the device and its kernels.

Needs the standard library and numpy only; items that run PyTorch or a compiled program say so and are left out, with a
reason, where it is missing. Each item runs in a process of its own with a time limit, so none can take the others down.
"""
