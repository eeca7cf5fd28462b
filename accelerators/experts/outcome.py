"""What serving a composition of experts came to: metrics with their units in the names, and tables."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tiergarten.accelerators.experts.server import BatchRecord, ExpertServer, PromptRecord, ServingPlan
from tiergarten.sim.units import PS_PER_MS, PS_PER_S

Metrics = dict[str, float | int | str | None]


def served_metrics(batches: Sequence[BatchRecord], prompts: Sequence[PromptRecord], output_tokens: int) -> Metrics:
    """Over the finished ones of the batches given. A batch's latency is from its arrival to its last prompt's last token."""
    finished = [batch for batch in batches if batch.finished_ps >= 0]
    numbers = {batch.batch for batch in finished}
    served = [prompt for prompt in prompts if prompt.batch in numbers]
    metrics: Metrics = {"batches": len(finished), "prompts": len(served)}
    if not finished:
        return metrics
    latencies_ms = np.array([batch.finished_ps - batch.arrival_ps for batch in finished]) / PS_PER_MS
    hits = sum(prompt.hit for prompt in served)
    span_s = (finished[-1].finished_ps - finished[0].arrival_ps) / PS_PER_S
    return metrics | {
        "batch_latency_mean_ms": float(latencies_ms.mean()),
        "batch_latency_p50_ms": float(np.percentile(latencies_ms, 50)),
        "batch_latency_p99_ms": float(np.percentile(latencies_ms, 99)),
        "switch_mean_ms": float(np.mean([batch.copy_ps for batch in finished])) / PS_PER_MS,
        "stall_mean_ms": float(np.mean([b.finished_ps - b.arrival_ps - b.busy_ps for b in finished])) / PS_PER_MS,
        "expert_copies": len(served) - hits,
        "expert_hit_rate": hits / len(served),
        "throughput_tokens_per_s": len(served) * output_tokens / span_s,
    }


def cost_metrics(plan: ServingPlan) -> Metrics:
    """Time of one run, before any queue."""
    return {
        "router_run_ms": plan.router_run.duration_ps / PS_PER_MS,
        "expert_run_ms": plan.expert_run.duration_ps / PS_PER_MS,
        "expert_first_token_ms": plan.expert_run.first_token_ps / PS_PER_MS,
        "expert_bytes": plan.expert_bytes,
    }


def device_states_ps(server: ExpertServer) -> dict[str, int]:
    """Time of the device over the run: at work, or waiting for copies within a batch."""
    finished = [batch for batch in server.batches if batch.finished_ps >= 0]
    stalled_ps = sum(batch.finished_ps - batch.arrival_ps - batch.busy_ps for batch in finished)
    return {"busy": sum(batch.busy_ps for batch in server.batches), "stall:expert copies": stalled_ps}


def served_tables(server: ExpertServer, prompt_tokens: int, output_tokens: int) -> dict[str, pa.Table]:
    """`requests` and `phases` per prompt, `series/batches` per batch; warm-up included."""
    prompts, batches = server.prompts, server.batches
    done = [prompt for prompt in prompts if prompt.finished_ps >= 0]
    phases = [(prompt.prompt, *phase) for prompt in done for phase in _phases(prompt, batches[prompt.batch])]
    return {
        "requests": pa.table(
            {
                "request_id": _ints(prompt.prompt for prompt in prompts),
                "arrival_ps": _ints(prompt.arrival_ps for prompt in prompts),
                "first_token_ps": _ints(prompt.first_token_ps for prompt in prompts),
                "finished_ps": _ints(prompt.finished_ps for prompt in prompts),
                "input_tokens": _ints(prompt_tokens for _ in prompts),
                "output_tokens": _ints(output_tokens for _ in prompts),
                "batch": _ints(prompt.batch for prompt in prompts),
                "expert": _ints(prompt.expert for prompt in prompts),
                "hit": pa.array([prompt.hit for prompt in prompts], pa.bool_()),
                "copy_ps": _ints(prompt.copy_ps for prompt in prompts),
            }
        ),
        "phases": pa.table(
            {
                "request_id": _ints(row[0] for row in phases),
                "phase": pa.array([row[1] for row in phases], pa.string()),
                "ps": _ints(row[2] for row in phases),
            }
        ),
        "series/batches": pa.table(
            {
                "batch": _ints(batch.batch for batch in batches),
                "arrival_ps": _ints(batch.arrival_ps for batch in batches),
                "routed_ps": _ints(batch.routed_ps for batch in batches),
                "finished_ps": _ints(batch.finished_ps for batch in batches),
                "copies": _ints(batch.copies for batch in batches),
                "copy_ps": _ints(batch.copy_ps for batch in batches),
            }
        ),
    }


def _phases(prompt: PromptRecord, batch: BatchRecord) -> list[tuple[str, int]]:
    """Where the prompt's time went, from arrival to its last token."""
    return [
        ("router", batch.routed_ps - prompt.arrival_ps),
        ("copies and earlier prompts", prompt.started_ps - batch.routed_ps - prompt.copy_ps),
        ("copy of its expert", prompt.copy_ps),
        ("expert", prompt.finished_ps - prompt.started_ps),
    ]


def _ints(values: "object") -> pa.Array:
    return pa.array(list(values), pa.int64())  # type: ignore[call-overload]
