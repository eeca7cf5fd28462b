"""What a serving run came to: metrics with their units in the names, and the tables that reports draw from.

TTFT = first token - arrival; TPOT = (last token - first token) / (output tokens - 1), for requests of two or more tokens; E2E =
last token - arrival; goodput = requests per second that kept both goals. Hit rate as defined in `docs/kv-tiers.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tiergarten.accelerators.device import DeviceSpec
from tiergarten.accelerators.serving.engine import DeviceState, ServingEngine
from tiergarten.accelerators.serving.requests import RequestRecords
from tiergarten.sim.trace import RequestTrace
from tiergarten.sim.units import PS_PER_S

Metrics = dict[str, float | int | str | None]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Goals:
    """What users expect; requests that keep both count for goodput."""

    ttft_ps: int
    tpot_ps: int


def request_metrics(trace: RequestTrace, records: RequestRecords, goals: Goals, elapsed_ps: int) -> Metrics:
    """Latency distributions and rates over finished requests."""
    done = records.is_finished
    elapsed_s = max(elapsed_ps, 1) / PS_PER_S
    ttft = (records.first_token_ps - records.arrival_ps)[done]
    e2e = (records.finished_ps - records.arrival_ps)[done]
    outputs = trace.output_tokens[done]
    steps = np.maximum(outputs - 1, 1)
    tpot = (records.finished_ps - records.first_token_ps)[done] / steps
    kept = (ttft <= goals.ttft_ps) & (tpot <= goals.tpot_ps)
    metrics: Metrics = {
        "requests": len(trace),
        "requests_finished": int(done.sum()),
        "requests_rejected": int(records.is_rejected.sum()),
        "throughput_requests_per_s": float(done.sum() / elapsed_s),
        "throughput_output_tokens_per_s": float(outputs.sum() / elapsed_s),
        "throughput_input_tokens_per_s": float(trace.input_tokens[done].sum() / elapsed_s),
        "goodput_requests_per_s": float(kept.sum() / elapsed_s),
        "goodput_share": float(kept.sum() / max(len(trace), 1)),
    }
    for name, values in (("ttft", ttft), ("tpot", tpot[outputs > 1]), ("e2e", e2e)):
        if len(values):
            metrics[f"{name}_mean_s"] = float(values.mean() / PS_PER_S)
            for share in (50, 90, 99):
                quantile = np.percentile(values, share, method="inverted_cdf")
                metrics[f"{name}_p{share}_s"] = float(quantile / PS_PER_S)
    return metrics


def hit_metrics(trace: RequestTrace, records: RequestRecords, levels: Sequence[str]) -> Metrics:
    """Hit rates in tokens, over all admitted requests and over the last half of the trace, and by level."""
    admitted = records.evicted_ps >= 0
    tokens = max(int(records.block_tokens[admitted].sum()), 1)
    later = admitted & (np.arange(len(trace)) >= len(trace) // 2)
    later_tokens = max(int(records.block_tokens[later].sum()), 1)
    metrics: Metrics = {
        "hit_rate": float(records.hit_tokens[admitted].sum() / tokens),
        "hit_rate_last_half": float(records.hit_tokens[later].sum() / later_tokens),
    }
    for index, level in enumerate(levels):
        metrics[f"hit_rate_{level}"] = float(records.hit_tokens[admitted, index].sum() / tokens)
    metrics["prefill_tokens"] = int(records.computed_tokens.sum())
    metrics["reloaded_bytes"] = int(records.reloaded_bytes.sum())
    return metrics


def device_metrics(engine: ServingEngine, device: DeviceSpec, elapsed_ps: int, finished_tokens: int) -> Metrics:
    """How busy the device was, what it computed, and its energy where the device data has its power."""
    busy_ps = engine.state_ps[DeviceState.PREFILL] + engine.state_ps[DeviceState.DECODE]
    metrics: Metrics = {
        "iterations": engine.iterations,
        "compute_flops": float(engine.flops),
        "device_busy_share": busy_ps / max(elapsed_ps, 1),
        "device_stalled_share": sum(engine.state_ps[state] for state in _STALLS) / max(elapsed_ps, 1),
    }
    if device.power is not None:
        idle_w = device.idle_power if device.idle_power is not None else 0.0
        energy_j = device.count * (device.power * busy_ps + idle_w * (elapsed_ps - busy_ps)) / PS_PER_S
        metrics["device_energy_j"] = energy_j
        if finished_tokens:
            metrics["device_energy_j_per_token"] = energy_j / finished_tokens
    if device.price is not None:
        metrics["device_cost_usd"] = device.price * device.count
    return metrics


_STALLS = (DeviceState.WAIT_RELOAD, DeviceState.WAIT_EVICT)


def device_states(engine: ServingEngine) -> dict[str, int]:
    """Time of the device by state; what is missing to the elapsed time is idle for want of requests."""
    return {state.value: ps for state, ps in engine.state_ps.items() if state is not DeviceState.IDLE}


def request_phases(records: RequestRecords, levels: Sequence[str]) -> dict[str, Int]:
    """int64[R] by phase; over a finished request's phases they sum to its end-to-end time.

    `turn` is the wait for a place in a batch; reloads are told apart by the level that was waited for.
    """
    phases = {
        "queue": records.admitted_ps - records.arrival_ps,
        "evict": records.evicted_ps - records.admitted_ps,
    }
    for index, level in enumerate(levels):
        if index:
            phases[f"reload {level}"] = records.reload_ps[:, index]
    phases["turn"] = records.started_ps - records.ready_ps
    phases["prefill"] = records.first_token_ps - records.started_ps
    phases["decode"] = records.finished_ps - records.first_token_ps
    return phases


def served_tables(trace: RequestTrace, records: RequestRecords, levels: Sequence[str]) -> dict[str, pa.Table]:
    """`requests` with one row each, `phases` in long form for finished requests."""
    phases = request_phases(records, levels)
    done = np.flatnonzero(records.is_finished)
    waits = [name for name in phases if name not in ("prefill", "decode")]
    longest = np.argmax(np.stack([phases[name] for name in waits]), axis=0)
    waited = np.stack([phases[name] for name in waits]).max(axis=0) > 0
    causes = [waits[i] if w and f else "" for i, w, f in zip(longest, waited, records.is_finished, strict=True)]
    requests = pa.table(
        {
            "request_id": np.arange(len(trace)),
            "arrival_ps": records.arrival_ps,
            "admitted_ps": records.admitted_ps,
            "ready_ps": records.ready_ps,
            "started_ps": records.started_ps,
            "first_token_ps": records.first_token_ps,
            "finished_ps": records.finished_ps,
            "input_tokens": trace.input_tokens,
            "output_tokens": trace.output_tokens,
            "computed_tokens": records.computed_tokens,
            **{f"hit_tokens_{level}": records.hit_tokens[:, index] for index, level in enumerate(levels)},
            "reloaded_bytes": records.reloaded_bytes,
            "is_rejected": records.is_rejected,
            "longest_wait": pa.array(causes, pa.string()).dictionary_encode(),
        }
    )
    names = list(phases)
    table = pa.table(
        {
            "request_id": np.repeat(done, len(names)),
            "phase": pa.DictionaryArray.from_arrays(
                pa.array(np.tile(np.arange(len(names)), len(done)), pa.int32()), names
            ),
            "ps": np.stack([phases[name][done] for name in names], axis=1).reshape(-1),
        }
    )
    return {"requests": requests, "phases": table}
