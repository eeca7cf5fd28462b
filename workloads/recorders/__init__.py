"""Recorders: they watch a program run and leave the trace of what it touched."""
