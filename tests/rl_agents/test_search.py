"""Search agents find known optima, jobs are validated, learned policies are plain weights and replay by `run`."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optuna", reason="needs the extra `rl`")
pytest.importorskip("stable_baselines3", reason="needs the extra `rl`")

import tiergarten as tg
from tiergarten.rl_agents.search import load_job, run_job, search_agents
from tiergarten.sim.chooser import FEATURES, NUM_CANDIDATES, Decision, MlpChooser
from tiergarten.sim.errors import InputError, ScenarioError, TiergartenError

PIPE = """schema_version: 1
name: pipe
tiers:
  a: {kind: ddr, capacity: 1 GB, bandwidth: 1 TB/s}
  b: {kind: ddr, capacity: 1 GB, bandwidth: 1 TB/s}
links:
  wire: {between: [a, b], bandwidth: 1 GB/s}
workload: {kind: copies, copies: [{source: a, destination: b, bytes: 1 MB, count: 10}]}
"""
JOB = """schema_version: 1
name: find
scenario: pipe.yaml
agent: AGENT
metric: elapsed_s
budget: BUDGET
space:
  links.wire.bandwidth: {low: 1, high: 64, unit: GB/s, log: true}
  links.wire.sharing: [fifo, fair, priority]
"""


def job_file(folder: Path, agent: str, budget: int = 30, text: str = JOB) -> Path:
    (folder / "pipe.yaml").write_text(PIPE)
    path = folder / "job.yaml"
    path.write_text(text.replace("AGENT", agent).replace("BUDGET", str(budget)))
    return path


@pytest.mark.parametrize(("agent", "within"), [("random", 1.5), ("tpe", 1.25)])
def test_agents_find_the_fastest_link(tmp_path: Path, agent: str, within: float) -> None:
    """The optimum is the largest bandwidth: 10 MB at 64 GB/s = 156 us."""
    folder, best, summary = run_job(job_file(tmp_path, agent), tmp_path / "out", lambda share: None)
    assert 10e6 / 64e9 <= best.metrics["elapsed_s"] <= within * 10e6 / 64e9
    assert summary["best_value"] == best.metrics["elapsed_s"]
    again = tg.run(folder / "best.yaml")
    assert again.metrics == best.metrics
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [folder.name]


def test_a_search_repeats_to_the_byte(tmp_path: Path) -> None:
    tables = []
    for name in ("one", "two"):
        folder, _, _ = run_job(job_file(tmp_path, "tpe", 8), tmp_path / name, lambda share: None)
        tables.append({p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert tables[0] == tables[1]


def test_proposals_that_cannot_run_do_not_end_the_search(tmp_path: Path) -> None:
    text = JOB.replace("links.wire.sharing: [fifo, fair, priority]", "links.wire.sharing: [fifo, broken]")
    folder, best, _ = run_job(job_file(tmp_path, "random", 12, text), tmp_path / "out", lambda share: None)
    import pyarrow.parquet as pq

    evaluations = pq.read_table(folder / "evaluations.parquet").to_pandas()
    assert 0 < evaluations["value"].isna().sum() < 12
    assert "is not one of" in "".join(evaluations["error"])
    assert best.metrics["elapsed_s"] > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("agent: AGENT", "agent: rnadom", "Did you mean 'random'"),
        ("metric: elapsed_s", "metric: elapsed", "Did you mean 'elapsed_s'"),
        ("budget: BUDGET", "budget: 0", "greater than 0"),
        ("low: 1,", "low: 100,", "low < high"),
        ("name: find", "nmae: find", "Did you mean 'name'"),
        ("scenario: pipe.yaml", "scenario: pip.yaml", "cannot be read"),
        ("links.wire.sharing: [fifo, fair, priority]", "links.wire.sharing: []", "needs a `space:`"),
    ],
)
def test_bad_jobs_are_refused_and_leave_nothing(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = job_file(tmp_path, "random", 2, JOB.replace(old, new))
    with pytest.raises(TiergartenError, match=message):
        run_job(path, tmp_path / "out", lambda share: None)
    assert not list((tmp_path / "out").glob("*"))


def test_ppo_weights_replay_as_they_were_scored(tmp_path: Path) -> None:
    """A short training: the policy that is kept scores, when run from its file, what it scored while it was learnt."""
    path = tmp_path / "job.yaml"
    path.write_text(
        "schema_version: 1\nname: learn\nscenario: kv-agent\nagent: ppo\nmetric: hit_rate\ndirection: maximise\n"
        "budget: 1024\nset: {workload.requests.duration: 90 s}\nbaselines: [lru, opt]\n"
    )
    folder, best, summary = run_job(path, tmp_path / "out", lambda share: None)
    assert summary["best_value"] == best.metrics["hit_rate"]
    assert summary["baselines"]["opt"] >= best.metrics["hit_rate"] - 1e-9
    assert tg.run(folder / "best.yaml").metrics == best.metrics


def test_all_agents_are_found() -> None:
    assert {"random", "tpe", "ppo"} <= set(search_agents.names())


def test_jobs_of_the_documentation_load() -> None:
    jobs = sorted((Path(__file__).resolve().parents[2] / "docs" / "examples" / "jobs").glob("*.yaml"))
    assert len(jobs) >= 2
    for path in jobs:
        assert load_job(path).schema.budget > 0


def decision(rng: np.random.Generator, count: int) -> Decision:
    return Decision(rng.random((NUM_CANDIDATES, len(FEATURES)), np.float32), count, 0, 0)


def test_weights_survive_a_file_and_equal_torch(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    width = NUM_CANDIDATES * len(FEATURES)
    net = torch.nn.Sequential(torch.nn.Linear(width, 16), torch.nn.Tanh(), torch.nn.Linear(16, NUM_CANDIDATES))
    layers = tuple((net[i].weight.detach().numpy(), net[i].bias.detach().numpy()) for i in (0, 2))
    MlpChooser(layers).save(tmp_path / "p.npz")
    chooser = MlpChooser.load(tmp_path / "p.npz")
    rng = np.random.default_rng(0)
    for _ in range(50):
        asked = decision(rng, int(rng.integers(2, NUM_CANDIDATES + 1)))
        with torch.no_grad():
            outputs = net(torch.from_numpy(asked.features.ravel())).numpy()
        assert chooser(asked) == int(np.argmax(outputs[: asked.num_candidates]))


@pytest.mark.parametrize("make", ["text", "pickle", "shape", "empty"])
def test_foreign_weights_are_refused(tmp_path: Path, make: str) -> None:
    path = tmp_path / "p.npz"
    if make == "text":
        path.write_text("hello")
    elif make == "pickle":
        np.savez(path, weight0=np.array([{}], dtype=object), bias0=np.zeros(1))
    elif make == "shape":
        np.savez(path, weight0=np.zeros((8, 5), np.float32), bias0=np.zeros(8, np.float32))
    else:
        np.savez(path)
    with pytest.raises(InputError):
        MlpChooser.load(path)


def test_a_learned_policy_without_weights_is_refused_when_loading() -> None:
    with pytest.raises(ScenarioError, match="needs `weights`"):
        tg.run("kv-agent", set={"policies.eviction": "learned"})
