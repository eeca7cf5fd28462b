"""The `requests` commands, as a user types them."""

import json

import pytest
from typer.testing import CliRunner

from tiergarten.cli.requests import app

TRACE = "arrival_ms,input_tokens,output_tokens,kv_block_ids,block_tokens\n" + "".join(
    f"{i},20,3,{i % 3} {i % 3 + 10},10\n" for i in range(12)
)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TRACE)
    return path


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_info_describes_the_trace(trace):
    values = json.loads(invoke("info", trace, "--json"))
    assert (values["requests"], values["blocks_asked"], values["blocks_distinct"]) == (12, 24, 6)
    assert values["hit_rate_unbounded"] == pytest.approx(18 / 24)
    assert "hit_rate_unbounded" in invoke("info", trace)


def test_hit_rate_of_given_sizes(trace):
    rows = json.loads(invoke("hit-rate", trace, "--capacity", 2, "--capacity", 6, "--policy", "lru", "--json"))
    assert [row["hit_tokens"] for row in rows] == [0, 120, 120]
    assert "lru" in invoke("hit-rate", trace)


def test_convert_and_back_keeps_the_trace(trace, tmp_path):
    invoke("convert", trace, tmp_path / "t.jsonl.gz", "--to", "mooncake")
    invoke("convert", tmp_path / "t.jsonl.gz", tmp_path / "back.csv")
    digests = {json.loads(invoke("info", path, "--json"))["sha256"] for path in (trace, tmp_path / "back.csv")}
    assert len(digests) == 1


def test_generate_depends_on_seed_and_settings(tmp_path):
    for name, seed in (("a.csv", 1), ("b.csv", 1), ("c.csv", 2)):
        invoke("generate", tmp_path / name, "--seed", seed, "--set", "duration=1 min")
    texts = [(tmp_path / name).read_bytes() for name in ("a.csv", "b.csv", "c.csv")]
    assert texts[0] == texts[1] != texts[2]
