"""The kernels, one file each; every one registers itself in `tiergarten.workloads.kernel.KERNELS`."""
