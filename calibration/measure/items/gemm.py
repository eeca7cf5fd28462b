"""Matrix products: square ones, and those of a Llama-like decoder layer against batch."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from tiergarten.calibration.measure.item import Item, Request, Row

if TYPE_CHECKING:
    import torch

LLAMA_8B_SHAPES: Final = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))
"""(n, k) of the projections of an 8-billion-parameter Llama 3 layer: query-key-value, output, gate and up, down."""


def measure(request: Request) -> Iterator[Row]:
    """One row for each shape and number format: C[m, n] = A[m, k] B[n, k]^T."""
    import torch

    from tiergarten.calibration.measure.torch_timing import num_sets, require_close, timed, timing_columns, use_device

    device = use_device(request)
    for m, n, k in _shapes(request):
        for dtype in (torch.bfloat16,) if request.is_quick else (torch.bfloat16, torch.float16):
            moved = 2 * (m * k + n * k + m * n)
            pairs = [
                (torch.randn(m, k, device=device, dtype=dtype), torch.randn(n, k, device=device, dtype=dtype))
                for _ in range(num_sets(device, moved))
            ]
            a, b = pairs[0]
            rows = slice(0, min(m, 64))
            error = require_close(_product(a, b)[rows], a[rows].double() @ b.double().T, f"product {m} x {n} x {k}")
            timing = timed(device, [partial(_product, a, b) for a, b in pairs], 5 if request.is_quick else 15)
            flops = 2 * m * n * k
            yield {
                "m": m, "n": n, "k": k, "dtype": str(dtype).removeprefix("torch."), "bytes": moved, "flops": flops,
                **timing_columns(timing), "tflops": flops / timing.us.median / 1e6, "relative_error": error,
            }  # fmt: skip


def _product(a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
    return a @ b.T


def _shapes(request: Request) -> list[tuple[int, int, int]]:
    if request.is_stand_in:
        return [(64, 64, 64), (1, 256, 128), (4, 512, 128), (8, 1024, 128)]
    squares = [(size, size, size) for size in ((4096,) if request.is_quick else (512, 1024, 2048, 4096, 8192))]
    batches = (1, 16) if request.is_quick else (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
    return squares + [(batch, n, k) for batch in batches for n, k in LLAMA_8B_SHAPES]


ITEMS = (
    Item(
        "gemm", "kernels", "matrix products: squares, and decoder layers against batch",
        ("gpu", "torch"), measure, 60, 20, "tflops",
    ),
)  # fmt: skip
