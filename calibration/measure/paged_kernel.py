"""Decode attention over paged keys and values, as a Triton kernel: each program serves one group of heads and one part of the
pages, and a second kernel joins the parts. A table that lists only some of the pages makes it block-sparse.

The split over the context is that of flash-decoding (Dao et al., 2023), the page table that of vLLM (Kwon et al., SOSP 2023).
"""

import torch
import triton
import triton.language as tl


@triton.jit
def _part(
    q_ptr, k_ptr, v_ptr, table_ptr, part_ptr, maximum_ptr, total_ptr, scale, pages, pages_per_part,
    GROUP: tl.constexpr, KV_HEADS: tl.constexpr, PAGE: tl.constexpr, SIZE: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    sequence, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows, places, dims = tl.arange(0, 16), tl.arange(0, PAGE), tl.arange(0, SIZE)
    is_row = rows < GROUP
    head = (sequence * KV_HEADS + kv_head) * GROUP + rows
    q = tl.load(q_ptr + head[:, None] * SIZE + dims[None, :], mask=is_row[:, None], other=0.0)
    best = tl.full([16], -1e30, tl.float32)
    total = tl.zeros([16], tl.float32)
    joined = tl.zeros([16, SIZE], tl.float32)
    first = part * pages_per_part
    last = tl.minimum(first + pages_per_part, pages)
    for index in range(first, last):
        page = tl.load(table_ptr + sequence * pages + index).to(tl.int64)
        token = (page * PAGE + places) * KV_HEADS + kv_head
        offsets = token[:, None] * SIZE + dims[None, :]
        keys = tl.load(k_ptr + offsets)
        scores = tl.dot(q, tl.trans(keys)) * scale
        new_best = tl.maximum(best, tl.max(scores, 1))
        weights = tl.exp(scores - new_best[:, None])
        shrink = tl.exp(best - new_best)
        values = tl.load(v_ptr + offsets)
        joined = joined * shrink[:, None] + tl.dot(weights.to(values.dtype), values)
        total = total * shrink + tl.sum(weights, 1)
        best = new_best
    place = head * PARTS + part
    tl.store(part_ptr + place[:, None] * SIZE + dims[None, :], joined, mask=is_row[:, None])
    tl.store(maximum_ptr + place, best, mask=is_row)
    tl.store(total_ptr + place, total, mask=is_row)


@triton.jit
def _join(part_ptr, maximum_ptr, total_ptr, out_ptr, SIZE: tl.constexpr, PARTS: tl.constexpr):
    head = tl.program_id(0)
    parts, dims = tl.arange(0, PARTS), tl.arange(0, SIZE)
    maxima = tl.load(maximum_ptr + head * PARTS + parts)
    weights = tl.exp(maxima - tl.max(maxima, 0))
    total = tl.sum(weights * tl.load(total_ptr + head * PARTS + parts), 0)
    joined = tl.load(part_ptr + (head * PARTS + parts)[:, None] * SIZE + dims[None, :])
    tl.store(out_ptr + head * SIZE + dims, (tl.sum(joined * weights[:, None], 0) / total).to(out_ptr.dtype.element_ty))


class PagedDecode:
    """The kernel for one shape, with its own scratch memory, so that a call allocates nothing."""

    def __init__(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, table: torch.Tensor):
        """q [B, H, D]; keys and values [pages, tokens of a page, G, D]; table int32 [B, pages of a sequence], all full."""
        self._data = (q.contiguous(), keys, values, table.contiguous())
        batch, heads, size = q.shape
        pages = table.shape[1]
        programs = batch * keys.shape[2]
        wanted = max(1, min(pages, 512 // programs, 64))
        self._parts = 1 << (wanted.bit_length() - 1)
        places = batch * heads * self._parts
        self._part = torch.empty(places, size, device=q.device, dtype=torch.float32)
        self._maximum = torch.empty(places, device=q.device, dtype=torch.float32)
        self._total = torch.empty_like(self._maximum)
        self.out = torch.empty_like(self._data[0])

    def __call__(self) -> torch.Tensor:
        """The attended values [B, H, D]."""
        q, keys, values, table = self._data
        batch, heads, size = q.shape
        page, kv_heads = keys.shape[1], keys.shape[2]
        pages = table.shape[1]
        per_part = -(-pages // self._parts)
        scratch = (self._part, self._maximum, self._total)
        _part[(batch, kv_heads, self._parts)](
            q, keys, values, table, *scratch, size**-0.5, pages, per_part,
            GROUP=heads // kv_heads, KV_HEADS=kv_heads, PAGE=page, SIZE=size, PARTS=self._parts,
        )  # fmt: skip
        _join[(batch * heads,)](*scratch, self.out, SIZE=size, PARTS=self._parts)
        return self.out
