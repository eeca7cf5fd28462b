"""The decode loop of a Llama-like model, the validation run: never used in a fit. And one step of it as a trace."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from tiergarten.calibration.measure.decode_points import ROOM, model_and_points
from tiergarten.calibration.measure.item import Item, Request, Row
from tiergarten.calibration.measure.left_out import LeftOutError


def _kind(request: Request) -> str:
    return "dry run" if request.is_stand_in else "quick" if request.is_quick else "full"


def measure(request: Request) -> Iterator[Row]:
    """One row for each placement of keys and values, batch and context: time of one step, next token fed back."""
    import torch

    from tiergarten.calibration.measure.decode_model import Decoder, DecoderShape, KvCache
    from tiergarten.calibration.measure.spread import spread
    from tiergarten.calibration.measure.torch_timing import use_device

    device = use_device(request)
    with torch.inference_mode():
        error = _check(device, request.seed)
        sizes, points = model_and_points(_kind(request))
        model = Decoder(DecoderShape(**sizes), device, torch.bfloat16, request.seed)
        for point in points:
            cache = KvCache(model, point.placement, point.batch, point.context, ROOM)
            tokens = torch.randint(sizes["vocabulary"], (point.batch,), device=device)
            times_us = []
            warm, steps = (1, 2) if request.is_stand_in else (3, 8 if request.is_quick else 24)
            for turn in range(warm + steps):
                us, tokens = _timed_step(model, tokens, cache, point.context + turn)
                if turn >= warm:
                    times_us.append(us)
            found = spread(times_us)
            shape = model.shape
            yield {
                "placement": point.placement, "layers": shape.layers, "batch": point.batch, "context": point.context,
                "kv_bytes": shape.layers * shape.kv_bytes_per_layer(point.batch, point.context),
                "time_us": found.median, "time_low_us": found.low, "time_high_us": found.high, "repeats": len(times_us),
                "tokens_per_s": point.batch / found.median * 1e6, "relative_error": error,
            }  # fmt: skip
            del cache


def _timed_step(model, tokens, cache, position):  # type: ignore[no-untyped-def]
    """(microseconds, next tokens): on the host's clock with the device idle before and after, as a serving loop sees it."""
    import time

    import torch

    def wait() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    started = time.perf_counter()
    chosen = model.step(tokens, cache, position).argmax(-1)
    wait()
    return (time.perf_counter() - started) * 1e6, chosen


def _check(device, seed: int) -> float:  # type: ignore[no-untyped-def]
    """A small model in bfloat16 on the device against float64: logits of two steps, in each placement."""
    import torch

    from tiergarten.calibration.measure.decode_model import PLACEMENTS, Decoder, DecoderShape, KvCache
    from tiergarten.calibration.measure.torch_timing import relative_error

    shape = DecoderShape(layers=3, hidden=256, heads=4, kv_heads=2, inner=512, vocabulary=512)
    tokens = torch.randint(512, (2,), device=device)
    worst = 0.0
    exact_model = Decoder(shape, device, torch.float64, seed)
    exact_cache = KvCache(exact_model, "device", 2, 48, 4)
    exact = [exact_model.step(tokens, exact_cache, 48 + turn) for turn in range(2)]
    model = Decoder(shape, device, torch.bfloat16, seed)
    for placement in PLACEMENTS:
        cache = KvCache(model, placement, 2, 48, 4)
        for turn in range(2):
            error = relative_error(model.step(tokens, cache, 48 + turn), exact[turn])
            worst = max(worst, error)
            if not error <= 0.05:  # some 30 roundings of 2^-9 in a row, which add up at random
                raise ValueError(f"decode step {turn} with {placement}: relative error {error:.3g} against float64")
    return worst


def trace(request: Request) -> Iterator[Row]:
    """One step under the profiler (Kineto) and the execution trace observer; both files are kept beside the table."""
    import torch
    from torch.profiler import ExecutionTraceObserver, ProfilerActivity, profile

    from tiergarten.calibration.measure.decode_model import Decoder, DecoderShape, KvCache
    from tiergarten.calibration.measure.torch_timing import use_device

    if request.is_quick and not request.is_stand_in:
        raise LeftOutError("a trace is no timing; a quick run does without")
    device = use_device(request)
    sizes, _ = model_and_points("dry run" if request.is_stand_in else "quick")
    shape = DecoderShape(**{**sizes, "layers": 2})  # two layers: the file stays small
    observer_file = request.folder / "decode_step_execution.json"
    kineto_file = request.folder / "decode_step_kineto.json"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with torch.inference_mode():
        model = Decoder(shape, device, torch.bfloat16, request.seed)
        cache = KvCache(model, "device", 2, 1024 if device.type == "cuda" else 16, 8)
        tokens = torch.zeros(2, dtype=torch.int64, device=device)
        position = 1024 if device.type == "cuda" else 16
        for turn in range(3):
            model.step(tokens, cache, position + turn)
        observer = ExecutionTraceObserver()
        observer.register_callback(str(observer_file))
        with profile(activities=activities, execution_trace_observer=observer) as profiler:
            model.step(tokens, cache, position + 3)
            if device.type == "cuda":
                torch.cuda.synchronize()
        profiler.export_chrome_trace(str(kineto_file))
    for kind, path in (("kineto", kineto_file), ("execution", observer_file)):
        yield {"trace": kind, "layers": shape.layers, "bytes": path.stat().st_size, "file": _compressed(path).name}


def _compressed(path: Path) -> Path:
    """Without the names of host and folder, which the profiler writes into its file."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    for key in ("host_name", "traceName"):
        tree.pop(key, None)
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(json.dumps(tree, separators=(",", ":")).encode(), mtime=0))
    path.unlink()
    return target


ITEMS = (
    Item(
        "decode_loop", "decode loop", "one step: keys and values on the device, on the host with and without overlap",
        ("gpu", "torch"), measure, 120, 25, "tokens_per_s",
    ),
    Item(
        "decode_trace", "decode loop", "one step under Kineto and the execution trace observer",
        ("gpu", "torch"), trace, 60, 25, "bytes",
    ),
)  # fmt: skip
