"""Matrix products over entropy-coded BF16 weights, decoded just before use (DFloat11, arXiv 2504.11651)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.entropy_code import MAX_CODE_BITS, PIECE_BYTES, Encoded, decode_block, encode
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work

TAIL_BYTES = MAX_CODE_BITS // 8
"""A block's last code may end in the first bytes of the next one."""


@KERNELS.register("dfloat11")
@dataclass(frozen=True)
class Dfloat11:
    """Forward over layers whose weights rest entropy-coded; each is decoded whole into one buffer, used, overwritten.

    The paper's: coded exponents, decoding by thread blocks, one transformer block in BF16 at a time. Derived: per
    forward about 0.68·W read, W written, W read again. Ours: normal weights of deviation 0.02 (real models code to 10.8
    to 11.1 bits a weight, these to about as much), one matrix per layer, one input row.
    """

    layers: int = 2
    rows: int = 64
    columns: int = 256
    threads: int = 32

    @property
    def work(self) -> Work:
        return Work(1)

    @classmethod
    def examples(cls) -> list["Dfloat11"]:
        """Many decoding blocks, one block, sizes that fill no block."""
        return [cls(), cls(layers=1, rows=8, columns=16), cls(layers=3, rows=37, columns=53, threads=4)]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """The decoded bits of every layer, against the bits that were encoded: no difference is allowed."""
        rng = stream(seed, "dfloat11")
        size = self.rows * self.columns
        layers = [_bf16(0.02 * rng.standard_normal(size)) for _ in range(self.layers)]
        coded = [encode(layer, self.threads) for layer in layers]
        objects = [self._declare(recorder, number, layer) for number, layer in enumerate(coded)]
        x = recorder.array("x", rng.standard_normal(self.columns).astype(np.float32), Role.ACTIVATION)
        y = recorder.array("y", np.zeros((self.layers, self.rows), np.float32), Role.ACTIVATION)
        buffer = recorder.array("bf16_buffer", np.zeros(size, np.uint16), Role.WEIGHT)
        decoded = []
        for number, layer in enumerate(coded):
            self._decode(recorder, layer, objects[number], buffer, number)
            with recorder.op(f"layer {number} product", 2.0 * size):
                weights = _float32(buffer[:]).reshape(self.rows, self.columns)
                y[number] = weights @ x[:]
            decoded.append(plain(buffer).copy())
        sizes = {
            "stream_bytes": sum(len(layer.stream) for layer in coded),
            "pieces": sum(len(layer.gaps) for layer in coded),
            "blocks": sum(len(layer.starts) - 1 for layer in coded),
            "book_bytes": sum(len(layer.book.symbols) for layer in coded),
        }
        sizes["tail_bytes"] = sum(self._tails(layer) for layer in coded)
        return Outcome(np.concatenate(decoded), np.concatenate(layers), sizes, tolerance=0.0)

    def _tails(self, layer: Encoded) -> int:
        """Bytes of the stream that are read by two blocks."""
        step = self.threads * PIECE_BYTES
        return sum(min(TAIL_BYTES, len(layer.stream) - end) for end in range(step, len(layer.stream), step))

    def _declare(self, recorder: AnyRecorder, number: int, layer: Encoded) -> tuple:
        parts: dict[str, np.ndarray] = {
            "stream": layer.stream,
            "sign_mantissas": layer.sign_mantissas,
            "gaps": layer.gaps,
            "starts": layer.starts,
            "book": layer.book.symbols,
        }
        return tuple(recorder.array(f"{name}[{number}]", part, Role.WEIGHT) for name, part in parts.items())

    def _decode(self, recorder: AnyRecorder, layer: Encoded, objects: tuple, buffer: object, number: int) -> None:
        codes, sign_mantissas, gaps, starts, book = objects
        with recorder.op(f"layer {number} tables"):
            tables = (book[:], layer.book.first_codes, layer.book.first_symbols)
        for block in range(len(layer.starts) - 1):
            pieces = slice(block * self.threads, min((block + 1) * self.threads, len(layer.gaps)))
            end = min(pieces.stop * PIECE_BYTES + TAIL_BYTES, len(layer.stream))
            with recorder.op(f"layer {number} decode {block}"):
                first, last = (int(place) for place in starts[block : block + 2])
                part = decode_block(
                    codes[pieces.start * PIECE_BYTES : end], gaps[pieces], tables, sign_mantissas[first:last]
                )
                buffer[first:last] = part  # type: ignore[index]

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Coded bytes once (tails twice), 2 bytes per weight written and read again."""
        values = self.layers * self.rows * self.columns
        return {
            "stream": Traffic(counts["stream_bytes"] + counts["tail_bytes"]),
            "sign_mantissas": Traffic(values),
            "gaps": Traffic(counts["pieces"]),
            "starts": Traffic(8 * counts["blocks"]),
            "book": Traffic(counts["book_bytes"]),
            "bf16_buffer": Traffic(2 * values, 2 * values),
            "x": Traffic(self.layers * self.columns * 4),
            "y": Traffic(0, self.layers * self.rows * 4),
        }


def _bf16(values: np.ndarray) -> np.ndarray:
    """uint16 bit patterns, rounded to nearest even."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _float32(patterns: np.ndarray) -> np.ndarray:
    return (patterns.astype(np.uint32) << 16).view(np.float32)
