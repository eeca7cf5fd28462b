"""A model larger than memory, loaded block by block while it runs (On-device Sora, arXiv 2502.04363)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.sim.trace import Role
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder, plain
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("concurrent_loading")
@dataclass(frozen=True)
class ConcurrentLoading:
    """Denoising steps over b model blocks: while block i runs, block i+1 is loaded; d blocks stay from step to step.

    The paper's (concurrent inference with dynamic loading): overlap of loading and execution, d blocks kept resident
    across steps. Derived: saved time about b·min(l, e) - α, plus d·max(0, l - e) per later step for residency; storage
    reads (b - d)·block per step after the first. Ours: blocks are one matrix each, two load buffers take turns, and the
    resident blocks are the first d.
    """

    blocks: int = 6
    resident: int = 2
    steps: int = 3
    width: int = 48

    @property
    def work(self) -> Work:
        return Work(self.steps, "step")

    @classmethod
    def examples(cls) -> list["ConcurrentLoading"]:
        """Some, no and all blocks resident."""
        return [cls(), cls(resident=0, blocks=4, steps=2), cls(resident=5, blocks=5, width=16)]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """The denoised state after all steps, against plain products in float64."""
        rng = stream(seed, "concurrent_loading")
        shape = (self.width, self.width)
        weights = (rng.standard_normal((self.blocks, *shape)) / np.sqrt(self.width)).astype(np.float32)
        storage = [recorder.array(f"storage[{i}]", weights[i], Role.WEIGHT) for i in range(self.blocks)]
        kept = [
            recorder.array(f"resident[{i}]", np.zeros(shape, np.float32), Role.WEIGHT) for i in range(self.resident)
        ]
        buffers = [recorder.array(f"buffer[{i}]", np.zeros(shape, np.float32), Role.WEIGHT) for i in range(2)]
        start = rng.standard_normal(self.width).astype(np.float32)
        state = recorder.array("state", start.copy(), Role.ACTIVATION)
        last_use: dict[int, int] = {}
        for step in range(self.steps):
            for block in range(self.blocks):
                turn = block % 2
                target = kept[block] if block < self.resident else buffers[turn]
                if block >= self.resident or step == 0:
                    waits = [last_use[turn]] if block >= self.resident and turn in last_use else []
                    with recorder.op(f"step {step} load {block}", stream=1, after=waits):
                        target[:] = storage[block][:]
                with recorder.op(f"step {step} run {block}", 2.0 * self.width**2) as run:
                    state[:] = np.tanh(state[:] @ target[:])
                if block >= self.resident and run >= 0:
                    last_use[turn] = run
        reference = start.astype(np.float64)
        for _ in range(self.steps):
            for block in range(self.blocks):
                reference = np.tanh(reference @ weights[block].astype(np.float64))
        return Outcome(plain(state), reference)

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """All blocks are loaded in the first step, b - d in each later one; every block is read when it runs."""
        block = self.width**2 * 4
        streamed = self.steps * (self.blocks - self.resident) * block
        row = self.steps * self.blocks * self.width * 4
        found = {
            "storage": Traffic(self.resident * block + streamed),
            "resident": Traffic(self.steps * self.resident * block, self.resident * block),
            "buffer": Traffic(streamed, streamed),
            "state": Traffic(row, row),
        }
        return {name: part for name, part in found.items() if part != Traffic(0, 0)}
