"""`tiergarten experts`: the comparison and footprint commands, their figures and the data beside them."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from tiergarten.cli.experts import app, expert_numbers
from tiergarten.reports.experts import latency_against_experts
from tiergarten.reports.folder import RunFolder
from tiergarten.sim.errors import InputError, TiergartenError


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_compare_marks_what_is_out_of_memory_and_draws_the_rest(tmp_path):
    result = invoke(
        "compare", "dgx-h100-coe", "sn40l-coe", "--experts", "40:160:120", "--batch-size", "8", "-s", "workload.batches=2",
        "--workers", "1", "--out", str(tmp_path), "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    points = {(p["system"], p["experts"]): p for p in json.loads(result.stdout)["points"]}
    assert set(points) == {(s, n) for s in ("dgx-h100-coe", "sn40l-coe") for n in (40, 160)}
    assert "out of memory" in points["dgx-h100-coe", 160]["error"]
    assert points["dgx-h100-coe", 160]["batch_latency_mean_ms"] is None
    assert points["sn40l-coe", 160]["switch_mean_ms"] == pytest.approx(112, rel=1e-3)
    csv = pd.read_csv(tmp_path / "latency-against-experts.csv")
    assert len(csv) == 4
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (tmp_path / f"latency-against-experts.{suffix}").read_bytes().startswith(start)


def test_compare_table_has_a_row_per_level(tmp_path):
    result = invoke(
        "compare", "dgx-a100-coe", "--experts", "40:160:40", "--batch-size", "1", "-s", "workload.batches=2",
        "--workers", "1", "--out", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "40 to 40" in result.output
    assert "80 to 120" in result.output
    assert "out of memory" in result.output


def test_footprint_lists_where_each_number_of_nodes_begins(tmp_path):
    result = invoke("footprint", "dgx-h100-coe", "--experts", "10:200:10", "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    rows = pd.DataFrame(json.loads(result.stdout)["points"])
    beside = rows[rows["tier_role"] == "beside the device"].groupby("nodes")["experts"].min()
    assert beside.to_dict() == {1: 10, 2: 50, 3: 100, 4: 140, 5: 190}
    assert (tmp_path / "nodes-against-experts.png").exists()


def test_footprint_of_another_workload_says_what_is_needed(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(
        "schema_version: 1\nname: other\ninclude: [devices/dgx-h100]\n"
        "workload: {kind: copies, copies: [{source: hbm, destination: hbm, bytes: 1 kB}]}\n"
    )
    result = invoke("footprint", str(path), "--out", str(tmp_path))
    assert isinstance(result.exception, TiergartenError)
    assert "must be `experts`" in str(result.exception)


def test_sweep_over_something_else_is_refused(tmp_path):
    pd.DataFrame({"set.tiers.hbm.capacity": ["1 GB"], "batch_latency_mean_ms": [1.0]}).to_parquet(
        tmp_path / "sweep.parquet"
    )
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"does not vary set\.workload\.batch_size and set\.workload\.experts"):
        latency_against_experts({"x": RunFolder.open(tmp_path)})


@pytest.mark.parametrize("text", ["", "5", "5:200", "a:b:c", "0:10:1", "10:5:1", "5:10:0", "5:10:-1", "1:1000000000:1"])
def test_bad_ranges_are_input_errors(text):
    with pytest.raises(InputError, match="--experts"):
        expert_numbers(text)


def test_range_holds_both_ends():
    assert expert_numbers("5:20:5") == [5, 10, 15, 20]
