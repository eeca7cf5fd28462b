"""Synthetic result folders that obey the laws of real ones: bins add up, bars sum, occupancy stays within capacity.

A toy of three tiers and two first-come-first-served links serves Poisson requests. Nothing here claims to be a machine.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

MS = 10**9
GIB = 2**30
NUM_BINS = 400
CAPACITY = {"hbm": 80 * GIB, "ddr": 512 * GIB, "nvme": 3500 * GIB}
LINK = {"pcie": ("hbm", "ddr", 55e9), "nvme-bus": ("ddr", "nvme", 12e9)}

SCENARIO = """schema_version: 1
name: synthetic-tiers
devices:
  gpu: {include: h100-80gb}
tiers:
  hbm: {capacity: "80 GiB", bandwidth: "3.35 TB/s"}
  ddr: {capacity: "512 GiB"}
  nvme: {capacity: "3500 GiB"}
workload: {requests: 600}
run: {seed: 7}
"""


@dataclass(frozen=True)
class Toy:
    """What the synthetic run is made from; `names` replaces names by hostile ones."""

    requests: int = 600
    transfers: int = 3000
    seed: int = 7
    slowdown: float = 1.0
    title: str = "KV tiers, synthetic"


def write_folder(path: Path, toy: Toy = Toy(), rename: dict[str, str] | None = None) -> Path:
    """A complete result folder with every table that a figure can need."""
    random = np.random.default_rng(toy.seed)
    requests, phases = _requests(random, toy)
    elapsed = int(requests["finished_ps"].max())
    transfers = _transfers(random, toy, elapsed)
    elapsed = max(elapsed, int(transfers["finished_ps"].max()))
    tables = {
        "requests": requests, "phases": phases, "transfers": transfers, "links": _links(transfers, elapsed),
        "tiers": _tiers(transfers, elapsed), "occupancy": _occupancy(random, elapsed),
        "breakdown": _breakdown(transfers, elapsed), "hit_rate": hit_rate_table(), "sweep": sweep_table(),
        **series_tables(random),
    }  # fmt: skip
    first = np.sort((requests["first_token_ps"] - requests["arrival_ps"]) / MS)
    metrics = {
        "ttft_p50_ms": float(np.percentile(first, 50)), "ttft_p99_ms": float(np.percentile(first, 99)),
        "requests": toy.requests,
        "hit_rate_tokens_hbm": 0.31, "hit_rate_tokens_ddr": 0.12, "link_pcie_bytes": int(transfers["bytes"].sum()),
        "elapsed_ps": elapsed, "goodput_requests_per_s": 8.25, "energy_j": 51200.5,
    }  # fmt: skip
    manifest = {
        "name": "synthetic-tiers", "title": toy.title, "scenario_hash": "5f" * 32, "trace_hash": "a7" * 32,
        "code_version": "0.1.0",
        "packages": {"numpy": "2.3.0", "simpy": "4.1.1"}, "seed": toy.seed, "host": {"machine": "x86_64",
        "python": "3.11"},
        "tiers": {
            "hbm": {"fidelity": "curve", "calibration": {"file": "h100.yaml", "error": {"mape": 0.042,
            "interval": [0.035, 0.051]}}},
            "ddr": {"fidelity": "analytic"}, "nvme": {"fidelity": "analytic"},
        },
        "durations": {"simulate_s": 1.25},
    }  # fmt: skip
    path.mkdir(parents=True)
    (path / "series").mkdir()
    for name, table in tables.items():
        write_table(path, name, _renamed(table, rename or {}))
    (path / "manifest.json").write_text(_rename_text(json.dumps(manifest, indent=1), rename or {}, escape=True))
    (path / "metrics.json").write_text(json.dumps(metrics, indent=1))
    (path / "scenario.resolved.yaml").write_text(_rename_text(SCENARIO, rename or {}, escape=False))
    return path


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """One table as zstd Parquet, without pandas' own metadata, as a run writes it."""
    target = folder / f"{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(), target, compression="zstd"
    )


def _renamed(table: pd.DataFrame, rename: dict[str, str]) -> pd.DataFrame:
    text = [
        name
        for name in table.columns
        if pd.api.types.is_string_dtype(table[name]) and not pd.api.types.is_numeric_dtype(table[name])
    ]
    return table.assign(**{name: table[name].replace(rename) for name in text})


