"""Figures of measured and independent data from ../shared: nothing of ours in between."""

from pathlib import Path

import pandas as pd
from result_folders import write_table

from tiergarten.reports.folder import RunFolder
from tiergarten.reports.render import Drawn, draw, save

KV_BYTES_PER_BLOCK = 512 * 128 * 1024
"""Of a 512-token block of Llama 3 8B: 2 x 32 layers x 8 KV heads x 128 x 2 bytes a token."""


def folder_with(path: Path, name: str, table: pd.DataFrame) -> RunFolder:
    (path / "manifest.json").write_text("{}")
    write_table(path, name, table)
    return RunFolder.open(path)


def test_measured_curves_keep_their_order_and_are_hollow(shared: Path, tmp_path: Path) -> None:
    measured = pd.read_csv(shared / "reference" / "mess" / "amazon_graviton3_ddr5_4800.csv")
    run = folder_with(tmp_path, "series/bandwidth_latency", pd.DataFrame({
        "tier": measured["system"], "kind": "measured", "read_share": measured["read_percent"] / 100, "point": measured["point"],
        "bytes_per_s": measured["bandwidth_GBps"] * 1e9, "latency_ns": measured["latency_ns"],
    }))  # fmt: skip
    result = draw(run, "bandwidth-latency")
    assert isinstance(result, Drawn)
    save(result, tmp_path)
    lines = result.figure.axes[0].get_lines()
    assert len(lines) == measured["read_percent"].nunique() == 6
    assert {line.get_fillstyle() for line in lines} == {"none"}
    heaviest = measured[measured["read_percent"] == 50].sort_values("point")
    assert lines[0].get_ydata().tolist() == heaviest["latency_ns"].tolist()


def test_an_independent_hit_rate_table_lies_under_its_ceiling(shared: Path, tmp_path: Path) -> None:
    table = pd.read_csv(shared / "reference" / "traces" / "mooncake_conversation_hit_rates.csv")
    table = table[table["policy"].isin(["fifo", "lru", "optimal"])]
    run = folder_with(tmp_path, "hit_rate", pd.DataFrame({
        "policy": table["policy"], "capacity_bytes": table["cache_blocks"].astype(float) * KV_BYTES_PER_BLOCK,
        "hit_rate": table["hit_rate"],
    }))  # fmt: skip
    result = draw(run, "hit-rate")
    assert isinstance(result, Drawn)
    save(result, tmp_path)
    assert len(result.data) == len(table)
    assert "out of reach" in result.caption
    assert "must not be" not in result.caption
