"""A prefetch policy that learns, in one file: registered by name, asked by the driver model at every fault.

It counts the distances between faults in a VABlock and fetches sixteen pages ahead at the commonest one. Once this file is
imported, scenarios may say `policies: {prefetch: learnt-stride}`.
"""

import numpy as np

from tiergarten.accelerators.paging.kernel_config import PrefetchKind
from tiergarten.accelerators.paging.patterns import make_lanes
from tiergarten.accelerators.paging.prefetch import PREFETCHERS, BlockView
from tiergarten.accelerators.paging.uvm import UvmConfig, UvmMachine


@PREFETCHERS.register("learnt-stride")
class LearntStride:
    """Looks ahead at the distance that it has seen most often."""

    kind = PrefetchKind.PLUGIN
    ahead = 16

    def __init__(self) -> None:
        self.seen = np.zeros(512, np.int64)
        """int64[pages of a VABlock], faults at each distance from the page expected last."""
        self.expected: dict[int, int] = {}
        """VABlock -> page that it was fetched up to."""

    def fetch(self, view: BlockView) -> np.ndarray:
        wish = np.zeros(len(view.faulted), bool)
        page = int(np.flatnonzero(view.faulted)[0])
        distance = page - self.expected.get(view.block, page)
        self.expected[view.block] = page
        if distance > 0:
            self.seen[distance] += 1
        if self.seen.any():
            step = int(self.seen.argmax())
            wish[page + step : page + self.ahead * step + 1 : step] = True
            self.expected[view.block] = page + self.ahead * step
        return wish


every_fifth_page = np.arange(0, 64 * 512, 5, dtype=np.int32)
for name in ("none", "tree", "learnt-stride"):
    config = UvmConfig(device_bytes=256 << 20, prefetcher=PREFETCHERS.get(name)())
    machine = UvmMachine(config, [128 << 20])
    result = machine.touch(make_lanes([every_fifth_page], config.hardware))
    machine.check()
    moved = result["h2d_pages"] * 4 // 1024
    print(f"{name:14} {result['faulted_pages']:5} faults, {moved:4} MiB moved, {result.time_ps / 1e9:6.1f} ms")
