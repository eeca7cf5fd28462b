"""A link that is a bandwidth: its own keys `bandwidth`, `backward_bandwidth` and `per_copy`, or a fitted `calibration`."""

from tiergarten.sim.link_model import LinkSetup, Wire, link_models
from tiergarten.sim.params import StrictModel
from tiergarten.sim.server import DurationPs, at_rate


@link_models.register("bandwidth")
class BandwidthLink:
    """Time per copy + bytes / bandwidth, each way."""

    class Params(StrictModel):
        """No parameters beyond the link's own `bandwidth`, `backward_bandwidth` and `per_copy`."""

    @classmethod
    def build(cls, setup: LinkSetup, params: "BandwidthLink.Params") -> Wire:
        forward, backward = (_copy(rate * setup.count, setup.per_copy_ps) for rate in setup.bytes_per_s)
        return Wire((forward, backward), (setup.per_copy_ps, setup.per_copy_ps))


def _copy(bytes_per_s: float, per_copy_ps: int) -> DurationPs:
    rate = at_rate(bytes_per_s)
    if not per_copy_ps:
        return rate
    return lambda num_bytes: per_copy_ps + rate(num_bytes)
