"""Hit rates of a request trace against a cache of KV blocks, for many capacities and policies, without any clock.

The definition is in `docs/kv-tiers.md`: requests in order of arrival, one at a time; a hit is a prompt token in the longest
cached prefix; the cache fills during the first part of the trace and hits are counted over the rest.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tiergarten.sim.errors import TiergartenError, UnknownNameError, did_you_mean
from tiergarten.sim.eviction import EvictionSetup, FutureUses
from tiergarten.sim.policies import eviction_policies
from tiergarten.sim.prefix import PrefixCache, PrefixTree, prefix_tree
from tiergarten.sim.trace import RequestTrace
from tiergarten.workloads.hit_rate_kernels import (
    Counts,
    Ranking,
    replay_arc,
    replay_fifo,
    replay_ranked,
    replay_s3fifo,
)

DEFAULT_WARMUP_SHARE = 0.5
"""Share of the requests, from the first, that only fill the cache."""

KERNELS: dict[str, Callable[[PrefixTree, int], Counts]] = {
    "fifo": replay_fifo,
    "lru": lambda tree, capacity: replay_ranked(tree, capacity, Ranking.LRU),
    "lfu": lambda tree, capacity: replay_ranked(tree, capacity, Ranking.LFU),
    "s3fifo": replay_s3fifo,
    "arc": replay_arc,
    "opt": lambda tree, capacity: replay_ranked(tree, capacity, Ranking.OPT),
}
"""Compiled replay of each policy that has one."""

COLUMNS = (
    "policy", "capacity_blocks", "hit_tokens", "total_tokens", "hit_rate", "evicted_blocks", "full_before_measured",
)  # fmt: skip


def hit_rates(
    trace: RequestTrace,
    capacities_blocks: Sequence[int],
    policies: Sequence[str] = ("fifo", "lru", "opt"),
    warmup_share: float = DEFAULT_WARMUP_SHARE,
) -> pd.DataFrame:
    """One row per capacity and policy, with columns `COLUMNS`, in the order given.

    Raises TraceError if the trace has no prefix blocks, UnknownNameError for a policy without a kernel, TiergartenError for
    a capacity below one block or a share outside [0, 1).
    """
    for policy in policies:
        if policy not in KERNELS:
            raise UnknownNameError(f"no hit-rate replay of eviction policy {policy!r}. {did_you_mean(policy, KERNELS)}")
    if any(capacity < 1 for capacity in capacities_blocks):
        raise TiergartenError(f"a cache capacity must be at least one block; got {min(capacities_blocks)}")
    tree = prefix_tree(trace)
    first = first_measured(len(trace), warmup_share)
    rows = []
    for capacity in capacities_blocks:
        useful = min(capacity, tree.num_nodes + 1)
        for policy in policies:
            counts = KERNELS[policy](tree, useful)
            rows.append((policy, capacity, *_measured(tree, counts, first)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def unbounded_hit_rate(trace: RequestTrace, warmup_share: float = DEFAULT_WARMUP_SHARE) -> pd.DataFrame:
    """The one row of a cache that never evicts: what no capacity can exceed. Its capacity is the number of distinct blocks."""
    tree = prefix_tree(trace)
    counts = replay_fifo(tree, tree.num_nodes + 1)
    row = ("unbounded", tree.num_nodes, *_measured(tree, counts, first_measured(len(trace), warmup_share)))
    return pd.DataFrame([row], columns=list(COLUMNS))


def first_measured(num_requests: int, warmup_share: float) -> int:
    """Index of the first request that is measured."""
    if not 0.0 <= warmup_share < 1.0:
        raise TiergartenError(f"the warm-up share must be at least 0 and below 1; got {warmup_share}")
    return int(num_requests * warmup_share)


def hit_tokens(tree: PrefixTree, hit_blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[R]: prompt tokens in the first `hit_blocks[r]` blocks of each request."""
    before = np.concatenate(([0], np.cumsum(tree.tokens)))
    return before[tree.offsets[:-1] + hit_blocks] - before[tree.offsets[:-1]]


def _measured(tree: PrefixTree, counts: Counts, first: int) -> tuple[int, int, float, int, bool]:
    hits = int(hit_tokens(tree, counts.hit_blocks)[first:].sum())
    total = int(tree.tokens[tree.offsets[first] :].sum())
    return hits, total, hits / total if total else 0.0, int(counts.num_evicted), bool(counts.full_at < first)


def replay_by_class(
    tree: PrefixTree, capacity_blocks: int, policy: str, rng: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """int64[R]: blocks that hit, by the policy's Python class. Slow; the kernels are tested against it."""
    paths = [tree.nodes[a:b].tolist() for a, b in zip(tree.offsets[:-1], tree.offsets[1:], strict=True)]
    future = (
        FutureUses((request, node) for request, path in enumerate(paths) for node in path) if policy == "opt" else None
    )
    made = eviction_policies.get(policy)(EvictionSetup(capacity_blocks, future, rng))
    cache = PrefixCache(capacity_blocks, made, tree.parents, keeps_prefixes=policy != "fifo")
    return np.array([cache.serve(path, request) for request, path in enumerate(paths)], np.int64)