def _rename_text(text: str, rename: dict[str, str], *, escape: bool) -> str:
    for old, new in rename.items():
        text = text.replace(old, json.dumps(new)[1:-1] if escape else new)
    return text


def _requests(random: np.random.Generator, toy: Toy) -> tuple[pd.DataFrame, pd.DataFrame]:
    count = toy.requests
    arrival = np.cumsum(random.exponential(100 * MS, count)).astype(np.int64)
    inputs = random.lognormal(7.5, 1.0, count).astype(np.int64) + 16
    outputs = random.lognormal(5, 0.7, count).astype(np.int64) + 1
    burst = 1 + 8 * (np.sin(np.arange(count) / 40) > 0.8)
    parts = {
        "queue": random.exponential(30 * MS, count) * burst * toy.slowdown,
        "reload:ddr": np.where(random.random(count) < 0.4, random.exponential(18 * MS, count), 0),
        "reload:nvme": np.where(random.random(count) < 0.1, random.exponential(120 * MS, count), 0),
        "prefill": inputs * 0.02 * MS,
        "decode": (outputs - 1) * random.normal(14, 1.5, count).clip(8) * MS,
    }
    ps = {name: value.astype(np.int64) for name, value in parts.items()}
    first = arrival + ps["queue"] + ps["reload:ddr"] + ps["reload:nvme"] + ps["prefill"]
    requests = pd.DataFrame({
        "request_id": np.arange(count), "arrival_ps": arrival, "first_token_ps": first,
        "finished_ps": first + ps["decode"],
        "input_tokens": inputs, "output_tokens": outputs, "hit_tokens_hbm": inputs // 3, "hit_tokens_ddr": inputs // 8,
    })  # fmt: skip
    phases = pd.concat(
        [pd.DataFrame({"request_id": np.arange(count), "phase": name, "ps": value}) for name, value in ps.items()]
    )
    return requests, phases


