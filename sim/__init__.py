"""The simulation core: event engine, tiers, links, memory models, placement, policies, contracts, units, registry, seeds.

It knows nothing of DRAM standards, devices, workloads or agents; they meet through `tiergarten.sim.contracts`.
"""
