"""What recording costs: time against the same kernel unrecorded, size of the trace on disk, and trace tools per access.

Run `python benchmarks/workloads.py`. Processor time of this process, best of several runs; compilation is warmed up
before. The PyTorch rows need torch and transformers and are left out without them.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from tiergarten.cli.console import console
from tiergarten.scenario import load_scenario
from tiergarten.sim.trace import Role, Trace
from tiergarten.sim.trace_io import load_trace, save_trace
from tiergarten.sim.trace_join import repeat
from tiergarten.simulate import simulate
from tiergarten.workloads.addresses.patterns import HotSet
from tiergarten.workloads.kernel import KERNELS, record
from tiergarten.workloads.lowering import lower
from tiergarten.workloads.recorders.kernel import NullRecorder
from tiergarten.workloads.trace_statistics import statistics

REPEATS = 3
LARGER = {
    "flash_prefill": {"tokens": 1024},
    "paged_decode": {"lengths": (4096, 2048, 1024)},
    "moba": {"tokens": 512},
    "flash_moba": {"tokens": 512},
    "hip": {"tokens": 4096, "steps": 16},
    "llm_in_a_flash": {"neurons": 4096, "width": 128, "tokens": 32},
    "memo_swap": {"layers": 8, "tokens": 256, "hidden": 64},
    "dfloat11": {"rows": 512, "columns": 512, "threads": 256},
}
"""Shapes in which the kernel's own work is more than a millisecond."""


def best_s(work: Callable[[], object]) -> float:
    """Least processor time of several runs, in seconds."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def kernel_rows(folder: Path) -> list[list[str]]:
    """Recorded and unrecorded time, accesses, bytes on disk."""
    rows = []
    for name, changes in LARGER.items():
        kernel = replace(KERNELS.get(name).examples()[0], **changes)  # type: ignore[type-var]
        off = best_s(lambda kernel=kernel: kernel.run(NullRecorder(), 0))
        on = best_s(lambda kernel=kernel: record(kernel))
        _, trace = record(kernel)
        save_trace(trace, folder / "x.trace")
        size = (folder / "x.trace").stat().st_size
        rows.append(
            [
                name,
                f"{off * 1e3:.1f}",
                f"{on * 1e3:.1f}",
                f"{on / off:.2f}",
                f"{len(trace.accesses):,}",
                f"{size / 1e3:.1f}",
            ]
        )
    return rows


def tool_rows(folder: Path) -> list[list[str]]:
    """Statistics, lowering, saving and loading, per access."""
    addresses = HotSet(accesses=1_000_000).generate(0)
    _, program = record(replace(KERNELS.get("moba").examples()[0], tokens=512))  # type: ignore[type-var]
    low = len(lower(program, 64))
    tools = {
        "statistics of an address trace": (len(addresses), lambda: statistics(addresses)),
        "lowering to 64 B blocks": (low, lambda: lower(program, 64)),
        "problems() of a trace": (len(program.accesses), program.problems),
        "save": (len(program.accesses), lambda: save_trace(program, folder / "y.trace")),
        "load": (len(program.accesses), lambda: load_trace(folder / "y.trace")),
    }
    rows = []
    for name, (count, work) in tools.items():
        seconds = best_s(work)
        rows.append([name, f"{count:,}", f"{seconds * 1e3:.1f}", f"{count / seconds / 1e6:.2f}"])
    return rows


def replay_rows(folder: Path) -> list[list[str]]:
    """A trace of a quarter of a million accesses on two tiers, laws and result tables included."""
    _, layer = record(replace(KERNELS.get("moba").examples()[0], tokens=512))  # type: ignore[type-var]
    deep = repeat(layer, 30)
    save_trace(deep, folder / "deep.trace")
    (folder / "deep.yaml").write_text(
        "schema_version: 1\nname: deep\ninclude: [devices/h100-sxm, devices/server-2s-ddr5]\n"
        "workload: {kind: trace, file: deep.trace, near: hbm, device: gpu}\n"
    )
    rows = []
    for unit in ("access", "object", "operation"):
        scenario = load_scenario(str(folder / "deep.yaml"), [f"workload.transfers={unit}"])
        seconds = best_s(lambda scenario=scenario: simulate(scenario))
        rate = len(deep.accesses) / seconds / 1e6
        rows.append(
            [f"replay, a transfer per {unit}", f"{len(deep.accesses):,}", f"{seconds * 1e3:.1f}", f"{rate:.2f}"]
        )
    return rows


def torch_rows(folder: Path) -> list[list[str]]:
    """A decode step of Llama-3-8B's shape (32 layers, 2048 tokens cached) on the meta device."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tiergarten.workloads.recorders.torch import TorchRecorder

    config = LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        vocab_size=128256, max_position_embeddings=8192,
    )  # fmt: skip
    with torch.device("meta"), torch.no_grad():
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
        token = torch.zeros(1, 1, dtype=torch.long)

        def prefill() -> object:
            return model(torch.zeros(1, 2048, dtype=torch.long), use_cache=True).past_key_values

        def step(recorded: bool) -> tuple[float, Trace | None]:
            cache = prefill()
            start = time.process_time()
            if not recorded:
                model(token, past_key_values=cache, use_cache=True)
                return time.process_time() - start, None
            with TorchRecorder(model) as recorder:
                recorder.mark([t for layer in cache.layers for t in (layer.keys, layer.values)], Role.KV)  # type: ignore[attr-defined]
                model(token, past_key_values=cache, use_cache=True)
            trace = recorder.trace()
            return time.process_time() - start, trace

        off = min(step(False)[0] for _ in range(REPEATS))
        on, trace = min((step(True) for _ in range(REPEATS)), key=lambda pair: pair[0])
    assert trace is not None
    save_trace(trace, folder / "z.trace")
    size = (folder / "z.trace").stat().st_size
    return [
        [
            "llama-3-8b decode, meta",
            f"{off * 1e3:.0f}",
            f"{on * 1e3:.0f}",
            f"{on / off:.2f}",
            f"{len(trace.accesses):,}",
            f"{size / 1e3:.1f}",
        ]
    ]


