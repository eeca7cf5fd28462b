"""A software-managed scratchpad: banks with ports, words interleaved over the banks, conflicts counted.

A word at byte address a lies in bank (a / word) mod banks. In each clock a bank serves as many words as it has ports. An
access is done when its slowest bank is; accesses that need other banks pass each other.
"""

from math import ceil

import numpy as np
from pydantic import Field

from tiergarten.sim.memory import Cursor, DeterminateModel, memory_models
from tiergarten.sim.params import PositiveBytes, PositivePs, StrictModel
from tiergarten.sim.tier import TierSpec


@memory_models.register("sram")
class SramModel(DeterminateModel):
    """Scratchpad with interleaved banks, ports and bank conflicts.

    The peak bandwidth is banks x ports x word / clock; a stride of a multiple of `banks` words meets one bank only and gets
    1 / banks of it. The tier's latency is added to every access; its bandwidths are not used.
    """

    class Params(StrictModel):
        """Geometry of the scratchpad."""

        banks: int = Field(32, gt=0, le=65536, description="Number of banks, words interleaved over them.")
        ports: int = Field(1, gt=0, le=16, description="Words that a bank serves per clock.")
        word: PositiveBytes = Field(8, description="Width of a bank.")
        clock: PositivePs = Field(1000, description="Clock period.")

    def __init__(self, tier: TierSpec, params: "SramModel.Params"):
        super().__init__()
        self._latency_ps = tier.latency_ps
        self._banks = params.banks
        self._ports = params.ports
        self._word_bytes = params.word
        self._clock_ps = params.clock
        self._cursor = Cursor(tier.capacity_bytes)
        self._busy_until_ps = 0
        self._free_ps = np.zeros(params.banks, np.int64)

    @classmethod
    def build(cls, tier: TierSpec, params: "SramModel.Params", seed: int) -> "SramModel":
        return cls(tier, params)

    def serve(self, now_ps: int, address: int, num_bytes: int, is_write: bool) -> tuple[int, int]:
        if address < 0:
            address = self._cursor.take(num_bytes)
        first_word = address // self._word_bytes
        num_words = (address + num_bytes - 1) // self._word_bytes - first_word + 1
        if num_words == 1:  # the common case of single-word accesses, without array work
            bank = first_word % self._banks
            start_ps = max(now_ps, int(self._free_ps[bank]))
            done_ps = start_ps + ceil(self._clock_ps / self._ports)
            self._free_ps[bank] = done_ps
            return self._worked(start_ps, done_ps)
        banks = (first_word + np.arange(min(num_words, self._banks))) % self._banks
        words = num_words // self._banks + (np.arange(len(banks)) < num_words % self._banks)
        starts_ps = np.maximum(self._free_ps[banks], now_ps)
        done_ps = starts_ps + -(-words // self._ports) * self._clock_ps
        self._free_ps[banks] = done_ps
        return self._worked(int(starts_ps.max()), int(done_ps.max()))

    def _worked(self, start_ps: int, done_ps: int) -> tuple[int, int]:
        """Count the time in which at least one bank works."""
        if done_ps > self._busy_until_ps:
            self._busy_ps += done_ps - max(start_ps, self._busy_until_ps)
            self._busy_until_ps = done_ps
        return start_ps, done_ps + self._latency_ps
