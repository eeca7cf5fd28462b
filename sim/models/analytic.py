"""Latency + bytes / bandwidth, first come first served. A lower bound on the time of the finer models."""

from tiergarten.sim.memory import DeterminateModel, memory_models
from tiergarten.sim.params import StrictModel
from tiergarten.sim.server import FifoQueue, Stage, at_rate
from tiergarten.sim.tier import TierSpec


@memory_models.register("analytic")
class AnalyticModel(DeterminateModel):
    """Latency + bytes / bandwidth, first come first served.

    The latency is pipelined: it delays each access and does not occupy the memory. A full-duplex tier has a server of its
    own for reads and for writes; otherwise both share one.
    """

    class Params(StrictModel):
        """No parameters beyond the tier's own bandwidth and latency."""

    def __init__(self, tier: TierSpec):
        super().__init__()
        reads = FifoQueue()
        writes = FifoQueue() if tier.full_duplex else reads
        self._stages = (
            Stage(reads, at_rate(tier.read_bytes_per_s), tier.latency_ps),
            Stage(writes, at_rate(tier.write_bytes_per_s), tier.latency_ps),
        )

    @property
    def busy_ps(self) -> int:
        return sum(queue.busy_ps for queue in {stage.queue for stage in self._stages})

    @classmethod
    def build(cls, tier: TierSpec, params: "AnalyticModel.Params", seed: int) -> "AnalyticModel":
        return cls(tier)

    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        queue, duration_ps, latency_ps = self._stages[is_write]
        start_ps = queue.take(now_ps, duration_ps(num_bytes))
        return start_ps, queue.free_ps + latency_ps

    def stage(self, is_write: bool) -> Stage:
        return self._stages[is_write]
