"""Every kernel once at a size that models have: its result and its bytes checked, its time and memory measured.

Run `python benchmarks/kernels.py [NAME ...]`. Sizes come from the models that each paper measures where one machine of
16 GB can hold the operands and their float64 reference, and are cut down in layers, heads or tokens where not (a comment
says so). Seconds are processor time of the recorded run, reference included, beside other work on the machine.
"""

import resource
import sys
import time
from dataclasses import replace

from rich.table import Table

from tiergarten.cli.console import console
from tiergarten.workloads.kernel import KERNELS, record, traffic_faults
from tiergarten.workloads.traffic import traffic

LLAMA_8B = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
"""A layer of Llama-3-8B."""
SIZES = {
    "adam_8bit": {"tensors": (4096 * 4096, 4096), "steps": 1},  # an attention matrix and a norm of Llama-3-8B
    "adaptive_block": {"width": 128, "prompt_tokens": 256, "new_tokens": 128},
    "agent_session": {"layers": 4, "width": 256, "system_tokens": 512, "observation_tokens": 512, "reply_tokens": 32,
                      "turns": 6, "limit": 2048, "kept": 1024},
    "bitstack": {"matrices": 1, "rows": 512, "columns": 512, "steps": 16, "budget_blocks": 12},
    "block_diffusion": {"width": 128, "prompt_tokens": 512, "new_tokens": 128},
    "byte_scale": {"layers": 8, "tokens": 1024, "hidden": 512},
    "concurrent_loading": {"blocks": 14, "resident": 4, "steps": 3, "width": 2048},
    "dfloat11": {"layers": 1, "rows": 1024, "columns": 4096, "threads": 256},
    "dynamic_mask": {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "tokens": 16384, "keep": 1024},
    "expert_cache": {"experts": 48, "slots": 12, "width": 1024, "requests": 64, "batch": 8},
    "flash_moba": {"num_heads": 1, "tokens": 8192, "head_dim": 128, "block": 128, "top_k": 8},
    "flash_prefill": {**LLAMA_8B, "tokens": 2048, "tile_q": 128, "tile_k": 128},
    "flexgen": {"layers": 4, "width": 1024, "batches": 4, "tokens": 512},
    "hip": {"tokens": 65536, "head_dim": 128, "keep": 512, "steps": 16, "refresh": 8, "search_cache_blocks": 2048,
            "attention_cache_blocks": 512},
    "kv_injection": {"layers": 2, "width": 1024, "memory_tokens": 2773, "query_tokens": 303},  # MemOS, a row of its table
    "linear_attention": {"num_heads": 20, "head_dim": 112, "block": 1024, "num_blocks": 8},
    "llm_in_a_flash": {"width": 2048, "neurons": 8192, "predictor_rank": 1024, "activity": 0.03, "tokens": 4},
    "lq_lora": {"matrices": 1, "rows": 512, "columns": 512, "rank": 64, "budget_bits": 2.75, "batch": 32, "tile": 128},
    "mamba_scan": {"tokens": 2048, "channels": 1536, "state_size": 16, "chunk": 256},  # Mamba-130M
    "memo_swap": {"layers": 8, "tokens": 1024, "hidden": 512},
    "mixture_of_memories": {"num_heads": 4, "tokens": 1024, "head_dim": 128},
    "mla_decode": {"num_heads": 128, "tokens": 8192, "latent": 512, "rope": 64, "head_dim": 128, "tile": 512},
    "moba": {"num_heads": 1, "tokens": 4096, "head_dim": 128, "block": 512, "top_k": 3},
    "moba_reordered": {"num_heads": 1, "tokens": 8192, "head_dim": 128, "block": 512, "top_k": 3},
    "native_sparse": {"num_heads": 64, "num_kv_heads": 4, "tokens": 32768, "head_dim": 128, "block": 64,
                      "top_blocks": 16, "window": 512},
    "paged_decode": {**LLAMA_8B, "lengths": (8192,) * 8},
    "paged_swap": {**LLAMA_8B, "prompts": (1024, 2048, 512), "new_tokens": 32, "device_blocks": 260, "block_tokens": 16},
    "pyramid_sparse": {"num_heads": 2, "tokens": 4096, "head_dim": 128, "block_q": 128, "block_k": 64},
    "quest": {"num_heads": 8, "tokens": 32768, "head_dim": 128, "page": 16, "top_pages": 128},
    "routing_transformer": {"tokens": 8192, "head_dim": 64},
    "sliding_window": {"num_heads": 2, "num_kv_heads": 1, "tokens": 8192, "head_dim": 128, "window": 4096, "tile": 128},
    "sparse_indexer": {"num_heads": 128, "index_heads": 64, "tokens": 16384, "latent": 512, "index_dim": 128,
                       "keep": 2048},
    "titans_memory": {"head_dim": 256, "hidden": 1024, "chunk": 64, "chunks": 16},
    "vattention_decode": {"num_layers": 4, "num_heads": 32, "num_kv_heads": 4, "head_dim": 128, "prompt_tokens": 16384,
                          "steps": 4, "group_bytes": 2 * 1024 * 1024},  # Yi-6B, 4 of 32 layers
}  # fmt: skip


def measured(name: str) -> list[str]:
    """A row: shape, seconds, accesses, bytes read and written, error, recall, most memory so far."""
    kernel = replace(KERNELS.get(name)(), **SIZES[name])  # type: ignore[type-var]
    start = time.process_time()
    outcome, trace = record(kernel)
    seconds = time.process_time() - start
    moved = traffic(trace)
    faults = [*trace.problems(), *traffic_faults(moved, kernel.bytes_formula(outcome.counts))]
    within = outcome.error() <= outcome.tolerance and not faults
    return [
        name,
        f"{seconds:.1f}",
        f"{len(trace.ops):,}",
        f"{len(trace.accesses):,}",
        f"{sum(part.read_bytes for part in moved.values()) / 1e6:,.0f}",
        f"{sum(part.written_bytes for part in moved.values()) / 1e6:,.0f}",
        f"{outcome.error():.1e}" + ("" if within else " WRONG"),
        "" if outcome.recall is None else f"{outcome.recall:.2f}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f}",
    ]


def main() -> None:
    """Print the table."""
    names = sys.argv[1:] or list(KERNELS.names())
    table = Table(title="Kernels at size", title_justify="left")
    columns = ["kernel", "s", "operations", "accesses", "read, MB", "written, MB", "error", "recall", "peak so far, GB"]
    for column in columns:
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for name in names:
        table.add_row(*measured(name))
    console().print(table)


if __name__ == "__main__":
    main()
