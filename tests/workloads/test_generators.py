"""Generated traces have the statistics their descriptions state, and depend on the seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiergarten.sim.prefix import prefix_tree
from tiergarten.sim.seeds import stream
from tiergarten.workloads.hit_rate import KERNELS
from tiergarten.workloads.requests.arrivals import Diurnal, GammaBursts, Poisson, arrival_processes
from tiergarten.workloads.requests.generators import Conversations, Lengths, generate_conversations


@pytest.mark.parametrize(
    ("process", "cv"), [(Poisson(50.0), 1.0), (GammaBursts(50.0, 2.0), 2.0), (GammaBursts(50.0, 0.5), 0.5)]
)
def test_arrivals_have_their_rate_and_burstiness(process, cv):
    times = process.times_s(0.0, 400.0, stream(1, "arrivals"))
    # 20,000 gaps: the mean's standard error is cv / sqrt(20,000), 1.4 % at cv 2; four of them
    assert len(times) / 400 == pytest.approx(50, rel=4 * cv / np.sqrt(20000))
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.06)
    assert times.min() >= 0
    assert times.max() < 400


def test_diurnal_rate_follows_the_sine():
    times = Diurnal(20.0, swing=0.6, period_s=100.0).times_s(0.0, 4000.0, stream(1, "arrivals"))
    phase = times % 100.0
    # rate integrated over the first and second half period: 1 +- 2 swing / pi
    first = (phase < 50).sum() / (4000 / 2)
    assert first == pytest.approx(20 * (1 + 2 * 0.6 / np.pi), rel=0.02)
    assert len(times) / 4000 == pytest.approx(20, rel=0.015)


def test_impossible_parameters_are_refused():
    for make in (
        lambda: Poisson(0.0),
        lambda: Poisson(float("nan")),
        lambda: GammaBursts(1.0, -1.0),
        lambda: Diurnal(1.0, swing=2.0),
        lambda: Lengths(0.0, 1.0),
        lambda: Conversations(mean_turns=0.5),
        lambda: Conversations(longest_prompt=100),
        lambda: Conversations(duration_s=float("inf")),
    ):
        with pytest.raises(ValueError, match=r"must|need"):
            make()
    assert arrival_processes.names() == ["diurnal", "gamma", "poisson"]


def test_a_stream_too_large_for_memory_is_refused():
    with pytest.raises(ValueError, match="at most 2000000"):
        generate_conversations(Conversations(sessions=Poisson(1e6)), 0)
    with pytest.raises(ValueError, match="no session arrives"):
        generate_conversations(Conversations(duration_s=1e-9), 0)


def test_lengths_are_log_normal():
    drawn = Lengths(200, 0.8, 1, 10**6).draw(20000, np.random.default_rng(0))
    assert np.median(drawn) == pytest.approx(200, rel=0.03)
    assert np.log(drawn).std() == pytest.approx(0.8, rel=0.03)
    clipped = Lengths(200, 0.8, 100, 300).draw(2000, np.random.default_rng(0))
    assert (clipped.min(), clipped.max()) == (100, 300)


def test_default_conversations_are_as_described():
    traces = [generate_conversations(Conversations(block_tokens=1024), seed) for seed in range(6)]
    assert all(trace.problems() == [] for trace in traces)
    # 0.42 sessions/s x 4 turns x 1200 s = 2016, less sessions that hit the longest prompt; spread 0.1 over 6 seeds
    assert np.mean([len(trace) for trace in traces]) == pytest.approx(2016, rel=0.1)
    # exp(sigma^2 / 2) times the median, less what clipping takes
    assert np.mean([trace.output_tokens.mean() for trace in traces]) == pytest.approx(220 * np.exp(0.405), rel=0.06)
    assert all(trace.arrivals_ps[-1] < 1200 * 10**12 for trace in traces)


def test_load_is_steady_from_the_first_second():
    config = Conversations(duration_s=1200, sessions=Poisson(4.0), block_tokens=8192)
    trace = generate_conversations(config, 3)
    halves = np.histogram(trace.arrivals_ps, bins=2, range=(0, 1200 * 10**12))[0]
    # without the lead-in the first half would be 15 % short: sessions last 270 s on average
    assert halves[0] / halves[1] == pytest.approx(1, abs=0.06)


def test_turns_of_a_session_share_all_full_blocks_and_system_prompts_are_shared():
    config = Conversations(sessions=Poisson(0.5), num_system_prompts=2, block_tokens=16)
    trace = generate_conversations(config, 5)
    tree = prefix_tree(trace)
    assert tree.num_nodes == len(np.unique(trace.block_ids))  # ids already name whole prefixes
    hits = KERNELS["fifo"](tree, tree.num_nodes + 1).hit_blocks
    full = trace.input_tokens // 16
    assert (hits <= full).all()  # the partly filled last block is never shared
    firsts = np.array([trace.blocks(r)[0] for r in range(len(trace))])
    assert len(np.unique(firsts)) <= 2
    # every request finds at least the smaller system prompt's full blocks, once each prompt was seen
    smallest = min(hits[firsts == first][1:].min() for first in np.unique(firsts))
    assert smallest >= 64 // 16
    continued = hits > 4096 // 16  # more than any system prompt: must be an earlier turn's prompt
    assert continued.mean() > 0.2


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_seed_decides_everything(seed):
    config = Conversations(duration_s=60)
    assert generate_conversations(config, seed).digest() == generate_conversations(config, seed).digest()
    assert generate_conversations(config, seed).digest() != generate_conversations(config, seed + 1).digest()
