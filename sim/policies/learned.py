"""Eviction by a chooser, usually a trained agent, among the least recently used keys."""

from math import log1p

import numpy as np
from pydantic import Field, model_validator

from tiergarten.sim.chooser import FEATURES, NUM_CANDIDATES, Chooser, Decision, MlpChooser
from tiergarten.sim.errors import TiergartenError
from tiergarten.sim.eviction import EvictionSetup, RankQueue
from tiergarten.sim.params import InputFile, StrictModel
from tiergarten.sim.policies import eviction_policies

LOG_SCALE = 16.0
"""Brings logarithms of counts up to some millions to about 1."""


@eviction_policies.register("learned")
class Learned:
    """Asks a trained agent which of the eight least recently used keys leaves."""

    class Params(StrictModel):
        """Who decides."""

        weights: InputFile | None = Field(None, description="File of weights, as written by `tiergarten search`.")
        agent: bool = Field(
            False, description="True in an environment: an agent that is learning stands in for the weights."
        )

        @model_validator(mode="after")
        def _somebody_decides(self) -> "Learned.Params":
            if (self.weights is None) == (not self.agent):
                raise ValueError("needs `weights`, a file written by `tiergarten search`")
            return self

    def __init__(self, setup: EvictionSetup):
        weights = setup.params.weights if isinstance(setup.params, Learned.Params) else None
        chooser = setup.chooser
        if chooser is None:
            if weights is None:
                raise TiergartenError("the policy `learned` needs `weights`, or an agent that stands in for them")
            chooser = MlpChooser.load(weights)
        self._choose: Chooser = chooser
        self._queue = RankQueue()
        self._clock = 0
        self._inserted: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._hits = 0
        self._misses = 0
        self._chosen: int | None = None

    def insert(self, key: int, now: int) -> None:
        """Cache `key`."""
        self._misses += 1
        self._touch(key)
        self._inserted[key] = self._clock
        self._uses[key] = 1

    def access(self, key: int, now: int) -> None:
        """Note a use of the cached `key`."""
        self._hits += 1
        self._touch(key)
        self._uses[key] += 1

    def remove(self, key: int) -> None:
        """Drop `key`."""
        self._queue.remove(key)
        for table in (self._inserted, self._used, self._uses):
            del table[key]
        self._chosen = None

    def pin(self, key: int) -> None:
        """Keep `key` from being a victim."""
        self._queue.pin(key)
        self._chosen = None

    def unpin(self, key: int) -> None:
        """Let `key` be a victim again."""
        self._queue.unpin(key)
        self._chosen = None

    def victim(self, incoming: int | None = None, now: int = 0) -> int | None:
        """The candidate that the chooser picks; None if all keys are pinned."""
        if self._chosen is None:
            candidates = self._least_recent()
            if len(candidates) > 1:
                index = self._choose(Decision(self._features(candidates), len(candidates), self._hits, self._misses))
                self._chosen = candidates[index if 0 <= index < len(candidates) else 0]
            elif candidates:
                self._chosen = candidates[0]
        return self._chosen

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, key: object) -> bool:
        return key in self._queue

    def _touch(self, key: int) -> None:
        self._clock += 1
        self._queue.set_rank(key, self._clock)
        self._used[key] = self._clock
        self._chosen = None

    def _least_recent(self) -> list[int]:
        """Up to NUM_CANDIDATES unpinned keys, least recently used first."""
        found: list[int] = []
        while len(found) < NUM_CANDIDATES and (key := self._queue.lowest()) is not None:
            found.append(key)
            self._queue.pin(key)
        for key in found:
            self._queue.unpin(key)
        return found

    def _features(self, candidates: list[int]) -> np.ndarray:
        features = np.zeros((NUM_CANDIDATES, len(FEATURES)), np.float32)
        for row, key in enumerate(candidates):
            idle, age = self._clock - self._used[key], self._clock - self._inserted[key]
            features[row] = (1.0, log1p(idle) / LOG_SCALE, log1p(age) / LOG_SCALE, log1p(self._uses[key]) / LOG_SCALE)
        return features
