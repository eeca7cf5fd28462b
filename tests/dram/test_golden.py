"""Recorded command traces of the reference simulator, command for command and request for request."""

import shutil
from pathlib import Path

import pytest

from tiergarten.dram.manifest import load_manifest
from tiergarten.dram.verify import summarise, verify_manifest

DEFAULT_CASES = [
    "ddr3_mixed_phases", "ddr4_norefresh_chase", "ddr4_hotset", "ddr4_chrabaroco_random_rw", "ddr4_mop_mixed_phases",
    "ddr4_closed1_random_rw", "ddr4_rowhit_llm_decode", "ddr4_q64_random_rw", "ddr4_q8_mixed_phases",
    "ddr4_scatter_r2_random_rw", "ddr4r2_closed4_mixed_phases", "ddr5r2_closed4_random_rw", "ddr5_rowhit_mixed_phases",
    "lpddr5_mixed_phases", "lpddr5r2_perbank_random_rw", "lpddr5r2_closed4_stream_rw", "lpddr5_wckalways_bursty",
    "lpddr6_mixed_phases", "gddr6b_closed4_mixed_phases", "gddr7_mixed_phases", "gddr7_rckstrt_bursty",
    "hbm1_random_rw", "hbm2b_perbank_closed4_random_rw", "hbm2_closed2_llm_decode", "hbm3_perbank_stream_rw",
    "hbm3b_closed4_random_rw", "hbm3_rowhit_random_rw", "hbm4_mixed_phases",
]  # fmt: skip


@pytest.fixture(scope="module")
def manifest(request: pytest.FixtureRequest) -> Path:
    path = (Path(__file__).parents[2] / ".." / "shared" / "golden" / "ramulator2" / "manifest.yaml").resolve()
    if not path.is_file():
        pytest.skip("the shared reference folder is not beside this checkout")
    return path


def test_cases_kept_with_the_tests_are_exact() -> None:
    """What the shared recordings leave out: other standards' policies and refreshes, overrides, one-place queues, times that go back."""
    outcomes = list(verify_manifest(Path(__file__).parent / "golden" / "manifest.yaml"))
    assert {outcome.name: outcome.difference for outcome in outcomes if not outcome.is_exact} == {}
    assert len(outcomes) == 11
    assert sum(outcome.total_counters for outcome in outcomes) > 20 * len(outcomes)


def test_chosen_cases_are_exact(manifest: Path) -> None:
    outcomes = list(verify_manifest(manifest, names=DEFAULT_CASES))
    assert [outcome.name for outcome in outcomes if not outcome.is_exact] == []
    assert len(outcomes) == len(DEFAULT_CASES)
    total = summarise(outcomes)
    assert total["commands_matched"] == total["commands"] > 1_000_000
    assert total["requests_matched"] == total["requests"] > 500_000
    assert total["counters_matched"] == total["counters"] > 20 * len(outcomes)


@pytest.mark.slow
def test_all_cases_are_exact(manifest: Path) -> None:
    outcomes = list(verify_manifest(manifest))
    assert {outcome.name: outcome.difference for outcome in outcomes if not outcome.is_exact} == {}
    assert len(outcomes) == 112


def test_a_changed_recording_is_reported_with_its_context(manifest: Path, tmp_path: Path) -> None:
    """The comparison must fail when it should: one moved command, one wrong total."""
    import numpy as np
    from ruamel.yaml import YAML

    whole = load_manifest(manifest)
    case = next(case for case in whole["cases"] if case["id"] == "ddr4_hotset")
    for folder in ("traces", "expected"):
        (tmp_path / folder).mkdir()
    shutil.copy(manifest.parent / "traces" / case["trace"], tmp_path / "traces")
    with np.load(manifest.parent / case["expected"]["file"]) as data:
        columns = {key: data[key].astype(np.int64) for key in data.files}
    columns["dclk"][500] += 1
    np.savez(tmp_path / case["expected"]["file"], **columns)
    small = {key: whole[key] for key in ("drams", "defaults")} | {"cases": [dict(case)]}
    with open(tmp_path / "manifest.yaml", "w") as file:
        YAML(typ="safe").dump(small, file)
    (outcome,) = verify_manifest(tmp_path / "manifest.yaml")
    assert not outcome.is_exact
    assert outcome.matched_commands == 500
    assert outcome.matched_requests == outcome.total_requests
    assert "first difference at command 500" in outcome.difference
    assert "> 500: expected" in outcome.difference
