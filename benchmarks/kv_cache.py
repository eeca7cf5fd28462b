"""Speed of the hit-rate replay and of the timed serving engine on the Mooncake conversation trace.

Usage: python benchmarks/kv_cache.py TRACE.csv, where TRACE is any request trace with prefix blocks. Compilation is reported
apart; times are user CPU seconds, the best of several.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from tiergarten.cli.console import console
from tiergarten.scenario.load import load_scenario
from tiergarten.sim.prefix import prefix_tree
from tiergarten.simulate import simulate
from tiergarten.workloads.hit_rate import KERNELS, hit_rates
from tiergarten.workloads.requests.files import read_requests

CAPACITIES_BLOCKS = [22, 44, 88, 176, 352, 704, 1409, 2818, 5637, 11275, 22550, 45100, 90200]
POLICY_SETS = (("fifo", "lru", "opt"), ("lfu", "s3fifo", "arc"))


def cpu_s(function: Callable[[], object], repeats: int) -> float:
    """Least CPU time of `repeats` calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Print one row per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    arguments = parser.parse_args()
    trace = read_requests(arguments.trace)
    table = Table("measurement", "CPU s", "rate")
    compile_s = cpu_s(lambda: hit_rates(trace.first(2), [1], list(KERNELS)), 1)
    table.add_row("compile or load kernels", f"{compile_s:.2f}", "")
    table.add_row("read trace", f"{cpu_s(lambda: read_requests(arguments.trace), 3):.2f}", f"{len(trace)} requests")
    table.add_row("prefix tree", f"{cpu_s(lambda: prefix_tree(trace), 3):.3f}", f"{len(trace.block_ids)} blocks")
    for policies in POLICY_SETS:
        seconds = cpu_s(lambda policies=policies: hit_rates(trace, CAPACITIES_BLOCKS, policies), 3)
        lookups = len(trace.block_ids) * len(CAPACITIES_BLOCKS) * len(policies)
        name = f"hit rates, {len(CAPACITIES_BLOCKS)} capacities x {', '.join(policies)}"
        table.add_row(name, f"{seconds:.2f}", f"{lookups / seconds / 1e6:.0f} M lookups/s")
    for model in ("llama-3-8b", "llama-3-70b"):
        scenario = load_scenario(
            "kv-tiers",
            [
                f"workload.requests={{source: file, path: {arguments.trace.resolve()}}}",
                f"workload.model={model}",
                # eight GPUs work as one at the rates and costs of devices/dgx-h100
                "devices.gpu.count=8",
                "devices.gpu.efficiency.prefill=0.4",
                "devices.gpu.overhead.layer=67.5 us",
                "tiers.hbm.count=8",
                "links.pcie.count=8",
                "tiers.ddr.capacity=64 GiB",
                "tiers.nvme.capacity=8 TB",
                "workload.batching={max_tokens: 8192}",
                "workload.hit_rate_curve=false",
            ],
        )
        start = time.process_time()
        result = simulate(scenario)
        seconds = time.process_time() - start
        ratio = result.metrics["elapsed_s"] / seconds
        table.add_row(f"timed replay, {model} on 8 GPUs", f"{seconds:.1f}", f"{ratio:.0f} x real time")
    console().print(table)


if __name__ == "__main__":
    main()
