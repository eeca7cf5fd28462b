"""Each pattern has the statistics that its docstring states."""

import numpy as np
import pytest

from tiergarten.sim.errors import UnknownNameError
from tiergarten.workloads.addresses import address_patterns
from tiergarten.workloads.addresses.llm_decode import LlmDecode
from tiergarten.workloads.addresses.patterns import HotSet, PointerChase, Random, Stream, Stride
from tiergarten.workloads.trace_statistics import FIRST_TOUCH, reuse_distances, statistics

SMALL = {"accesses": 20_000, "footprint_bytes": 1 << 16}
BLOCKS = 1024


def distances(trace) -> np.ndarray:
    blocks, dense = np.unique(trace.addresses, return_inverse=True)
    found = reuse_distances(dense.astype(np.int64), len(blocks))
    return found[found != FIRST_TOUCH]


@pytest.mark.parametrize("name", address_patterns.names())
def test_pattern_is_a_sound_trace_and_depends_only_on_its_seed(name):
    pattern = address_patterns.get(name)()
    one, two = pattern.generate(3), pattern.generate(3)
    assert one.problems() == []
    assert np.array_equal(one.addresses, two.addresses)
    assert np.array_equal(one.is_write, two.is_write)


@pytest.mark.parametrize("kind", [Stream, Stride, Random, HotSet])
def test_read_share_is_as_asked(kind):
    trace = kind(**SMALL, read_share=0.67).generate(0)
    assert (~trace.is_write).mean() == pytest.approx(0.67, abs=4 * np.sqrt(0.67 * 0.33 / 20_000))
    assert not (kind(**SMALL).generate(1).is_write == trace.is_write).all()


@pytest.mark.parametrize("kind", [Stream, Stride, PointerChase])
def test_cyclic_patterns_reuse_at_all_other_blocks(kind):
    trace = kind(**SMALL).generate(0)
    assert set(distances(trace).tolist()) == {BLOCKS - 1}
    assert statistics(trace).footprint_bytes == 1 << 16


def test_stream_runs_are_whole_passes_and_stride_runs_single_blocks():
    assert statistics(Stream(accesses=2048, footprint_bytes=1 << 16).generate(0)).run_counts.tolist()[-1] == 2
    assert statistics(Stride(**SMALL).generate(0)).run_counts.tolist() == [20_000]


def test_pointer_chase_waits_for_each_access():
    assert PointerChase(accesses=4).generate(0).depends_on.tolist() == [-1, 0, 1, 2]
    assert not PointerChase(accesses=4).generate(0).is_write.any()


def test_random_touches_the_expected_footprint():
    pattern = Random(accesses=2000, footprint_bytes=1 << 16)
    touched = np.mean([len(np.unique(pattern.generate(seed).addresses)) for seed in range(20)])
    assert touched == pytest.approx(BLOCKS * (1 - (1 - 1 / BLOCKS) ** 2000), rel=0.01)
    # once every block was seen, the last-touched order is a random permutation: distances are even over 0 ... B-1
    late = distances(Random(**SMALL).generate(0))[-10_000:]
    assert late.mean() == pytest.approx((BLOCKS - 1) / 2, rel=0.03)
    assert late.std() == pytest.approx(BLOCKS / np.sqrt(12), rel=0.03)


def test_hot_set_splits_accesses():
    trace = HotSet(**SMALL, hot_share=0.9, hot_fraction=0.1).generate(0)
    hot = trace.addresses < round(0.1 * BLOCKS) * 64
    assert hot.mean() == pytest.approx(0.9, abs=0.01)


def test_llm_decode_moves_the_bytes_of_its_formula():
    shape = LlmDecode(layers=3, weight_bytes_per_layer=6400, kv_bytes_per_token_layer=128, prompt_tokens=10, tokens=4)
    trace = shape.generate(0)
    assert (~trace.is_write).sum() * 64 == sum(3 * (6400 + c * 128) for c in range(10, 14))
    assert trace.is_write.sum() * 64 == 4 * 3 * 128
    # what is read later was written first: no token's KV is read before its step
    kv = trace.addresses >= 3 * 6400
    written = {int(a) for a in trace.addresses[kv & trace.is_write]}
    first = {a: int(np.flatnonzero(trace.addresses == a)[0]) for a in written}
    assert all(trace.is_write[row] for row in first.values())


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="read share"):
        Stream(read_share=1.5)
    with pytest.raises(ValueError, match="block fit the footprint"):
        Random(footprint_bytes=1)
    with pytest.raises(ValueError, match="stride of 1 to 1024"):
        Stride(**SMALL, stride_blocks=5000).generate(0)
    with pytest.raises(ValueError, match="whole blocks"):
        LlmDecode(weight_bytes_per_layer=100)
    with pytest.raises(UnknownNameError, match="Did you mean 'hot_set'"):
        address_patterns.get("hotset")
