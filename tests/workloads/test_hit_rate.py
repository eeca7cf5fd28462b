"""Hit-rate replay: cases by hand, kernels against the policy classes, the Belady bound, and an independent simulator's table."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.errors import TiergartenError, TraceError, UnknownNameError
from tiergarten.sim.prefix import prefix_tree
from tiergarten.sim.trace import RequestTrace
from tiergarten.workloads import hit_rate_kernels
from tiergarten.workloads.hit_rate import (
    KERNELS,
    first_measured,
    hit_rates,
    hit_tokens,
    replay_by_class,
    unbounded_hit_rate,
)


def trace_of(paths, block_tokens=10, input_tokens=None):
    """A trace whose request r asks for the block ids paths[r]; all blocks full unless told otherwise."""
    counts = [len(path) for path in paths]
    tokens = [count * block_tokens for count in counts] if input_tokens is None else input_tokens
    return RequestTrace(
        np.arange(len(paths), dtype=np.int64),
        np.array(tokens, np.int64),
        np.ones(len(paths), np.int64),
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        np.array([block for path in paths for block in path], np.int64),
        block_tokens,
        "by hand",
    )


def hits(trace, policy, capacity):
    return KERNELS[policy](prefix_tree(trace), capacity).hit_blocks.tolist()


def test_a_block_is_its_whole_prefix():
    tree = prefix_tree(trace_of([[1, 2], [3, 2], [1, 2, 2]]))
    assert tree.nodes.tolist() == [1, 2, 3, 4, 1, 2, 5]
    assert tree.parents.tolist() == [0, 0, 1, 0, 3, 2]
    assert tree.next_requests.tolist()[:2] == [2, 2]


def test_last_block_counts_only_its_tokens():
    tree = prefix_tree(trace_of([[1, 2, 3], [1], [1, 2]], input_tokens=[25, 10, 11]))
    assert tree.tokens.tolist() == [10, 10, 5, 10, 10, 1]
    assert hit_tokens(tree, np.array([3, 0, 1])).tolist() == [25, 0, 10]


def test_unbounded_hits_are_the_longest_prefix_seen_before():
    row = unbounded_hit_rate(trace_of([[1, 2, 3], [1, 2, 4], [1, 2, 4]]), warmup_share=0.0).iloc[0]
    assert (row.capacity_blocks, row.hit_tokens, row.total_tokens) == (4, 50, 90)


def test_only_requests_after_the_warmup_are_measured():
    trace = trace_of([[1], [1], [1], [2], [1]])
    assert first_measured(5, 0.5) == 2
    row = hit_rates(trace, [1], ["lru"]).iloc[0]
    assert (row.hit_tokens, row.total_tokens, row.full_before_measured) == (10, 30, True)


def test_lru_gives_up_leaves_before_their_parents():
    # after 1-2 and 3 the cache of 3 is full; 4 pushes out 2 (older leaf), never 1 while 2 is there
    assert hits(trace_of([[1, 2], [3], [4], [1, 2]]), "lru", 3) == [0, 0, 0, 1]


def test_fifo_gives_up_the_first_block_and_makes_the_rest_useless():
    assert hits(trace_of([[1, 2], [3], [4], [1, 2]]), "fifo", 3) == [0, 0, 0, 0]
    assert hits(trace_of([[1, 2], [3], [1, 2]]), "fifo", 3) == [0, 0, 2]


def test_request_longer_than_the_cache_leaves_one_place_free():
    trace = trace_of([[1, 2, 3, 4], [1, 2, 3, 4]])
    assert hits(trace, "lru", 3) == [0, 2]
    assert hits(trace, "lru", 4) == [0, 4]


def test_opt_keeps_what_is_needed_first():
    # 3 is never needed again and is not admitted; 2 is kept for the end
    assert hits(trace_of([[1], [2], [3], [1], [2]]), "opt", 2) == [0, 0, 0, 1, 1]
    assert hits(trace_of([[1], [2], [3], [1], [2]]), "lru", 2) == [0, 0, 0, 0, 0]


def test_bad_questions_are_refused():
    trace = trace_of([[1]])
    with pytest.raises(UnknownNameError, match="lru"):
        hit_rates(trace, [1], ["lro"])
    with pytest.raises(TiergartenError, match="at least one block"):
        hit_rates(trace, [0])
    with pytest.raises(TiergartenError, match="warm-up"):
        hit_rates(trace, [1], warmup_share=1.0)
    with pytest.raises(TraceError, match="no prefix blocks"):
        prefix_tree(trace_of([[]], input_tokens=[5]))


chains = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(chains, st.integers(1, 12))
def test_kernels_equal_the_policy_classes(paths, capacity):
    tree = prefix_tree(trace_of(paths))
    for policy, kernel in KERNELS.items():
        assert kernel(tree, capacity).hit_blocks.tolist() == replay_by_class(tree, capacity, policy).tolist(), policy


@settings(max_examples=60, deadline=None)
@given(chains, st.integers(1, 12))
def test_no_policy_beats_belady_in_blocks(paths, capacity):
    tree = prefix_tree(trace_of(paths))
    best = KERNELS["opt"](tree, capacity).hit_blocks.sum()
    for policy, kernel in KERNELS.items():
        assert kernel(tree, capacity).hit_blocks.sum() <= best, policy
    rng = np.random.default_rng(0)
    assert replay_by_class(tree, capacity, "random", rng).sum() <= best


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=7), st.integers(1, 5))
def test_opt_equals_exhaustive_search(paths, capacity):
    tree = prefix_tree(trace_of(paths))
    walks = [tuple(tree.nodes[a:b].tolist()) for a, b in zip(tree.offsets, tree.offsets[1:], strict=False)]
    assert KERNELS["opt"](tree, capacity).hit_blocks.sum() == most_hits(walks, capacity)


def most_hits(walks, capacity):
    """Most prefix hits over all closed caches: after each request any closed part of what was cached or asked for may stay."""
    reachable = {frozenset(): 0}
    for number, walk in enumerate(walks):
        later = {node for other in walks[number + 1 :] for node in other}
        following = {}
        for cached, total in reachable.items():
            total += next((i for i, node in enumerate(walk) if node not in cached), len(walk))
            for kept in subsets(sorted((cached | set(walk)) & later), capacity):
                following[kept] = max(following.get(kept, 0), total)
        reachable = following
    return max(reachable.values())


def subsets(nodes, size):
    result = [frozenset()]
    for node in nodes:
        result += [kept | {node} for kept in result if len(kept) < size]
    return result


@settings(max_examples=40, deadline=None)
@given(chains)
def test_lru_and_opt_hits_never_fall_with_capacity(paths):
    tree = prefix_tree(trace_of(paths))
    for policy in ("opt", "fifo"):
        unbounded = KERNELS["fifo"](tree, tree.num_nodes + 1).hit_blocks.sum()
        sums = [KERNELS[policy](tree, capacity).hit_blocks.sum() for capacity in range(1, tree.num_nodes + 2)]
        assert sums[-1] == unbounded
        if policy == "opt":
            assert sums == sorted(sums)


@pytest.mark.parametrize("name", ["replay_fifo", "replay_s3fifo", "replay_arc", "replay_ranked"])
def test_kernel_equals_its_python_function(name):
    kernel = getattr(hit_rate_kernels, name)
    rng = np.random.default_rng(3)
    paths = [rng.integers(0, 3, rng.integers(1, 6)).tolist() for _ in range(60)]
    tree = prefix_tree(trace_of(paths))
    for ranking in hit_rate_kernels.Ranking if name == "replay_ranked" else [None]:
        arguments = (tree, 7) if ranking is None else (tree, 7, ranking)
        compiled, plain = kernel(*arguments), kernel.py_func(*arguments)
        assert compiled.hit_blocks.tolist() == plain.hit_blocks.tolist()
        assert compiled[1:] == plain[1:]


def mooncake(shared):
    table = pd.read_csv(shared / "reference/traces/mooncake_conversation.csv")
    paths = [[int(block) for block in text.split()] for text in table.kv_block_ids]
    return trace_of(paths, 512, table.input_tokens.to_numpy())


def test_mooncake_hit_rates_equal_the_independent_table(shared):
    """Every hit token of kvcache-simulator 0.1.3 for FIFO, LRU, OPT at 13 capacities, and without bound."""
    trace = mooncake(shared)
    expected = pd.read_csv(shared / "reference/traces/mooncake_conversation_hit_rates.csv")
    expected["policy"] = expected.policy.replace("optimal", "opt")
    capacities = expected[expected.policy == "lru"].cache_blocks.tolist()
    got = pd.concat([hit_rates(trace, capacities), unbounded_hit_rate(trace)])
    both = expected.merge(
        got, left_on=["policy", "cache_blocks"], right_on=["policy", "capacity_blocks"], suffixes=("", "_got")
    )
    assert len(both) == len(expected) == 40
    assert both.hit_tokens.tolist() == both.hit_tokens_got.tolist()
    assert both.total_tokens.tolist() == both.total_tokens_got.tolist()
    assert both.hit_rate.tolist() == both.hit_rate_got.round(6).tolist()
    assert both[both.policy != "unbounded"].full_before_measured.all()
