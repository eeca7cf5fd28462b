"""The serving workload from scenario to result: what it refuses, what it gives, and that it gives it again."""

import numpy as np
import pytest

from tiergarten.scenario.load import load_scenario
from tiergarten.sim.errors import ScenarioError, TraceError
from tiergarten.simulate import simulate
from tiergarten.workloads.hit_rate import unbounded_hit_rate
from tiergarten.workloads.requests.files import read_requests

SMALL = (
    "workload.requests.duration=2 min",
    "workload.requests.sessions_per_s=0.3",
    "tiers.ddr.capacity=256 MiB",  # of each of sixteen channels: 4 GiB
    "tiers.nvme.capacity=16 GB",
)


def run(*overrides):
    return simulate(load_scenario("kv-tiers", [*SMALL, *overrides]))


def problems(*overrides):
    with pytest.raises(ScenarioError) as caught:
        run(*overrides)
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.fixture(scope="module")
def result():
    return run()


def test_run_obeys_the_laws_and_serves_everybody(result):
    result.check()
    assert result.metrics["requests_finished"] == result.metrics["requests"] > 50
    assert result.metrics["requests_rejected"] == 0


def test_phases_sum_to_the_latency_of_each_request(result):
    requests = result.requests.to_pandas().set_index("request_id")
    phases = result.tables["phases"].to_pandas().groupby("request_id")["ps"].sum()
    assert (phases == requests["finished_ps"] - requests["arrival_ps"]).all()


def test_reloads_are_the_bytes_that_links_carried_up(result):
    up = result.metrics["link_pcie_ddr>hbm_bytes"]
    assert up == result.metrics["reloaded_bytes"] == result.requests.to_pandas()["reloaded_bytes"].sum()


def test_hit_rates_of_tiers_sum_to_the_hit_rate(result):
    parts = sum(result.metrics[f"hit_rate_{tier}"] for tier in ("hbm", "ddr", "nvme"))
    assert parts == pytest.approx(result.metrics["hit_rate"])
    requests = result.requests.to_pandas()
    hits = sum(requests[f"hit_tokens_{tier}"] for tier in ("hbm", "ddr", "nvme"))
    assert (requests["computed_tokens"] == np.maximum(1, requests["input_tokens"] - hits)).all()


def test_hit_rate_curve_lies_under_the_optimum(result):
    table = result.tables["hit_rate"].to_pandas().pivot(index="capacity_bytes", columns="policy", values="hit_rate")
    assert {"fifo", "lru", "opt"} == set(table.columns)
    # the optimum is over blocks; partly filled last blocks can turn a token or two
    assert (table["lru"] <= table["opt"] + 1e-3).all()
    assert (table["fifo"] <= table["opt"] + 1e-3).all()


def test_same_scenario_gives_the_same_tables(result):
    again = run()
    assert again.metrics == result.metrics
    assert again.manifest == result.manifest
    for name, table in result.tables.items():
        assert again.tables[name].equals(table), name


@pytest.mark.parametrize("policy", ["fifo", "lfu", "s3fifo", "arc", "opt", "random"])
def test_every_policy_serves_everybody(policy):
    served = run(f"policies.eviction={policy}", "policies.write=on-evict", "workload.hit_rate_curve=false")
    assert served.metrics["requests_finished"] == served.metrics["requests"]
    assert 0 < served.metrics["hit_rate"] < 1


def test_policies_can_differ_by_tier():
    served = run("policies.eviction={hbm: lru, ddr: s3fifo}", "workload.hit_rate_curve=false")
    assert served.metrics["requests_finished"] == served.metrics["requests"]


def test_more_tiers_never_lower_the_hits_of_this_stream():
    rates = [
        run(f"workload.cache={cache}", "workload.hit_rate_curve=false", "workload.memory_share=0.25").metrics[
            "hit_rate"
        ]
        for cache in ("[hbm]", "[hbm, ddr]", "[hbm, ddr, nvme]")
    ]
    assert rates[0] < rates[1] <= rates[2]


def test_what_cannot_work_is_refused_before_the_run():
    assert "cannot hold the weights: they need" in problems("tiers.hbm.capacity=10 GB")["tiers.hbm.capacity"]
    assert "Did you mean 'llama-3-8b'" in problems("workload.model=llama-3-8")["workload.model"]
    assert "unknown tier 'hbn'" in problems("workload.cache=[hbn, ddr]")["workload.cache.0"]
    assert "twice" in problems("workload.cache=[hbm, hbm]")["workload.cache"]
    assert "Did you mean 's3fifo'" in problems("policies.eviction=s3-fifo")["policies.eviction"]
    assert "is no tier" in problems("policies.eviction={sram: lru}")["policies.eviction.sram"]
    assert "name the device" in problems("workload.device=null")["workload.device"]
    assert "fp4" in problems("workload.number_format=fp4")["workload.device"]
    assert "file not found" in str(problems("workload.requests={source: file, path: absent.csv}"))


def test_damaged_trace_is_named_by_file_and_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arrival_ms,input_tokens,output_tokens\n0,5,5\n-1,5,5\n")
    with pytest.raises(TraceError, match=r"t\.csv:3: arrival_ms must not be negative"):
        simulate(load_scenario("kv-tiers", [f"workload.requests={{source: file, path: {path}}}"]))


def test_trace_without_blocks_is_served_without_hits(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("input_tokens,output_tokens\n" + "100,20\n" * 30)
    served = simulate(
        load_scenario("kv-tiers", [f"workload.requests={{source: file, path: {path}, requests_per_s: 10}}"])
    )
    assert served.metrics["requests_finished"] == 30
    assert served.metrics["hit_rate"] == 0
    assert served.metrics["elapsed_s"] > 2


def test_request_that_cannot_fit_is_rejected_and_the_rest_served(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arrival_ms,input_tokens,output_tokens\n0,100,5\n1,900000000,5\n2,100,5\n")
    served = simulate(load_scenario("kv-tiers", [f"workload.requests={{source: file, path: {path}}}"]))
    assert served.metrics["requests_rejected"] == 1
    assert served.metrics["requests_finished"] == 2
    assert served.requests["finished_ps"].to_pylist()[1] == -1


def test_trace_of_which_nothing_fits_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arrival_ms,input_tokens,output_tokens\n0,900000000,5\n")
    with pytest.raises(ScenarioError, match="none of the 1 requests fits"):
        simulate(load_scenario("kv-tiers", [f"workload.requests={{source: file, path: {path}}}"]))


def test_beginning_of_the_mooncake_trace_is_served(shared):
    path = shared / "reference/traces/mooncake_conversation.csv"
    served = simulate(
        load_scenario(
            "kv-tiers",
            [
                f"workload.requests={{source: file, path: {path}, num_requests: 400, time_scale: 4}}",
                "tiers.ddr.capacity=16 GiB",
            ],
        )
    )
    assert served.metrics["requests_finished"] == 400
    bottomless = unbounded_hit_rate(read_requests(path, num_requests=400), warmup_share=0.0)["hit_rate"][0]
    assert 0.5 * bottomless < served.metrics["hit_rate"] <= bottomless
