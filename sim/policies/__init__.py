"""Eviction policies, one file each; the protocol they fill is `tiergarten.sim.eviction.EvictionPolicy`."""

from tiergarten.sim.eviction import EvictionPolicy
from tiergarten.sim.registry import Registry

eviction_policies: Registry[type[EvictionPolicy]] = Registry("eviction policy", "tiergarten.sim.policies")
"""Names as a scenario writes them: fifo, lru, lfu, s3fifo, arc, opt, random. Build one with `get(name)(EvictionSetup(...))`."""
