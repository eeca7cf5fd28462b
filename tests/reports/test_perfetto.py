"""The Chrome trace: well formed, complete where it fits, and honest about what it leaves out."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from result_folders import write_table

from tiergarten.reports.folder import RunFolder
from tiergarten.reports.perfetto import MAX_TRANSFERS, perfetto_trace, write_trace


@pytest.fixture(scope="module")
def trace(reported: Path) -> dict[str, Any]:
    return json.loads((reported / "trace.perfetto.json").read_text())


def named(trace: dict[str, Any], kind: str) -> dict[Any, str]:
    """Names by (pid, tid) of threads, or by pid of processes."""
    found = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "M" and event["name"] == f"{kind}_name":
            found[event["pid"] if kind == "process" else (event["pid"], event["tid"])] = event["args"]["name"]
    return found


def slices(trace: dict[str, Any], process: str) -> list[dict[str, Any]]:
    names = named(trace, "process")
    return [event for event in trace["traceEvents"] if event["ph"] == "X" and names[event["pid"]] == process]


def test_every_event_has_what_the_format_asks_for(trace: dict[str, Any]) -> None:
    names, threads = named(trace, "process"), named(trace, "thread")
    for event in trace["traceEvents"]:
        assert event["pid"] in names
        assert event["ph"] in ("M", "X", "C")
        if event["ph"] == "X":
            assert (event["pid"], event["tid"]) in threads
            assert event["ts"] >= 0
            assert event["dur"] >= 0
        if event["ph"] == "C":
            assert event["args"]
            assert all(isinstance(value, int | float) for value in event["args"].values())


def test_tiers_and_links_are_processes_and_directions_threads(trace: dict[str, Any]) -> None:
    assert {"tier hbm", "tier ddr", "tier nvme", "link pcie", "link nvme-bus", "requests"} <= set(
        named(trace, "process").values()
    )
    assert {"ddr > hbm", "hbm > ddr"} <= {name.split(" #")[0] for name in named(trace, "thread").values()}


def test_slices_of_a_thread_do_not_overlap(trace: dict[str, Any]) -> None:
    threads = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in threads.values():
        spans.sort()
        assert all(one[1] <= two[0] + 1e-6 for one, two in pairwise(spans))


def test_a_run_that_fits_is_complete(trace: dict[str, Any], run: RunFolder) -> None:
    transfers = run.table("transfers")
    for link in ("pcie", "nvme-bus"):
        shown = slices(trace, f"link {link}")
        expected = transfers[transfers["route"] == link]
        assert sum(event["args"]["bytes"] for event in shown) == expected["bytes"].sum()
        assert sum(event["dur"] for event in shown) * 1e6 == pytest.approx(
            (expected["finished_ps"] - expected["started_ps"]).sum()
        )
    requests = run.table("requests")
    shown = slices(trace, "requests")
    assert sum(event["dur"] for event in shown) * 1e6 == pytest.approx(
        (requests["finished_ps"] - requests["arrival_ps"]).sum()
    )
    assert trace["otherData"]["sampling"] == ["complete"]


def test_bandwidth_counters_hold_every_byte(trace: dict[str, Any], run: RunFolder) -> None:
    names = named(trace, "process")
    number = next(pid for pid, name in names.items() if name == "link pcie")
    counters = [
        e for e in trace["traceEvents"] if e["ph"] == "C" and e["pid"] == number and e["name"].startswith("ddr>hbm")
    ]
    links = run.table("links")
    lane = links[(links["link"] == "pcie") & (links["direction"] == "ddr>hbm")]
    widths_s = (
        np.diff([*(event["ts"] for event in counters), (lane["bin_start_ps"] + lane["bin_ps"]).max() / 1e6]) / 1e6
    )
    moved = sum(event["args"]["moved"] * 1e9 * width for event, width in zip(counters, widths_s, strict=True))
    assert moved == pytest.approx(lane["bytes"].sum(), rel=1e-4)


def test_a_transfer_stands_on_every_link_of_its_route(copy: Path) -> None:
    edges = {"bin_start_ps": 0, "bin_ps": 100, "bytes": 5}
    write_table(copy, "links", pd.DataFrame([
        {"link": "pcie", "direction": "ddr>hbm", **edges}, {"link": "bus", "direction": "ssd>ddr", **edges},
    ]))  # fmt: skip
    write_table(copy, "transfers", pd.DataFrame([{
        "id": 3, "source": "ssd", "destination": "hbm", "bytes": 5, "cause": "demand", "role": "kv", "requested_ps": 0,
        "started_ps": 2_000_000, "finished_ps": 5_000_000, "route": "bus>pcie", "owner": 7,
    }]))  # fmt: skip
    trace = perfetto_trace(RunFolder.open(copy))
    for link in ("pcie", "bus"):
        (event,) = slices(trace, f"link {link}")
        assert (event["ts"], event["dur"], event["args"]["waited_us"], event["args"]["request"]) == (2.0, 3.0, 2.0, 7)


def test_what_goes_over_no_link_takes_no_room(copy: Path) -> None:
    transfers = RunFolder.open(copy).table("transfers")
    own = pd.concat([transfers.assign(id=transfers["id"] + 10_000 * (turn + 1), route="") for turn in range(5)])
    write_table(copy, "transfers", pd.concat([transfers, own]))
    trace = perfetto_trace(RunFolder.open(copy))
    shown = slices(trace, "link pcie") + slices(trace, "link nvme-bus")
    assert sorted(event["args"]["id"] for event in shown) == transfers["id"].tolist()
    assert trace["otherData"]["sampling"] == ["15000 accesses of the device to tiers beside it: only as bandwidth"]


def test_a_long_run_is_sampled_and_says_so(copy: Path) -> None:
    count = 10 * MAX_TRANSFERS
    start = np.arange(count) * 1000
    write_table(copy, "transfers", pd.DataFrame({
        "id": np.arange(count), "source": "ddr", "destination": "hbm", "bytes": 64, "cause": "demand", "role": "kv",
        "requested_ps": start, "started_ps": start, "finished_ps": start + 100_000, "route": "pcie", "owner": -1,
    }))  # fmt: skip
    path = write_trace(RunFolder.open(copy))
    assert path is not None
    assert path.stat().st_size < 8_000_000
    trace = json.loads(path.read_text())
    assert len(slices(trace, "link pcie")) <= MAX_TRANSFERS
    assert f"transfers: every 10th of {count} in order of time" in trace["otherData"]["sampling"]


def test_hostile_names_are_only_text(hostile: Path) -> None:
    raw = (hostile / "trace.perfetto.json").read_bytes()
    assert raw.isascii()
    assert "tier <script>alert(1)</script>" in named(json.loads(raw), "process").values()
