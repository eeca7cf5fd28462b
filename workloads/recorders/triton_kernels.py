"""Five Triton kernels on which the recorder is shown: vector add, matrix product, softmax, FlashAttention, paged decode.

Plain Triton, written for clarity. Float32 throughout. Needs triton (the `trace` extra).
"""

from tiergarten.sim.errors import TiergartenError

try:
    import triton.language as tl
except ImportError as error:
    raise TiergartenError("these kernels need triton: pip install 'tiergarten[trace]'") from error


def vector_add(x, y, out, n, BLOCK: tl.constexpr):
    """out[i] = x[i] + y[i], BLOCK elements per instance."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)


def strided_copy(x, out, n, stride, BLOCK: tl.constexpr):
    """out[i] = x[i·stride]."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at * stride, mask=inside), mask=inside)


def gather(x, index, out, n, BLOCK: tl.constexpr):
    """out[i] = x[index[i]]."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    where = tl.load(index + at, mask=inside, other=0)
    tl.store(out + at, tl.load(x + where, mask=inside), mask=inside)


def matmul(a, b, c, m, n, k, TILE: tl.constexpr):
    """c [m, n] = a [m, k] b [k, n], one TILE×TILE tile of c per instance."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, k, TILE):
        inner = start + tl.arange(0, TILE)
        left = tl.load(
            a + rows[:, None] * k + inner[None, :], mask=(rows[:, None] < m) & (inner[None, :] < k), other=0.0
        )
        right = tl.load(
            b + inner[:, None] * n + columns[None, :], mask=(inner[:, None] < k) & (columns[None, :] < n), other=0.0
        )
        total += tl.dot(left, right)
    tl.store(c + rows[:, None] * n + columns[None, :], total, mask=(rows[:, None] < m) & (columns[None, :] < n))


def softmax(x, out, columns, BLOCK: tl.constexpr):
    """Softmax of one row of x [rows, columns] per instance."""
    at = tl.arange(0, BLOCK)
    inside = at < columns
    row = tl.program_id(0) * columns
    values = tl.load(x + row + at, mask=inside, other=-float("inf"))
    weights = tl.exp(values - tl.max(values, axis=0))
    tl.store(out + row + at, weights / tl.sum(weights, axis=0), mask=inside)


def flash_attention(q, k, v, out, tokens, scale, SIZE: tl.constexpr, TILE: tl.constexpr):
    """Causal attention of q, k, v [tokens, SIZE], TILE queries per instance (FlashAttention-2's loop)."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    width = tl.arange(0, SIZE)
    queries = tl.load(q + rows[:, None] * SIZE + width[None, :], mask=rows[:, None] < tokens, other=0.0)
    top = tl.full((TILE,), -1e30, dtype=tl.float32)
    total = tl.zeros((TILE,), dtype=tl.float32)
    weighted = tl.zeros((TILE, SIZE), dtype=tl.float32)
    for start in range(0, (tl.program_id(0) + 1) * TILE, TILE):
        columns = start + tl.arange(0, TILE)
        keys = tl.load(k + columns[:, None] * SIZE + width[None, :], mask=columns[:, None] < tokens, other=0.0)
        values = tl.load(v + columns[:, None] * SIZE + width[None, :], mask=columns[:, None] < tokens, other=0.0)
        scores = tl.dot(queries, tl.trans(keys)) * scale
        seen = (columns[None, :] <= rows[:, None]) & (columns[None, :] < tokens)
        scores = tl.where(seen, scores, -1e30)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        keep = tl.exp(top - higher)
        weights = tl.where(seen, tl.exp(scores - higher[:, None]), 0.0)
        total = total * keep + tl.sum(weights, axis=1)
        weighted = weighted * keep[:, None] + tl.dot(weights, values)
        top = higher
    result = weighted / tl.where(total == 0, 1.0, total)[:, None]
    tl.store(out + rows[:, None] * SIZE + width[None, :], result, mask=rows[:, None] < tokens)


def paged_decode(q, k_cache, v_cache, table, lengths, out, pages, scale, SIZE: tl.constexpr, PAGE: tl.constexpr):
    """One query per sequence against its pages: caches [blocks, PAGE, SIZE], table [sequences, pages]."""
    sequence = tl.program_id(0)
    length = tl.load(lengths + sequence)
    width = tl.arange(0, SIZE)
    query = tl.load(q + sequence * SIZE + width)
    place = tl.arange(0, PAGE)
    top = tl.full((1,), -1e30, dtype=tl.float32)
    total = tl.zeros((1,), dtype=tl.float32)
    weighted = tl.zeros((SIZE,), dtype=tl.float32)
    for page in range(0, (length + PAGE - 1) // PAGE):
        block = tl.load(table + sequence * pages + page)
        inside = page * PAGE + place < length
        at = block * PAGE * SIZE + place[:, None] * SIZE + width[None, :]
        keys = tl.load(k_cache + at, mask=inside[:, None], other=0.0)
        values = tl.load(v_cache + at, mask=inside[:, None], other=0.0)
        scores = tl.where(inside, tl.sum(keys * query[None, :], axis=1) * scale, -1e30)
        higher = tl.maximum(top, tl.max(scores, axis=0))
        keep = tl.exp(top - higher)
        weights = tl.where(inside, tl.exp(scores - higher), 0.0)
        total = total * keep + tl.sum(weights, axis=0)
        weighted = weighted * keep + tl.sum(weights[:, None] * values, axis=0)
        top = higher
    tl.store(out + sequence * SIZE + width, weighted / total)
