"""Operators that move more than they compute: reduction, normalisation, softmax, scaling, and an optimizer step."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from tiergarten.calibration.measure.item import Item, Request, Row

if TYPE_CHECKING:
    import torch


def measure(request: Request) -> Iterator[Row]:
    """One row for each operator and size; `bytes` are those that must move at least once."""
    import torch

    from tiergarten.calibration.measure.torch_timing import num_sets, require_close, timed, timing_columns, use_device

    device = use_device(request)
    for rows, columns in _sizes(request):
        for name, (run, passes) in _operators(columns, device).items():
            one = rows * columns * 2
            sets = [
                torch.randn(rows, columns, device=device, dtype=torch.bfloat16) for _ in range(num_sets(device, one))
            ]
            error = require_close(run(sets[0]), run(sets[0].double()), f"{name} of {rows} x {columns}")
            timing = timed(device, [partial(run, x) for x in sets], 7 if request.is_quick else 21)
            yield _row(name, rows, columns, int(passes * one), timing_columns(timing), error)
        yield _optimizer_row(rows, columns, device, request)


def _operators(
    columns: int, device: "torch.device"
) -> "dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]]":
    """Name -> (operator, how often it moves its input's bytes)."""
    from torch.nn import functional

    return {
        "sum": (lambda x: x.sum(-1), 1.0),
        "scale": (lambda x: x * 1.5, 2.0),
        "softmax": (lambda x: x.softmax(-1), 2.0),
        "rms_norm": (lambda x: functional.rms_norm(x, (columns,), eps=1e-6), 2.0),
        "layer_norm": (lambda x: functional.layer_norm(x, (columns,)), 2.0),
    }


def _optimizer_row(rows: int, columns: int, device: "torch.device", request: Request) -> Row:
    """A fused AdamW step in float32: reads gradient, weight and two moments, writes three of them."""
    import torch

    from tiergarten.calibration.measure.torch_timing import require_close, timed, timing_columns

    rate, betas, epsilon, decay = 1e-3, (0.9, 0.999), 1e-8, 0.01
    weight = torch.randn(rows, columns, device=device).requires_grad_()
    weight.grad = torch.randn_like(weight)
    options: dict[str, Any] = {"lr": rate, "betas": betas, "eps": epsilon, "weight_decay": decay, "fused": True}
    optimizer = torch.optim.AdamW([weight], capturable=device.type == "cuda", **options)
    before, gradient = weight.detach().double().clone(), weight.grad.double()
    optimizer.step()
    # the first step of AdamW (Loshchilov and Hutter, 2019) in closed form: both moments' corrections cancel
    exact = before * (1 - rate * decay) - rate * gradient / (gradient.abs() + epsilon)
    error = require_close(weight.detach(), exact, "AdamW step")
    timing = timed(device, [optimizer.step], 7 if request.is_quick else 21)
    return _row("adamw_step", rows, columns, 7 * 4 * rows * columns, timing_columns(timing), error)


def _row(name: str, rows: int, columns: int, moved: int, timing: dict[str, Any], error: float) -> Row:
    return {
        "operator": name, "rows": rows, "columns": columns, "bytes": moved, **timing,
        "bandwidth_GBps": moved / timing["time_us"] / 1e3, "relative_error": error,
    }  # fmt: skip


def _sizes(request: Request) -> list[tuple[int, int]]:
    if request.is_stand_in:
        return [(8, 256)]
    if request.is_quick:
        return [(1, 4096), (16384, 4096)]
    return [(1, 4096), (16, 4096), (256, 4096), (4096, 4096), (32768, 4096), (1024, 65536)]


ITEMS = (
    Item(
        "operators", "kernels", "reduction, normalisation, softmax, scaling, AdamW step",
        ("gpu", "torch"), measure, 45, 20, "bandwidth_GBps",
    ),
)  # fmt: skip