def _transfers(random: np.random.Generator, toy: Toy, elapsed: int) -> pd.DataFrame:
    count = toy.transfers
    burst = elapsed * (0.3 + 0.1 * random.random(count // 2))
    asked = np.sort(np.concatenate([burst, elapsed * 0.85 * random.random(count - count // 2)])).astype(np.int64)
    link = np.where(random.random(count) < 0.8, "pcie", "nvme-bus")
    inward = random.random(count) < 0.6
    size = (2 ** random.integers(20, 31, count)).astype(np.int64)
    started, finished = np.zeros(count, np.int64), np.zeros(count, np.int64)
    free: dict[tuple[str, bool], int] = {}
    for row in range(count):
        key = (link[row], bool(inward[row]))
        started[row] = max(int(asked[row]), free.get(key, 0))
        finished[row] = started[row] + int(-(-int(size[row]) * 10**12 // int(LINK[link[row]][2])))
        free[key] = int(finished[row])
    near = np.array([LINK[name][0] for name in link])
    far = np.array([LINK[name][1] for name in link])
    cause = np.where(inward, np.where(random.random(count) < 0.7, "demand", "prefetch"),
                     np.where(random.random(count) < 0.6, "eviction", "writeback"))  # fmt: skip
    return pd.DataFrame({
        "id": np.arange(count), "source": np.where(inward, far, near), "destination": np.where(inward, near, far),
        "bytes": size,
        "cause": cause, "role": "kv", "requested_ps": asked, "started_ps": started, "finished_ps": finished,
        "route": link,
        "owner": random.integers(-1, toy.requests, count),
    })  # fmt: skip


def _bins(elapsed: int) -> np.ndarray:
    width = -(-elapsed // NUM_BINS)
    return width * np.arange(NUM_BINS + 1, dtype=np.int64)


def _overlap(start: np.ndarray, end: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """float64[N, bins]: picoseconds of each interval in each bin."""
    return np.clip(np.minimum(end[:, None], edges[1:]) - np.maximum(start[:, None], edges[:-1]), 0, None).astype(float)


def _links(transfers: pd.DataFrame, elapsed: int) -> pd.DataFrame:
    edges = _bins(elapsed)
    rows = []
    for link, (near, far, rate) in LINK.items():
        for source, destination in ((near, far), (far, near)):
            part = transfers[
                (transfers["route"] == link)
                & (transfers["source"] == source)
                & (transfers["destination"] == destination)
            ]
            busy = (
                _overlap(part["started_ps"].to_numpy(), part["finished_ps"].to_numpy(), edges)
                .sum(axis=0)
                .astype(np.int64)
            )
            rows.append(pd.DataFrame({
                "link": link, "direction": f"{source}>{destination}", "bin_start_ps": edges[:-1],
                "bin_ps": np.diff(edges),
                "bytes": (busy * (rate / 1e12)).astype(np.int64), "busy_ps": busy,
            }))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def _tiers(transfers: pd.DataFrame, elapsed: int) -> pd.DataFrame:
    edges = _bins(elapsed)
    rows = []
    for tier in CAPACITY:
        moved = {}
        for end in ("source", "destination"):
            part = transfers[transfers[end] == tier]
            length = (part["finished_ps"] - part["started_ps"]).to_numpy(float)
            share = _overlap(part["started_ps"].to_numpy(), part["finished_ps"].to_numpy(), edges) / length[:, None]
            moved[end] = (share * part["bytes"].to_numpy()[:, None]).sum(axis=0).astype(np.int64)
        busy = np.minimum((moved["source"] + moved["destination"]) / 200e9 * 1e12, np.diff(edges)).astype(np.int64)
        rows.append(pd.DataFrame({
            "tier": tier, "bin_start_ps": edges[:-1], "bin_ps": np.diff(edges), "read_bytes": moved["source"],
            "write_bytes": moved["destination"], "busy_ps": busy,
        }))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def _occupancy(random: np.random.Generator, elapsed: int) -> pd.DataFrame:
    times = _bins(elapsed)[1:]
    ramp = np.minimum(1, np.arange(NUM_BINS) / (0.3 * NUM_BINS))
    wiggle = 1 - 0.05 * random.random(NUM_BINS)
    rows = []
    for tier, roles in {
        "hbm": {"weights": 15, "kv": 58, "activations": 4},
        "ddr": {"kv": 480},
        "nvme": {"kv": 900},
    }.items():
        for role, gib in roles.items():
            held = np.full(NUM_BINS, gib * GIB) if role == "weights" else gib * GIB * ramp * wiggle
            rows.append(pd.DataFrame({"tier": tier, "role": role, "time_ps": times, "bytes": held.astype(np.int64),
                                      "capacity_bytes": CAPACITY[tier]}))  # fmt: skip
    return pd.concat(rows, ignore_index=True).sort_values("time_ps", kind="stable")


def _breakdown(transfers: pd.DataFrame, elapsed: int) -> pd.DataFrame:
    rows = [("gpu0", "busy", int(0.55 * elapsed)), ("gpu0", "stall:reload pcie", int(0.18 * elapsed)),
            ("gpu0", "stall:reload nvme", int(0.09 * elapsed))]  # fmt: skip
    for link in LINK:
        part = transfers[transfers["route"] == link]
        rows.append((link, "busy", min(elapsed, int((part["finished_ps"] - part["started_ps"]).sum()) // 2)))
    table = pd.DataFrame(rows, columns=["resource", "state", "ps"])
    idle = elapsed - table.groupby("resource", sort=False)["ps"].sum()
    return pd.concat(
        [table, pd.DataFrame({"resource": idle.index, "state": "idle", "ps": idle.to_numpy()})], ignore_index=True
    )


def hit_rate_table() -> pd.DataFrame:
    """Concave curves with LRU over FIFO and both under OPT."""
    capacity = 2.0 ** np.arange(30, 42)
    ceiling = 0.55 * (1 - np.exp(-capacity / 2.0**36))
    rates = {"fifo": 0.72 * ceiling, "lru": 0.8 * ceiling, "s3-fifo": 0.87 * ceiling, "opt": ceiling}
    return pd.concat(
        [pd.DataFrame({"policy": name, "capacity_bytes": capacity, "hit_rate": rate}) for name, rate in rates.items()]
    )


def sweep_table() -> pd.DataFrame:
    """HBM capacity by bandwidth; the smallest capacity cannot hold the weights, so its metrics are missing."""
    rows = []
    for gib in (8, 24, 48, 80, 96, 141):
        for rate in (1.0, 2.0, 3.35, 4.8):
            fits = gib > 16
            ttft = 4000 / gib**0.6 / rate**0.5
            rows.append({
                "set.tiers.hbm.capacity": f"{gib} GiB", "set.tiers.hbm.bandwidth": f"{rate:g} TB/s", "set.run.seed": 7,
                "ttft_p99_ms": ttft if fits else None, "cost_usd": 900.0 + 18 * gib + 700 * rate if fits else None,
                "hit_rate_tokens": 0.1 + 0.3 * (1 - np.exp(-gib / 60)) if fits else None,
                "work_done": 50 if fits else None, "work_unit": "token", "elapsed_s": 2e-3 / rate, "stall_share": 0.9 / rate,
                "program_read_ddr_bytes": 10**9 // gib, "program_read_hbm_bytes": 10**8, "program_written_hbm_bytes": 10**7,
                "tier_hbm_peak_occupancy_bytes": gib * 2**30, "tier_ddr_peak_occupancy_bytes": 2**30,
            })  # fmt: skip
    return pd.DataFrame(rows)


def series_tables(random: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The tidy tables under series/."""
    curves = []
    for share in (1.0, 0.8, 0.5):
        used = np.linspace(0.02, 0.97, 40)
        peak = 300e9 * (0.7 + 0.3 * share)
        latency = 95 + 9 / (1 - used)
        curves.append(pd.DataFrame({"tier": "ddr", "kind": "simulated", "read_share": share,
        "point": np.arange(40)[::-1],
                                    "bytes_per_s": used * peak, "latency_ns": latency}))  # fmt: skip
        some = slice(None, None, 4)
        noise = random.normal(1, 0.03, 10)
        curves.append(pd.DataFrame({"tier": "ddr", "kind": "measured", "read_share": share,
        "point": np.arange(10)[::-1],
                                    "bytes_per_s": used[some] * peak * noise,
                                    "latency_ns": latency[some] * noise}))  # fmt: skip
    roofs = pd.DataFrame(
        {"device": "H100", "tier": ["hbm", "ddr"], "flops_per_s": 989e12, "bytes_per_s": [3.35e12, 55e9]}
    )
    names = ["qkv", "attention decode", "attention prefill", "mlp up", "mlp down", "lm head", "norm"]
    intensity = np.array([210.0, 1.1, 320.0, 450.0, 440.0, 90.0, 0.5])
    ops = pd.DataFrame({"name": names, "tier": "hbm", "flops_per_byte": intensity,
                        "flops_per_s": 0.7 * np.minimum(989e12, 3.35e12 * intensity), "time_ps": [3e8, 9e8, 5e8,
                        7e8, 7e8, 2e8, 5e7]})  # fmt: skip
    measured = np.geomspace(1e3, 1e9, 80)
    parity = pd.DataFrame({"quantity": "copy time", "unit": "ns", "measured": measured,
                           "predicted": measured * random.normal(1, 0.05, 80),
                           "held_out": np.arange(80) % 4 == 0})  # fmt: skip
    steps = np.arange(0, 20000, 200)
    learning = pd.concat([
        pd.DataFrame({"agent": "ppo", "seed": seed, "step": steps,
                      "value": 0.42 * (1 - np.exp(-steps / 6000)) + random.normal(0, 0.015,
                      len(steps))}) for seed in range(5)
    ])  # fmt: skip
    reference = pd.DataFrame({"name": ["random", "lru", "optimum"], "value": [0.05, 0.33, 0.45]})
    knobs = {
        "hbm.bandwidth": (0.17, -0.11),
        "pcie.bandwidth": (0.31, -0.2),
        "ddr.capacity": (0.06, -0.04),
        "nvme.latency": (-0.01, 0.01),
    }
    sensitivity = pd.DataFrame([
        {"metric": "ttft_p99_ms", "knob": knob, "change": change, "value": 400 * (1 + effect), "base_value": 400.0}
        for knob, effects in knobs.items() for change, effect in zip((-0.2, 0.2), effects, strict=True)
    ])  # fmt: skip
    iterations = pd.DataFrame(
        {"iteration": np.arange(300), "wall_ms": 25 + random.random(300), "batch": np.arange(300) % 40}
    )
    return {
        "series/iterations": iterations,
        "series/bandwidth_latency": pd.concat(curves), "series/roofline_roofs": roofs, "series/roofline_ops": ops,
        "series/parity": parity, "series/learning_curve": learning, "series/learning_reference": reference,
        "series/sensitivity": sensitivity,
    }  # fmt: skip
