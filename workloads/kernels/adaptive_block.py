"""Block diffusion whose blocks end at a sentence's end (AdaBlock-dLLM, arXiv 2509.26432)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiergarten.sim.seeds import stream
from tiergarten.workloads.block_diffusion import (
    DELIMITER,
    DiffusionModel,
    DiffusionShape,
    decode,
    diffusion_bytes,
    predictions,
)
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("adaptive_block")
@dataclass(frozen=True)
class AdaptiveBlock(DiffusionShape):
    """Block-diffusion decoding in which a block ends at the first confident delimiter, or at the default length.

    The paper's: a delimiter predicted with confidence above 0.3 (or 0.5) ends the block, otherwise the default length
    holds. Ours: the prediction is one extra step over a window of the default length, the most confident delimiter in
    it counts, and everything else is as in `block_diffusion`.
    """

    delimiter_confidence: float = 0.3

    @property
    def work(self) -> Work:
        return Work(self.new_tokens)

    @classmethod
    def examples(cls) -> list["AdaptiveBlock"]:
        """Delimiters that end blocks often, sometimes, and never."""
        return [
            cls(vocabulary=8, delimiter_confidence=0.05),
            cls(new_tokens=40, prompt_tokens=9, vocabulary=16),
            cls(new_tokens=40, delimiter_confidence=2.0),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Logits of every step, against recomputation without caches in float64."""
        model = DiffusionModel(recorder, self, stream(seed, "adaptive_block"))
        decode(model, lambda prefix, most: self._block_length(model, prefix, most))
        return model.outcome()

    def _block_length(self, model: DiffusionModel, prefix: int, most: int) -> int:
        window = slice(prefix, prefix + most)
        chances = predictions(model.step(window, window, prefix, window.stop))
        ends = np.where(chances.argmax(axis=1) == DELIMITER, chances[:, DELIMITER], 0.0)
        return int(ends.argmax()) + 1 if ends.max() >= self.delimiter_confidence else most

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """As for fixed blocks; the look-ahead is one more step per block."""
        return diffusion_bytes(self, dict(counts))
