"""A toy model on a toy machine, with numbers that can be checked in the head."""

from dataclasses import dataclass

import numpy as np

from tiergarten.accelerators.model_shapes import ModelShape
from tiergarten.accelerators.serving.costs import StepCosts
from tiergarten.accelerators.serving.engine import BatchLimits, ServingEngine
from tiergarten.accelerators.serving.kv_tiers import KvTiers, WriteMode
from tiergarten.accelerators.serving.level import Level
from tiergarten.sim.engine import Engine
from tiergarten.sim.eviction import EvictionSetup, FutureUses
from tiergarten.sim.link import Link, LinkSpec
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.placement import Placement
from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.prefix import prefix_tree
from tiergarten.sim.system import System
from tiergarten.sim.tier import Tier, TierSpec
from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import NEVER_PS
from tiergarten.testing import any_candidate

TOY = ModelShape(layers=1, hidden=8, heads=2, kv_heads=1, head_size=4, feed_forward=16, vocabulary=32)
"""2 x 4 x 2 = 16 bytes of keys and values per token."""
KV_BYTES = 16
BLOCK_TOKENS = 10
BLOCK_BYTES = KV_BYTES * BLOCK_TOKENS
COSTS = StepCosts(TOY, flops_per_s=1e9, bytes_per_s=1e9)


def trace_of(paths, arrivals_ps=None, inputs=None, outputs=None):
    """Requests that ask for the block ids in `paths`; full blocks and one output token unless told otherwise."""
    counts = np.array([len(path) for path in paths], np.int64)
    return RequestTrace(
        np.zeros(len(paths), np.int64) if arrivals_ps is None else np.array(arrivals_ps, np.int64),
        counts * BLOCK_TOKENS if inputs is None else np.array(inputs, np.int64),
        np.ones(len(paths), np.int64) if outputs is None else np.array(outputs, np.int64),
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        np.array([block for path in paths for block in path], np.int64),
        BLOCK_TOKENS if counts.any() else 0,
        "toy",
    )


class WornMemory(AnalyticModel):
    """Refuses writes from a given time on."""

    def __init__(self, spec, worn_out_ps):
        super().__init__(spec)
        self.worn_out_ps = worn_out_ps

    def refuses_writes(self, now_ps):
        return now_ps >= self.worn_out_ps

    def metrics(self, now_ps):
        return {}


@dataclass
class Served:
    """A finished run."""

    engine: ServingEngine
    system: System
    placement: Placement
    tiers: KvTiers

    @property
    def records(self):
        return self.engine.records

    @property
    def elapsed_ps(self):
        return self.system.engine.now_ps


def serve(
    trace,
    blocks=(100,),
    policy="lru",
    write=WriteMode.THROUGH,
    link_bytes_per_s=1e15,
    latency_ps=0,
    costs=COSTS,
    limits=BatchLimits(max_requests=64, max_tokens=1000),
    worn_at_ps=(),
):
    """Serve `trace` with a cache of `blocks[k]` blocks in level k, levels chained by equal links.

    `worn_at_ps` gives for levels by number when they turn read-only for good and refuse every later write.
    """
    clock = Engine()
    names = [f"level{k}" for k in range(len(blocks))]
    specs = [TierSpec(name, "ddr", count * BLOCK_BYTES, 1e18, 1e18) for name, count in zip(names, blocks, strict=True)]
    links = [
        Link(
            clock, LinkSpec.at_bandwidth(f"link{k}", (names[k], names[k + 1]), link_bytes_per_s, latency_ps=latency_ps)
        )
        for k in range(len(blocks) - 1)
    ]
    worn_at_ps = dict(worn_at_ps)
    memories = [WornMemory(spec, worn_at_ps.get(k, NEVER_PS)) for k, spec in enumerate(specs)]
    system = System(clock, [Tier(clock, spec, memory) for spec, memory in zip(specs, memories, strict=True)], links)
    placement = Placement(clock, system.tiers)
    tree = prefix_tree(trace) if len(trace.block_ids) else None
    levels = []
    for name, count in zip(names, blocks, strict=True):
        uses = (
            ()
            if tree is None
            else [
                (r, node)
                for r in range(len(trace))
                for node in tree.nodes[tree.offsets[r] : tree.offsets[r + 1]].tolist()
            ]
        )
        setup = EvictionSetup(count, FutureUses(uses), np.random.default_rng(0), chooser=any_candidate)
        made = eviction_policies.get(policy)(setup)
        parents = [0] if tree is None else tree.parents.tolist()
        levels.append(Level(name, count * BLOCK_BYTES, BLOCK_BYTES, made, parents))
    tiers = KvTiers(system, placement, levels, write)
    engine = ServingEngine(system, trace, tree, tiers, costs, limits)
    engine.start()
    clock.run()
    engine.check_done()
    placement.check()
    return Served(engine, system, placement, tiers)
