"""Attention of PyTorch: causal prefill and decode, dense, with grouped heads, against context."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from tiergarten.calibration.measure.item import Item, Request, Row

if TYPE_CHECKING:
    import torch

HEADS: Final = 32
KV_HEADS: Final = 8
HEAD_SIZE: Final = 128
"""The heads of an 8-billion-parameter Llama 3."""


def measure(request: Request) -> Iterator[Row]:
    """Rows for prefill (batch 1) and decode (several batches) in bfloat16."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from tiergarten.calibration.measure.torch_timing import num_sets, require_close, timed, timing_columns, use_device

    device = use_device(request)
    for phase, batch, context in _points(request):
        new_tokens = context if phase == "prefill" else 1
        kv_bytes = batch * KV_HEADS * context * HEAD_SIZE * 2 * 2
        sets = [
            (
                torch.randn(batch, HEADS, new_tokens, HEAD_SIZE, device=device, dtype=torch.bfloat16),
                torch.randn(batch, KV_HEADS, context, HEAD_SIZE, device=device, dtype=torch.bfloat16),
                torch.randn(batch, KV_HEADS, context, HEAD_SIZE, device=device, dtype=torch.bfloat16),
            )
            for _ in range(num_sets(device, kv_bytes) if phase == "decode" else 1)
        ]
        is_causal = phase == "prefill"
        attend = partial(scaled_dot_product_attention, is_causal=is_causal, enable_gqa=True)
        calls = [partial(attend, q, k, v) for q, k, v in sets]
        rows = min(new_tokens, 16)
        q, k, v = (x[:1] for x in sets[0])
        error = require_close(calls[0]()[:1, :, -rows:], last_rows(q, k, v, rows), f"{phase} {context}")
        repeats = 5 if request.is_quick or context >= 65536 else 15
        timing = timed(device, calls, repeats)
        pairs = context * (context + 1) / 2 if is_causal else context
        flops = 4 * batch * HEADS * HEAD_SIZE * pairs
        moved = kv_bytes + 2 * batch * HEADS * new_tokens * HEAD_SIZE * 2
        yield {
            "phase": phase, "batch": batch, "context": context, "bytes": moved, "flops": flops,
            **timing_columns(timing), "tflops": flops / timing.us.median / 1e6,
            "bandwidth_GBps": moved / timing.us.median / 1e3, "relative_error": error,
        }  # fmt: skip


def last_rows(q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor", rows: int) -> "torch.Tensor":
    """Causal attention of the last query rows in float64, one head at a time.

    q [1, H, N, D], k and v [1, G, T, D] with N = T or N = 1; the result is [1, H, rows, D].
    """
    import torch

    heads, context = q.shape[1], k.shape[2]
    group = heads // k.shape[1]
    seen = torch.arange(context, device=q.device)
    limit = torch.arange(context - rows, context, device=q.device)
    out = []
    for head in range(heads):
        keys, values = k[0, head // group].double(), v[0, head // group].double()
        scores = q[0, head, -rows:].double() @ keys.T / q.shape[-1] ** 0.5
        scores = scores.masked_fill(seen[None, :] > limit[:, None], float("-inf"))
        out.append(scores.softmax(-1) @ values)
    return torch.stack(out)[None]


def _points(request: Request) -> list[tuple[str, int, int]]:
    if request.is_stand_in:
        return [("prefill", 1, 128), ("decode", 1, 128), ("decode", 2, 256), ("decode", 2, 512)]
    contexts = (1024, 8192, 32768) if request.is_quick else tuple(1024 << step for step in range(8))
    batches = (1, 8) if request.is_quick else (1, 4, 8, 16)
    prefill = [("prefill", 1, context) for context in contexts]
    # at most 2 GiB of keys and values in one set
    decode = [("decode", b, c) for b in batches for c in contexts if b * c <= 524288]
    return prefill + decode


ITEMS = (
    Item(
        "attention_dense", "kernels", "prefill and decode, contexts 1K to 128K",
        ("gpu", "torch"), measure, 75, 20, "tflops",
    ),
)  # fmt: skip
