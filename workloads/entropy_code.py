"""Huffman coding of BF16 exponents in DFloat11's layout (arXiv 2504.11651): really encoded, decoded bit for bit.

A BF16 value is sign (1), exponent (8), mantissa (7). Signs and mantissas are kept as bytes; exponents become one bit
stream of canonical Huffman codes. The stream is cut into pieces of 8 bytes, one per decoding thread; a thread's `gap`
is the number of bits at the front of its piece that belong to the code before. Threads work in blocks; each block knows
where its output begins. The paper's: this layout and the two phases (count, then write). Ours: gaps take one byte each
where the paper packs 5 bits, and the decoding tables are those of a canonical code.
"""

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiergarten.sim.jit import njit

PIECE_BYTES = 8
"""Encoded bytes per thread."""
MAX_CODE_BITS = 32
EXPONENTS = 256


class CodeBook(NamedTuple):
    """A canonical Huffman code: codes of one length are consecutive numbers, shorter lengths first."""

    lengths: NDArray[np.uint8]
    """uint8[256], bits of each exponent's code, 0 = never used."""
    codes: NDArray[np.uint32]
    """uint32[256]."""
    symbols: NDArray[np.uint8]
    """uint8[used], exponents in order of code."""
    first_codes: NDArray[np.int64]
    """int64[34], first code of each length."""
    first_symbols: NDArray[np.int64]
    """int64[34], where in `symbols` that length begins."""