LLAMA_70B = {
    "hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8,
    "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
"""Llama-3-70B (Llama 3 model card); 80 layers."""
CONTEXT = 128 * 1024


def deep_rows(folder: Path) -> list[list[str]]:
    """Llama-3-70B at a context of 128 Ki tokens, from two recorded layers: prefill, and one decode step."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    from tiergarten.workloads.recorders.layers import LayerSpans, deepen
    from tiergarten.workloads.recorders.torch import TorchRecorder

    def record_70b(*, decode: bool) -> Trace:
        with torch.device("meta"), torch.no_grad():
            model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **LLAMA_70B)).to(torch.bfloat16).eval()
            ids, inputs = torch.zeros(1, 1 if decode else CONTEXT, dtype=torch.long), {}
            recorder = TorchRecorder(model)
            if decode:
                cache = StaticCache(model.config, max_cache_len=CONTEXT + 1)
                cache.early_initialization(1, 8, 128, torch.bfloat16, torch.device("meta"))
                recorder.mark([t for layer in cache.layers for t in (layer.keys, layer.values)], Role.KV)
                inputs = {"past_key_values": cache, "position_ids": torch.full((1, 1), CONTEXT)}
            with recorder, LayerSpans(recorder, model.model.layers) as layers:
                model(ids, use_cache=True, logits_to_keep=1, **inputs)
        return deepen(recorder.trace(), layers.spans, 80)

    rows = []
    for name, decode in (("prefill", False), ("decode step", True)):
        record_70b(decode=decode)
        start = time.process_time()
        trace = record_70b(decode=decode)
        save_trace(trace, folder / "deep.trace")
        seconds = time.process_time() - start
        sizes = [int(trace.objects.num_bytes[trace.objects.roles == role].sum()) for role in (Role.WEIGHT, Role.KV)]
        rows.append(
            [
                f"llama-3-70b, 128K, {name}",
                f"{seconds:.2f}",
                f"{len(trace.ops):,}",
                f"{len(trace.accesses):,}",
                f"{(folder / 'deep.trace').stat().st_size / 1e6:.2f}",
                f"{sizes[0] / 1e9:.1f}",
                f"{sizes[1] / 1e9:.2f}",
                f"{trace.ops.flops.sum():.3g}",
            ]
        )
    return rows


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = kernel_rows(folder)
        try:
            rows += torch_rows(folder)
            columns = ["program", "s", "operations", "accesses", "MB", "weights, GB", "KV, GB", "FLOPs"]
            _print("Two layers recorded, repeated to 80, saved", columns, deep_rows(folder))
        except ImportError:
            print("torch or transformers is not installed: the PyTorch rows are left out")
        _print("Recording", ["program", "off, ms", "recorded, ms", "ratio", "accesses", "trace, kB"], rows)
        _print("Tools", ["tool", "accesses", "ms", "million accesses/s"], [*tool_rows(folder), *replay_rows(folder)])


def _print(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*row)
    console().print(table)


if __name__ == "__main__":
    main()
