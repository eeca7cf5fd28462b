"""Every registered memory model keeps the protocol; unloaded latency and saturated bandwidth are what they should be."""

from pathlib import Path

import numpy as np
import pytest

from tiergarten.sim.contracts import AccessBatch
from tiergarten.sim.errors import InputError
from tiergarten.sim.models.analytic import AnalyticModel
from tiergarten.sim.models.curve import CurveModel, read_curves
from tiergarten.sim.models.sram import SramModel
from tiergarten.sim.tier import TierSpec
from tiergarten.testing import check_memory_model

SPEC = TierSpec("hbm", "hbm", 2**30, 1e12, 0.5e12, latency_ps=100_000)
CURVE = """read_percent,bandwidth_GBps,latency_ns
50,10,100
50,100,150
50,90,400
100,10,80
100,150,90
100,200,300
100,190,500
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "curve.csv"
    path.write_text(CURVE)
    return path


def test_models_keep_the_protocol(table: Path) -> None:
    check_memory_model(lambda: AnalyticModel(SPEC))
    check_memory_model(lambda: SramModel(SPEC, SramModel.Params()))
    check_memory_model(lambda: CurveModel(read_curves(table)))


def drain(model, accesses: AccessBatch) -> np.ndarray:
    model.submit(0, accesses)
    return model.advance(2**62).times_ps


def batch(addresses, num_bytes, is_write=False) -> AccessBatch:
    n = len(addresses)
    return AccessBatch(np.arange(n), np.asarray(addresses), np.full(n, num_bytes), np.full(n, is_write))


def test_analytic_is_latency_plus_bytes_over_bandwidth() -> None:
    # 1 TB/s: 1 ps a byte; writes at half of it
    assert drain(AnalyticModel(SPEC), batch([0], 1000)).tolist() == [101_000]
    assert drain(AnalyticModel(SPEC), batch([0], 1000, True)).tolist() == [102_000]
    assert drain(AnalyticModel(SPEC), batch([0, 0, 0], 1000)).tolist() == [101_000, 102_000, 103_000]


def test_full_duplex_reads_and_writes_do_not_meet() -> None:
    model = AnalyticModel(TierSpec("cxl", "cxl", 2**30, 1e12, 1e12, full_duplex=True))
    model.submit(0, batch([0], 1000))
    model.submit(0, batch([0], 1000, True))
    assert model.advance(10**9).times_ps.tolist() == [1000, 1000]


def test_sram_conflicts_cost_a_cycle_each() -> None:
    params = SramModel.Params.model_validate({"banks": 4, "ports": 1, "word": "8 B", "clock": "1 ns"})
    spec = TierSpec("sram", "sram", 2**20, 1e12, 1e12)
    assert drain(SramModel(spec, params), batch([0, 8, 16, 24], 8)).tolist() == [1000] * 4  # four banks
    assert drain(SramModel(spec, params), batch([0, 32, 64, 96], 8)).tolist() == [1000, 2000, 3000, 4000]  # one bank
    assert drain(SramModel(spec, params), batch([0], 64)).tolist() == [2000]  # eight words on four banks
    two_ports = SramModel.Params.model_validate({"banks": 4, "ports": 2, "word": "8 B", "clock": "1 ns"})
    assert drain(SramModel(spec, two_ports), batch([0], 64)).tolist() == [1000]


def test_curve_reads_unloaded_latency_and_saturated_bandwidth(table: Path) -> None:
    curves = read_curves(table)
    assert curves.latency_ps(100, 0) == 80_000
    assert curves.latency_ps(75, 0) == 90_000  # half way between the shares
    assert curves.max_bytes_per_s(100) == 200e9
    assert curves.max_bytes_per_s(75) == 150e9
    assert curves.latency_ps(100, 175e9) == pytest.approx(195_000)  # half way from 90 to 300 ns
    assert drain(CurveModel(curves), batch([0], 64)).tolist() == [80_000 + 320]


def test_curve_follows_the_load(table: Path) -> None:
    """Accesses at a steady load see the curve's latency at that load, and no more than the largest bandwidth passes."""
    for offered_bytes_per_s, expected_ps in ((50e9, 80_000 + (90 - 80) * 1000 * 40 / 140), (150e9, 90_000)):
        model = CurveModel(read_curves(table), window_ps=1_000_000)
        gap_ps = 64 * 10**12 / offered_bytes_per_s
        latencies = []
        for i in range(60_000):
            now = round(i * gap_ps)
            _, done = model.serve(now, 0, 64, False)
            latencies.append(done - now)
        assert np.mean(latencies[30_000:]) == pytest.approx(expected_ps, rel=0.01)
    saturated = CurveModel(read_curves(table))
    times = drain(saturated, batch(np.zeros(10_000, np.int64), 6400))
    assert 64e6 / (times[-1] - 300_000) * 1e12 == pytest.approx(200e9, rel=0.02)


def test_curves_of_real_systems_load_and_keep_their_features(shared: Path) -> None:
    """Unloaded latency and largest bandwidth of each measured family, against the features table beside it."""
    import pandas as pd

    features = pd.read_csv(shared / "reference/mess/features.csv")
    checked = 0
    for name in (
        "nvidia_h100_hbm2e",
        "amazon_graviton3_ddr5_4800",
        "intel_skylake_8160_ddr4_2666",
        "nvidia_grace_lpddr5x",
    ):
        curves = read_curves(shared / f"reference/mess/{name}.csv")
        measured = pd.read_csv(shared / f"reference/mess/{name}.csv")
        system = measured["system"].iloc[0]
        for row in features[features["system"] == system].itertuples():
            assert curves.max_bytes_per_s(row.read_percent) == pytest.approx(row.max_bandwidth_GBps * 1e9, rel=1e-3)
            checked += 1
    assert checked >= 15


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column"),
        ("read_percent,bandwidth_GBps\n1,2\n", "latency_ns"),
        ("read_percent,bandwidth_GBps,latency_ns\n", "no rows"),
        ("read_percent,bandwidth_GBps,latency_ns\n50,x,3\n50,1\n", ":2: is not three numbers"),
        ("read_percent,bandwidth_GBps,latency_ns\n50,nan,3\n", ":2: is out of range"),
        ("read_percent,bandwidth_GBps,latency_ns\n150,1,3\n", "out of range"),
        ("read_percent,bandwidth_GBps,latency_ns\n50,-1,3\n", "out of range"),
    ],
)
def test_bad_curves_are_named_by_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_curves(path)


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "bad.csv.gz"
    path.write_bytes(gzip.compress((CURVE + "100,190,500\n" * 9999).encode())[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_curves(path)
