"""Weights as stacks of residual sign blocks, as many resident as memory allows (BitStack, arXiv 2410.23918)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, Array, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("bitstack")
@dataclass(frozen=True)
class Bitstack:
    """Matrices decomposed into sign bitmaps and rank-k magnitudes, loaded by importance up to a budget, then used.

    The paper's: 16 residual steps, k = 16 singular vectors, blocks of all matrices in one order of importance, loaded
    up to the budget. Derived: a block is m·n/8 + 2·k·(m + n) bytes, one contiguous load. Ours: importance is the fall
    of the squared weight error (the paper scales by activations and sorts by perplexity), a block never overtakes an
    earlier one of its matrix, factors are float16, and the budget is given in blocks.
    """

    matrices: int = 3
    rows: int = 64
    columns: int = 96
    rank: int = 16
    steps: int = 6
    budget_blocks: int = 10
    batch: int = 4

    @property
    def work(self) -> Work:
        return Work(self.batch)

    @classmethod
    def examples(cls) -> list["Bitstack"]:
        """Part of the stacks, nearly nothing, everything."""
        return [
            cls(),
            cls(matrices=2, rows=24, columns=16, rank=4, steps=4, budget_blocks=1),
            cls(matrices=2, rows=16, columns=40, rank=2, steps=3, budget_blocks=99),
        ]

    @property
    def block_bytes(self) -> int:
        """m·n/8 of signs and 2·k·(m + n) of factors."""
        return self.rows * self.columns // 8 + 2 * self.rank * (self.rows + self.columns)

    @property
    def resident(self) -> int:
        """Blocks that fit the budget."""
        return min(self.budget_blocks, self.matrices * self.steps)

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Products with the restored matrices, against the same blocks summed in float64."""
        rng = stream(seed, "bitstack")
        weights = [rng.standard_normal((self.rows, self.columns)) for _ in range(self.matrices)]
        stacks = [self.decompose(matrix) for matrix in weights]
        chosen = self._by_importance(stacks)[: self.resident]
        host = recorder.array("host_blocks", np.array([[block for block, _ in stack] for stack in stacks]), Role.WEIGHT)
        device = recorder.array("device_blocks", np.zeros((self.resident, self.block_bytes), np.uint8), Role.WEIGHT)
        x = recorder.array("x", rng.standard_normal((self.batch, self.columns)).astype(np.float32), Role.ACTIVATION)
        out = recorder.array("out", np.zeros((self.matrices, self.batch, self.rows), np.float32), Role.ACTIVATION)
        for slot, (matrix, step) in enumerate(chosen):
            with recorder.op(f"load block {step} of matrix {matrix}", stream=1):
                device[slot] = host[matrix, step]
        reference = np.zeros(out.shape)
        for matrix in range(self.matrices):
            slots = [slot for slot, (owner, _) in enumerate(chosen) if owner == matrix]
            flops = 2.0 * self.rows * self.columns * (len(slots) * self.rank + self.batch)
            with recorder.op(f"forward matrix {matrix}", flops):
                restored = np.zeros((self.rows, self.columns), np.float32)
                for slot in slots:
                    restored += self._restore(device[slot], np.float32)
                out[matrix] = x[:] @ restored.T
            whole = sum((self._restore(plain(device)[slot], np.float64) for slot in slots), np.zeros(restored.shape))
            reference[matrix] = plain(x).astype(np.float64) @ whole.T
        return Outcome(plain(out), reference)

    def decompose(self, matrix: Array) -> list[tuple[Array, float]]:
        """(packed block, squared error that it removes) of each residual step."""
        blocks, residual = [], matrix.astype(np.float64)
        for _ in range(self.steps):
            u, s, vt = np.linalg.svd(np.abs(residual), full_matrices=False)
            root = np.sqrt(s[: self.rank])
            left, right = (u[:, : self.rank] * root).astype(np.float16), (vt[: self.rank].T * root).astype(np.float16)
            packed = np.concatenate(
                [np.packbits(residual < 0).view(np.uint8), left.ravel().view(np.uint8), right.ravel().view(np.uint8)]
            )
            before = (residual**2).sum()
            residual = residual - self._restore(packed, np.float64)
            blocks.append((packed, float(before - (residual**2).sum())))
        return blocks

    def _restore(self, packed: Array, kind: type) -> Array:
        """sign ⊙ (left·rightᵀ) of one packed block."""
        signs = self.rows * self.columns // 8
        sign: Array = 1 - 2 * np.unpackbits(packed[:signs]).astype(kind).reshape(self.rows, self.columns)
        factors: Array = packed[signs:].copy().view(np.float16).astype(kind)
        left = factors[: self.rank * self.rows].reshape(self.rows, self.rank)
        right = factors[self.rank * self.rows :].reshape(self.columns, self.rank)
        return sign * (left @ right.T)

    def _by_importance(self, stacks: list) -> list[tuple[int, int]]:
        """(matrix, step) of all blocks: the best next block of any stack, again and again."""
        order, heights = [], [0] * self.matrices
        for _ in range(self.matrices * self.steps):
            gains = [stack[h][1] if h < self.steps else -np.inf for stack, h in zip(stacks, heights, strict=True)]
            best = int(np.argmax(gains))
            order.append((best, heights[best]))
            heights[best] += 1
        return order

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """Each resident block is loaded once and read once per forward."""
        loaded = self.resident * self.block_bytes
        return {
            "host_blocks": Traffic(loaded),
            "device_blocks": Traffic(loaded, loaded),
            "x": Traffic(self.matrices * self.batch * self.columns * 4),
            "out": Traffic(0, self.matrices * self.batch * self.rows * 4),
        }
