"""Training step over a frozen quantised matrix plus low-rank factors (LQ-LoRA, arXiv 2311.12023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


def normal_levels(bits: int) -> Array:
    """float32[2^bits] in -1 to 1: quantiles of the normal distribution, scaled (NormalFloat, arXiv 2305.14314)."""
    places = (np.arange(2**bits) + 0.5) / 2**bits
    levels = np.array([NormalDist().inv_cdf(place) for place in places])
    return (levels / levels.max()).astype(np.float32)


def pack_codes(codes: Array, bits: int) -> Array:
    """uint8: codes of `bits` bits each, end to end, highest bit first."""
    planes = (codes[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.astype(np.uint8))


def unpack_codes(packed: Array, bits: int) -> Array:
    """int64 codes from `pack_codes`; as many as fill the bytes."""
    planes = np.unpackbits(packed).reshape(-1, bits).astype(np.int64)
    return planes @ (1 << np.arange(bits - 1, -1, -1))


def allocate_bits(errors: Array, sizes: Array, choices: tuple[int, ...], budget_bits: int) -> list[int]:
    """The paper's integer program, solved exactly: bits per matrix with the least total error within a budget.

    Args:
        errors: float[matrices, choices], error of each matrix at each choice.
        sizes: int[matrices], values in each matrix.
        choices: bit widths.
        budget_bits: most bits in total.

    Raises ValueError when even the smallest widths exceed the budget.
    """
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for row, size in zip(errors, sizes, strict=True):
        following: dict[int, tuple[float, list[int]]] = {}
        for used, (error, picks) in best.items():
            for bits, more in zip(choices, row, strict=True):
                total = used + int(size) * bits
                if total <= budget_bits and (total not in following or error + more < following[total][0]):
                    following[total] = (error + float(more), [*picks, bits])
        best = following
    if not best:
        raise ValueError(f"{budget_bits} bits are too few: the smallest widths need {sum(sizes) * min(choices)}")
    return min(best.values())[1]


@KERNELS.register("lq_lora")
@dataclass(frozen=True)
class LqLora:
    """Forward and backward through W ≈ Q + L1·L2 with Q in mixed bit widths, dequantised tile by tile.

    The paper's: the decomposition by alternating quantisation and singular vectors, NormalFloat codes, widths chosen by
    integer programming, gradients for the factors only. Derived: (bits/8)·N read in the forward and again in the
    backward. Ours: one float32 scale per 64 values (the paper quantises scales again), 3 alternations,
    symmetric levels, the program solved by dynamic programming.
    """

    matrices: int = 2
    rows: int = 64
    columns: int = 128
    rank: int = 8
    budget_bits: float = 4.0
    batch: int = 8
    tile: int = 16

    @property
    def work(self) -> Work:
        return Work(self.batch)

    @classmethod
    def examples(cls) -> list["LqLora"]:
        """Tight, loose and fractional budgets."""
        return [cls(), cls(matrices=1, rows=32, columns=64, budget_bits=2.0), cls(matrices=3, budget_bits=2.75, rank=4)]

    CHOICES = (2, 3, 4, 8)
    SCALE_BLOCK = 64

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Output, input gradient and factor gradients, against float64 with the dequantised matrices."""
        rng = stream(seed, "lq_lora")
        shape = (self.rows, self.columns)
        weights = [rng.standard_normal(shape) * (1 + number) for number in range(self.matrices)]
        every = [[self._decompose(matrix, bits) for bits in self.CHOICES] for matrix in weights]
        errors = np.array([[part[-1] for part in row] for row in every])
        sizes = np.full(self.matrices, self.rows * self.columns)
        bits = allocate_bits(errors, sizes, self.CHOICES, int(self.budget_bits * sizes.sum()))
        results, references = [], []
        for number, width in enumerate(bits):
            parts = every[number][self.CHOICES.index(width)][:4]
            batches = [rng.standard_normal((self.batch, n)).astype(np.float32) for n in (self.columns, self.rows)]
            results.append(self._train(recorder, parts, batches, (number, width)))
            references.append(self._reference(parts, batches, width))
        return Outcome(np.concatenate(results), np.concatenate(references), {"code_bits": sum(bits) * int(sizes[0])})

    def _decompose(self, matrix: Array, bits: int) -> tuple[Array, Array, Array, Array, float]:
        """(packed codes, scales, L1 [rows, r], L2 [r, columns], squared error)."""
        left, right = np.zeros((self.rows, self.rank)), np.zeros((self.rank, self.columns))
        levels = normal_levels(bits)
        middles = (levels[1:] + levels[:-1]) / 2
        for _ in range(3):
            rest = (matrix - left @ right).reshape(-1, self.SCALE_BLOCK)
            scales = np.abs(rest).max(axis=1).astype(np.float32)
            codes = np.searchsorted(middles, rest / scales[:, None]).ravel()
            quantised = (levels[codes].reshape(rest.shape) * scales[:, None]).reshape(matrix.shape)
            u, s, vt = np.linalg.svd(matrix - quantised, full_matrices=False)
            left, right = u[:, : self.rank] * s[: self.rank], vt[: self.rank]
        left, right = left.astype(np.float32), right.astype(np.float32)
        return pack_codes(codes, bits), scales, left, right, float(((matrix - quantised - left @ right) ** 2).sum())

    def _train(self, recorder: AnyRecorder, parts: tuple, batches: list, which: tuple[int, int]) -> Array:
        number, bits = which
        names = ("codes", "scales", "l1", "l2")
        codes, scales, l1, l2 = (
            recorder.array(f"{name}[{number}]", part, Role.WEIGHT) for name, part in zip(names, parts, strict=True)
        )
        x, dy = (recorder.array(f"{name}[{number}]", part, Role.ACTIVATION)
                 for name, part in zip(("x", "dy"), batches, strict=True))  # fmt: skip
        y = recorder.array(f"y[{number}]", np.zeros(dy.shape, np.float32), Role.ACTIVATION)
        dx = recorder.array(f"dx[{number}]", np.zeros(x.shape, np.float32), Role.GRADIENT)
        gradients = [recorder.array(f"{name}[{number}]", np.zeros(part.shape, np.float32), Role.GRADIENT)
                     for name, part in (("dl1", l1), ("dl2", l2))]  # fmt: skip
        size = 2.0 * self.batch * self.rows * self.columns
        with recorder.op(f"matrix {number} forward", size):
            rows, right = x[:], l2[:]
            low = rows @ right.T
            for start in range(0, self.rows, self.tile):
                here = slice(start, start + self.tile)
                tile = self._tile(codes, scales, start, bits)
                y[:, here] = rows @ tile.T + low @ l1[here].T
        with recorder.op(f"matrix {number} backward", size):
            back, left = dy[:], l1[:]
            total = back @ left @ right
            for start in range(0, self.rows, self.tile):
                total = total + back[:, start : start + self.tile] @ self._tile(codes, scales, start, bits)
            dx[:] = total
            gradients[0][:] = back.T @ low
            gradients[1][:] = (back @ left).T @ rows
        return np.concatenate([plain(part).ravel() for part in (y, dx, *gradients)])

    def _tile(self, codes: Array, scales: Array, start: int, bits: int) -> Array:
        """float32[tile, columns]: rows of Q, dequantised."""
        stop = min(start + self.tile, self.rows)
        first, last = start * self.columns, stop * self.columns
        values = normal_levels(bits)[unpack_codes(codes[first * bits // 8 : last * bits // 8], bits)]
        scale = np.repeat(scales[first // self.SCALE_BLOCK : last // self.SCALE_BLOCK], self.SCALE_BLOCK)
        return (values * scale).reshape(stop - start, self.columns)

    def _reference(self, parts: tuple, batches: list, bits: int) -> Array:
        codes, scales, left, right = parts
        values = normal_levels(bits)[unpack_codes(codes, bits)].astype(np.float64)
        whole = (values.reshape(-1, self.SCALE_BLOCK) * scales[:, None].astype(np.float64)).reshape(self.rows, -1)
        left, right = left.astype(np.float64), right.astype(np.float64)
        x, dy = (part.astype(np.float64) for part in batches)
        whole = whole + left @ right
        parts = (x @ whole.T, dy @ whole, dy.T @ (x @ right.T), (dy @ left).T @ x)
        return np.concatenate([part.ravel() for part in parts])

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Codes and scales twice; factors in and their gradients out."""
        values = self.matrices * self.rows * self.columns
        narrow, wide = (self.matrices * n * 4 for n in (self.batch * self.rows, self.batch * self.columns))
        l1, l2 = (self.matrices * n * self.rank * 4 for n in (self.rows, self.columns))
        return {
            "codes": Traffic(2 * counts["code_bits"] // 8),
            "scales": Traffic(2 * values // self.SCALE_BLOCK * 4),
            "l1": Traffic(2 * l1),
            "l2": Traffic(l2),
            "x": Traffic(wide),
            "dy": Traffic(narrow),
            "y": Traffic(0, narrow),
            "dx": Traffic(0, wide),
            "dl1": Traffic(0, l1),
            "dl2": Traffic(0, l2),
        }
