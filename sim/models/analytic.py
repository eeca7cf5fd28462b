"""Latency + bytes / bandwidth, first come first served. A lower bound on the time of the finer models."""

from math import ceil

from tiergarten.sim.memory import DeterminateModel, memory_models
from tiergarten.sim.params import StrictModel
from tiergarten.sim.tier import TierSpec
from tiergarten.sim.units import PS_PER_S


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
        self._latency_ps = tier.latency_ps
        self._ps_per_byte = (PS_PER_S / tier.read_bytes_per_s, PS_PER_S / tier.write_bytes_per_s)
        self._server = (0, 1) if tier.full_duplex else (0, 0)
        self._free_ps = [0, 0]

    @classmethod
    def build(cls, tier: TierSpec, params: "AnalyticModel.Params", seed: int) -> "AnalyticModel":
        return cls(tier)

    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        server = self._server[is_write]
        start_ps = self._free_ps[server]
        if now_ps > start_ps:
            start_ps = now_ps
        service_ps = ceil(num_bytes * self._ps_per_byte[is_write])
        self.busy_ps += service_ps
        self._free_ps[server] = free_ps = start_ps + service_ps
        return start_ps, free_ps + self._latency_ps
