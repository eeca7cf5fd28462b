"""Block-diffusion decoding with hierarchical caches (Fast-dLLM v2, arXiv 2509.26328)."""

from collections.abc import Mapping
from dataclasses import dataclass

from tiergarten.sim.seeds import stream
from tiergarten.workloads.block_diffusion import DiffusionModel, DiffusionShape, decode, diffusion_bytes
from tiergarten.workloads.kernel import KERNELS, Outcome
from tiergarten.workloads.recorders.kernel import AnyRecorder
from tiergarten.workloads.traffic import Traffic
from tiergarten.workloads.work import Work


@KERNELS.register("block_diffusion")
@dataclass(frozen=True)
class BlockDiffusion(DiffusionShape):
    """Decoding in blocks of 32 and sub-blocks of 8, several tokens per step, over a block and a prefix cache.

    The paper's: block and sub-block sizes, exact append-only prefix KV, a dual cache of the rest of the block that is
    refreshed at sub-block boundaries, confidence threshold 0.9. Derived: per step the weights once, prefix and block KV
    once, 8 to 32 tokens computed; KV written once per block. Ours: the model (one random layer), the refresh is the
    first step of its sub-block, and the final keys are computed in a commit of their own.
    """

    @property
    def work(self) -> Work:
        return Work(self.new_tokens)

    @classmethod
    def examples(cls) -> list["BlockDiffusion"]:
        """The paper's sizes; one token a step; no sub-blocks; lengths that blocks do not divide."""
        return [
            cls(),
            cls(threshold=2.0, new_tokens=24, block=16, prompt_tokens=5),
            cls(block=8, new_tokens=20, threshold=0.1, vocabulary=16, width=16),
        ]

    def run(self, recorder: AnyRecorder, seed: int) -> Outcome:
        """Logits of every step, against recomputation without caches in float64."""
        model = DiffusionModel(recorder, self, stream(seed, "block_diffusion"))
        decode(model, lambda prefix, most: most)
        return model.outcome()

    def bytes_formula(self, counts: Mapping[str, int]) -> dict[str, Traffic]:
        """See `diffusion_bytes`; the counts are how many steps the random model needed, and their sizes."""
        return diffusion_bytes(self, dict(counts))
