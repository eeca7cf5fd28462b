"""Memory models, one file each. Register with `@memory_models.register(name)` of `tiergarten.sim.memory`."""
