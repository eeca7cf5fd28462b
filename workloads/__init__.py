"""Workloads: request traces, kernels and models that run and leave a trace, recorders, importers, generators."""
