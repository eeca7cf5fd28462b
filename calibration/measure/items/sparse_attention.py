"""Attention that does not read everything in order: paged decode, block-sparse decode and block-sparse prefill."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from tiergarten.calibration.measure.item import Item, Request, Row
from tiergarten.calibration.measure.items.attention import HEAD_SIZE, HEADS, KV_HEADS, last_rows
from tiergarten.calibration.measure.left_out import LeftOutError

if TYPE_CHECKING:
    import torch

BLOCK_TOKENS: Final = 128
"""Block of the sparse prefill; FlexAttention skips whole blocks of this size."""


def decode(request: Request) -> Iterator[Row]:
    """Decode over pages in random order: all of them, and a random quarter and sixteenth (block-sparse)."""
    import torch

    from tiergarten.calibration.measure.torch_timing import num_sets, require_close, timed, timing_columns, use_device

    device = use_device(request)
    kernel = _paged_kernel(request)
    for batch, context, page, share in _decode_points(request):
        pages = context // page
        kept = max(1, int(pages * share))
        page_bytes = 2 * page * KV_HEADS * HEAD_SIZE * 2
        kv_bytes = batch * kept * page_bytes
        # one pool for all sets, larger than the cache; every set draws its pages from it at random
        sets = num_sets(device, kv_bytes)
        pool = max(batch * pages, num_sets(device, page_bytes * pages) * pages)
        keys = torch.randn(pool, page, KV_HEADS, HEAD_SIZE, device=device, dtype=torch.bfloat16)
        values = torch.randn_like(keys)
        queries = [torch.randn(batch, HEADS, HEAD_SIZE, device=device, dtype=torch.bfloat16) for _ in range(sets)]
        tables = [
            torch.randperm(pool, device=device)[: batch * kept].reshape(batch, kept).to(torch.int32)
            for _ in range(sets)
        ]
        calls = [kernel(q, keys, values, table) for q, table in zip(queries, tables, strict=True)]
        exact = gathered_exact(queries[0][:1], keys, values, tables[0][:1])
        error = require_close(calls[0]()[:1], exact, f"paged decode of {context}, pages of {page}")
        timing = timed(device, calls, 5 if request.is_quick else 15)
        yield {
            "kind": "paged" if share == 1 else "block_sparse", "batch": batch, "context": context, "page_tokens": page,
            "kept_share": share, "bytes": kv_bytes, **timing_columns(timing),
            "bandwidth_GBps": kv_bytes / timing.us.median / 1e3, "relative_error": error,
        }  # fmt: skip


def gathered_exact(
    q: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", places: "torch.Tensor"
) -> "torch.Tensor":
    """The same in float64 over gathered pages: q [1, H, D] gives [1, H, D]."""
    own_keys = keys[places[0].long()].flatten(0, 1).transpose(0, 1)[None]
    own_values = values[places[0].long()].flatten(0, 1).transpose(0, 1)[None]
    return last_rows(q[:, :, None], own_keys, own_values, 1)[:, :, 0]


def _paged_kernel(request: Request) -> "Callable[..., Callable[[], torch.Tensor]]":
    """Our Triton kernel; in a dry run on a machine without Triton the gathered reference takes its place."""
    if request.is_stand_in:
        return _gathered
    from tiergarten.calibration.measure.paged_kernel import PagedDecode

    return PagedDecode


def _gathered(
    q: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor", places: "torch.Tensor"
) -> "Callable[[], torch.Tensor]":
    import torch

    def call() -> "torch.Tensor":
        found = [gathered_exact(q[i : i + 1], keys, values, places[i : i + 1]) for i in range(len(q))]
        return torch.cat(found).to(q.dtype)

    return call


def prefill(request: Request) -> Iterator[Row]:
    """Causal prefill in which each block of queries sees its own block and a random part of the earlier ones."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    from tiergarten.calibration.measure.torch_timing import require_close, timed, timing_columns, use_device

    if request.is_quick and not request.is_stand_in:
        raise LeftOutError("compiling the kernel takes longer than a quick run has")
    device = use_device(request)
    for context, share in _prefill_points(request):
        torch.compiler.reset()  # or the number of recompilations of one function is soon at its limit
        attend = flex_attention if request.is_stand_in else torch.compile(flex_attention, dynamic=False)
        blocks = context // BLOCK_TOKENS
        chosen = torch.rand(blocks, blocks, device=device) < share
        chosen |= torch.eye(blocks, dtype=torch.bool, device=device)
        chosen &= torch.ones(blocks, blocks, dtype=torch.bool, device=device).tril()

        def is_seen(b, h, query, key, chosen=chosen):  # type: ignore[no-untyped-def]
            return (query >= key) & chosen[query // BLOCK_TOKENS, key // BLOCK_TOKENS]

        mask = create_block_mask(is_seen, None, None, context, context, device=str(device), BLOCK_SIZE=BLOCK_TOKENS)
        q = torch.randn(1, HEADS, context, HEAD_SIZE, device=device, dtype=torch.bfloat16)
        k, v = (torch.randn(1, KV_HEADS, context, HEAD_SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))

        def call(q=q, k=k, v=v, mask=mask, attend=attend):  # type: ignore[no-untyped-def]
            return attend(q, k, v, block_mask=mask, enable_gqa=True)

        rows = min(context, 16)
        is_kept = chosen[-1].repeat_interleave(BLOCK_TOKENS)
        exact = _sparse_last_rows(q, k, v, rows, is_kept)
        error = require_close(call()[:, :, -rows:], exact, f"block-sparse prefill of {context}")
        timing = timed(device, [call], 5 if request.is_quick or context >= 65536 else 15)
        pairs = (int(chosen.sum()) - blocks) * BLOCK_TOKENS**2 + blocks * BLOCK_TOKENS * (BLOCK_TOKENS + 1) / 2
        flops = 4 * HEADS * HEAD_SIZE * pairs
        yield {
            "context": context, "kept_share": share, "block_tokens": BLOCK_TOKENS, "flops": flops,
            **timing_columns(timing), "tflops": flops / timing.us.median / 1e6, "relative_error": error,
        }  # fmt: skip


def _sparse_last_rows(
    q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor", rows: int, is_kept: "torch.Tensor"
) -> "torch.Tensor":
    """The last rows in float64 over the kept tokens; the last block is always kept, so the causal edge lies inside it."""
    return last_rows(q, k[:, :, is_kept], v[:, :, is_kept], rows)


def _decode_points(request: Request) -> list[tuple[int, int, int, float]]:
    if request.is_stand_in:
        return [(2, 128, 16, 1.0), (2, 256, 64, 0.25)]
    contexts = (8192,) if request.is_quick else tuple(1024 << step for step in range(8))
    batches = (8,) if request.is_quick else (1, 8)
    shares = (1.0, 0.25) if request.is_quick else (1.0, 0.25, 0.0625)
    pages = (64,) if request.is_quick else (16, 64)
    return [
        (b, c, p, s)
        for b in batches
        for c in contexts
        for p in pages
        for s in shares
        if b * c <= 524288 and c // p * s >= 1
    ]


def _prefill_points(request: Request) -> list[tuple[int, float]]:
    if request.is_stand_in:
        return [(256, 0.5)]
    return [(c, share) for c in (4096, 16384, 32768) for share in (1.0, 0.25)] + [(32768, 0.0625)]


ITEMS = (
    Item(
        "attention_paged", "kernels", "decode over pages: all, a quarter, a sixteenth (block-sparse)",
        ("gpu", "torch", "triton"), decode, 75, 25, "bandwidth_GBps",
    ),
    Item(
        "attention_block_sparse", "kernels", "prefill over a random part of the blocks",
        ("gpu", "torch", "triton"), prefill, 120, 30, "tflops",
    ),
)  # fmt: skip