class Encoded(NamedTuple):
    """A tensor of N values in T pieces and B blocks."""

    sign_mantissas: NDArray[np.uint8]
    """uint8[N]."""
    stream: NDArray[np.uint8]
    """uint8[8·T], the exponents' codes, zero-padded."""
    gaps: NDArray[np.uint8]
    """uint8[T], bits of a piece that finish the code before."""
    starts: NDArray[np.int32]
    """int32[B+1], first value of each block of pieces."""
    book: CodeBook


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[256]: Huffman code lengths for exponents that occur `counts` times; 1 bit if only one does.

    Raises ValueError where a code would be longer than 32 bits (only for counts like Fibonacci numbers).
    """
    used = np.flatnonzero(counts)
    heap: list[tuple[int, int, tuple[int, ...]]] = [(int(counts[s]), int(s), (int(s),)) for s in used]
    lengths = np.zeros(EXPONENTS, np.int64)
    if len(heap) == 1:
        lengths[used] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, first, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[list(left + right)] += 1
        heapq.heappush(heap, (a + b, first, left + right))
    if lengths.max(initial=0) > MAX_CODE_BITS:
        raise ValueError(f"a code of {lengths.max()} bits does not fit the decoder's {MAX_CODE_BITS}")
    return lengths.astype(np.uint8)


def canonical(lengths: NDArray[np.uint8]) -> CodeBook:
    """The canonical code of those lengths."""
    order = sorted(np.flatnonzero(lengths).tolist(), key=lambda symbol: (lengths[symbol], symbol))
    codes = np.zeros(EXPONENTS, np.uint32)
    first_codes, first_symbols = np.zeros(MAX_CODE_BITS + 2, np.int64), np.zeros(MAX_CODE_BITS + 2, np.int64)
    code = at = 0
    for length in range(1, MAX_CODE_BITS + 1):
        code <<= 1
        first_codes[length], first_symbols[length] = code, at
        while at < len(order) and lengths[order[at]] == length:
            codes[order[at]] = code
            code, at = code + 1, at + 1
    first_symbols[MAX_CODE_BITS + 1] = at
    return CodeBook(lengths, codes, np.array(order, np.uint8), first_codes, first_symbols)


def encode(values: NDArray[np.uint16], threads: int) -> Encoded:
    """Encode BF16 bit patterns for blocks of `threads` decoding threads."""
    exponents = ((values >> 7) & 0xFF).astype(np.uint8)
    sign_mantissas = (((values >> 8) & 0x80) | (values & 0x7F)).astype(np.uint8)
    book = canonical(code_lengths(np.bincount(exponents, minlength=EXPONENTS)))
    ends = np.cumsum(book.lengths[exponents], dtype=np.int64)
    begins = ends - book.lengths[exponents]
    pieces = -(-int(ends[-1]) // (8 * PIECE_BYTES))
    stream = _write_codes(book.codes[exponents], book.lengths[exponents], begins, pieces * PIECE_BYTES)
    firsts = np.searchsorted(begins, np.arange(pieces) * 8 * PIECE_BYTES)
    reach = np.append(begins, ends[-1])[firsts]
    gaps = (reach - np.arange(pieces) * 8 * PIECE_BYTES).clip(0, 8 * PIECE_BYTES).astype(np.uint8)
    starts = np.append(firsts[::threads], len(values)).astype(np.int32)
    return Encoded(sign_mantissas, stream, gaps, starts, book)


@njit(cache=True)
def _write_codes(codes, lengths, begins, num_bytes):
    """uint8[num_bytes]: codes laid end to end, highest bit first."""
    stream = np.zeros(num_bytes, np.uint8)
    for i in range(len(codes)):
        for bit in range(lengths[i]):
            if (codes[i] >> (lengths[i] - 1 - bit)) & 1:
                at = begins[i] + bit
                stream[at >> 3] |= 1 << (7 - (at & 7))
    return stream


@njit(cache=True)
def count_codes(stream, gaps, first_codes, first_symbols):
    """First phase: int64[T], codes that begin in each of a block's pieces.

    Args:
        stream: uint8, the block's pieces and the bytes in which its last code may end.
        gaps: uint8[T].
        first_codes: of the code book.
        first_symbols: of the code book.
    """
    counts = np.zeros(len(gaps), np.int64)
    for piece in range(len(gaps)):
        at = piece * 64 + np.int64(gaps[piece])
        while at < (piece + 1) * 64:
            length, _ = _next(stream, at, first_codes, first_symbols)
            if length == 0:
                break
            counts[piece] += 1
            at += length
    return counts


@njit(cache=True)
def decode_block(stream, gaps, book, sign_mantissas):
    """uint16[N], the values whose codes begin in this block's pieces.

    The block counts its codes piece by piece, sums them up to know where each piece writes, and decodes again to write.

    Args:
        stream: uint8, the block's pieces and the bytes in which its last code may end.
        gaps: uint8[T].
        book: (symbols, first_codes, first_symbols) of the code book.
        sign_mantissas: uint8[N]; the padding after the last code is told from codes by N alone.
    """
    symbols, first_codes, first_symbols = book
    out = np.zeros(len(sign_mantissas), np.uint16)
    counts = count_codes(stream, gaps, first_codes, first_symbols)
    begin = 0
    for piece in range(len(gaps)):
        at = piece * 64 + np.int64(gaps[piece])
        for i in range(begin, min(begin + counts[piece], len(out))):
            length, rank = _next(stream, at, first_codes, first_symbols)
            low = np.uint16(sign_mantissas[i])
            out[i] = ((low & 0x80) << 8) | (np.uint16(symbols[rank]) << 7) | (low & 0x7F)
            at += length
        begin += counts[piece]
    return out


@njit(cache=True)
def _next(stream, at, first_codes, first_symbols):
    """(bits, rank in `symbols`) of the code that begins at bit `at`; (0, 0) if none does."""
    code = 0
    for length in range(1, MAX_CODE_BITS + 1):
        if (at >> 3) >= len(stream):
            return 0, 0
        code = (code << 1) | ((stream[at >> 3] >> (7 - (at & 7))) & 1)
        at += 1
        rank = code - first_codes[length]
        if 0 <= rank < first_symbols[length + 1] - first_symbols[length]:
            return length, first_symbols[length] + rank
    return 0, 0
