"""Kinds of workload, one file each. Register with `@drivers.register(kind)` of `tiergarten.driver`."""
